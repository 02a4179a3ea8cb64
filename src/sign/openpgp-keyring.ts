/**
 * OpenPGP keys of upstreams: read from files with any number of armor blocks or from binary keyrings, pinned by primary
 * fingerprint. Unsupported certificates (version 3 or 5, post-quantum, broken) are skipped and listed, never a failure:
 * RHEL 10's key file has one. The user chose the key, so its primary key needs no self-signature; subkeys must be bound
 * to it. See RFC 9580 section 10.
 */
import { config as defaults, enums, type Key, type KeyID, readKey, Subkey } from "openpgp";
import { AirferryError } from "../errors.ts";
import { Pace } from "../io/pace.ts";
import { MAX_OPENPGP_KEYS_BYTES } from "./openpgp-files.ts";
import { dearmorAll, type Packet, splitPackets } from "./openpgp-packets.ts";

const MAX_CERTIFICATES = 1000;
/**
 * User ids, subkeys and signatures of one certificate. Vendors' keys have about ten, widely signed personal keys some
 * hundred.
 */
const MAX_PACKETS = 1000;

const TAG_PUBLIC_KEY = 6;

/** Weak today, but still used by some repositories; `legacy` decides at the signature. */
const CONFIG = {
  ...defaults,
  minRSABits: 1024,
  rejectPublicKeyAlgorithms: new Set([enums.publicKey.elgamal]),
  rejectHashAlgorithms: new Set<enums.hash>(),
};

/** One certificate that can check signatures. */
interface OpenPgpKey {
  /** Primary fingerprint, upper-case hex, 40 or 64 digits. */
  fingerprint: string;
  /** Key ids of the primary key and its subkeys, upper-case hex, 16 digits. */
  keyids: string[];
  userIds: string[];
  created: Date;
  /** When the primary key expires; undefined: never. */
  expires: Date | undefined;
  revoked: boolean;
  /** The certificate alone, ASCII-armored. */
  armored: string;
  /** The library's object; use it through this folder only. */
  readonly key: Key;
}

/** Keys for checking signatures. */
export interface OpenPgpKeyring {
  readonly keys: readonly OpenPgpKey[];
  /** Skipped content of the files, one reason each. */
  readonly skipped: readonly string[];
}

/**
 * Reads key files (their bytes), ASCII-armored or binary, in order; copies of one certificate are merged, so that a
 * revocation or a renewal in any of them counts.
 * @param options.fingerprints keep only these primary fingerprints (upper-case hex); `name` names their owner in
 *   messages
 * @throws {AirferryError} ERR_UPSTREAM_SIGNATURE when no usable key remains; ERR_SIZE_LIMIT
 */
export async function readOpenPgpKeyring(
  files: readonly Uint8Array[],
  options: { fingerprints?: readonly string[] | undefined; name?: string | undefined } = {},
): Promise<OpenPgpKeyring> {
  const skipped: string[] = [];
  const byFingerprint = new Map<string, Key>();
  const others: string[] = [];
  const name = options.name ?? "keys";
  const pace = new Pace((fault) => noKey(name, fault, skipped));
  let count = 0;
  for (const bytes of files) {
    if (bytes.length > MAX_OPENPGP_KEYS_BYTES) {
      const limit = `expected at most ${MAX_OPENPGP_KEYS_BYTES} bytes, got ${bytes.length}`;
      throw new AirferryError("ERR_SIZE_LIMIT", `cannot read OpenPGP keys "${name}": file too large: ${limit}`);
    }
    for (const certificate of await certificatesOf(bytes, skipped)) {
      if (++count > MAX_CERTIFICATES) throw noKey(name, `more than ${MAX_CERTIFICATES} keys`, skipped);
      if (pace.isDue) await pace.rest();
      const key = await readCertificate(certificate, skipped);
      if (!key) continue;
      const fingerprint = key.getFingerprint().toUpperCase();
      const known = byFingerprint.get(fingerprint);
      if (options.fingerprints && !options.fingerprints.includes(fingerprint)) others.push(fingerprint);
      else byFingerprint.set(fingerprint, known ? await known.update(key, undefined, CONFIG) : key);
    }
  }
  if (byFingerprint.size === 0) {
    if (!options.fingerprints) throw noKey(name, "no usable key", skipped);
    const expected = options.fingerprints.join(", ");
    throw noKey(
      name,
      `none has a pinned fingerprint: expected ${expected}, got ${others.join(", ") || "no usable key"}`,
      skipped,
    );
  }
  return { keys: await Promise.all([...byFingerprint.values()].map(describe)), skipped };
}

