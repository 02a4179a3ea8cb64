import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { scratch } from "../fixtures/program.ts";

t.test("records: the history of a stream, newest first, with what can be read of it", async (t) => {
  const dir = scratch(t);
  const key = makeKey();
  const trust = join(dir, "site-key.pub");
  writeFileSync(trust, key.pem);
  const store = join(dir, "store");
  const bundles = [1, 2, 3].map((serial) => {
    const folder = join(dir, `bundle-${serial}`);
    const more = serial === 2 ? { notAfter: "2099-01-01T00:00:00Z" } : {};
    return { folder, ...makeBundle(folder, { files: { "files/a": noise(10, serial) }, keys: [key], serial, ...more }) };
  });
  for (const { folder } of bundles) await unpack([folder], { trust: [trust], store });
  const opened = await openStore(store);
  const [release] = await opened.releases();
  const all = await opened.records.history("test", 10);
  t.match(all, [
    { name: "000003", serial: 3, current: true, digest: bundles[2]!.digest, signers: [key.keyid], rolledBack: false },
    { name: "000002", serial: 2, current: false, notAfter: "2099-01-01T00:00:00Z" },
    { name: "000001", serial: 1, current: false, created: bundles[0]!.inventory.created },
  ]);
  t.strictSame(
    (await opened.records.history("test", 2)).map((it) => it.serial),
    [3, 2],
  );
  t.strictSame(await opened.records.history("none", 2), []);
  t.equal(opened.records.recordName(release!), "000003");
  t.strictSame(await opened.records.signerNames(release!), { [key.keyid]: "site-key.pub" });
  const record = opened.records.recordPath("test", "000002");
  writeFileSync(join(record, "airferry.json"), "{");
  rmSync(join(opened.records.recordPath("test", "000001"), "import.json"));
  t.strictSame(
    (await opened.records.history("test", 10)).map((it) => it.serial),
    [3],
    "damaged records are left out",
  );
});
