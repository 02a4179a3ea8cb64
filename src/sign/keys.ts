/**
 * Key material for signing bundles: the supported kinds of keys, their ids, and public key files in PEM. A key is
 * identified by its value, never by its file's encoding: ids are computed over the re-encoded SPKI, so the same key in
 * two encodings counts once. See docs/format.md, "Signatures".
 */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { AirferryError } from "../errors.ts";
import { hintOf } from "../io/atomic.ts";
import { streamNamed } from "../io/named-file.ts";

/** Largest key file that is read. */
export const MAX_KEY_FILE_BYTES = 1024 * 1024;

/** The kinds of signing keys; cosign, openssl and every HSM support P-256. */
export type KeyKind = "p256" | "p384" | "rsa" | "ed25519" | PostQuantumKind;

/** ML-DSA (FIPS 204): a signature file of its own each, named after the kind. */
export type PostQuantumKind = "mldsa65" | "mldsa87";

/** A trusted public key. */
export interface TrustedKey {
  /** SHA-256 (lower-case hex) of the canonical SPKI DER. */
  keyid: string;
  /** First 16 hex digits of `keyid`: the name of its signature files. */
  keyid16: string;
  kind: KeyKind;
  publicKey: KeyObject;
  /** Whose key it is: the keys of one signer count once. Without a trust root, the keyid of the signer's first key. */
  signer: string;
  /** Its file, for messages. */
  file: string;
}

/** Creates a P-256 key pair. */
export function generateSigningKey(): { privateKey: KeyObject; publicKey: KeyObject } {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

/** Creates an ML-DSA key pair. */
export function generatePostQuantumKey(kind: PostQuantumKind): { privateKey: KeyObject; publicKey: KeyObject } {
  return kind === "mldsa65" ? generateKeyPairSync("ml-dsa-65") : generateKeyPairSync("ml-dsa-87");
}

/** Whether keys of this kind sign into a file of their own, which only openssl 3.5 and later check. */
export function isPostQuantum(kind: KeyKind): kind is PostQuantumKind {
  return kind === "mldsa65" || kind === "mldsa87";
}

/**
 * Returns which kind of signing key this is.
 * @throws {AirferryError} ERR_KEY_INVALID for unsupported kinds and sizes
 */
export function keyKindOf(key: KeyObject, file: string): KeyKind {
  const details = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "ec" && details.namedCurve === "prime256v1") return "p256";
  if (key.asymmetricKeyType === "ec" && details.namedCurve === "secp384r1") return "p384";
  if (key.asymmetricKeyType === "ed25519") return "ed25519";
  if (key.asymmetricKeyType === "ml-dsa-65") return "mldsa65";
  if (key.asymmetricKeyType === "ml-dsa-87") return "mldsa87";
  const bits = details.modulusLength ?? 0;
  if (key.asymmetricKeyType === "rsa" && bits >= 2048 && bits <= 8192) return "rsa";
  const actual = [key.asymmetricKeyType, details.namedCurve, details.modulusLength].filter(Boolean).join(" ");
  const expected = "P-256, P-384, Ed25519, ML-DSA-65, ML-DSA-87, or RSA of 2048 to 8192 bits";
  throw new AirferryError(
    "ERR_KEY_INVALID",
    `cannot use key "${file}": unsupported kind: expected ${expected}, got ${actual}`,
    {
      path: file,
      expected,
      actual,
      hint:
        key.type === "private"
          ? "create a key with: airferry keygen --out NAME"
          : "bundles are signed with other kinds of keys: ask the packer for the public key of the signing key",
    },
  );
}

/** Returns the public half as canonical SPKI DER: uncompressed points, named curves. */
export function spkiOf(key: KeyObject): Buffer {
  // Through JWK, because OpenSSL otherwise preserves the file's point form.
  const jwk = key.export({ format: "jwk" });
  const { kty, crv, x, y, n, e, alg, pub } = jwk;
  const publicJwk = Object.fromEntries(Object.entries({ kty, crv, x, y, n, e, alg, pub }).filter(([, value]) => value));
  return createPublicKey({ key: publicJwk, format: "jwk" }).export({ type: "spki", format: "der" });
}

/** Returns the keyid: SHA-256 of the canonical SPKI DER, as 64 lower-case hex digits. */
export function keyidOf(key: KeyObject): string {
  return createHash("sha256").update(spkiOf(key)).digest("hex");
}

