/** The second golden bundle: a delta with pieces, recovery files, a post-quantum signature and a trust root of two versions. */
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { formatInventory, parseInventory } from "../../src/bundle/inventory.ts";
import { formatSums, parseSums } from "../../src/bundle/sums.ts";
import { repair } from "../../src/repair.ts";
import { serve } from "../../src/serve.ts";
import { readStoredTrust } from "../../src/sign/trust-files.ts";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { GOLDEN_DELTA, GOLDEN_KEPT, GOLDEN_ROOT, makeGoldenDelta } from "../fixtures/golden-delta.ts";
import { scratch } from "../fixtures/program.ts";
import type { KeptSignatures } from "../fixtures/vectors/keys.ts";

const bundle = join(GOLDEN_ROOT, "golden-000002");
const FINGERPRINT = "sha256:f65822c750a561d5e7bdd35313a218a32a0e30cd3c29d00def730d5180db8bea";
const now = new Date("2026-06-01T00:00:00Z");
const read = (name: string) => readFileSync(join(bundle, name));

t.test(
  "it verifies by the fingerprint of its trust root, and is unpacked on top of the first and served",
  async (t) => {
    const report = await verify([bundle], { trust: [FINGERPRINT], now });
    t.match(report, { ok: true, problems: [], stream: "golden", serial: 2, fromStore: 2, trustRoot: { version: 2 } });
    t.match(report, { scan: { result: "clean" }, parity: { total: 3, missing: [], damaged: [] } });
    t.equal(report.signers.length, 2);
    const store = join(scratch(t), "store");
    const first = join(GOLDEN_ROOT, "golden-000001");
    await t.rejects(unpack([bundle], { trust: [FINGERPRINT], store, now }), { code: "ERR_DELTA_BASE" });
    rmSync(store, { recursive: true });
    await unpack([first], { trust: [join(GOLDEN_ROOT, "golden.pub")], store, now });
    t.match(await unpack([bundle], { trust: [FINGERPRINT], store, now }), { complete: true, serial: 2, entries: 5 });
    t.match(await readStoredTrust(join(store, "trust")), { root: { version: 2 } });
    const open = await openStore(store);
    const [release] = await open.releases();
    t.equal(release?.inventory.entries.length, 5);
    const serving = await serve({ store, listen: "127.0.0.1:0", workers: 1, graceMs: 100 });
    t.teardown(() => serving.close());
    for (const [path, content] of Object.entries(GOLDEN_DELTA.files)) {
      const answer = await fetch(`${serving.urls.at(-1)}/${path}`);
      t.ok(content.equals(Buffer.from(await answer.arrayBuffer())), path);
    }
  },
);

t.test("its recovery files mend it", async (t) => {
  const copy = join(scratch(t), "copy");
  cpSync(bundle, copy, { recursive: true });
  const volume = join(copy, "data.tar.0001");
  const bytes = readFileSync(volume);
  bytes.fill(0xff, 100_000, 110_000);
  writeFileSync(volume, bytes);
  t.match(await verify([copy], { trust: [FINGERPRINT], now }), { ok: false });
  await repair([copy], { trust: [FINGERPRINT], from: [], inPlace: true });
  t.match(await verify([copy], { trust: [FINGERPRINT], now }), { ok: true });
  t.same(readFileSync(volume), read("data.tar.0001"));
});

t.test("it is made of the same bytes today, its signatures included", async (t) => {
  const kept = JSON.parse(readFileSync(join(GOLDEN_ROOT, GOLDEN_KEPT), "utf8")) as KeptSignatures;
  const again = await makeGoldenDelta(kept);
  t.equal(again.fingerprint, FINGERPRINT);
  t.same(again.kept, kept);
  for (const [path, bytes] of again.files) t.ok(read(path).equals(bytes as Buffer), path);
  t.same(formatInventory(parseInventory(read("airferry.json"))), read("airferry.json"));
  t.same(formatSums(parseSums(read("SHA256SUMS")).lines), read("SHA256SUMS"));
});
