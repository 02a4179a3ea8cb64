/**
 * Opens the keys that `pack` signs with: the bundle's, and the OpenPGP key for rewritten repository metadata next to
 * it.
 */
import { stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { detachedSign, readRpmKey } from "../sign/openpgp-sign.ts";
import type { Passphrase } from "../sign/private-key.ts";
import { openSigner, type Signer } from "../sign/signer.ts";
import type { RpmSigner } from "./lay-out.ts";

interface PackSignerOptions {
  key?: string;
  signer?: string;
  signerKey?: string;
  rpmKey?: string;
  unsigned: boolean;
  /** Whether the manifest has repositories: otherwise the key next to `key` is not opened. */
  needsRpmKey: boolean;
  passphrase: Passphrase;
}

/**
 * @throws {AirferryError} ERR_USAGE without any key and without `unsigned`; ERR_KEY_INVALID, ERR_PASSWORD
 */
export async function packSigners(options: PackSignerOptions): Promise<{ signers: Signer[]; rpmSigner?: RpmSigner }> {
  const { key, signer } = options;
  if (key === undefined && signer === undefined && !options.unsigned) {
    throw new AirferryError("ERR_USAGE", "cannot pack: no key to sign with", {
      hint: "create one with: airferry keygen --out site; then give --key site.key, or --unsigned",
    });
  }
  // keygen gave both keys the same passphrase: ask once for both.
  let answer: Promise<string> | undefined;
  const once: Passphrase = (what) => {
    answer ??= options.passphrase(what);
    return answer;
  };
  const signers =
    options.unsigned || (key === undefined && signer === undefined)
      ? []
      : [await openSigner({ ...options, passphrase: once })];
  const nearby = options.needsRpmKey && key !== undefined ? await rpmKeyBeside(key) : undefined;
  const rpmKey = options.rpmKey ?? nearby;
  return {
    signers,
    ...(rpmKey !== undefined && {
      rpmSigner: await rpmSignerOf(rpmKey, options.rpmKey === undefined ? once : options.passphrase),
    }),
  };
}

/** `x.rpm.key` next to `x.key`, if it exists. */
async function rpmKeyBeside(key: string): Promise<string | undefined> {
  const file = key.replace(/\.key$/, ".rpm.key");
  if (file === key) return undefined;
  return stat(file).then(
    () => file,
    () => undefined,
  );
}

async function rpmSignerOf(file: string, passphrase: Passphrase): Promise<RpmSigner> {
  const key = await readRpmKey(file, passphrase);
  return {
    publicKey: Buffer.from(key.publicKey),
    sign: async (bytes, time) => Buffer.from(await detachedSign(bytes, key, time)),
  };
}
