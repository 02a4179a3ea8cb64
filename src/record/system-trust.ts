/** What this system trusts: one file of certificates on every Linux, at one of a few places. */
import { readFile, realpath } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { systemFault } from "../io/atomic.ts";

const MAX_BUNDLES = 8;
/** Debian, Fedora and EL, SUSE, Alpine and the BSDs. */
const PLACES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/var/lib/ca-certificates/ca-bundle.pem",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

interface SystemTrust {
  /** All certificates, PEM. */
  pem: string;
  /** The files that programs read them from, without links. */
  files: string[];
}

/** The certificates that the system trusts; those of `SSL_CERT_FILE` instead, if it names a file. */
export async function systemTrust(env: NodeJS.ProcessEnv): Promise<SystemTrust> {
  const files: string[] = [];
  let pem = "";
  for (const place of PLACES) {
    const text = await readFile(place, "utf8").catch(() => "");
    if (!text.includes("-----BEGIN CERTIFICATE-----")) continue;
    if (pem === "") pem = text;
    const file = await realpath(place);
    if (!files.includes(file) && files.length < MAX_BUNDLES) files.push(file);
  }
  const named = env["SSL_CERT_FILE"];
  if (named) pem = (await readFile(named, "utf8").catch(() => "")) || pem;
  if (pem === "") pem = process.getBuiltinModule("node:tls").getCACertificates("system").join("\n");
  return { pem, files };
}

/** Reads `--ca`. @throws {AirferryError} ERR_USAGE when it has no certificate */
export async function readTrusted(file: string): Promise<string> {
  const hint = "give a file with one or more PEM certificates";
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new AirferryError("ERR_USAGE", `cannot read CA "${file}": ${systemFault(cause)}`, {
      path: file,
      hint,
      cause,
    });
  });
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  throw new AirferryError("ERR_USAGE", `cannot read CA "${file}": expected a PEM certificate, got something else`, {
    path: file,
    hint,
  });
}
