/** The trust root that a bundle brings, and how many signers a bundle lacks by it. */
import { join } from "node:path";
import t from "tap";
import { readCarriedRoot, signersLacking } from "../../src/pack/carried-root.ts";
import { scratch } from "../fixtures/program.ts";
import { document, makeSigner, signedTrust, writeTrust } from "../fixtures/trust-maker.ts";

t.test("the newest version says how many signers are lacking; revoked and unknown keys do not count", async (t) => {
  const dir = join(scratch(t), "root");
  const [ann, bob, cay] = [makeSigner("ann"), makeSigner("bob"), makeSigner("cay")];
  const all = [ann, bob, cay];
  const keyids = (...of: typeof all) => of.flatMap((it) => it.keys.map(({ keyid }) => keyid));
  const keys = all.flatMap((it) => it.keys);
  writeTrust(dir, [signedTrust(document(all), keys)]);
  const { root, files } = await readCarriedRoot(dir);
  t.equal(files.length, 4, "the file and three signatures");
  t.equal(signersLacking(root, keyids(ann)), 1);
  t.equal(signersLacking(root, keyids(ann, cay)), 0);
  t.equal(signersLacking(root, [...keyids(ann), "0".repeat(64)]), 1);
  const [keyid = ""] = keyids(cay);
  const revoked = [{ keyid, from: "2026-01-01T00:00:00Z", reason: "lost" }];
  writeTrust(dir, [signedTrust(document(all, { version: 2, revoked }), keys)]);
  t.equal(signersLacking((await readCarriedRoot(dir)).root, keyids(ann, cay)), 1);
});
