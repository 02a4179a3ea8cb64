/**
 * Step 1 of a pack, and all of `lock`: resolves every entry of a manifest that has no lock yet or whose text changed,
 * and pins it. Fetches metadata; artifacts themselves only without a published digest or size.
 */
import { stat } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { AirferryError, type Problem } from "../errors.ts";
import { closestWord, didYouMean } from "../io/closest-word.ts";
import type { Finding } from "../io/findings.ts";
import { releaseMemory } from "../io/flat-memory.ts";
import { plural } from "../io/format.ts";
import { sha256In } from "../io/integrity.ts";
import { mapLimited } from "../io/limit.ts";
import { openBytes } from "../io/open-bytes.ts";
import { shellWord } from "../io/shell.ts";
import { imageName } from "../manifest/entry-names.ts";
import { LockFolder } from "../manifest/lock-folder.ts";
import { forgetRequests } from "../manifest/request.ts";
import type { Manifest } from "../manifest/schema.ts";
import { HashedBytes } from "../sources/hashed-bytes.ts";
import { sourcesOf } from "../sources/kinds.ts";
import { type LocalPlaces, localPath } from "../sources/local-path.ts";
import {
  entriesOfKind,
  type Lock,
  type LockedEntry,
  lockDigest,
  lockedDigests,
  lockTime,
  readLock,
  writeLock,
} from "../sources/lock-document.ts";
import type { LockedArtifact } from "../sources/locked-artifact.ts";
import { artifactUrls } from "../sources/recorded-urls.ts";
import type { LockContext } from "../sources/types.ts";
import { changesBetween, type LockChange } from "./changes.ts";
import { type EntryRequest, requestsOf, staleEntries } from "./entry-requests.ts";
import { planContext } from "./lay-out.ts";
import type { Workspace } from "./workspace.ts";

/** Names in a message. */
const MOST_NAMES = 20;
/** From here on, a collection of all garbage pays: resolving leaves as much as it keeps. */
const MANY_ENTRIES = 20_000;
/** Local files that are looked at together. */
const LOOK_TOGETHER = 16;

interface ResolveOptions {
  /** Lock these again although their text is unchanged; empty: all. Absent: only what changed. */
  update?: readonly string[];
  /** Refuse instead of locking anything. */
  frozen?: boolean;
  /** Download artifacts without a published digest (the verb lock does, plan does not). */
  pinFirstSight: boolean;
  /** Download ISOs whose packages closures use (lock and pack do, plan does not); default: as pinFirstSight. */
  fetchIsos?: boolean;
  report?: (line: string) => void;
  progress?: (bytes: number) => void;
}

export interface Resolved {
  lock: Lock;
  changes: LockChange[];
  file: string;
  /** What will not work inside, the builder's findings first. */
  findings: Finding[];
}

/**
 * Updates the lock from the manifest and writes it next to the manifest.
 * @throws {AirferryError} ERR_LOCK_STALE with `frozen` when it is outdated; ERR_UPSTREAM* and ERR_MANIFEST_INVALID
 */
export async function resolveManifest(workspace: Workspace, options: ResolveOptions): Promise<Resolved> {
  const { manifest, paths } = workspace;
  const before = await readLock(paths.lock);
  const requests = requestsOf(manifest);
  if (options.frozen) {
    const fresh = requireFresh(workspace, requests, before);
    return { lock: fresh, changes: [], file: paths.lock, findings: await findingsOf(workspace, fresh) };
  }

  const kept = new LockFolder(paths.kept);
  const time = lockTime();
  const updated = namesToUpdate(manifest, requests, options.update, before);
  const hashed = new HashedBytes(workspace.onHashed);
  const isUpdated = (name: string) => updated === "all" || updated.has(name);
  hashed.expect(await checkLocalFiles(workspace, requests, before, isUpdated));
  const entries: LockedEntry[] = [];
  for await (const source of sourcesOf(requests)) {
    const previous = new Map(entriesOfKind(before, source.kind).map((entry) => [entry.name, entry]));
    const context: LockContext = {
      manifest,
      baseDir: paths.baseDir,
      unpacked: workspace.unpacked,
      fetcher: workspace.fetcher,
      previous,
      update: (_kind, name) => isUpdated(name),
      hashed,
      kept,
      time,
      pinFirstSight: options.pinFirstSight,
      fetchIsos: options.fetchIsos ?? options.pinFirstSight,
      openIso: (name) => openIso(workspace, entries, name, options),
      download: (target, limits) => workspace.cache.download(workspace.fetcher, target, limits, options.progress),
      report: options.report ?? (() => {}),
    };
    for (const it of await source.lock(context)) entries.push(it);
  }
  hashed.end();
  checkPaths(entries);
  forgetRequests();
  const after: Lock = { lockVersion: 1, stream: manifest.stream, time: before?.time ?? time, entries };
  if (before?.last !== undefined && before.stream === after.stream) after.last = before.last;
  const changes = changesBetween(before?.entries ?? [], entries);
  if (before === undefined || !isSame(before, after)) {
    after.time = time;
    await writeLock(paths.lock, after);
    await kept.retain(lockedDigests(entries));
  }
  if (entries.length > MANY_ENTRIES) releaseMemory();
  return { lock: after, changes, file: paths.lock, findings: await findingsOf(workspace, after) };
}