function noKey(name: string, fault: string, skipped: readonly string[]): AirferryError {
  const why = skipped.length > 0 ? ` (skipped: ${[...new Set(skipped)].slice(0, 5).join("; ")})` : "";
  return new AirferryError("ERR_UPSTREAM_SIGNATURE", `cannot use OpenPGP keys "${name}": ${fault}${why}`, {
    path: name,
    hint: "check keys: and fingerprints: in the manifest against what the project publishes",
  });
}

/** Returns the bytes of every certificate of one file: a primary key packet and everything up to the next. */
async function certificatesOf(bytes: Uint8Array, skipped: string[]): Promise<Packet[][]> {
  const certificates: Packet[][] = [];
  for (const block of await dearmorAll(bytes, "PUBLIC KEY BLOCK", (reason) => skipped.push(reason))) {
    let packets: Packet[] = [];
    try {
      packets = splitPackets(block);
    } catch (error) {
      skipped.push((error as Error).message);
    }
    let current: Packet[] | undefined;
    for (const packet of packets) {
      if (packet.tag === TAG_PUBLIC_KEY) {
        current = [];
        certificates.push(current);
      }
      if (current) current.push(packet);
      else skipped.push(`a packet outside any public key: tag ${packet.tag}`);
    }
  }
  return certificates;
}

async function readCertificate(packets: readonly Packet[], skipped: string[]): Promise<Key | undefined> {
  if (packets.length > MAX_PACKETS) {
    skipped.push(`a key of ${packets.length} packets: expected at most ${MAX_PACKETS}`);
    return undefined;
  }
  try {
    return await readKey({ binaryKey: Buffer.concat(packets.map((it) => it.bytes)), config: CONFIG });
  } catch (error) {
    const version = packets[0]?.body[0];
    const algorithm = packets[0]?.body[5];
    skipped.push(`a version ${version} key of algorithm ${algorithm}: ${(error as Error).message}`);
    return undefined;
  }
}

async function describe(key: Key): Promise<OpenPgpKey> {
  const expires = await key.getExpirationTime(undefined, CONFIG).catch(() => null);
  return {
    fingerprint: key.getFingerprint().toUpperCase(),
    keyids: key.getKeys().map((it) => idOf(it.getKeyID())),
    userIds: key.getUserIDs(),
    created: key.getCreationTime(),
    expires: expires instanceof Date ? expires : undefined,
    revoked: await key.isRevoked(undefined, undefined, new Date(), CONFIG),
    armored: key.armor(CONFIG),
    key,
  };
}

function idOf(keyId: KeyID): string {
  return keyId.toHex().toUpperCase();
}

/** A key that made a signature, as found in a keyring. */
export interface FoundKey {
  owner: OpenPgpKey;
  packet: Key["keyPacket"] | Subkey["keyPacket"];
  /** Why it must not be trusted for a signature of that time. */
  fault?: string;
}

/** Finds the (sub)keys with this id (upper-case hex) and whether each was valid for a signature made at `time`. */
export async function findKeys(keyring: OpenPgpKeyring, keyid: string, time: Date): Promise<FoundKey[]> {
  const found: FoundKey[] = [];
  for (const owner of keyring.keys.filter((it) => it.keyids.includes(keyid))) {
    const { key } = owner;
    for (const part of key.getKeys().filter((it) => idOf(it.getKeyID()) === keyid)) {
      const packet = part.keyPacket;
      const fault = part instanceof Subkey ? await subkeyFault(owner, part, time) : await primaryFault(owner, time);
      found.push({ owner, packet, ...(fault === undefined ? {} : { fault }) });
    }
  }
  return found;
}

async function primaryFault({ key, expires, created }: OpenPgpKey, time: Date): Promise<string | undefined> {
  // A key that was only retired stays valid for earlier signatures.
  if (await key.isRevoked(undefined, undefined, time, CONFIG)) return "the key is revoked";
  if (time < created) return `the key is newer (${day(created)}) than the signature (${day(time)})`;
  if (expires && time >= expires) return `the key expired on ${day(expires)}, the signature is of ${day(time)}`;
  return undefined;
}

async function subkeyFault(owner: OpenPgpKey, part: Subkey, time: Date): Promise<string | undefined> {
  const primary = await primaryFault(owner, time);
  if (primary) return primary;
  try {
    // Without a date: binding and back signature must be valid, whenever they were (re)created.
    const signing = await owner.key.getSigningKey(part.getKeyID(), null, undefined, CONFIG);
    if (signing.keyPacket !== part.keyPacket) return "the subkey is not for signing";
    const expires = await part.getExpirationTime(null, CONFIG);
    if (expires instanceof Date && time >= expires)
      return `the subkey expired on ${day(expires)}, the signature is of ${day(time)}`;
    return undefined;
  } catch (error) {
    return `the subkey is not usable: ${(error as Error).message}`;
  }
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
