/**
 * Opens the keys that `pack` signs with: the bundle's, and the OpenPGP key for rewritten repository metadata next to
 * it.
 */
import { stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import type { Passphrase } from "../sign/private-key.ts";
import { openSigners, type Signer } from "../sign/signer.ts";
import type { RpmSigner } from "./lay-out.ts";

interface PackSignerOptions {
  key?: string;
  signer?: string;
  signerKey?: string;
  rpmKey?: string;
  unsigned: boolean;
  passphrase: Passphrase;
  /** Whether `passphrase` may prompt. */
  mayAsk: boolean;
}

/** The keys of one pack. */
interface PackSigners {
  signers: Signer[];
  rpmSigner?: RpmSigner;
}

/**
 * Opens the signing key, and returns a function that opens the rest once the manifest is known: with repositories, the
 * OpenPGP key next to it. Deriving a key from a passphrase takes 64 MiB of memory, so call this before loading anything
 * else. Errors of the key are thrown by the second call, since errors of the manifest come first; a prompt waits for it
 * too. The second call throws ERR_USAGE without any key and without `unsigned`; ERR_KEY_INVALID, ERR_PASSWORD.
 */
export async function packSigners(
  options: PackSignerOptions,
): Promise<(manifest: { needsRpmKey: boolean }) => Promise<PackSigners>> {
  const { key, signer } = options;
  const isNamed = key !== undefined || signer !== undefined;
  // keygen gave both keys the same passphrase: ask once for both.
  let answer: Promise<string> | undefined;
  const once: Passphrase = (what) => {
    answer ??= options.passphrase(what);
    return answer;
  };
  let opened: Promise<Signer[]> | undefined;
  const open = (): Promise<Signer[]> => {
    opened ??= openSigners({ ...options, passphrase: once });
    return opened;
  };
  if (isNamed && !options.unsigned && !options.mayAsk) await open().catch(() => undefined);
  return async ({ needsRpmKey }) => {
    if (!isNamed && !options.unsigned) {
      throw new AirferryError("ERR_USAGE", "cannot pack: no key to sign with", {
        hint: "create one with: airferry keygen --out site; then give --key site.key, or --unsigned",
      });
    }
    const signers = options.unsigned || !isNamed ? [] : await open();
    const nearby = needsRpmKey && key !== undefined ? await rpmKeyBeside(key) : undefined;
    const rpmKey = options.rpmKey ?? nearby;
    return {
      signers,
      ...(rpmKey !== undefined && {
        rpmSigner: await rpmSignerOf(rpmKey, options.rpmKey === undefined ? once : options.passphrase),
      }),
    };
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
  const { detachedSign, readRpmKey } = await import("../sign/openpgp-sign.ts");
  const key = await readRpmKey(file, passphrase);
  return {
    publicKey: Buffer.from(key.publicKey),
    sign: async (bytes, time) => Buffer.from(await detachedSign(bytes, key, time)),
  };
}
