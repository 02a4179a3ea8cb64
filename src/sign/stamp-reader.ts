/** Timestamps by the authorities of a trust root: what reads them is loaded only where there are any. */
import type { Problem } from "../errors.ts";
import type { TrustedKey } from "./keys.ts";
import type { StampedSigner, Stamps } from "./timestamp.ts";
import type { TrustRoot } from "./trust-root.ts";
import type { SignatureFile } from "./verify-sums.ts";

/** Reads the timestamps of these signers, whose signatures are good. */
export type StampReader = (files: readonly SignatureFile[], signers: readonly string[]) => Stamps;

/**
 * Who reads timestamps by a trust root; undefined if there is nothing to read.
 * @param at for an archive: later timestamps do not count
 */
export async function stampReader(
  root: TrustRoot | undefined,
  files: readonly SignatureFile[],
  at?: Date,
): Promise<StampReader | undefined> {
  if (root === undefined || root.authorities.length === 0 || !files.some((it) => it.name.endsWith(".tsr")))
    return undefined;
  const { readStamps } = await import("./stamped-signers.ts");
  return (all, signers) => readStamps(all, { authorities: root.authorities, at, signers });
}

/** The times at which a key's signature is known to have existed. */
export function stampsOf({ stamps }: Pick<Stamps, "stamps">, keyid: string): string[] {
  return stamps.filter((it) => it.keyid === keyid).map((it) => it.time);
}

/** Checks timestamps by authorities that were named at a command. Codes: ERR_TIMESTAMP. */
export type StampCheck = (
  files: readonly SignatureFile[],
  by: { trust: { keys: readonly TrustedKey[]; threshold: number }; at: Date | undefined; signers: readonly string[] },
) => { timestamps: StampedSigner[]; problems: Problem[] };

/**
 * Reads the certificates that `--tsa` names; undefined if it names none.
 * @throws {AirferryError} ERR_KEY_INVALID, ERR_NOT_FOUND, ERR_IO
 */
export async function stampCheck(tsa: readonly string[] = []): Promise<StampCheck | undefined> {
  if (tsa.length === 0) return undefined;
  const { readAuthorities } = await import("./timestamp.ts");
  const { checkStamps } = await import("./stamped-signers.ts");
  const authorities = await readAuthorities(tsa);
  return (signatures, by) => checkStamps(signatures, { ...by, authorities });
}

/** All of these, each once. */
export function mergedStamps(stamps: readonly StampedSigner[]): StampedSigner[] {
  const same = (a: StampedSigner, b: StampedSigner) => a.keyid === b.keyid && a.time === b.time && a.by === b.by;
  return stamps.filter((it, index) => stamps.findIndex((one) => same(one, it)) === index);
}
