/**
 * The verb `keygen`: a bundle signing key in cosign's format, on request a post-quantum one beside it, and the OpenPGP
 * key for RPM metadata, each with its public half. Never overwrites anything. See docs/format.md, "Keys".
 */
import { createHash } from "node:crypto";
import { link, lstat, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AirferryError } from "./errors.ts";
import { ioError, makeFolder, syncPath } from "./io/atomic.ts";
import { shellWord } from "./io/shell.ts";
import {
  generatePostQuantumKey,
  generateSigningKey,
  keyidOf,
  type PostQuantumKind,
  publicKeyPem,
} from "./sign/keys.ts";
import { generateRpmKey } from "./sign/openpgp-sign.ts";
import { sealPrivateKey } from "./sign/private-key.ts";

interface KeygenOptions {
  /** PREFIX: `.key`, `.pub`, `.rpm.key` and `.rpm.pub` are appended. Its folder is created if needed. */
  out: string;
  /** Encrypts both private keys. */
  password: string;
  /** Allows an empty password, which protects nothing: an unset CI secret looks the same. */
  allowEmpty?: boolean | undefined;
  /** Also a post-quantum pair: `.mldsa65.key` and `.mldsa65.pub`, and its public key behind the other in `.pub`. */
  postQuantum?: PostQuantumKind | undefined;
  /** Also the OpenPGP pair; default true. */
  rpm?: boolean | undefined;
  /** Creation time of the OpenPGP key; default now. */
  date?: Date | undefined;
}

interface KeygenResult {
  /** keyid of the signing key, 64 hex digits: what `verify` lists as signer. */
  keyid: string;
  /** keyid of the post-quantum key. */
  postQuantumKeyid?: string;
  /** Fingerprint of the OpenPGP key, upper-case hex. */
  rpmFingerprint?: string;
  /** Paths written, in order. */
  files: string[];
}

/**
 * Creates the key files; private ones get mode 0600.
 * @throws {AirferryError} ERR_USAGE when one of the files exists; ERR_PASSWORD for an empty password without
 *   `allowEmpty`; ERR_IO
 */
export async function keygen(options: KeygenOptions): Promise<KeygenResult> {
  const { out, password, rpm = true, postQuantum } = options;
  if (basename(out) === "" || out.endsWith("/")) {
    throw new AirferryError("ERR_USAGE", `cannot write keys to "${out}": expected a name to put .key and .pub after`, {
      hint: "airferry keygen --out site",
    });
  }
  if (password === "" && options.allowEmpty !== true) {
    throw new AirferryError(
      "ERR_PASSWORD",
      `cannot create "${out}.key": its passphrase is empty, which protects nothing`,
      {
        path: `${out}.key`,
        hint: `set AIRFERRY_PASSWORD to a passphrase; for a key that anyone with the file can use: airferry keygen --out ${shellWord(out)} --no-passphrase`,
      },
    );
  }
  const extra = postQuantum === undefined ? [] : [`.${postQuantum}.key`, `.${postQuantum}.pub`];
  for (const suffix of [".key", ".pub", ...extra, ...(rpm ? [".rpm.key", ".rpm.pub"] : [])]) {
    await mustNotExist(out + suffix);
  }

  const { privateKey, publicKey } = generateSigningKey();
  const keyid = keyidOf(publicKey);
  const second = postQuantum === undefined ? undefined : generatePostQuantumKey(postQuantum);
  const secondPem = second === undefined ? "" : publicKeyPem(second.publicKey);
  const files: [suffix: string, text: string, mode: number][] = [
    [".key", await sealPrivateKey(privateKey, password), 0o600],
    [".pub", publicKeyPem(publicKey) + secondPem, 0o644],
  ];
  if (second !== undefined) {
    files.push([`.${postQuantum}.key`, await sealPrivateKey(second.privateKey, password), 0o600]);
    files.push([`.${postQuantum}.pub`, secondPem, 0o644]);
  }
  let rpmFingerprint: string | undefined;
  if (rpm) {
    const userId = `airferry RPM metadata ${keyid.slice(0, 16)}`;
    const pair = await generateRpmKey(password, userId, options.date);
    rpmFingerprint = pair.fingerprint;
    files.push([".rpm.key", pair.privateKey, 0o600], [".rpm.pub", pair.publicKey, 0o644]);
  }
  await makeFolder(dirname(out));
  const written: string[] = [];
  try {
    for (const [suffix, text, mode] of files) {
      await writeNew(out + suffix, text, mode);
      written.push(out + suffix);
    }
  } catch (error) {
    // A partial set of keys would only block the next try.
    for (const file of written) await rm(file, { force: true });
    throw error;
  }
  const postQuantumKeyid = second && keyidOf(second.publicKey);
  return {
    keyid,
    ...(postQuantumKeyid && { postQuantumKeyid }),
    ...(rpmFingerprint === undefined ? {} : { rpmFingerprint }),
    files: written,
  };
}

async function mustNotExist(file: string): Promise<void> {
  const found = await lstat(file).catch(() => undefined);
  if (found) throw existsAlready(file);
}

/** Writes a file that must not exist, whole or not at all. */
async function writeNew(file: string, text: string, mode: number): Promise<void> {
  const temporary = join(dirname(file), `.tmp-${createHash("sha256").update(text).digest("hex").slice(0, 16)}`);
  try {
    await using handle = await open(temporary, "wx", mode);
    await handle.chmod(mode);
    await handle.writeFile(text);
    await handle.sync();
    // A link fails if the name is taken meanwhile; file systems without links get a rename.
    await link(temporary, file).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code === "EEXIST") throw existsAlready(file);
      await mustNotExist(file);
      await rename(temporary, file);
    });
    await syncPath(dirname(file));
  } catch (error) {
    throw ioError("write", file, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

function existsAlready(file: string): AirferryError {
  return new AirferryError(
    "ERR_USAGE",
    `cannot write key "${file}": it exists already, and keys are never overwritten`,
    {
      path: file,
      hint: "choose another --out",
    },
  );
}
