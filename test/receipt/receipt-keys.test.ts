/** Whose receipts count by a trust root: what its role requires is not lost because a receipt has one signature. */
import { join } from "node:path";
import t from "tap";
import { readReceiptTrust } from "../../src/receipt/receipt-keys.ts";
import type { TrustDocument } from "../../src/sign/trust-root.ts";
import { document, makePostQuantumKey, makeSigner, signedTrust, writeTrust } from "../fixtures/trust-maker.ts";

const root = t.testdir();
const NOW = new Date("2026-07-01T00:00:00Z");
const ann = makeSigner("ann");
const cay = makeSigner("cay");
const [annKey, cayKey] = [ann.keys[0], cay.keys[0]];
if (annKey === undefined || cayKey === undefined) throw new Error("a signer has a key");
cay.keys.push(makePostQuantumKey());

function folder(name: string, receipt: TrustDocument["roles"]["receipt"]): string {
  const dir = join(root, name);
  const value = document([ann, cay]);
  value.roles.root = value.roles.release = { signers: ["ann"], threshold: 1 };
  if (receipt !== undefined) value.roles.receipt = receipt;
  writeTrust(dir, [signedTrust(value, [annKey as NonNullable<typeof annKey>])]);
  return dir;
}

t.test("required kinds of keys", async (t) => {
  const role = { signers: ["cay"], threshold: 1 };
  const kinds = async (name: string, more: object) =>
    (await readReceiptTrust([], folder(name, { ...role, ...more }), NOW)).keys.map((it) => it.kind);
  t.strictSame(await kinds("any", {}), ["p256", "mldsa65"]);
  t.strictSame(await kinds("one", { require: ["p256"] }), ["p256"]);
  t.strictSame(await kinds("quantum", { require: ["mldsa65"] }), ["mldsa65"], "the other key alone is not enough");
  await t.rejects(kinds("both", { require: ["p256", "mldsa65"] }), { code: "ERR_THRESHOLD" });
  await t.rejects(readReceiptTrust([], folder("nobody", undefined), NOW), { code: "ERR_USAGE" });
});