/** Whether two locks are the same but for `last`: by their texts, which 80,000 equal packages need not be made into. */
function isSame(a: Lock, b: Lock): boolean {
  const { last: _, ...first } = a;
  const { last: __, ...second } = b;
  return isDeepStrictEqual(first, second) || lockDigest(a) === lockDigest(b);
}

function placesOf({ paths, unpacked }: Workspace): LocalPlaces {
  return { baseDir: paths.baseDir, unpacked };
}

/** A just locked ISO: its local file, or its bytes in the download cache, fetched if allowed. */
async function openIso(
  workspace: Workspace,
  entries: readonly LockedEntry[],
  name: string,
  options: ResolveOptions,
): ReturnType<LockContext["openIso"]> {
  const entry = entries.find((it) => it.kind === "iso" && it.name === name);
  const artifact = entry?.artifacts[0];
  if (entry === undefined || artifact === undefined) return undefined;
  if (artifact.file !== undefined) return openBytes(localPath(artifact.file, placesOf(workspace)));
  const known = sha256In(artifact.integrity);
  const cached = known && (await workspace.cache.file(known));
  if (cached) return openBytes(cached);
  if (!(options.fetchIsos ?? options.pinFirstSight)) return undefined;
  options.report?.(`fetching ISO ${name} first: closures use its packages`);
  const target = artifactUrls(artifact.urls ?? [], entry, workspace.manifest);
  const { integrity } = artifact;
  const fetched = await workspace.cache.download(workspace.fetcher, target, { integrity }, options.progress);
  return openBytes((await workspace.cache.file(fetched.digest)) as string);
}

/** The findings of a lock: of its builder, and of each kind of source. */
async function findingsOf(workspace: Workspace, lock: Lock): Promise<Finding[]> {
  const paths = lock.entries.flatMap((entry) => entry.artifacts.map((artifact) => artifact.path));
  const images = entriesOfKind(lock, "image").flatMap(({ detail }) => detail.images.map((it) => it.reference));
  const { builder } = workspace.manifest;
  const findings: Finding[] = [];
  if (builder !== undefined) {
    const { checkBuilder } = await import("../builder/compatibility.ts");
    findings.push(...checkBuilder(builder, paths, images));
  }
  if (paths.length === 0) {
    findings.push({
      level: "error",
      area: "manifest",
      subject: workspace.file,
      message: "the bundle would be empty: the manifest names no ISO, repository, file, image or web answer",
      remedy: "name what the build needs under isos:, rpms:, files:, images: or web:",
    });
  }
  const context = planContext(workspace, lock);
  for await (const source of sourcesOf(lock.entries)) {
    const more = (await source.findings?.(entriesOfKind(lock, source.kind), context)) ?? [];
    for (const it of more) findings.push(it);
  }
  return findings;
}

function requireFresh(workspace: Workspace, requests: readonly EntryRequest[], before: Lock | undefined): Lock {
  const { paths } = workspace;
  const problems = staleEntries(requests, workspace.manifest.stream, before);
  if (before === undefined || problems.length > 0) {
    throw new AirferryError(
      "ERR_LOCK_STALE",
      `cannot pack with --frozen: "${paths.lock}" ${before ? "does not match the manifest" : "does not exist"}`,
      { problems, hint: `airferry lock ${shellWord(workspace.file)}` },
    );
  }
  return before;
}

/**
 * The entries that `--update` names. Images may be named by their reference or archive, if they are served under
 * another name.
 */
