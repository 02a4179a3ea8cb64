/**
 * Creates X.509 certificates: a certificate authority of airferry's own, and server certificates signed by it. P-256
 * and SHA-256 throughout, which every client of EL8 and later accepts. See RFC 5280, section 4.2.
 */
import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 24 * 60 * 60 * 1000;
const CA_DAYS = 3650;
const SERVER_DAYS = 397;
/** Clocks inside a gap are often behind. */
const BACKDATE_MS = 2 * DAY_MS;

/** A private key and its certificate, PEM. */
export interface KeyAndCertificate {
  key: string;
  cert: string;
}

/** Creates a self-signed CA that may sign only server certificates. Its `days` count from two days ago. */
export function createCa(commonName: string, days = CA_DAYS): Promise<KeyAndCertificate> {
  return createCaFor({ commonName, days, extensions: [] });
}

/** The same with more `extensions`; with a `previous` one, another certificate for its key and name. */
export async function createCaFor({
  commonName,
  days,
  extensions,
  previous,
}: {
  commonName: string;
  days: number;
  extensions: readonly x509.Extension[];
  previous?: KeyAndCertificate | undefined;
}): Promise<KeyAndCertificate> {
  const keys = previous === undefined ? await newKeys() : await keysOf(previous);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name:
      previous === undefined
        ? [{ CN: [commonName] }, { O: ["airferry"] }]
        : new x509.X509Certificate(previous.cert).subject,
    ...validity(days),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false),
      ...extensions,
    ],
  });
  return { key: previous?.key ?? (await privateKeyPem(keys.privateKey)), cert: `${certificate.toString("pem")}\n` };
}

/** Creates a server certificate for DNS names and IP addresses, valid for 397 days, signed by `ca`. */
export async function createServerCertificate(
  ca: KeyAndCertificate,
  names: readonly string[],
): Promise<KeyAndCertificate> {
  const issuer = await CertificateIssuer.of(ca);
  return { key: issuer.key, cert: await issuer.certify(names) };
}

/** Signs any number of server certificates for one new key: a key for each would take most of the time. */
export class CertificateIssuer {
  /** The private key of all its certificates, PEM. */
  readonly key: string;
  readonly #publicKey: webcrypto.CryptoKey;
  readonly #ca: x509.X509Certificate;
  readonly #signingKey: webcrypto.CryptoKey;

  static async of(ca: KeyAndCertificate): Promise<CertificateIssuer> {
    const signingKey = await privateKeyOf(ca);
    const keys = await newKeys();
    const key = await privateKeyPem(keys.privateKey);
    return new CertificateIssuer(new x509.X509Certificate(ca.cert), signingKey, keys.publicKey, key);
  }

  private constructor(
    ca: x509.X509Certificate,
    signingKey: webcrypto.CryptoKey,
    publicKey: webcrypto.CryptoKey,
    key: string,
  ) {
    this.#ca = ca;
    this.#signingKey = signingKey;
    this.#publicKey = publicKey;
    this.key = key;
  }

  /** A certificate for DNS names and IP addresses, PEM; valid for 397 days. */
  async certify(names: readonly string[]): Promise<string> {
    // Clients compare an address here with the DNS names of a CA's name constraints.
    const first = names.find((it) => isIP(it) === 0) ?? "airferry";
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      // A common name holds 64 characters at most; clients check only the alternative names.
      subject: [{ CN: [first.slice(0, 64)] }],
      issuer: this.#ca.subjectName,
      ...validity(SERVER_DAYS),
      publicKey: this.#publicKey,
      signingKey: this.#signingKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          names.map((name) => ({ type: isIP(name) === 0 ? ("dns" as const) : ("ip" as const), value: name })),
        ),
        await x509.SubjectKeyIdentifierExtension.create(this.#publicKey, false),
        await x509.AuthorityKeyIdentifierExtension.create(this.#ca.publicKey, false),
      ],
    });
    return `${certificate.toString("pem")}\n`;
  }
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  const notBefore = new Date(Date.now() - BACKDATE_MS);
  return { notBefore, notAfter: new Date(notBefore.getTime() + days * DAY_MS) };
}

/** 16 random bytes that form a positive DER integer without a leading zero. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0);
  return bytes.toString("hex");
}

function privateKeyOf({ key }: KeyAndCertificate): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey("pkcs8", x509.PemConverter.decodeFirst(key), ALGORITHM, false, ["sign"]);
}

async function keysOf(pair: KeyAndCertificate): Promise<webcrypto.CryptoKeyPair> {
  const [privateKey, publicKey] = await Promise.all([
    privateKeyOf(pair),
    new x509.X509Certificate(pair.cert).publicKey.export(),
  ]);
  return { privateKey, publicKey: publicKey as webcrypto.CryptoKey };
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
}

async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey("pkcs8", key);
  return `${x509.PemConverter.encode(der, "PRIVATE KEY")}\n`;
}
