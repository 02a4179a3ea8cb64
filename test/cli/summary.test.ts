/** What commands say at their end: enough for a ticket, and true. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { digestsText, summaryLines } from "../../src/cli/summary.ts";
import { airferry } from "../fixtures/host.ts";
import { MIB, packSample } from "../fixtures/pack-sample.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const TOOK = String.raw`took (?:\d+\.\d s|\d+:\d\d)`;
const DIGESTS = "digests: 1 manifest, 2 first-sight, 6 generated";

t.test("lines, durations and counts", async (t) => {
  t.strictSame(summaryLines({ did: "did" }, 0.04), ["did", "took 0.0 s"]);
  const all = { did: "did", of: "stream x", verified: "all hashed", lacking: "unsigned", next: "airferry sign x" };
  t.strictSame(summaryLines(all, 59.96), [
    "did",
    "stream x; took 1:00",
    "all hashed",
    "unsigned; next: airferry sign x",
  ]);
  t.equal(digestsText({ manifest: 3 }), "digests: 3 manifest, 0 first-sight");
  t.equal(digestsText({ generated: 1, "first-sight": 2 }), "digests: 2 first-sight, 1 generated");
});

t.test("each verb of a bundle's way ends with what, how much, how long, how verified and what next", async (t) => {
  const dir = scratch(t);
  for (const name of ["given", "a", "b"]) writeFileSync(join(dir, name), name);
  const sha256 = createHash("sha256").update("given").digest("hex");
  writeManifest(dir, { files: [{ path: "given", sha256 }, { path: "a" }, { path: "b" }] });
  await airferry(dir, ["keygen", "--out", "site"]);
  const bundle = "bundles/test-000001";
  const trust = ["--trust", "site.pub"];
  const store = ["--store", "st"];
  const steps: [args: string[], lines: string[]][] = [
    [
      ["lock", "m.yaml"],
      [
        "locked 3 artifacts, 7 B",
        `stream test; ${TOOK}`,
        "digests: 1 manifest, 2 first-sight",
        "next: airferry plan m.yaml",
      ],
    ],
    [
      ["plan", "m.yaml", "--volume-size", "1MiB"],
      [
        "planned 9 files, 4\\d\\d B",
        `stream test; ${TOOK}`,
        DIGESTS,
        "next: airferry pack m.yaml --key FILE --volume-size 1MiB",
      ],
    ],
    [
      ["pack", "m.yaml", "--unsigned"],
      [
        "packed 9 files, 4\\d\\d B: 0 B fetched, 7 B reused, \\d+ B generated",
        `stream test, serial 1; ${TOOK}`,
        DIGESTS,
        `unsigned; next: airferry sign ${bundle} --key FILE`,
      ],
    ],
    [
      ["sign", bundle, "--key", "site.key"],
      [
        "signed by [0-9a-f]{64}",
        TOOK,
        "stream test, epoch 1, serial 1: SHA256SUMS sha256:[0-9a-f]{64}",
        `next: airferry verify ${bundle} --trust site.pub`,
      ],
    ],
    [
      ["verify", bundle, ...trust],
      [
        "verified 9 files, 4\\d\\d B: 1 good signature, 1 needed",
        `stream test, serial 1; ${TOOK}`,
        `\\d.* hashed; ${DIGESTS}`,
        `next: airferry unpack ${bundle} --trust site.pub --store DIR`,
      ],
    ],
    [
      ["verify", bundle, ...trust, "--threshold", "2"],
      [
        "refused for 1 problem: 0 B hashed",
        TOOK,
        "failed: signatures; passed: media; skipped: files, expiry, rules, volumes, content",
        "error: cannot trust",
      ],
    ],
    [
      ["unpack", bundle, ...trust, ...store],
      [
        "unpacked 9 files, 4\\d\\d B: 4\\d\\d B written",
        `stream test, serial 1; ${TOOK}`,
        `1 good signature, 1 needed; ${DIGESTS}`,
        "next: airferry serve --store st",
      ],
    ],
    [
      ["status", ...store, "--check"],
      [
        "checked 1 release, \\d+ blobs, .*",
        `store st; ${TOOK}`,
        "every blob hashed against its signed digest, 0 problems",
      ],
    ],
    [
      ["prune", ...store, "--keep", "1", "--dry-run"],
      [
        "would remove 0 releases with 0 blobs, 0 B",
        `would keep 1 release; ${TOOK}`,
        "next: airferry prune --store st --keep 1",
      ],
    ],
  ];
  for (const [args, lines] of steps) {
    const { stderr } = await airferry(dir, args);
    t.match(stderr, new RegExp(lines.map((it) => `^airferry: ${it}.*\n`).join(""), "m"), args.join(" "));
  }
  for (const args of [
    ["verify", bundle, ...trust],
    ["lock", "m.yaml"],
    ["status", ...store, "--check"],
  ]) {
    const { stdout, stderr } = await airferry(dir, [...args, "--quiet", "--json"]);
    t.equal(stderr, "", `${args[0]} --quiet`);
    t.ok(JSON.parse(stdout).seconds > 0, `${args[0]} --json`);
  }
});

/** Runs pack and compares the sum of its bytes with its inventory. */
async function packed(t: Test, dir: string, file: string) {
  const { stdout, stderr } = await airferry(dir, ["pack", file, "--unsigned", "--json"]);
  const result = JSON.parse(stdout || stderr);
  const inventory = JSON.parse(readFileSync(join(dir, result.bundle, "airferry.json"), "utf8"));
  const { fetchedBytes, reusedBytes, foundBytes, generatedBytes, contentSize } = result;
  t.equal(
    contentSize,
    inventory.entries.reduce((all: number, it: { size: number }) => all + it.size, 0),
  );
  t.equal(fetchedBytes + reusedBytes + foundBytes + generatedBytes, contentSize);
  return result;
}

t.test("the bytes of a pack add up, also of one that finds what another left", async (t) => {
  const { upstream, dir, file, iso, tool, plain } = await packSample(t);
  let gets = 0;
  upstream.behaviour["/x.iso"] = ({ method }) =>
    method !== "GET" ? undefined : ++gets === 1 ? { cutEvery: MIB } : { status: 404 };
  t.equal((await airferry(dir, ["pack", file, "--unsigned"])).status, 4);
  delete upstream.behaviour["/x.iso"];
  const before = upstream.bytesOf("/x.iso");
  const first = await packed(t, dir, file);
  t.match(first, { packed: true, established: { manifest: 1, "upstream-checksum": 1, "first-sight": 3 } });
  t.equal(first.fetchedBytes, upstream.bytesOf("/x.iso") - before, "what was received in this run");
  t.ok(first.fetchedBytes < iso.length && first.fetchedBytes > 0, `${first.fetchedBytes}`);
  t.ok(first.foundBytes > tool.length, `${first.foundBytes}`);
  t.ok(first.foundBytes + first.reusedBytes < iso.length + tool.length + plain.length);
  const again = await packed(t, dir, file);
  t.match(again, { packed: false, foundBytes: again.contentSize, established: first.established });
});
