/**
 * Private key files: cosign's encrypted format (scrypt and NaCl secretbox), so that cosign and airferry share keys, and
 * PKCS#8, plain or encrypted. Writes only the former. See docs/format.md, "Keys", and cosign's pkg/cosign/keys.go.
 */

import { createPrivateKey, type KeyObject, randomBytes, scrypt } from "node:crypto";
import { xsalsa20poly1305 } from "@noble/ciphers/salsa.js";
import { AirferryError } from "../errors.ts";
import { exposed, exposureOf } from "../io/exposed.ts";
import { parseJson } from "../io/json.ts";
import { shellWord } from "../io/shell.ts";
import { type KeyPurpose, keyKindOf, readKeyFile } from "./keys.ts";

/** Returns the passphrase of a key file; called only when the key needs one. `what` names the file, for a prompt. */
export type Passphrase = (what: string) => Promise<string>;

const LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY";
const LABELS = new Set([LABEL, "ENCRYPTED COSIGN PRIVATE KEY"]);
const SCRYPT = { r: 8, p: 1 } as const;
/** cosign refuses every other cost, so a hostile file cannot demand gigabytes. */
const SCRYPT_COSTS = new Set([32768, 65536, 131072]);
/** The cost that cosign writes: 64 MiB and a fifth of a second per guess, and per pack. */
const SCRYPT_COST_WRITTEN = 65536;
/** Most PBKDF2 rounds accepted from a PKCS#8 file: some seconds of work. */
const MAX_PBKDF2_ROUNDS = 10_000_000;
const MAX_PRIVATE_KEY_BYTES = 64 * 1024;

/**
 * The passphrase from the environment: AIRFERRY_PASSWORD, else COSIGN_PASSWORD. Empty only if one of them is set and
 * none has a value, as for keys without a passphrase; undefined if none is set.
 */
export function passphraseIn(env: NodeJS.ProcessEnv): string | undefined {
  return env.AIRFERRY_PASSWORD || env.COSIGN_PASSWORD || (env.AIRFERRY_PASSWORD ?? env.COSIGN_PASSWORD);
}

/**
 * Returns the passphrase source of the command line: the environment (an empty value counts), else `prompt`, which the
 * cli passes when there is a terminal.
 */
export function passphraseFrom(env: NodeJS.ProcessEnv, prompt?: Passphrase): Passphrase {
  return async (what) => {
    const given = passphraseIn(env);
    if (given !== undefined) return given;
    if (prompt) return prompt(what);
    throw new AirferryError(
      "ERR_PASSWORD",
      `cannot open key "${what}": it needs a passphrase and there is no terminal`,
      {
        path: what,
        hint: "set AIRFERRY_PASSWORD or COSIGN_PASSWORD",
      },
    );
  };
}

/** Encrypts a private key in cosign's format; returns the PEM file's text. The salt and nonce are random. */
export async function sealPrivateKey(key: KeyObject, password: string): Promise<string> {
  const salt = randomBytes(32);
  const nonce = randomBytes(24);
  const secret = await deriveKey(password, salt, SCRYPT_COST_WRITTEN);
  const box = xsalsa20poly1305(secret, nonce).encrypt(key.export({ type: "pkcs8", format: "der" }));
  const json = JSON.stringify({
    kdf: { name: "scrypt", params: { N: SCRYPT_COST_WRITTEN, ...SCRYPT }, salt: salt.toString("base64") },
    cipher: { name: "nacl/secretbox", nonce: nonce.toString("base64") },
    ciphertext: Buffer.from(box).toString("base64"),
  });
  const body = Buffer.from(json)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${LABEL}-----\n${body}\n-----END ${LABEL}-----\n`;
}

/**
 * Reads and opens a private key file. Refuses a file that others can read unless it is encrypted, and any file that
 * others can change.
 * @throws {AirferryError} ERR_NOT_FOUND; ERR_KEY_EXPOSED; ERR_KEY_INVALID for broken files and unsupported kinds;
 *   ERR_PASSWORD for a wrong passphrase
 */
export async function readPrivateKey(file: string, passphrase: Passphrase): Promise<KeyObject> {
  const exposure = await exposureOf(file);
  const bytes = await readKeyFile(file, SIGNING);
  const key = await openPrivateKey(bytes, passphrase, file);
  const isPlain = /^-----BEGIN PRIVATE KEY-----/.test(Buffer.from(bytes).toString("latin1").trim());
  if (exposure === "change" || (exposure === "read" && isPlain)) throw exposed(file, "the key", exposure);
  return key;
}

/** Opens a private key file's bytes; `file` names it in messages. Throws as {@link readPrivateKey} does. */
export async function openPrivateKey(bytes: Uint8Array, passphrase: Passphrase, file: string): Promise<KeyObject> {
  if (bytes.length > MAX_PRIVATE_KEY_BYTES) throw broken(file, `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString("latin1").trim();
  const match = /^-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\s]*)-----END \1-----$/.exec(text);
  const label = match?.[1] ?? "";
  const body = Buffer.from(match?.[2] ?? "", "base64");
  let key: KeyObject;
  if (LABELS.has(label)) key = await openSealed(body, passphrase, file);
  else if (label === "PRIVATE KEY") key = fromDer(body, file);
  else if (label === "ENCRYPTED PRIVATE KEY") key = await openPbes2(body, passphrase, file);
  else throw broken(file, match ? `"${label}"` : "no single PEM block");
  keyKindOf(key, file);
  return key;
}

