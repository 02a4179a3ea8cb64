/**
 * OpenPGP public keys and signature values in the forms that node:crypto accepts: RSA, DSA, ECDSA on NIST curves,
 * EdDSA. See RFC 9580 sections 5.5.5 and 5.2.3.1; DSA keys in DER: RFC 3279 section 2.3.2.
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import { enums, type Key, type Subkey } from "openpgp";
import type { ParsedSignature } from "./openpgp-packets.ts";

const { rsaEncryptSign, rsaSign, dsa, ecdsa, eddsaLegacy, ed25519, ed448 } = enums.publicKey;

/** Curve object identifiers (DER body, hex) to JWK names. */
const CURVES: Record<string, string> = {
  "2a8648ce3d030107": "P-256",
  "2b81040022": "P-384",
  "2b81040023": "P-521",
};

type KeyPacket = Key["keyPacket"] | Subkey["keyPacket"];

/** One key signs thousands of packages. */
const known = new WeakMap<KeyPacket, KeyObject | undefined>();

/** Returns node's form of a key packet, or undefined for unsupported algorithms. */
export function publicKeyOf(packet: KeyPacket): KeyObject | undefined {
  if (!known.has(packet)) known.set(packet, read(packet));
  return known.get(packet);
}

function read({ algorithm, publicParams }: KeyPacket): KeyObject | undefined {
  const number = (name: string) => bytesIn(publicParams, name);
  try {
    switch (algorithm) {
      case rsaEncryptSign:
      case rsaSign:
        return fromJwk({ kty: "RSA", n: base64url(number("n")), e: base64url(number("e")) });
      case dsa:
        return dsaKey(number("p"), number("q"), number("g"), number("y"));
      case ecdsa: {
        const crv = CURVES[oidHex(publicParams)];
        const point = number("Q");
        const half = (point.length - 1) / 2;
        if (crv === undefined || point[0] !== 4) return undefined;
        return fromJwk({
          kty: "EC",
          crv,
          x: base64url(point.subarray(1, 1 + half)),
          y: base64url(point.subarray(1 + half)),
        });
      }
      case eddsaLegacy:
        // A leading 0x40 marks the native point.
        return fromJwk({ kty: "OKP", crv: "Ed25519", x: base64url(number("Q").subarray(1)) });
      case ed25519:
        return fromJwk({ kty: "OKP", crv: "Ed25519", x: base64url(number("A")) });
      case ed448:
        return fromJwk({ kty: "OKP", crv: "Ed448", x: base64url(number("A")) });
      default:
        return undefined;
    }
  } catch {
    return undefined;
  }
}

/** One of a key's parameters, which openpgp's types leave open. @throws {TypeError} when it has none of that name */
function bytesIn(params: object, name: string): Uint8Array {
  const value: unknown = Reflect.get(params, name);
  if (value instanceof Uint8Array) return value;
  throw new TypeError(`a public key without ${name}`);
}

/** The curve, which openpgp has as bytes or as an object around them. */
function oidHex(params: object): string {
  const oid: unknown = Reflect.get(params, "oid");
  const bytes = typeof oid === "object" && oid !== null && "oid" in oid ? bytesIn(oid, "oid") : bytesIn(params, "oid");
  return Buffer.from(bytes).toString("hex");
}

function fromJwk(key: Record<string, string>): KeyObject {
  return createPublicKey({ key, format: "jwk" });
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}

/**
 * Returns the signature's value for `key`: the number for RSA, r||s for DSA and ECDSA, 64 or 114 bytes for EdDSA;
 * undefined when the packet's algorithm is not the key's or its numbers are out of range.
 */
export function signatureOf(signature: ParsedSignature, keyAlgorithm: number, key: KeyObject): Buffer | undefined {
  const { algorithm, material } = signature;
  // Old RSA keys have separate ids by use (1, 3); their signatures are the same.
  const isRsa = (it: number) => it === rsaEncryptSign || it === rsaSign;
  if (algorithm !== keyAlgorithm && !(isRsa(algorithm) && isRsa(keyAlgorithm))) return undefined;
  if (algorithm === ed25519 || algorithm === ed448) return Buffer.from(material);
  const numbers = readMpis(material);
  const [first, second, ...more] = numbers ?? [];
  if (first === undefined || more.length > 0) return undefined;
  if (isRsa(algorithm)) {
    const { modulusLength } = key.asymmetricKeyDetails ?? {};
    return second !== undefined || modulusLength === undefined
      ? undefined
      : padded(first, Math.ceil(modulusLength / 8));
  }
  const half = halfLength(key);
  const r = padded(first, half);
  const s = second && padded(second, half);
  return r && s && Buffer.concat([r, s]);
}

function halfLength(key: KeyObject): number {
  const { namedCurve, divisorLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "dsa") return Math.ceil((divisorLength ?? 0) / 8);
  if (key.asymmetricKeyType === "ed25519") return 32;
  return { prime256v1: 32, secp384r1: 48, secp521r1: 66 }[namedCurve ?? ""] ?? 0;
}

function padded(number: Uint8Array, length: number): Buffer | undefined {
  return number.length > length ? undefined : Buffer.concat([Buffer.alloc(length - number.length), number]);
}

/** Reads multi-precision integers: two octets of bit count, then the digits. Undefined unless they fill the bytes. */
function readMpis(bytes: Uint8Array): Uint8Array[] | undefined {
  const numbers: Uint8Array[] = [];
  let at = 0;
  for (;;) {
    const [high, low] = bytes.subarray(at, at + 2);
    if (high === undefined) return numbers;
    if (low === undefined) return undefined;
    const length = Math.ceil(((high << 8) | low) / 8);
    if (at + 2 + length > bytes.length) return undefined;
    numbers.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
}

function dsaKey(p: Uint8Array, q: Uint8Array, g: Uint8Array, y: Uint8Array): KeyObject {
  const oid = Buffer.from("06072a8648ce380401", "hex");
  const parameters = der(0x30, Buffer.concat([p, q, g].map(derInteger)));
  const point = der(0x03, Buffer.concat([Buffer.of(0), derInteger(y)]));
  const spki = der(0x30, Buffer.concat([der(0x30, Buffer.concat([oid, parameters])), point]));
  return createPublicKey({ key: spki, format: "der", type: "spki" });
}

function derInteger(number: Uint8Array): Buffer {
  const [first = 0] = number;
  const body = first & 0x80 ? Buffer.concat([Buffer.of(0), number]) : Buffer.from(number);
  return der(0x02, body);
}

function der(tag: number, body: Uint8Array): Buffer {
  const { length } = body;
  const header =
    length < 128 ? [tag, length] : length < 256 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from(header), body]);
}
