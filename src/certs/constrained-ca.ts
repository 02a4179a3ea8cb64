/**
 * A CA that may sign for some hosts only: whoever steals its key cannot be any other host to clients that trust it. All
 * common clients check that, except for Java, which does not for a CA in its trust store. See RFC 5280, 4.2.1.10.
 */
import "reflect-metadata";
import { isIPv4, isIPv6 } from "node:net";
import * as x509 from "@peculiar/x509";
import { createCaFor, type KeyAndCertificate } from "./certificates.ts";

const NAME_CONSTRAINTS = "2.5.29.30";
const DNS_NAME = 0x82;
const IP_ADDRESS = 0x87;
const SEQUENCE = 0x30;
const PERMITTED = 0xa0;
const EXCLUDED = 0xa1;
const CA_DAYS = 3650;

/** Creates it for DNS names and IP addresses; with `previous`, for the same key under the same name. */
export async function createConstrainedCa(
  commonName: string,
  hosts: readonly string[],
  previous?: KeyAndCertificate,
): Promise<KeyAndCertificate> {
  const constraints = new x509.Extension(NAME_CONSTRAINTS, true, nameConstraints(hosts));
  return createCaFor({ commonName, days: CA_DAYS, extensions: [constraints], previous });
}

/** Whether a CA's certificate is for exactly these hosts. */
export function isConstrainedTo(cert: string, hosts: readonly string[]): boolean {
  const found = new x509.X509Certificate(cert).getExtension(NAME_CONSTRAINTS);
  return found !== null && Buffer.from(found.value).equals(nameConstraints(hosts));
}

/** DER of NameConstraints. A kind of name without hosts is excluded as a whole. */
function nameConstraints(hosts: readonly string[]): Buffer {
  const sorted = [...new Set(hosts)].sort();
  const v4 = sorted.filter((it) => isIPv4(it)).map((it) => ipSubtree(it, 4));
  const v6 = sorted.filter((it) => isIPv6(it)).map((it) => ipSubtree(it, 16));
  const names = sorted.filter((it) => !isIPv4(it) && !isIPv6(it)).map((it) => subtree(DNS_NAME, Buffer.from(it)));
  const permitted = [...names, ...v4, ...v6];
  const excluded = [
    ...(names.length === 0 ? [subtree(DNS_NAME, Buffer.alloc(0))] : []),
    ...(v4.length === 0 ? [subtree(IP_ADDRESS, Buffer.alloc(8))] : []),
    ...(v6.length === 0 ? [subtree(IP_ADDRESS, Buffer.alloc(32))] : []),
  ];
  return der(SEQUENCE, [
    ...(permitted.length > 0 ? [der(PERMITTED, permitted)] : []),
    ...(excluded.length > 0 ? [der(EXCLUDED, excluded)] : []),
  ]);
}

function ipSubtree(address: string, length: 4 | 16): Buffer {
  return subtree(IP_ADDRESS, Buffer.concat([addressBytes(address), Buffer.alloc(length, 0xff)]));
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  // URL parsers write it in hex groups, with one run of zeros left out.
  const groups = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = "", tail] = groups.split("::").map((it) => it.split(":").filter((group) => group !== ""));
  const left = [...head];
  const right = tail ?? [];
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => "0");
  return Buffer.from([...left, ...zeros, ...right].map((it) => it.padStart(4, "0")).join(""), "hex");
}

function subtree(tag: number, value: Buffer): Buffer {
  return der(SEQUENCE, [der(tag, [value])]);
}

function der(tag: number, parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag, ...derLength(content.length)]), content]);
}

function derLength(size: number): number[] {
  if (size < 0x80) return [size];
  const bytes: number[] = [];
  for (let left = size; left > 0; left >>>= 8) bytes.unshift(left & 0xff);
  return [0x80 | bytes.length, ...bytes];
}
