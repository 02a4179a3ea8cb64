/** A record in the bucket that is not right is not fetched again and again. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { IDENTITY_BYTES } from "../../src/bundle/bundle-identity.ts";
import { formatSums } from "../../src/bundle/sums.ts";
import { BucketHealth } from "../../src/cache/bucket-health.ts";
import { ReleaseMirror } from "../../src/cache/release-mirror.ts";
import type { BucketObjects } from "../../src/cache/types.ts";
import { digestOf } from "../../src/io/digest.ts";
import { scratch } from "../fixtures/program.ts";

t.test("an altered inventory is left alone for a while", async (t) => {
  const dir = scratch(t);
  for (const it of ["releases", "incoming", "blobs/sha256"]) mkdirSync(join(dir, it), { recursive: true });
  const inventory = Buffer.alloc(100_000, "x");
  const sums = formatSums([
    { name: "airferry-v1.test.e1.s1", digest: digestOf(IDENTITY_BYTES) },
    { name: "airferry.json", digest: digestOf("another") },
  ]);
  const stored: Record<string, string | Buffer> = {
    "airferry-store.json": '{"storeVersion":1}\n',
    "releases/test/current": "000001\n",
    "releases/test/000001/SHA256SUMS": sums,
    "releases/test/000001/airferry.json": inventory,
  };
  let fetched = 0;
  const objects: BucketObjects = {
    name: "s3://bucket/store",
    read: async (key) => {
      const found = stored[key];
      return found === undefined ? undefined : { bytes: Buffer.from(found), etag: `"${key}"` };
    },
    list: async (prefix) => (prefix === "releases/" ? ["test/"] : prefix === "releases/test/" ? ["000001/"] : []),
    stream: async (key, _, take) => {
      const found = stored[key];
      if (found === undefined) return undefined;
      if (key.endsWith("airferry.json")) fetched++;
      await take(Buffer.from(found));
      return found.length;
    },
    receive: async () => undefined,
    presign: async () => "",
    close: () => {},
  };
  const mirror = new ReleaseMirror(objects, dir, new BucketHealth(objects.name));
  for (let time = 0; time < 5; time++)
    await t.rejects(mirror.poll(), { code: "ERR_STORE_INVALID", message: /airferry\.json: expected/ });
  t.equal(fetched, 1, "everybody is told, and nothing is fetched");
});
