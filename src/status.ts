/**
 * `status`: what a store holds: streams, releases, their age and signers, unfinished imports, and bytes on disk.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { AttestationFacts } from "./bundle/attest-rules.ts";
import type { ScanReport } from "./bundle/scan-report.ts";
import { AirferryError, type Problem } from "./errors.ts";
import { heapMayHaveGrown, keepHeapSmall } from "./io/flat-memory.ts";
import { readSpace } from "./io/space.ts";
import { type WebHost, webHosts } from "./io/web-hosts.ts";
import { readStoredTrust } from "./sign/trust-files.ts";
import { type IncomingState, readIncoming } from "./store/incoming.ts";
import { readKnownDamage } from "./store/known-damage.ts";
import { CURRENT_FILE, streamFolder, TRUST_FOLDER } from "./store/layout.ts";
import { withStore } from "./store/object-store.ts";
import { readImport } from "./store/release-record.ts";
import type { Store } from "./store/store.ts";
import type { Release } from "./store/types.ts";

// `status --check`
export { checkStore } from "./store/check-store.ts";

/** One release as `status` reports it. */
interface ReleaseStatus {
  epoch: number;
  serial: number;
  /** `sha256:` of SHA256SUMS. */
  digest: string;
  current: boolean;
  /** When it was packed and when it was imported: RFC 3339. */
  created: string;
  importedAt: string;
  notAfter: string | null;
  /** keyids. */
  signers: string[];
  entries: number;
  /** Bytes of all its entries. */
  size: number;
  /** Web answers by host. */
  web: WebHost[];
  /** What a scanner said before it was served; null: none was given. */
  scan: ScanReport | null;
  /** What was attested about it, by whom, and what that was worth when it came in. */
  attestations: readonly AttestationFacts[];
  /** Timestamps of its signatures that counted. */
  timestamps: readonly { keyid: string; time: string; by: string }[];
}

interface StreamStatus {
  stream: string;
  /** Whole days since the current release was packed. */
  ageDays: number | null;
  /** Whole days until the current release expires, negative when it has; null when it never does. */
  expiresInDays: number | null;
  /** The newest release that the stream ever had here, which bundles must be above; null when that is unreadable. */
  floor: { epoch: number; serial: number } | null;
  /** Oldest first. */
  releases: ReleaseStatus[];
}

/** The trust root of a store. */
interface TrustRootStatus {
  name: string;
  version: number;
  /** Its fingerprint. */
  digest: string;
  expires: string;
  /** Whole days until then, negative when it has passed: nothing is imported any more. */
  expiresInDays: number;
}

/** What `status --json` prints. */
interface StatusReport {
  store: string;
  streams: StreamStatus[];
  /** Null: public keys are named at each import. */
  trustRoot: TrustRootStatus | null;
  /** Incomplete bundles, and the volumes they wait for; null for users who may not read them. */
  incoming: IncomingState[] | null;
  /** Files and bytes of all blobs. */
  blobs: { count: number; size: number };
  /** Null for object storage, which does not say. */
  freeBytes: number | null;
  /** Digests of blobs that fsck found to be damaged. */
  damaged: string[];
  /** Records that cannot be read; `path` is the folder of the release. Everything else is above. */
  problems: Problem[];
}

/**
 * Reads a store's state; takes no lock and changes nothing. An unreadable record affects nothing else.
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_STORE_INVALID if it is not a store
 */
export async function status(dir: string, options: { now?: Date } = {}): Promise<StatusReport> {
  keepHeapSmall();
  return withStore(dir, (store) => statusOf(store, options));
}

async function statusOf(store: Store, options: { now?: Date }): Promise<StatusReport> {
  const now = options.now ?? new Date();
  const streams: StreamStatus[] = [];
  const problems: Problem[] = [];
  for (const stream of await store.streams()) streams.push(await streamStatus(store, stream, now, problems));
  const freeBytes = store.bucket === undefined ? (await readSpace(store.dir)).freeBytes : null;
  return {
    store: store.name,
    streams,
    trustRoot: await trustRootOf(store, now, problems),
    incoming: await readIncoming(store.dir),
    blobs: await countBlobs(store),
    freeBytes,
    damaged: [...(await readKnownDamage(store.dir))],
    problems,
  };
}

async function trustRootOf(store: Store, now: Date, problems: Problem[]): Promise<TrustRootStatus | null> {
  try {
    const stored = await readStoredTrust(join(store.dir, TRUST_FOLDER));
    if (stored === undefined) return null;
    const { name, version, digest, expires } = stored.root;
    return { name, version, digest, expires, expiresInDays: daysUntil(expires, now) };
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    problems.push({ code: error.code, path: error.path ?? "", message: error.message });
    return null;
  }
}

async function streamStatus(store: Store, stream: string, now: Date, problems: Problem[]): Promise<StreamStatus> {
  const current = await store.currentName(stream);
  const releases: ReleaseStatus[] = [];
  const names = await store.releaseNames(stream);
  const path = streamFolder(store.dir, stream);
  // Without the file an import was interrupted just before its end; a rerun writes it.
  if ((current === undefined || !names.includes(current)) && existsSync(join(path, CURRENT_FILE))) {
    problems.push({ code: "ERR_STORE_INVALID", path, message: `"${CURRENT_FILE}" names none of its releases` });
  }
  for (const name of names) {
    const folder = join(streamFolder(store.dir, stream), name);
    const read = async (release: Release) => {
      const { inventory, digest, signers, importedAt } = release;
      const { epoch, serial, created, notAfter, entries } = inventory;
      releases.push({
        epoch,
        serial,
        digest,
        current: name === current,
        created,
        importedAt,
        notAfter: notAfter ?? null,
        signers,
        entries: entries.length,
        size: entries.totalBytes,
        web: inventory.catalog.web === undefined ? [] : webHosts(entries),
        scan: (await readImport(folder).catch(() => undefined))?.scan ?? null,
        attestations: release.attestations ?? [],
        timestamps: release.timestamps ?? [],
      });
    };
    await store.look(stream, name, read).catch((error: unknown) => {
      if (!(error instanceof AirferryError)) throw error;
      // Pruned meanwhile, or an incomplete record.
      if (existsSync(folder)) problems.push({ code: "ERR_STORE_INVALID", path: folder, message: error.message });
    });
  }
  const served = releases.find((it) => it.current);
  const ageDays = served === undefined ? null : -daysUntil(served.created, now);
  const notAfter = served?.notAfter ?? null;
  const found = await store.floor(stream).catch(() => undefined);
  const floor = found === undefined ? null : { epoch: found.epoch, serial: found.serial };
  return { stream, ageDays, expiresInDays: notAfter === null ? null : daysUntil(notAfter, now), floor, releases };
}

/** Whole days from now on, rounded up; negative for the past. */
function daysUntil(time: string, now: Date): number {
  return Math.ceil((Date.parse(time) - now.getTime()) / 86_400_000);
}

/** Blobs between two looks at the heap. */
const LOOK_BLOBS = 4096;

async function countBlobs(store: Store): Promise<{ count: number; size: number }> {
  let count = 0;
  let size = 0;
  for await (const blob of store.blobs()) {
    if (count++ % LOOK_BLOBS === 0) heapMayHaveGrown();
    size += blob.size;
  }
  return { count, size };
}