async function openSealed(body: Buffer, passphrase: Passphrase, file: string): Promise<KeyObject> {
  const { cost, salt, nonce, box } = parseSealed(body, file);
  const secret = await deriveKey(await passphrase(file), salt, cost);
  let der: Uint8Array;
  try {
    der = xsalsa20poly1305(secret, nonce).decrypt(box);
  } catch (cause) {
    throw wrongPassphrase(file, cause);
  }
  return fromDer(Buffer.from(der), file);
}

function parseSealed(body: Buffer, file: string): { cost: number; salt: Buffer; nonce: Buffer; box: Buffer } {
  let it: {
    kdf?: { name?: unknown; params?: { N?: unknown; r?: unknown; p?: unknown }; salt?: unknown };
    cipher?: { name?: unknown; nonce?: unknown };
    ciphertext?: unknown;
  } | null;
  try {
    it = parseJson(body.toString("utf8")) as typeof it;
  } catch (cause) {
    throw broken(file, "a body that is not JSON", cause);
  }
  if (it?.kdf?.name !== "scrypt") throw broken(file, `key derivation ${JSON.stringify(it?.kdf?.name)}`);
  if (it.cipher?.name !== "nacl/secretbox") throw broken(file, `cipher ${JSON.stringify(it.cipher?.name)}`);
  const { N, r, p } = it.kdf.params ?? {};
  if (typeof N !== "number" || !SCRYPT_COSTS.has(N) || r !== SCRYPT.r || p !== SCRYPT.p) {
    throw broken(file, `scrypt cost N=${N} r=${r} p=${p} (cosign's are N=32768, 65536 or 131072, r=8, p=1)`);
  }
  const salt = fromBase64(it.kdf.salt);
  const nonce = fromBase64(it.cipher.nonce);
  const box = fromBase64(it.ciphertext);
  if (salt?.length !== 32 || nonce?.length !== 24 || !box || box.length < 17) {
    throw broken(file, "salt, nonce or ciphertext of the wrong length");
  }
  return { cost: N, salt, nonce, box };
}

async function openPbes2(body: Buffer, passphrase: Passphrase, file: string): Promise<KeyObject> {
  const rounds = pbkdf2Rounds(body);
  if (rounds > MAX_PBKDF2_ROUNDS) throw broken(file, `${rounds} PBKDF2 rounds (at most ${MAX_PBKDF2_ROUNDS})`);
  const password = await passphrase(file);
  try {
    return createPrivateKey({ key: body, format: "der", type: "pkcs8", passphrase: password });
  } catch (cause) {
    const code = String((cause as NodeJS.ErrnoException).code);
    if (/BAD_DECRYPT|BAD_PASSWORD|CIPHERFINAL|PBE|UNSUPPORTED|DECODE/i.test(code)) throw wrongPassphrase(file, cause);
    throw broken(file, "an encrypted key that does not decode", cause);
  }
}

/**
 * Finds PBKDF2's parameters by its object identifier: what follows it is SEQUENCE { OCTET STRING salt, INTEGER rounds
 * }.
 */
function pbkdf2Rounds(der: Buffer): number {
  const at = der.indexOf(Buffer.from("06092a864886f70d01050c30", "hex"));
  if (at < 0) return 0;
  const salt = at + 13;
  const rounds = salt + 2 + (der[salt + 1] ?? 0);
  if (der[salt] !== 0x04 || der[rounds] !== 0x02) return Number.POSITIVE_INFINITY;
  const length = der[rounds + 1] ?? 255;
  const isNumber = length >= 1 && length <= 4 && rounds + 2 + length <= der.length;
  return isNumber ? der.readUIntBE(rounds + 2, length) : Number.POSITIVE_INFINITY;
}

function fromDer(der: Buffer, file: string): KeyObject {
  try {
    return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  } catch (cause) {
    throw broken(file, "bytes that are not PKCS#8", cause);
  }
}

async function deriveKey(password: string, salt: Uint8Array, cost: number): Promise<Buffer> {
  const maxmem = 128 * cost * SCRYPT.r + 1024 * 1024;
  return new Promise((resolve, reject) => {
    scrypt(password, salt, 32, { N: cost, ...SCRYPT, maxmem }, (error, key) => (error ? reject(error) : resolve(key)));
  });
}

/** Returns the bytes of strict base64, or undefined. */
function fromBase64(text: unknown): Buffer | undefined {
  if (typeof text !== "string") return undefined;
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}

const SIGNING: KeyPurpose = {
  what: "signing key",
  hint: "give the .key file; to create a key pair: airferry keygen --out NAME",
};

function wrongPassphrase(file: string, cause: unknown): AirferryError {
  return new AirferryError("ERR_PASSWORD", `cannot open key "${file}": wrong passphrase, or the file is damaged`, {
    path: file,
    cause,
    hint: "the passphrase comes from AIRFERRY_PASSWORD, else COSIGN_PASSWORD, else the terminal",
  });
}

function broken(file: string, actual: string, cause?: unknown): AirferryError {
  const expected = `PEM "${LABEL}" or PKCS#8`;
  const hint =
    actual.includes("EC PRIVATE") || actual.includes("RSA PRIVATE")
      ? `convert it with: openssl pkcs8 -topk8 -in ${shellWord(file)} -out ${shellWord(`${file}.p8`)}`
      : actual.includes("PUBLIC")
        ? `the private key is in another file, named ${shellWord(file.replace(/\.pub$/, ".key"))}`
        : SIGNING.hint;
  return new AirferryError(
    "ERR_KEY_INVALID",
    `cannot read private key "${file}": not a supported key: expected ${expected}, got ${actual}`,
    { path: file, expected, actual, cause, hint },
  );
}