/** Returns the public half as PEM, ending in a newline. */
export function publicKeyPem(key: KeyObject): string {
  const body = spkiOf(key)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN PUBLIC KEY-----\n${body}\n-----END PUBLIC KEY-----\n`;
}

/** Wraps a public key for the list of trusted ones. @throws {AirferryError} ERR_KEY_INVALID */
export function trustedKeyOf(key: KeyObject, file: string): TrustedKey {
  const kind = keyKindOf(key, file);
  const keyid = keyidOf(key);
  return { keyid, keyid16: keyid.slice(0, 16), kind, publicKey: key, signer: keyid, file };
}

/**
 * The body ends at the next five dashes, so that a block without an end does not cause repeated searches of the whole
 * file.
 */
const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n([^-]*(?:-(?!----)[^-]*)*)-----END \1-----/g;

/**
 * Reads every `PUBLIC KEY` block of one PEM file, in order. Text around the blocks is ignored. A post-quantum key
 * behind another key is its signer's second.
 * @throws {AirferryError} ERR_KEY_INVALID when there is none, or a block is broken or of another type
 */
export function parsePublicKeys(bytes: Uint8Array, file: string): TrustedKey[] {
  if (bytes.length > MAX_KEY_FILE_BYTES) throw notAKey(file, `${bytes.length} bytes`);
  const blocks = [...Buffer.from(bytes).toString("latin1").matchAll(PEM_BLOCK)];
  if (blocks.length === 0) throw notAKey(file, "no PEM block");
  let before: TrustedKey | undefined;
  return blocks.map(([block, label]) => {
    if (label !== "PUBLIC KEY") throw notAKey(file, label ?? "");
    let key: KeyObject;
    try {
      key = createPublicKey(block);
    } catch (cause) {
      throw notAKey(file, "a block that does not decode", cause);
    }
    const read = trustedKeyOf(key, file);
    if (isPostQuantum(read.kind) && before !== undefined) return { ...read, signer: before.signer };
    before = read;
    return read;
  });
}

function notAKey(file: string, actual: string, cause?: unknown): AirferryError {
  const isPrivate = actual.includes("PRIVATE KEY");
  return new AirferryError(
    "ERR_KEY_INVALID",
    `cannot read public key "${file}": not a public key: expected PEM "PUBLIC KEY", got ${actual}`,
    {
      path: file,
      expected: "PUBLIC KEY",
      actual,
      cause,
      hint: isPrivate
        ? "give the .pub file; a private key never belongs on the far side"
        : actual.includes("PGP")
          ? "this is an OpenPGP key, which signs packages; give the .pub file of the key that signs bundles"
          : "give the .pub file of the key pair, written by keygen or cosign generate-key-pair",
    },
  );
}

/** The purpose of a key file: its name in messages, and the hint if it is missing. */
export interface KeyPurpose {
  what: string;
  hint: string;
}

const FAULTS = new Map([
  ["ENOENT", "no such file"],
  ["ENOTDIR", "no such file"],
  ["EISDIR", "it is a folder"],
]);

/** The key comes from the signer; a key created here would trust nobody. */
export const TRUSTED: KeyPurpose = {
  what: "trusted key",
  hint: "give the packer's public key: a .pub file received out of band",
};

/**
 * Reads trusted keys from files, each with one or several PEM blocks. The same key given twice is returned once.
 * @throws {AirferryError} ERR_KEY_INVALID; ERR_NOT_FOUND
 */
export async function readTrustedKeys(files: readonly string[]): Promise<TrustedKey[]> {
  const byId = new Map<string, TrustedKey>();
  for (const file of files) {
    for (const key of parsePublicKeys(await readKeyFile(file, TRUSTED), file)) {
      if (!byId.has(key.keyid)) byId.set(key.keyid, key);
    }
  }
  return [...byId.values()];
}

/**
 * Reads a whole key file of at most {@link MAX_KEY_FILE_BYTES}; a longer one gives ERR_KEY_INVALID without being read.
 * A pipe (`--key <(pass …)`) is read to its end, which a signal interrupts.
 * @throws {AirferryError} ERR_NOT_FOUND; ERR_KEY_INVALID; ERR_IO
 */
export async function readKeyFile(file: string, purpose: KeyPurpose): Promise<Buffer> {
  try {
    const parts: Buffer[] = [];
    let length = 0;
    for await (const part of await streamNamed(file)) {
      parts.push(part as Buffer);
      length += (part as Buffer).length;
      if (length > MAX_KEY_FILE_BYTES) throw notAKey(file, `more than ${MAX_KEY_FILE_BYTES} bytes`);
    }
    return Buffer.concat(parts);
  } catch (cause) {
    if (cause instanceof AirferryError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    throw new AirferryError(
      code === "ENOENT" ? "ERR_NOT_FOUND" : "ERR_IO",
      `cannot read ${purpose.what} "${file}": ${FAULTS.get(code ?? "") ?? (cause as Error).message}`,
      { path: file, cause, hint: code === "ENOENT" || code === "EISDIR" ? purpose.hint : hintOf(code) },
    );
  }
}
