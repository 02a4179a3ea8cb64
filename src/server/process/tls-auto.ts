/**
 * `--tls auto`: a CA created once and stored outside the store, and a server certificate with every name and address of
 * this host, renewed when these change or it expires. `--tls CERT,KEY`: the operator's own files.
 */
import { createPrivateKey, randomBytes, X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import type { KeyAndCertificate } from "../../certs/certificates.ts";
import { AirferryError } from "../../errors.ts";
import { makeFolder, systemFault, writeAtomic } from "../../io/atomic.ts";
import { chmodHint, refuseExposed } from "../../io/exposed.ts";
import { readNamed } from "../../io/named-file.ts";
import { shellWords } from "../../io/shell.ts";
import { hostAddresses, hostNames, isAnyHost } from "../http/address.ts";
import type { TlsMaterial } from "../http/endpoint.ts";

const RENEW_BEFORE_MS = 30 * 24 * 60 * 60 * 1000;

/** Returns the default directory of the CA: the user's state directory. */
export function defaultTlsDir(): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), ".local/state"), "airferry", "tls");
}

/**
 * Returns key material for this host from `dir`, creating what is missing, has other names or expires within 30 days.
 * `extraNames` are further DNS names or IP addresses, such as the host of `--url`. The CA is never replaced: clients
 * trust it. `ca.key` and `server.key` have mode 0600.
 * @throws {AirferryError} ERR_IO when the directory is unusable; ERR_KEY_EXPOSED when others can read or change a key
 *   or the directory; ERR_KEY_INVALID when its CA is damaged or expired
 */
export async function prepareTlsAuto(dir: string, extraNames: readonly string[]): Promise<TlsMaterial> {
  const names = await certificateNames(extraNames);
  return inTlsDir(dir, async () => {
    const ca = await loadOrMakeCa(dir);
    const server = await loadOrMakeServer(dir, ca, names);
    return { key: server.key, cert: server.cert, ca: ca.cert, ticketKeys: newTicketKeys() };
  });
}

/**
 * Creates a folder for keys where it is missing, and does something in it.
 * @throws {AirferryError} ERR_IO when it is unusable; ERR_KEY_EXPOSED when others can change it
 */
export async function inTlsDir<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    await makeFolder(dir, 0o700);
    await refuseOpenFolder(dir);
    return await work();
  } catch (cause) {
    if (cause instanceof AirferryError && cause.code !== "ERR_IO") throw cause;
    throw new AirferryError("ERR_IO", `cannot store certificates in "${dir}": ${(cause as Error).message}`, {
      hint: "give a directory that is writable with --tls-dir",
      path: dir,
      cause,
    });
  }
}

/** Anyone who can change the folder could replace the CA that clients are told to trust. */
async function refuseOpenFolder(dir: string): Promise<void> {
  if (process.platform === "win32" || ((await stat(dir)).mode & 0o002) === 0) return;
  throw new AirferryError(
    "ERR_KEY_EXPOSED",
    `cannot store certificates in "${dir}": everybody on this machine can change it`,
    {
      path: dir,
      hint: `${chmodHint(dir)}, or give another directory with --tls-dir`,
    },
  );
}

/** Reads the operator's own certificate chain and key. @throws {AirferryError} ERR_KEY_INVALID, ERR_KEY_EXPOSED */
export async function readTlsFiles(certFile: string, keyFile: string): Promise<TlsMaterial> {
  const cert = await readPem(certFile);
  const key = await readPem(keyFile);
  requirePem(certFile, cert, /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/, "certificate");
  requirePem(keyFile, key, /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/, "private key");
  let matches: boolean;
  try {
    matches = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw new AirferryError(
      "ERR_KEY_INVALID",
      `cannot use certificate "${certFile}": OpenSSL cannot read it, or its key`,
      {
        hint: "give PEM files, without a passphrase, as --tls CERT,KEY",
        path: certFile,
        cause,
      },
    );
  }
  if (!matches) {
    throw new AirferryError(
      "ERR_KEY_INVALID",
      `cannot use certificate "${certFile}": the key in "${keyFile}" belongs to another certificate`,
      {
        hint: "the server's own certificate must come first in the file",
        path: keyFile,
      },
    );
  }
  await refuseExposed(keyFile, "the key");
  return { cert, key, ticketKeys: newTicketKeys() };
}

