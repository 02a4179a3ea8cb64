/**
 * Whose receipts count: those of keys that were named, or of the role `receipt` of a trust root. docs/deltas.md,
 * "Receipts".
 */
import { AirferryError } from "../errors.ts";
import { shellWord } from "../io/shell.ts";
import { readTrustedKeys, type TrustedKey } from "../sign/keys.ts";
import { advance, keysOfRole, verifyFirst } from "../sign/trust-chain.ts";
import { readTrustFolder } from "../sign/trust-files.ts";
import type { TrustRoot } from "../sign/trust-root.ts";

/** Keys that may sign receipts. */
export interface ReceiptTrust {
  keys: readonly TrustedKey[];
  /** Absent: the keys were named. */
  root?: TrustRoot;
}

/**
 * Reads the named keys, or without any those of a trust root's folder.
 * @throws {AirferryError} ERR_USAGE when neither names a key; ERR_THRESHOLD when one signature cannot be enough;
 *   ERR_TRUST_EXPIRED; ERR_KEY_INVALID, ERR_NOT_FOUND, ERR_TRUST_SIGNATURES, ERR_TRUST_GAP, ERR_TRUST_INVALID
 */
export async function readReceiptTrust(
  files: readonly string[],
  trustRoot: string | undefined,
  now: Date = new Date(),
): Promise<ReceiptTrust> {
  if (files.length > 0) return { keys: await readTrustedKeys(files) };
  const hint =
    "airferry pack MANIFEST --key FILE --for RECEIPT --receipt-trust PUBLIC-KEY; the public key is the far side's, received out of band";
  if (trustRoot === undefined)
    throw new AirferryError("ERR_USAGE", "cannot pack for a receipt: no key to check it with", { hint });
  const versions = await readTrustFolder(trustRoot);
  const [first] = versions;
  if (first === undefined)
    throw new AirferryError("ERR_NOT_FOUND", `cannot read a trust root in "${trustRoot}": no trust.1.json there`, {
      hint,
    });
  const { root } = advance(verifyFirst(first), versions);
  const refuse = (code: "ERR_TRUST_EXPIRED" | "ERR_THRESHOLD" | "ERR_USAGE", fault: string) =>
    new AirferryError(code, `cannot check receipts by the trust root in "${trustRoot}": ${fault}`, {
      path: trustRoot,
      hint: `change it: airferry trust rotate ${shellWord(trustRoot)}; or name the key: --receipt-trust PUBLIC-KEY`,
    });
  if (Date.parse(root.expires) < now.getTime())
    throw refuse("ERR_TRUST_EXPIRED", `version ${root.version} has expired at ${root.expires}`);
  const { threshold = 1, require = [] } = root.roles.receipt ?? {};
  const keys = keysOfRole(root, "receipt").filter((it) => require.every((kind) => it.kind === kind));
  if (require.length > 1)
    throw refuse("ERR_THRESHOLD", `keys of ${require.length} kinds must sign, and a receipt has one signature`);
  if (keys.length === 0) throw refuse("ERR_USAGE", `version ${root.version} has nobody in the role receipt`);
  if (threshold > 1) throw refuse("ERR_THRESHOLD", `${threshold} must sign, and a receipt has one signature`);
  return { keys, root };
}

/** Why a key may not have signed at some time; undefined if it may. */
export function outsideWindow({ root }: ReceiptTrust, key: TrustedKey, made: string): string | undefined {
  const signer = root?.signers[key.file];
  if (signer === undefined || (signer.notBefore <= made && made <= signer.notAfter)) return undefined;
  return `${key.file} may sign from ${signer.notBefore} to ${signer.notAfter}`;
}
