/**
 * The bundle's own OpenPGP key for RPM metadata that airferry rewrote or upstream did not sign: RSA-4096 with SHA-256
 * and no subkeys, since every EL client and gpg 2.2 reads that. Signatures are a pure function of bytes, key and time.
 * See docs/format.md, "RPM metadata".
 */
import {
  createMessage,
  decryptKey,
  config as defaults,
  enums,
  generateKey,
  type PrivateKey,
  readPrivateKey as readOpenPgpPrivateKey,
  sign,
} from "openpgp";
import { AirferryError } from "../errors.ts";
import { exposed, exposureOf } from "../io/exposed.ts";
import { type KeyPurpose, readKeyFile } from "./keys.ts";
import type { Passphrase } from "./private-key.ts";

const CONFIG = {
  ...defaults,
  preferredHashAlgorithm: enums.hash.sha256,
  aeadProtect: false,
  v6Keys: false,
  // The library salts signatures by default; ours must be the same bytes every time.
  nonDeterministicSignaturesViaNotation: false,
  showVersion: false,
  showComment: false,
};

/** An opened private key for RPM metadata. */
interface OpenPgpSigningKey {
  /** Upper-case hex, 40 digits. */
  fingerprint: string;
  /** ASCII-armored public key. */
  publicKey: string;
  readonly key: PrivateKey;
}

/**
 * Creates an RSA-4096 key. The private half is encrypted with `password` (OpenPGP: iterated S2K, AES-256); an empty one
 * leaves it unencrypted. Both are ASCII-armored.
 * @param userId what people see: `airferry rpm signing key …`
 */
export async function generateRpmKey(
  password: string,
  userId: string,
  date: Date = new Date(),
): Promise<{ privateKey: string; publicKey: string; fingerprint: string }> {
  const { privateKey, publicKey } = await generateKey({
    type: "rsa",
    rsaBits: 4096,
    userIDs: [{ name: userId }],
    subkeys: [],
    ...(password === "" ? {} : { passphrase: password }),
    date,
    format: "object",
    config: CONFIG,
  });
  const fingerprint = publicKey.getFingerprint().toUpperCase();
  return { privateKey: privateKey.armor(CONFIG), publicKey: publicKey.armor(CONFIG), fingerprint };
}

/**
 * Reads and opens an RPM signing key file; any OpenPGP private key works that gpg exported ASCII-armored.
 * @throws {AirferryError} ERR_NOT_FOUND; ERR_KEY_EXPOSED, as for any private key; ERR_KEY_INVALID; ERR_PASSWORD
 */
export async function readRpmKey(file: string, passphrase: Passphrase): Promise<OpenPgpSigningKey> {
  const exposure = await exposureOf(file);
  const bytes = await readKeyFile(file, METADATA);
  let isPlain = true;
  const key = await openRpmKey(
    bytes,
    (what) => {
      isPlain = false;
      return passphrase(what);
    },
    file,
  );
  if (exposure === "change" || (exposure === "read" && isPlain)) throw exposed(file, "the key", exposure);
  return key;
}

const METADATA: KeyPurpose = {
  what: "OpenPGP key",
  hint: "give the .rpm.key file that airferry keygen wrote; to create one: airferry keygen --out NAME",
};

/** Opens an ASCII-armored private key; `file` names it in messages. Throws as {@link readRpmKey} does. */
export async function openRpmKey(bytes: Uint8Array, passphrase: Passphrase, file: string): Promise<OpenPgpSigningKey> {
  let key: PrivateKey;
  try {
    key = await readOpenPgpPrivateKey({ armoredKey: Buffer.from(bytes).toString("latin1"), config: CONFIG });
  } catch (cause) {
    const fault = (cause as Error).message;
    throw new AirferryError(
      "ERR_KEY_INVALID",
      `cannot read OpenPGP key "${file}": not an armored private key: ${fault}`,
      {
        path: file,
        cause,
        hint: "airferry keygen writes one as PREFIX.rpm.key",
      },
    );
  }
  if (!key.isDecrypted()) {
    const password = await passphrase(file);
    try {
      key = await decryptKey({ privateKey: key, passphrase: password, config: CONFIG });
    } catch (cause) {
      throw new AirferryError("ERR_PASSWORD", `cannot open key "${file}": wrong passphrase, or the file is damaged`, {
        path: file,
        cause,
        hint: "the passphrase comes from AIRFERRY_PASSWORD, else COSIGN_PASSWORD, else the terminal",
      });
    }
  }
  return {
    fingerprint: key.getFingerprint().toUpperCase(),
    publicKey: key.toPublic().armor(CONFIG),
    key,
  };
}

/**
 * Returns a detached, ASCII-armored binary-mode signature. Same bytes, key and time: same signature.
 * @param time of the lock; a newer key signs with its own creation time, since no client accepts a signature older than
 *   its key
 */
export async function detachedSign(bytes: Uint8Array, signingKey: OpenPgpSigningKey, time: Date): Promise<string> {
  const { key } = signingKey;
  const date = new Date(Math.max(time.getTime(), key.getCreationTime().getTime()));
  try {
    return (await sign({
      message: await createMessage({ binary: bytes }),
      signingKeys: key,
      detached: true,
      date,
      format: "armored",
      config: CONFIG,
    })) as string;
  } catch (cause) {
    const fault = (cause as Error).message;
    throw new AirferryError("ERR_KEY_INVALID", `cannot sign with OpenPGP key ${signingKey.fingerprint}: ${fault}`, {
      cause,
      hint: "create a new key pair with: airferry keygen --out NAME",
    });
  }
}