/** SHA-256 fingerprint of a PEM certificate, as `openssl x509 -fingerprint -sha256` prints it: `AB:CD:…`. */
export function fingerprintOf(certificate: string): string {
  return new X509Certificate(certificate).fingerprint256;
}

/** 48 bytes as `ticketKeys` expects them, base64. */
function newTicketKeys(): string {
  return randomBytes(48).toString("base64");
}

async function certificateNames(extra: readonly string[]): Promise<string[]> {
  const wanted = extra.filter((name) => !isAnyHost(name));
  return [...new Set([...wanted, ...(await hostNames()), ...hostAddresses()])];
}

async function loadOrMakeCa(dir: string): Promise<KeyAndCertificate> {
  const ca = await readPair(dir, "ca");
  if (ca === undefined) {
    const { createCa } = await import("../../certs/certificates.ts");
    const pair = await createCa(`airferry CA on ${hostname()}`.slice(0, 64));
    await writePair(dir, "ca", pair);
    return pair;
  }
  const certificate = new X509Certificate(ca.cert);
  const damaged = !certificate.ca || !certificate.checkPrivateKey(createPrivateKey(ca.key));
  if (damaged || certificate.validToDate.getTime() < Date.now() + RENEW_BEFORE_MS) {
    const fault = damaged ? "key and certificate do not match" : `it expires ${certificate.validTo}`;
    throw new AirferryError("ERR_KEY_INVALID", `cannot use the CA in "${dir}": ${fault}`, {
      hint: `move ${shellWords([join(dir, "ca.key"), join(dir, "ca.crt")])} away to create a new CA; clients must then trust the new one`,
      path: join(dir, "ca.crt"),
    });
  }
  return ca;
}

async function loadOrMakeServer(
  dir: string,
  ca: KeyAndCertificate,
  names: readonly string[],
): Promise<KeyAndCertificate> {
  const server = await readPair(dir, "server");
  if (server !== undefined && isStillGood(server, ca, names)) return server;
  const { createServerCertificate } = await import("../../certs/certificates.ts");
  const pair = await createServerCertificate(ca, names);
  await writePair(dir, "server", pair);
  return pair;
}

function isStillGood(server: KeyAndCertificate, ca: KeyAndCertificate, names: readonly string[]): boolean {
  try {
    const certificate = new X509Certificate(server.cert);
    return (
      certificate.verify(new X509Certificate(ca.cert).publicKey) &&
      certificate.checkPrivateKey(createPrivateKey(server.key)) &&
      certificate.validToDate.getTime() > Date.now() + RENEW_BEFORE_MS &&
      names.every((name) => (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined)
    );
  } catch {
    return false;
  }
}

/** A key and its certificate; undefined when they are missing. @throws {AirferryError} ERR_KEY_EXPOSED */
export async function readPair(dir: string, name: string): Promise<KeyAndCertificate | undefined> {
  try {
    const [key, cert] = await Promise.all([
      readFile(join(dir, `${name}.key`), "utf8"),
      readFile(join(dir, `${name}.crt`), "utf8"),
    ]);
    await refuseExposed(join(dir, `${name}.key`), "the key");
    return { key, cert };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The certificate is written last: an interrupted pair is detected as missing or mismatched. */
export async function writePair(dir: string, name: string, { key, cert }: KeyAndCertificate): Promise<void> {
  await writeAtomic(join(dir, `${name}.key`), key, 0o600);
  await writeAtomic(join(dir, `${name}.crt`), cert, 0o644);
}

function requirePem(path: string, text: string, head: RegExp, what: string): void {
  if (head.test(text)) return;
  const found = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1] ?? "no PEM block";
  throw new AirferryError("ERR_KEY_INVALID", `cannot use ${what} "${path}": expected a PEM ${what}, got ${found}`, {
    hint: "give PEM files, the key without a passphrase, as --tls CERT,KEY",
    path,
  });
}

async function readPem(path: string): Promise<string> {
  try {
    return (await readNamed(path)).toString("utf8");
  } catch (cause) {
    throw new AirferryError("ERR_KEY_INVALID", `cannot read "${path}": ${systemFault(cause)}`, {
      hint: "give the files as --tls CERT,KEY",
      path,
      cause,
    });
  }
}