function namesToUpdate(
  manifest: Manifest,
  requests: readonly EntryRequest[],
  update: readonly string[] | undefined,
  before: Lock | undefined,
): ReadonlySet<string> | "all" {
  if (update === undefined) return new Set();
  if (update.length === 0) return "all";
  const known = new Map([...requests, ...(before?.entries ?? [])].map((it) => [it.name, [it.name]]));
  for (const entry of manifest.images ?? []) {
    const [origin, name] = [entry.ref ?? entry.archive ?? entry.chart, imageName(entry)];
    if (origin !== undefined && origin !== name) known.set(origin, [...(known.get(origin) ?? []), name]);
  }
  return new Set(
    update.flatMap((name) => {
      const names = known.get(name);
      if (names !== undefined) return names;
      const fault = `cannot update "${name}": the manifest has no entry of that name`;
      const near = closestWord(name, [...known.keys()]);
      throw new AirferryError("ERR_USAGE", `${fault}${didYouMean(near)}`, {
        hint: `expected one of: ${[...known.keys()].sort().slice(0, MOST_NAMES).join(", ")}${known.size > MOST_NAMES ? ", …" : ""}`,
      });
    }),
  );
}

/**
 * Missing local files are faults of the manifest: all of those to be locked are reported at once. Returns how many
 * bytes will be hashed.
 */
async function checkLocalFiles(
  workspace: Workspace,
  requests: readonly EntryRequest[],
  before: Lock | undefined,
  isUpdated: (name: string) => boolean,
): Promise<number> {
  const { manifest } = workspace;
  const locked = new Map((before?.entries ?? []).map((entry) => [`${entry.kind} ${entry.name}`, entry.request]));
  const named: { at: string; path: string; isHashed?: boolean }[] = [];
  for (const [key, kind] of [
    ["isos", "iso"],
    ["files", "file"],
  ] as const) {
    const wanted = requests.filter((it) => it.kind === kind);
    for (const [index, entry] of (manifest[key] ?? []).entries()) {
      const { name, request } = wanted[index] as (typeof wanted)[number];
      if (locked.get(`${kind} ${name}`) === request && !isUpdated(name)) continue;
      if (entry.path !== undefined) named.push({ at: `${key}[${index}].path`, path: entry.path, isHashed: true });
      const checksums = entry.checksums?.path;
      if (checksums !== undefined) named.push({ at: `${key}[${index}].checksums.path`, path: checksums });
    }
  }
  let bytes = 0;
  const faults = await mapLimited(named, LOOK_TOGETHER, async ({ path, isHashed }) => {
    const found = await stat(localPath(path, placesOf(workspace))).catch((error: NodeJS.ErrnoException) => error.code);
    if (typeof found === "object") {
      if (isHashed) bytes += found.size;
      return found.isFile() ? undefined : "not a regular file";
    }
    return found === "ENOENT" ? "no such file" : found;
  });
  const problems = named.flatMap(({ at, path }, index): Problem[] => {
    const fault = faults[index];
    return fault === undefined ? [] : [{ code: "ERR_MANIFEST_INVALID", path: at, message: `${fault}: "${path}"` }];
  });
  if (problems.length === 0) return bytes;
  throw new AirferryError(
    "ERR_MANIFEST_INVALID",
    `cannot lock "${workspace.file}": ${plural(problems.length, "local file")} cannot be used`,
    { path: workspace.file, problems, hint: "paths in a manifest are relative to the manifest's own folder" },
  );
}

/** Two artifacts under one path are an error unless they are the same bytes (an image layer, a key). */
function checkPaths(entries: readonly LockedEntry[]): void {
  const seen = new Map<string, { entry: LockedEntry; artifact: LockedArtifact }>();
  for (const entry of entries) {
    for (const artifact of entry.artifacts) {
      const earlier = seen.get(artifact.path);
      if (earlier === undefined) seen.set(artifact.path, { entry, artifact });
      else if (earlier.artifact.integrity !== artifact.integrity || artifact.integrity === undefined) {
        throw new AirferryError(
          "ERR_MANIFEST_INVALID",
          `cannot lock "${artifact.path}": two entries have this path: ${earlier.entry.kind} "${earlier.entry.name}" and ${entry.kind} "${entry.name}"`,
          { path: artifact.path, hint: "give one of them another name, or as:" },
        );
      }
    }
  }
}
