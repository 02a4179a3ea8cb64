/**
 * Signers of SHA256SUMS: a private key file, or any external command (smart card, KMS, cosign) that reads the bytes and
 * returns a signature; and the two files of each signature. Nothing is ever uploaded. See docs/format.md, "Signatures".
 */

import { spawn } from "node:child_process";
import { createPublicKey, type KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import { AirferryError } from "../errors.ts";
import { currentSignal } from "../io/limit.ts";
import { isPostQuantum, type KeyKind, keyKindOf, readTrustedKeys, trustedKeyOf } from "./keys.ts";
import { type Passphrase, readPrivateKey } from "./private-key.ts";
import { derFromRaw, isSignatureOf, signBytes } from "./signature.ts";
import { formatSignatureBundle, parseSignatureBundle } from "./sigstore-bundle.ts";
import type { SignatureFile } from "./verify-sums.ts";

/** A signer. */
export interface Signer {
  /** SHA-256 of the canonical SPKI DER, hex. */
  readonly keyid: string;
  readonly keyid16: string;
  readonly kind: KeyKind;
  readonly publicKey: KeyObject;
  /** Returns the signature: DER for ECDSA. It is already verified with `publicKey`. @throws ERR_SIGNER */
  sign(bytes: Uint8Array): Promise<Buffer>;
}

/** The signing key: exactly one of `key` and `signer`. */
export interface SignerOptions {
  /** Private key file. */
  key?: string | undefined;
  /** Shell command that reads the bytes on stdin and prints the signature: DER, base64 or a Sigstore bundle. */
  signer?: string | undefined;
  /** Public key file of the command's key. Required with `signer`. */
  signerKey?: string | undefined;
  passphrase: Passphrase;
  /** How long the command may take; default ten minutes (finding a card may take time). */
  timeoutMs?: number | undefined;
}

const SIGNER_TIMEOUT_MS = 600_000;
const MAX_SIGNER_OUTPUT_BYTES = 64 * 1024;

/**
 * Opens the signer that the options name, asking for the passphrase if its key file needs one.
 * @throws {AirferryError} ERR_USAGE, and what {@link readPrivateKey} and {@link readTrustedKeys} throw
 */
export async function openSigner(options: SignerOptions): Promise<Signer> {
  const { key, signer, signerKey } = options;
  if (key !== undefined && signer === undefined) return keySigner(await readPrivateKey(key, options.passphrase), key);
  if (key !== undefined || signer === undefined) {
    throw new AirferryError("ERR_USAGE", "cannot sign: expected exactly one of --key and --signer", {
      hint: "add --key FILE, or --signer COMMAND --signer-key FILE",
    });
  }
  if (signerKey === undefined) {
    throw new AirferryError("ERR_USAGE", "cannot sign with a command: its public key is unknown", {
      hint: "give the public key of --signer with --signer-key FILE",
    });
  }
  const keys = await readTrustedKeys([signerKey]);
  const [only, more] = keys;
  if (only === undefined || more !== undefined) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot sign with a command: "${signerKey}" must hold one public key: expected 1, got ${keys.length}`,
      { path: signerKey, hint: "keep the signer's public key in a separate file" },
    );
  }
  return commandSigner(signer, only.publicKey, signerKey, options.timeoutMs);
}

/**
 * Opens the signer that the options name and, next to its key file `x.key`, its post-quantum key `x.mldsa65.key` or
 * `x.mldsa87.key`: both are one signer. A passphrase is asked for once.
 * @throws {AirferryError} as {@link openSigner}
 */
export async function openSigners(options: SignerOptions): Promise<Signer[]> {
  let answer: Promise<string> | undefined;
  const once: Passphrase = (what) => {
    answer ??= options.passphrase(what);
    return answer;
  };
  const signers = [await openSigner({ ...options, passphrase: once })];
  const { key } = options;
  if (key === undefined || !key.endsWith(".key")) return signers;
  for (const kind of ["mldsa65", "mldsa87"] as const) {
    const beside = key.replace(/\.key$/, `.${kind}.key`);
    if (existsSync(beside)) signers.push(keySigner(await readPrivateKey(beside, once), beside));
  }
  return signers;
}

/** Returns a signer for a private key in memory; `file` names it in messages. */
export function keySigner(privateKey: KeyObject, file: string): Signer {
  const publicKey = createPublicKey(privateKey);
  const { keyid, keyid16, kind } = trustedKeyOf(publicKey, file);
  return { keyid, keyid16, kind, publicKey, sign: async (bytes) => signBytes(bytes, privateKey, kind) };
}

/** Returns a signer that runs `command` in a shell for every signature and checks what it returns with `publicKey`. */
export function commandSigner(
  command: string,
  publicKey: KeyObject,
  file: string,
  timeoutMs: number = SIGNER_TIMEOUT_MS,
): Signer {
  const { keyid, keyid16, kind } = trustedKeyOf(publicKey, file);
  return {
    keyid,
    keyid16,
    kind,
    publicKey,
    sign: async (bytes) => {
      const output = await runSigner(command, bytes, timeoutMs);
      const signature = signatureIn(output, bytes, publicKey, file);
      if (signature) return signature;
      throw new AirferryError(
        "ERR_SIGNER",
        `cannot sign with "${command}": its output (${output.length} bytes) is not a signature by key ${keyid} over SHA256SUMS: expected DER, base64 or a Sigstore bundle over its standard input`,
        { path: file, hint: `check that ${file} is the public key of the command's private key` },
      );
    },
  };
}

