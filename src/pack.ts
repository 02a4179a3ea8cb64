/**
 * The verb `pack`: lock → plan → fetch into place → sign → final name. A rerun continues where the last one stopped; a
 * rerun after success checks the finished bundle and fetches nothing.
 */
import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { checkFinished } from "./bundle/check-finished.ts";
import { finishBundle } from "./bundle/finish.ts";
import { INVENTORY_MEDIA_TYPE, type Inventory } from "./bundle/inventory-types.ts";
import { otherWorkFolders, WorkFolder, workFolderName } from "./bundle/work-folder.ts";
import { AirferryError } from "./errors.ts";
import { type FillProgress, fillBundle } from "./fill.ts";
import { HashPool } from "./io/hash-pool.ts";
import { verifySpace } from "./io/space.ts";
import { lock as lockManifest, lockTime } from "./lock.ts";
import { lockDigest, writeLock } from "./manifest/lock-file.ts";
import type { Lock } from "./manifest/lock-types.ts";
import { type Packed, readState, writeState } from "./manifest/state.ts";
import { plan as makePlan, type Plan, planContext, type RpmSigner } from "./plan.ts";
import { type Signer, signatureFiles } from "./sign/signer.ts";
import { sriOf } from "./sources/artifact.ts";
import { SOURCES } from "./sources/kinds.ts";
import type { ItemFault } from "./sources/types.ts";
import { TOOL } from "./version.ts";
import type { Workspace } from "./workspace.ts";

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
}

/** Quarantined packages change the metadata, which changes the plan; more rounds than this mean that something is wrong. */
const MAX_ROUNDS = 5;
/** Room for the inventory, signatures and journal beside the volumes. */
const SMALL_FILES_BYTES = 16 * 1024 * 1024;

/**
 * Packs what a manifest names.
 * @throws {AirferryError} ERR_UPSTREAM* (exit 4), ERR_MANIFEST_INVALID and ERR_LOCK_STALE (2), ERR_SPACE (1)
 */
export async function pack(workspace: Workspace, options: PackOptions): Promise<PackResult> {
  const pool = new HashPool();
  try {
    return await packWith(workspace, options, pool);
  } finally {
    await pool.close();
  }
}

async function packWith(workspace: Workspace, options: PackOptions, pool: HashPool): Promise<PackResult> {
  const report = options.report ?? (() => {});
  const state = await readState(workspace.paths.state);
  let { lock, changes } = await lockManifest(workspace, { frozen: options.frozen, pinFirstSight: false, fetchIsos: true, report });
  for (const { change, kind, name, path, before, after } of changes) {
    if (change === "changed" || path !== undefined)
      report(`${change} ${kind} ${path ?? name}: ${before ?? "-"} → ${after ?? "-"}`);
  }
  const earlier = await finishedBundle(workspace, lock, state?.last, options, pool);
  if (earlier !== undefined) return earlier;

  const serial = options.serial ?? (state?.serial ?? 0) + 1;
  const name = `${lock.stream}-${String(serial).padStart(6, "0")}`;
  const target = join(options.out, name);
  await mkdir(options.out, { recursive: true });
  if (await exists(target)) {
    throw new AirferryError("ERR_USAGE", `cannot pack "${name}": "${target}" exists and is not this bundle`, {
      path: target,
      hint: `choose another --out, or give --serial ${serial + 1}`,
    });
  }
  const faults: ItemFault[] = [];
  let totals = { fetchedBytes: 0, reusedBytes: 0 };
  for (let round = 1; ; round++) {
    lock = await pinUnsized(workspace, lock, options);
    const plan = await makePlan(workspace, lock, options.volumeSize, options.rpmSigner);
    await using work = await openWork(options.out, plan, pool);
    const filled = await fillBundle({ ...options, workspace, plan, work: work.folder, pool });
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
    const inventory = inventoryOf(workspace, lock, plan, volumes, filled.sha256Of, serial, state?.previous);
    await work.folder.close();
    const digest = await finishBundle({
      dir: work.folder.dir,
      target,
      inventory,
      ...(options.volumesPerMedium !== undefined && { volumesPerMedium: options.volumesPerMedium }),
      sign: async (sums) => (await Promise.all(options.signers.map((signer) => signatureFiles(sums, signer)))).flat(),
    });
    const { volumeSize, volumesPerMedium } = options;
    await writeState(workspace.paths.state, {
      stream: lock.stream,
      serial: Math.max(serial, state?.serial ?? 0),
      previous: { serial, sha256: digest },
      last: {
        lock: lockDigest(lock),
        name,
        digest,
        volumeSize,
        ...(volumesPerMedium !== undefined && { volumesPerMedium }),
      },
    });
    for (const folder of await otherWorkFolders(options.out, lock.stream, "")) {
      await rm(folder, { recursive: true, force: true });
    }
    for (const sha256 of filled.cached) await workspace.cache.remove(sha256);
    const size = inventory.volumes.reduce((sum, volume) => sum + volume.size, 0);
    const { stream } = lock;
    return {
      bundle: target,
      stream,
      serial,
      digest,
      packed: true,
      entries: inventory.entries.length,
      size,
      ...totals,
      faults,
    };
  }
}

/** The bundle of the last pack, when it is still what this lock would give; every file of it is hashed. */
async function finishedBundle(
  workspace: Workspace,
  lock: Lock,
  last: Packed | undefined,
  options: PackOptions,
  pool: HashPool,
): Promise<PackResult | undefined> {
  if (last === undefined || last.lock !== lockDigest(lock)) return undefined;
  if (last.volumeSize !== options.volumeSize || last.volumesPerMedium !== options.volumesPerMedium) return undefined;
  const serial = Number(last.name.slice(-6));
  if (options.serial !== undefined && options.serial !== serial) return undefined;
  const bundle = join(options.out, last.name);
  if (!(await exists(bundle))) return undefined;
  (options.report ?? (() => {}))(`checking ${bundle}, which was packed from this very lock`);
  const checked = await checkFinished(bundle, pool, last.digest);
  if (checked.problems.length > 0) {
    throw new AirferryError(
      "ERR_BUNDLE_INVALID",
      `cannot use finished bundle "${bundle}": it was changed since it was packed`,
      {
        path: bundle,
        problems: checked.problems,
        hint: `move it away and run airferry pack ${workspace.file} again`,
      },
    );
  }
  return {
    bundle,
    stream: lock.stream,
    serial,
    digest: last.digest,
    packed: false,
    entries: checked.entries,
    size: checked.size,
    fetchedBytes: 0,
    reusedBytes: 0,
    faults: [],
  };
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
      const { sha256, size, etag } = await workspace.cache.download(workspace.fetcher, artifact.urls);
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
  const notAfter = workspace.manifest.expires && expiry(created, workspace.manifest.expires);
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

const DAYS = { d: 1, w: 7, m: 30, y: 365 } as const;

/** `created` plus a span such as 90d, in RFC 3339. */
function expiry(created: string, span: string): string {
  const days = Number(span.slice(0, -1)) * DAYS[span.at(-1) as keyof typeof DAYS];
  return `${new Date(Date.parse(created) + days * 86_400_000).toISOString().slice(0, 19)}Z`;
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
