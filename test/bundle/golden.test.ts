import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { formatInventory, parseInventory } from "../../src/bundle/inventory.ts";
import { formatSums, parseSums } from "../../src/bundle/sums.ts";
import { inspect } from "../../src/inspect.ts";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { GOLDEN } from "../fixtures/golden.ts";

const root = join(import.meta.dirname, "../../bundles/golden/v1");
const bundle = join(root, "golden-000001");
const trust = [join(root, "golden.pub")];
const read = (name: string) => readFileSync(join(bundle, name));

t.test("the golden bundle of version 1 verifies, is inspected and unpacked", async (t) => {
  t.match(await verify([bundle], { trust }), { ok: true, stream: "golden", serial: 1, problems: [] });
  const report = await inspect([bundle]);
  t.equal(report.entries.length, Object.keys(GOLDEN.files).length);
  t.match(
    [...report.entries].find((it) => it.path === "files/one"),
    { size: 1, kind: "file", source: "https://example.com/", digest: /^sha256:[0-9a-f]{64}$/ },
  );
  t.match(report, {
    verified: false,
    problems: [],
    volumes: [{ present: true }, { present: true }, { present: true }],
  });
  const store = join(t.testdir(), "store");
  await unpack([bundle], { trust, store });
  const open = await openStore(store);
  const [release] = await open.releases();
  for (const { path, digest } of release!.inventory.entries)
    t.same(readFileSync(open.blobPath(digest)), GOLDEN.files[path]);
});

t.test("the golden bundle is formatted to the same bytes today", async (t) => {
  const again = join(t.testdir(), "again");
  makeBundle(again, { ...GOLDEN, keys: [makeKey()] });
  const names = readdirSync(bundle).filter((it) => it !== "signatures");
  t.same(
    readdirSync(again)
      .filter((it) => it !== "signatures")
      .sort(),
    names.sort(),
  );
  for (const name of names) t.same(readFileSync(join(again, name)), read(name), name);
  t.same(formatInventory(parseInventory(read("airferry.json"))), read("airferry.json"));
  t.same(formatSums(parseSums(read("SHA256SUMS")).lines), read("SHA256SUMS"));
});