/** Finds the good signature in a command's output: DER, base64 of it, r||s in either form, or a Sigstore bundle. */
function signatureIn(output: Buffer, bytes: Uint8Array, key: KeyObject, file: string): Buffer | undefined {
  const kind = keyKindOf(key, file);
  const text = output.toString("latin1").replace(/\s/g, "");
  const candidates = [output];
  if (/^[A-Za-z0-9+/]+=*$/.test(text)) candidates.push(Buffer.from(text, "base64"));
  // cosign 3 returns its signature only in a bundle.
  if (text.startsWith("{")) candidates.push(signatureInBundle(output));
  for (const candidate of candidates) {
    if (isSignatureOf(bytes, candidate, key, kind, ["SHA2_256"])) return candidate;
    const der = derFromRaw(bytes, candidate, key, kind);
    if (der) return der;
  }
  return undefined;
}

function signatureInBundle(output: Buffer): Buffer {
  try {
    return parseSignatureBundle(output, "signer").signature;
  } catch {
    return Buffer.alloc(0);
  }
}

function runSigner(command: string, bytes: Uint8Array, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const fail = (fault: string, cause?: unknown) =>
      reject(
        new AirferryError("ERR_SIGNER", `cannot sign with "${command}": ${fault}`, {
          cause,
          hint: "the command must read the bytes on standard input and print the signature on standard output",
        }),
      );
    // stderr is the user's: a card reader asks for its PIN there.
    const child = spawn(command, { shell: true, stdio: ["pipe", "pipe", "inherit"] });
    const abandon = (fault: string) => {
      fail(fault);
      child.kill();
      // Children of the shell may live on and hold the pipe; they are not waited for.
      child.stdout.destroy();
      child.unref();
    };
    const timer = setTimeout(() => abandon(`no answer after ${timeoutMs / 1000} s`), timeoutMs);
    const signal = currentSignal();
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
      abandon("interrupted");
    };
    signal?.addEventListener("abort", abort, { once: true });
    const chunks: Buffer[] = [];
    let length = 0;
    child.on("error", (error) => {
      clearTimeout(timer);
      fail("cannot start it", error);
    });
    child.stdin.on("error", () => {}); // A command that ends early shows in its exit status or its output.
    child.stdout.on("data", (chunk: Buffer) => {
      length += chunk.length;
      chunks.push(chunk);
      if (length > MAX_SIGNER_OUTPUT_BYTES) abandon(`it printed more than ${MAX_SIGNER_OUTPUT_BYTES} bytes`);
    });
    child.on("close", (status, endedBy) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      if (endedBy) fail(`it was ended by ${endedBy}`);
      else if (status !== 0) fail(`it ended with status ${status}`);
      else resolve(Buffer.concat(chunks));
    });
    child.stdin.end(bytes);
  });
}

/**
 * Signs `sums` and returns the files for `signatures/`: `<keyid16>.sigstore.json` and `<keyid16>.sig`, or
 * `<keyid16>.mldsa65.sig` for a post-quantum key.
 */
export async function signatureFiles(sums: Uint8Array, signer: Signer): Promise<SignatureFile[]> {
  const signature = await signer.sign(sums);
  if (isPostQuantum(signer.kind)) return [{ name: `${signer.keyid16}.${signer.kind}.sig`, bytes: signature }];
  return [
    {
      name: `${signer.keyid16}.sigstore.json`,
      bytes: Buffer.from(formatSignatureBundle(sums, signature, signer.keyid)),
    },
    { name: `${signer.keyid16}.sig`, bytes: signature },
  ];
}
