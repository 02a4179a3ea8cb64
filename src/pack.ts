/**
 * The verb `pack`: lock → plan → fetch into place → sign → final name. A rerun continues where the last one stopped; a
 * rerun after success checks the finished bundle and fetches nothing.
 */
import { rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { finishBundle } from "./bundle/finish.ts";
import { INVENTORY_MEDIA_TYPE, type Inventory } from "./bundle/inventory-types.ts";
import { otherWorkFolders, WorkFolder, workFolderName } from "./bundle/work-folder.ts";
import { AirferryError, type Problem } from "./errors.ts";
import { makeFolder, syncPath } from "./io/atomic.ts";
import { type Finding, findingLine, refuseFindings } from "./io/findings.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { HashPool } from "./io/hash-pool.ts";
import { takeLock } from "./io/lock-file.ts";
import { shellWord } from "./io/shell.ts";
import { verifySpace } from "./io/space.ts";
import { readState } from "./manifest/state.ts";
import { type FillProgress, fillBundle } from "./pack/fill.ts";
import { adoptable, type Finished, notAfterOf, noteState, packedBefore, type Wanted } from "./pack/finished.ts";
import { layOutBundle, type Plan, planContext, type RpmSigner } from "./pack/lay-out.ts";
import { lockTime, resolveManifest } from "./pack/resolve.ts";
import type { Workspace } from "./pack/workspace.ts";
import { type Signer, signatureFiles } from "./sign/signer.ts";
import { sriOf } from "./sources/artifact.ts";
import { SOURCES } from "./sources/kinds.ts";
import { type Lock, lockDigest, writeLock } from "./sources/lock-document.ts";
import { urlsOf } from "./sources/recorded-urls.ts";
import type { ItemFault } from "./sources/types.ts";
import { TOOL } from "./version.ts";

export interface PackOptions {
  out: string;
  /** Nobody: an unsigned bundle, which unpack refuses until somebody signs it. */
  signers: readonly Signer[];
  rpmSigner?: RpmSigner;
  /** Bytes. */
  volumeSize: number;
  /** One folder for each medium of so many volumes. */
  volumesPerMedium?: number;
  frozen: boolean;
  /** Pack although something will not work inside; default false. */
  allowFindings?: boolean;
  serial?: number;
  /** Items at once. */
  concurrency: number;
  report?: (line: string) => void;
  progress?: (progress: FillProgress) => void;
}

export interface PackResult {
  bundle: string;
  stream: string;
  serial: number;
  /** SHA-256 (hex) of SHA256SUMS. */
  digest: string;
  /** False: it was there already, checked and whole. */
  packed: boolean;
  entries: number;
  size: number;
  fetchedBytes: number;
  reusedBytes: number;
  faults: ItemFault[];
  /** What may not work inside, or will not although `allowFindings` let it pass. */
  findings: Finding[];
}

/** Quarantined packages change the metadata, which changes the plan; more rounds than this mean that something is wrong. */
const MAX_ROUNDS = 5;
/** Room for the inventory, signatures and journal beside the volumes. */
const SMALL_FILES_BYTES = 16 * 1024 * 1024;

/**
 * Packs what a manifest names.
 * @throws {AirferryError} ERR_UPSTREAM* (exit 4), ERR_MANIFEST_INVALID, ERR_LOCK_STALE and ERR_FINDINGS (2), ERR_SPACE (1)
 */
export async function pack(workspace: Workspace, options: PackOptions): Promise<PackResult> {
  keepHeapSmall();
  const pool = new HashPool();
  try {
    return await packAlone(workspace, options, pool);
  } finally {
    await pool.close();
  }
}

/** One pack of a manifest at a time, wherever it writes: two would give the same serial to different bundles. */
async function packAlone(workspace: Workspace, options: PackOptions, pool: HashPool): Promise<PackResult> {
  const held = await takeLock(`${workspace.paths.state}.lock`, workspace.file);
  try {
    return await packWith(workspace, options, pool);
  } finally {
    await held.release();
  }
}

async function packWith(workspace: Workspace, options: PackOptions, pool: HashPool): Promise<PackResult> {
  const report = options.report ?? (() => {});
  const state = await readState(workspace.paths.state);
  const findings: Finding[] = [];
  /** Tells what was found, and refuses what cannot work. */
  const found = (more: readonly Finding[]): void => {
    findings.push(...more);
    const told = options.allowFindings === true ? more : more.filter((it) => it.level === "warning");
    for (const it of told) report(findingLine(it));
    if (options.allowFindings !== true) refuseFindings(more, workspace.file);
  };
  const locked = await resolveManifest(workspace, {
    frozen: options.frozen,
    pinFirstSight: false,
    fetchIsos: true,
    report,
  });
  let { lock } = locked;
  for (const { change, kind, name, path, before, after } of locked.changes) {
    if (change === "changed" || path !== undefined)
      report(`${change} ${kind} ${path ?? name}: ${before ?? "-"} → ${after ?? "-"}`);
  }
  // Said before hours of downloading, not after.
  found(locked.findings);
  // Also where the bundle is there: somebody may have made this the check for drift.
  if (options.frozen) await requireUnmoved(workspace, lock, report);
  const wanted: Wanted = { workspace, lock, options, pool };
  const earlier = await packedBefore(wanted, state);
  if (earlier !== undefined) {
    await noteState(wanted, state, earlier);
    return done(lock, findings, earlier);
  }

  const last = Math.max(state?.serial ?? 0, lock.last?.serial ?? 0);
  const serial = options.serial ?? last + 1;
  const lastBundle = join(options.out, bundleName(lock.stream, last));
  // Without a state file, the last bundle may yet be here.
  const mayBeHere = state === undefined && options.serial === undefined && last > 0;
  const known = mayBeHere ? await adoptable(lastBundle, wanted, last) : undefined;
  if (known !== undefined) {
    await noteState(wanted, state, known);
    return done(lock, findings, known);
  }
  if (last > (state?.serial ?? 0) && options.serial === undefined)
    report(`serial ${serial} follows serial ${last}, which the lock knows: this folder has not packed it`);
  const name = bundleName(lock.stream, serial);
  const target = join(options.out, name);
  await makeFolder(options.out);
  if (await exists(target)) {
    // A run that was killed after its last step left all but the note of it.
    const whole = await adoptable(target, wanted, serial);
    if (whole === undefined) {
      throw new AirferryError("ERR_USAGE", `cannot pack "${name}": "${target}" exists and is not this bundle`, {
        path: target,
        hint: `choose another --out, or give --serial ${serial + 1}`,
      });
    }
    await noteState(wanted, state, whole);
    return done(lock, findings, whole);
  }
  const faults: ItemFault[] = [];
  let totals = { fetchedBytes: 0, reusedBytes: 0 };
  for (let round = 1; ; round++) {
    lock = await pinUnsized(workspace, lock, options);
    const plan = await layOutBundle(workspace, lock, options.volumeSize, options.rpmSigner);
    const left = await adoptable(join(options.out, workFolderName(plan)), { ...wanted, lock }, serial);
    if (left !== undefined) {
      await rename(left.bundle, target);
      await syncPath(options.out);
      await noteState({ ...wanted, lock }, state, { ...left, bundle: target });
      return done(lock, findings, { ...left, bundle: target });
    }
    await using work = await openWork(options.out, plan, pool);
    const filled = await fillBundle({ ...options, workspace, plan, work: work.folder, pool, found });
    totals = {
      fetchedBytes: totals.fetchedBytes + filled.fetchedBytes,
      reusedBytes: totals.reusedBytes + filled.reusedBytes,
    };
    lock = await savePins(workspace, lock, filled.sha256Of, options.frozen);
    if (filled.faults.length > 0 && round < MAX_ROUNDS) {
      faults.push(...filled.faults);
      lock = await excludeFaults(workspace, lock, filled.faults, options.rpmSigner);
      continue;
    }
    const volumes = await work.folder.finishVolumes();
    const noted = state?.stream === lock.stream ? state.previous : undefined;
    const previous = (lock.last?.serial ?? 0) > (noted?.serial ?? 0) ? lock.last : noted;
    const inventory = inventoryOf(workspace, lock, plan, volumes, filled.sha256Of, serial, previous);
    const digest = await finishBundle({
      dir: work.folder.dir,
      target,
      inventory,
      ...(options.volumesPerMedium !== undefined && { volumesPerMedium: options.volumesPerMedium }),
      sign: async (sums) => (await Promise.all(options.signers.map((signer) => signatureFiles(sums, signer)))).flat(),
    });
    const size = inventory.volumes.reduce((sum, volume) => sum + volume.size, 0);
    const entries = inventory.entries.length;
    await noteState({ ...wanted, lock }, state, { bundle: target, serial, digest, entries, size });
    for (const folder of await otherWorkFolders(options.out, lock.stream, "")) {
      await rm(folder, { recursive: true, force: true });
    }
    for (const sha256 of filled.cached) await workspace.cache.remove(sha256);
    return {
      ...done(lock, findings, { bundle: target, serial, digest, entries, size }),
      packed: true,
      ...totals,
      faults,
    };
  }
}

/** A frozen pack of what upstream has moved since is refused: somebody ought to look first. */
async function requireUnmoved(workspace: Workspace, lock: Lock, report: (line: string) => void): Promise<void> {
  const { manifest, paths, fetcher } = workspace;
  const problems: Problem[] = [];
  for (const source of SOURCES) {
    const entries = lock.entries.filter((it) => it.kind === source.kind);
    const moved = (await source.drift?.(entries, { manifest, baseDir: paths.baseDir, fetcher, report })) ?? [];
    for (const { name, message } of moved) {
      problems.push({ code: "ERR_LOCK_STALE", path: `${source.kind} ${name}`, message });
    }
  }
  if (problems.length > 0) {
    throw new AirferryError("ERR_LOCK_STALE", "cannot pack with --frozen: upstream moved what is locked", {
      problems,
      hint: `airferry lock ${shellWord(workspace.file)} --update; or pack without --frozen to keep what is locked`,
    });
  }
}

/** The result of a pack that found its bundle whole. */
function done(lock: Lock, findings: Finding[], finished: Finished): PackResult {
  return { ...finished, stream: lock.stream, packed: false, fetchedBytes: 0, reusedBytes: 0, faults: [], findings };
}

async function openWork(out: string, plan: Plan, pool: HashPool): Promise<AsyncDisposable & { folder: WorkFolder }> {
  const written = await allocatedBytes(join(out, workFolderName(plan)), plan);
  await verifySpace("pack into", out, {
    bytes: Math.max(0, plan.streamSize - written) + SMALL_FILES_BYTES,
    files: plan.volumes.length + 64,
    largest: Math.max(0, ...plan.volumes.map((volume) => volume.size)),
  });
  const folder = await WorkFolder.open(out, plan, pool);
  return { folder, [Symbol.asyncDispose]: () => folder.close() };
}

/** Artifacts whose size nobody tells are downloaded before the layout; pack copies them from the cache. */
async function pinUnsized(workspace: Workspace, lock: Lock, options: PackOptions): Promise<Lock> {
  const entries = [];
  for (const entry of lock.entries) {
    const artifacts = [];
    for (const artifact of entry.artifacts) {
      if (artifact.size !== undefined || artifact.urls === undefined) {
        artifacts.push(artifact);
        continue;
      }
      options.report?.(`fetching ${artifact.urls[0]} first: upstream does not tell its size`);
      const { sha256, size, etag } = await workspace.cache.download(
        workspace.fetcher,
        urlsOf(artifact.urls, entry, workspace.manifest),
        { integrity: artifact.integrity },
      );
      const integrity = artifact.integrity ?? sriOf(sha256);
      artifacts.push({ ...artifact, size, integrity, ...(etag && { etag }) });
    }
    entries.push({ ...entry, artifacts });
  }
  return { ...lock, entries };
}

/** Writes what was pinned on first sight into the lock. A frozen lock has nothing left to pin. */
async function savePins(
  workspace: Workspace,
  lock: Lock,
  sha256Of: (path: string) => string | undefined,
  frozen: boolean,
): Promise<Lock> {
  const entries = lock.entries.map((entry) => ({
    ...entry,
    artifacts: entry.artifacts.map((artifact) => {
      const sha256 =
        artifact.integrity === undefined && artifact.kept === undefined ? sha256Of(artifact.path) : undefined;
      return sha256 === undefined ? artifact : { ...artifact, integrity: sriOf(sha256) };
    }),
  }));
  const pinned = { ...lock, entries };
  if (!frozen) await writeLock(workspace.paths.lock, pinned);
  return pinned;
}

async function excludeFaults(
  workspace: Workspace,
  lock: Lock,
  faults: readonly ItemFault[],
  signer?: RpmSigner,
): Promise<Lock> {
  const byPath = new Map(faults.map((fault) => [fault.path, fault]));
  const entries = [];
  for (const entry of lock.entries) {
    const mine = entry.artifacts.flatMap((artifact) => byPath.get(artifact.path) ?? []);
    const source = SOURCES.find((it) => it.kind === entry.kind);
    entries.push(
      mine.length > 0 && source?.exclude
        ? await source.exclude(entry, mine, planContext(workspace, lock, signer))
        : entry,
    );
  }
  const excluded = { ...lock, entries };
  await writeLock(workspace.paths.lock, excluded);
  return excluded;
}

function inventoryOf(
  workspace: Workspace,
  lock: Lock,
  plan: Plan,
  volumes: Inventory["volumes"],
  sha256Of: (path: string) => string | undefined,
  serial: number,
  previous: Inventory["previous"],
): Inventory {
  const created = lockTime();
  const notAfter = notAfterOf(workspace.manifest, created);
  return {
    mediaType: INVENTORY_MEDIA_TYPE,
    stream: lock.stream,
    epoch: 1,
    serial,
    created,
    ...(notAfter && { notAfter }),
    ...(previous && previous.serial < serial && { previous }),
    lock: lockDigest(lock),
    tool: TOOL,
    streamSize: plan.streamSize,
    volumeSize: plan.volumeSize,
    volumes,
    entries: plan.items
      .map(({ path, size, mode, offset }) => ({ path, size, mode, sha256: sha256Of(path) as string, offset }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path))),
    catalog: plan.catalog,
    ...(workspace.manifest.builder !== undefined && { builder: workspace.manifest.builder }),
  };
}

function bundleName(stream: string, serial: number): string {
  return `${stream}-${String(serial).padStart(6, "0")}`;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Bytes that the volumes of an interrupted pack take on disk already. */
async function allocatedBytes(dir: string, plan: Plan): Promise<number> {
  let bytes = 0;
  for (const { name } of plan.volumes)
    bytes += ((await stat(join(dir, name)).catch(() => undefined))?.blocks ?? 0) * 512;
  return bytes;
}
