/**
 * Locks one entry from what was recorded, and proves that pack finds every byte of it in the recording: digests,
 * signatures of packages, and content that is what its name says.
 */
import { checkEntryPaths } from "../bundle/entry-paths.ts";
import { AirferryError } from "../errors.ts";
import type { Fetcher, FetchSink } from "../fetch/types.ts";
import type { Digest } from "../io/digest.ts";
import { formatBytes, plural } from "../io/format.ts";
import { sha256In } from "../io/integrity.ts";
import { mapLimited } from "../io/limit.ts";
import type { Kind } from "../io/types.ts";
import type { LockFolder } from "../manifest/lock-folder.ts";
import { type Manifest, manifestSchema } from "../manifest/schema.ts";
import { HashedBytes } from "../sources/hashed-bytes.ts";
import { sourceOf } from "../sources/kinds.ts";
import type { LockedEntry } from "../sources/lock-document.ts";
import type { LockedArtifact } from "../sources/locked-artifact.ts";
import { artifactUrls } from "../sources/recorded-urls.ts";
import type { LockContext, PlanItem } from "../sources/types.ts";
import type { RecordedIndex } from "./recorded-index.ts";
import type { EntryText, SortedKey } from "./types.ts";

const KINDS: Readonly<Record<SortedKey, Kind>> = { rpms: "rpm", images: "image", isos: "iso", files: "file" };
/** Files of a whole repository that are fetched together. */
const FETCH_TOGETHER = 6;

/** What locking needs of a recording that still runs. */
export interface LockTools {
  /** What is recorded, also of what the fetcher asks for. */
  index: RecordedIndex;
  /** Answers from the recording; what it has to ask for is recorded too. */
  fetcher: Fetcher;
  kept: LockFolder;
  baseDir: string;
  stream: string;
  hosts: Manifest["hosts"];
  time: string;
  /** Fetches what an entry needs and the recording does not have yet. */
  completes: boolean;
  /** One line of text. */
  report: (line: string) => void;
  /** Resolves when everything that was asked for is recorded. */
  settled: () => Promise<void>;
}

/**
 * Locks an entry. @throws {AirferryError} whatever keeps it from being packed from the recording alone
 */
export async function lockFromRecording(key: SortedKey, text: EntryText, tools: LockTools): Promise<LockedEntry> {
  const manifest = manifestOf(key, text, tools);
  const source = await sourceOf(KINDS[key]);
  const context = contextOf(manifest, tools);
  const [locked] = await source.lock(context);
  if (locked === undefined) throw new AirferryError("ERR_INTERNAL", `cannot lock ${key}: nothing came of its entry`);
  if (tools.completes) await fetchMissing(locked, manifest, tools);
  const { index } = tools;
  const missing = locked.artifacts.filter((it) => !isRecorded(it, index));
  if (missing.length > 0) throw notRecorded(missing);
  const planned = await source.plan([locked], { ...context, kept: tools.kept });
  const [unsafe] = checkEntryPaths(planned.items.map((it) => it.path)).problems;
  if (unsafe !== undefined) throw new AirferryError("ERR_MANIFEST_INVALID", unsafe.message);
  for (const item of planned.items) await prove(item, index);
  return locked;
}

/** `hosts:` of a manifest; undefined where it has none that can be read. */
export function readHosts(value: unknown): Manifest["hosts"] {
  return manifestSchema.shape.hosts.safeParse(value).data;
}

/** A manifest of this one entry. @throws {AirferryError} ERR_MANIFEST_INVALID */
function manifestOf(key: SortedKey, text: EntryText, { stream, hosts }: LockTools): Manifest {
  const whole = { apiVersion: "airferry/v1", stream, [key]: [text], ...(hosts && { hosts }) };
  const parsed = manifestSchema.safeParse(whole);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new AirferryError("ERR_MANIFEST_INVALID", `cannot be an entry of ${key}: ${issue?.message ?? "invalid"}`);
}

function contextOf(manifest: Manifest, { fetcher, kept, baseDir, time, index }: LockTools): LockContext {
  return {
    manifest,
    baseDir,
    fetcher,
    kept,
    time,
    previous: new Map(),
    update: () => true,
    hashed: new HashedBytes(undefined),
    pinFirstSight: true,
    fetchIsos: false,
    openIso: async () => undefined,
    report: () => {},
    // Nothing is downloaded: it is in the recording, or the entry cannot be packed from it.
    async download({ urls }) {
      const found = urls.map((it) => index.find(it)).find((it) => it?.status === 200);
      if (found === undefined) throw new AirferryError("ERR_UPSTREAM", `${urls[0] ?? "it"} was not recorded`);
      const { digest, size, headers } = found;
      const { etag, "last-modified": lastModified, "content-type": contentType } = headers;
      return {
        digest,
        size,
        ...(etag !== undefined && { etag }),
        ...(lastModified !== undefined && { lastModified }),
        ...(contentType !== undefined && { contentType }),
      };
    },
  };
}

/** pack looks for bodies by their SHA-256. */
function isRecorded({ kept, size, integrity }: LockedArtifact, index: RecordedIndex): boolean {
  const digest = sha256In(integrity);
  return kept !== undefined || size === 0 || (digest !== undefined && index.sizeOf(digest) === size);
}

function notRecorded(missing: readonly LockedArtifact[]): AirferryError {
  const [first] = missing;
  const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
  const fault =
    first !== undefined && sha256In(first.integrity) === undefined
      ? "has no SHA-256 to find it by"
      : "was not recorded";
  return new AirferryError("ERR_UPSTREAM", `${first?.path ?? "a part"}${more} ${fault}`);
}

/** Fetched to be recorded by the proxy that they come through. */
async function fetchMissing(locked: LockedEntry, manifest: Manifest, tools: LockTools): Promise<void> {
  const { fetcher, index, settled, report } = tools;
  const missing = locked.artifacts.filter((it) => it.urls !== undefined && !isRecorded(it, index));
  const bytes = missing.reduce((sum, it) => sum + (it.size ?? 0), 0);
  if (missing.length > 0)
    report(`fetching the rest of ${locked.name}: ${plural(missing.length, "file")}, ${formatBytes(bytes)}`);
  await mapLimited(missing, FETCH_TOGETHER, async ({ urls = [], size, integrity }) => {
    await fetcher.fetchInto({ ...artifactUrls(urls, locked, manifest), size, integrity }, nowhere());
  });
  await settled();
}

/** Counts what it is given. */
function nowhere(): FetchSink {
  let position = 0;
  return {
    get position() {
      return position;
    },
    write: async (chunk) => {
      position += chunk.length;
    },
    restart: async () => {
      position = 0;
    },
  };
}

/** What pack does with the bytes later. @throws {AirferryError} where it would refuse them */
async function prove(item: PlanItem, index: RecordedIndex): Promise<void> {
  const digest: Digest | undefined = sha256In(item.integrity);
  if (item.source.from !== "url" || digest === undefined || (item.check ?? item.look) === undefined) return;
  const opened = await index.open(digest);
  try {
    await item.check?.(opened.bytes);
    const [finding] = (await item.look?.(opened.bytes, item)) ?? [];
    if (finding !== undefined) throw new AirferryError("ERR_UPSTREAM_INVALID", finding.message);
  } finally {
    await opened.close();
  }
}
