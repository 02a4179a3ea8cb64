/** The verb `plan`: what a pack would put into a bundle, where, and from where. Fetches metadata only. */

import { AirferryError } from "./errors.ts";
import type { Digest } from "./io/digest.ts";
import { publishedAlgorithm, sha256In } from "./io/integrity.ts";
import type { Established } from "./io/types.ts";
import { type WantedLine, wantedLines } from "./manifest/wanted-lines.ts";
import { type LeftOutRow, leftOutIn, whyIn } from "./manifest/why.ts";
import { layOutBundle, type Plan, sourceName } from "./pack/lay-out.ts";
import { type Resolved, resolveManifest } from "./pack/resolve.ts";
import type { Workspace } from "./pack/workspace.ts";
import { userUrlsOf } from "./sources/recorded-urls.ts";
import type { PlanItem } from "./sources/types.ts";
import { readWanted, wantedUrls } from "./wanted/wanted-file.ts";

export interface PlanOptions {
  report?: (line: string) => void;
  /** Called with what is locked as soon as it is. */
  onResolved?: (resolved: Resolved) => void;
}

interface PlanResult extends Resolved {
  plan: Plan;
  rows: PlanRows;
  /** Conditional dependencies that nothing in the bundle satisfies. */
  leftOut: LeftOutRow[];
}

/**
 * Resolves what has no lock yet, and lays out what a pack would write.
 * @param volumeSize bytes
 * @throws {AirferryError} ERR_UPSTREAM* (exit 4), ERR_MANIFEST_INVALID and ERR_PATH_UNSAFE (2)
 */
export async function plan(workspace: Workspace, volumeSize: number, options: PlanOptions = {}): Promise<PlanResult> {
  const resolved = await resolveForPlan(workspace, options);
  const laid = await layOutBundle(workspace, resolved.lock, volumeSize);
  return { ...resolved, plan: laid, rows: rowsOf(laid), leftOut: leftOutIn(resolved.lock) };
}

/**
 * `plan --why`: why a package or file is in the bundle, one line for each reason, most direct first.
 * @throws {AirferryError} ERR_USAGE when nothing has that name; and as {@link plan}
 */
export async function why(workspace: Workspace, name: string, options: PlanOptions = {}): Promise<string[]> {
  return whyIn((await resolveForPlan(workspace, options)).lock, name);
}

/**
 * `plan --wanted`: which line of the manifest would bring each URL of a list that was carried out of the gap.
 * @throws {AirferryError} ERR_USAGE for another file, ERR_NOT_FOUND, ERR_PATH_UNSAFE, ERR_SIZE_LIMIT; and as
 *   {@link plan}
 */
export async function explainWanted(
  workspace: Workspace,
  file: string,
  options: PlanOptions = {},
): Promise<{ dropped: number; wanted: WantedLine[] }> {
  const read = await readWanted(file);
  const { lock } = await resolveForPlan(workspace, options);
  const { manifest } = workspace;
  const explain = (offered?: ReadonlyMap<string, ReadonlySet<string>>) =>
    wantedLines(wantedUrls(read), manifest, lock, (entry) => userUrlsOf(entry, manifest), offered);
  const first = explain();
  const names = new Set(first.flatMap((it) => it.repository ?? []));
  if (names.size === 0) return { dropped: read.dropped, wanted: first };
  return { dropped: read.dropped, wanted: explain(await offeredIn(workspace, names, options)) };
}

/** Names of the packages that repositories of the manifest offer; one that cannot be read is reported and left out. */
async function offeredIn(
  { manifest, paths, unpacked, fetcher }: Workspace,
  names: ReadonlySet<string>,
  { report = () => {} }: PlanOptions,
): Promise<Map<string, ReadonlySet<string>>> {
  const { offeredPackages } = await import("./sources/rpm/offered-packages.ts");
  const context = { baseDir: paths.baseDir, unpacked, fetcher, report };
  const found = new Map<string, ReadonlySet<string>>();
  for (const entry of manifest.rpms ?? []) {
    if (!names.has(entry.name)) continue;
    const offered = await offeredPackages(entry, context).catch((error: unknown) => {
      if (!(error instanceof AirferryError)) throw error;
      report(error.message);
      return undefined;
    });
    if (offered !== undefined) found.set(entry.name, offered);
  }
  return found;
}

async function resolveForPlan(workspace: Workspace, { report, onResolved }: PlanOptions): Promise<Resolved> {
  const resolved = await resolveManifest(workspace, { pinFirstSight: false, ...(report && { report }) });
  onResolved?.(resolved);
  return resolved;
}

/** One row of `plan --json`. */
export interface PlanRow {
  path: string;
  size: number | null;
  /** Null: pinned at pack, or generated from what is fetched. */
  digest: Digest | null;
  kind: string;
  source: string;
  established: Established;
  /** Of the digest that was published, signed or given: `sha512`, …. */
  algorithm?: string;
}

/** Sorted by path. Each is made when it is read, any number of times: there may be 500,000. */
interface PlanRows extends Iterable<PlanRow> {
  readonly length: number;
}

function rowsOf(plan: Plan): PlanRows {
  const items: PlanItem[] = [...plan.items, ...plan.twins.map((it) => it.item), ...plan.unsized];
  items.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  return {
    length: items.length,
    *[Symbol.iterator]() {
      for (const it of items) yield rowOf(it);
    },
  };
}

function rowOf(item: PlanItem): PlanRow {
  return {
    path: item.path,
    size: item.size ?? null,
    digest: item.source.from === "kept" ? item.source.digest : (sha256In(item.integrity) ?? null),
    kind: item.kind,
    source: sourceName(item),
    established: item.established,
    ...publishedAlgorithm(item.established, item.integrity),
  };
}
