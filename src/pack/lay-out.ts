/**
 * Step 2 of a pack: from the lock to every file of the bundle at its offset, without touching the network.
 * Fetched files come first in the stream and generated ones last, so that generated content can depend on fetched
 * content.
 */
import { parseBuilder } from "../builder/builder.ts";
import { checkEntryPaths } from "../bundle/entry-paths.ts";
import type { Provenance, WrittenCatalog } from "../bundle/inventory-types.ts";
import { placeEach } from "../bundle/tar-layout.ts";
import { volumeName, volumeSizes } from "../bundle/volume-layout.ts";
import { AirferryError } from "../errors.ts";
import { type Digest, isDigest } from "../io/digest.ts";
import { releaseMemory } from "../io/flat-memory.ts";
import { plural } from "../io/format.ts";
import { formatIntegrity, type Integrity, sha256In } from "../io/integrity.ts";
import { redactUrl } from "../io/redact.ts";
import { LockFolder } from "../manifest/lock-folder.ts";
import { sourcesOf } from "../sources/kinds.ts";
import { entriesOfKind, type Lock } from "../sources/lock-document.ts";
import type { PlanContext, PlanItem } from "../sources/types.ts";
import type { HeldThere } from "./held-there.ts";
import { type LeftOutItem, leaveOut, type Recipes, type SizedItem } from "./left-out.ts";
import type { Workspace } from "./workspace.ts";

/** An item of known size, at its position in the stream. */
export interface LaidItem extends PlanItem {
  size: number;
  /** Its digest in the lock; absent if pinned on first sight or generated. */
  locked?: Integrity;
  /** First byte of its tar header records. */
  headerOffset: number;
  /** First byte of its content. */
  offset: number;
  /** Of its bytes, once they are in place. */
  digest: Digest | undefined;
}

/** What the kinds of content add to. */
type PlannedCatalog = Omit<WrittenCatalog, "provenance">;

/** An item whose bytes another one carries. */
interface TwinItem {
  item: SizedItem;
  carrier: LaidItem;
}

export interface Plan {
  stream: string;
  /** In stream order. */
  items: LaidItem[];
  /** Not in the stream. */
  twins: TwinItem[];
  /** Not in the stream: the far side has them, or builds them. */
  leftOut: LeftOutItem[];
  /** Paths of unknown size: not laid out yet, and offsets after them are not final. */
  unsized: PlanItem[];
  catalog: WrittenCatalog;
  streamSize: number;
  volumeSize: number;
  volumes: { name: string; size: number }[];
  /** Paths that differ only by case: legal, but not on every file system that a tree is unpacked to. */
  caseTwins: [string, string][];
}

/** From here on, a collection of all garbage pays: a layout leaves as much as it keeps. */
const MANY_ITEMS = 20_000;
/** Larger than any kickstart file; also the limit of `airferry render`. */
const MAX_KICKSTART_BYTES = 4 * 1024 * 1024;

/** What a plan needs of the bundle's RPM key; without it repository signatures are only planned, with their size. */
export interface RpmSigner {
  /** Detached armored signature with this time. */
  sign(bytes: Uint8Array, time: Date): Promise<Uint8Array>;
  publicKey: Uint8Array;
}

/**
 * Lays out what a lock names.
 * @throws {AirferryError} ERR_MANIFEST_INVALID when two entries have the same path, ERR_PATH_UNSAFE for names that a
 *   bundle may not contain
 */
export async function layOutBundle(
  workspace: Workspace,
  lock: Lock,
  volumeSize: number,
  signer?: RpmSigner,
  held?: HeldThere,
  recipes?: Recipes,
): Promise<Plan> {
  const context = planContext(workspace, lock, signer);
  const catalog: PlannedCatalog = { isos: [], files: [], rpms: [], images: [], keys: [] };
  const withCheck = await kickstartChecks(workspace);
  const all: PlanItem[] = [];
  const carriedAt = pathsByDigest(all);
  for await (const source of sourcesOf(lock.entries)) {
    const part = await source.plan(entriesOfKind(lock, source.kind), { ...context, carriedAt });
    for (const item of part.items) all.push(withCheck(item));
    for (const [key, values] of Object.entries(part.catalog)) addTo(catalog, key as keyof PlannedCatalog, values);
  }
  const items = onePerPath(all);
  const ordered = [
    ...items.filter((it) => it.source.from !== "generated"),
    ...items.filter((it) => it.source.from === "generated"),
  ];
  const sized = ordered.filter((it): it is PlanItem & { size: number } => it.size !== undefined);
  const { problems, caseTwins } = checkEntryPaths(ordered.map((it) => it.path));
  if (problems.length > 0) {
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot plan ${lock.stream}: ${plural(problems.length, "name")} not allowed in a bundle`,
      {
        problems: problems.slice(0, 100),
        hint: "give them other names with as:",
      },
    );
  }
  const { rest, leftOut } = await leaveOut(sized, held);
  const planned = await recipes?.plan(rest);
  const { parts = [] } = planned ?? {};
  const isMade = (it: SizedItem) => it.source.from === "generated";
  // In the place of what they are parts of: before what is made of the others.
  const left = planned === undefined ? rest : placedBefore(planned.rest, parts, isMade);
  const { carried, carriers } = carriedOnce(left);
  if (carried.length > MANY_ITEMS) releaseMemory();
  // The same objects: there may be 500,000.
  const streamSize = placeEach(carried, (item, headerOffset, offset) => {
    Object.assign(item, { headerOffset, offset, digest: undefined }, lockedDigest(item));
  });
  const laid = carried as (SizedItem & LaidItem)[];
  return {
    stream: lock.stream,
    items: laid,
    twins: [...carriers].map(([item, index]) => ({ item, carrier: laid[index] as LaidItem })),
    leftOut: [...leftOut, ...(planned?.built ?? [])],
    unsized: ordered.filter((it) => it.size === undefined),
    catalog: { ...catalog, provenance: provenanceOf([...ordered, ...parts]) },
    streamSize,
    volumeSize,
    volumes: volumeSizes(streamSize, volumeSize).map((size, index) => ({ name: volumeName(index), size })),
    caseTwins,
  };
}

/** A list with further items before the first that `isLater`. */
function placedBefore<T>(items: readonly T[], more: readonly T[], isLater: (it: T) => boolean): readonly T[] {
  if (more.length === 0) return items;
  const at = items.findIndex(isLater);
  return at < 0 ? [...items, ...more] : [...items.slice(0, at), ...more, ...items.slice(at)];
}

/** Looks for bytes among the items that are there when it is first asked: another path of them may do. */
function pathsByDigest(items: readonly PlanItem[]): NonNullable<PlanContext["carriedAt"]> {
  let paths: Map<string, string> | undefined;
  return (digest, size) => {
    if (paths === undefined) {
      paths = new Map();
      for (const it of items) {
        const sum = it.source.from === "kept" ? it.source.digest : sha256In(it.integrity);
        if (sum !== undefined && it.source.from !== "generated") paths.set(`${sum} ${it.size}`, it.path);
      }
    }
    return paths.get(`${digest} ${size}`);
  };
}

/** Adds a source's part; of kinds that not every reader knows there is a list only if something is in it. */
function addTo<K extends keyof PlannedCatalog>(
  catalog: PlannedCatalog,
  key: K,
  values: PlannedCatalog[K] | undefined,
): void {
  const list: unknown[] = (catalog[key] as unknown[] | undefined) ?? [];
  for (const it of values ?? []) list.push(it);
  Object.assign(catalog, list.length > 0 && { [key]: list });
}

/**
 * Leaves out items that have the same locked digest as an earlier one. What is pinned on first sight is carried each
 * time: whether it is the same is known too late.
 */
function carriedOnce<I extends PlanItem & { size: number }>(
  items: readonly I[],
): { carried: I[]; carriers: Map<I, number> } {
  const carried: I[] = [];
  const carriers = new Map<I, number>();
  const places = new Map<string, number>();
  for (const item of items) {
    const { locked } = lockedDigest(item);
    const carrier = locked === undefined ? undefined : places.get(locked);
    if (carrier !== undefined && carried[carrier]?.size === item.size) {
      carriers.set(item, carrier);
      continue;
    }
    if (locked !== undefined) places.set(locked, carried.length);
    carried.push(item);
  }
  return { carried, carriers };
}

/** The locked digest of an item: what is pinned on first sight is only compared with the journal. */
function lockedDigest({ source, established, integrity }: PlanItem): { locked?: Integrity } {
  const locked = source.from === "kept" ? source.digest : established === "first-sight" ? undefined : integrity;
  return locked === undefined || source.from === "generated" ? {} : { locked };
}

/** The planning context of sources. */
export function planContext(workspace: Workspace, lock: Lock, signer?: RpmSigner): PlanContext {
  return {
    manifest: workspace.manifest,
    baseDir: workspace.paths.baseDir,
    unpacked: workspace.unpacked,
    kept: new LockFolder(workspace.paths.kept),
    time: lock.time,
    fetcher: workspace.fetcher,
    ...(signer && {
      rpmPublicKey: signer.publicKey,
      signRpmMetadata: (bytes: Uint8Array) => signer.sign(bytes, new Date(lock.time)),
    }),
  };
}

/** URL, path, or other source of an item's bytes, for messages and the inventory. */
export function sourceName(item: PlanItem): string {
  const { source, origin } = item;
  if (origin !== undefined) return redactUrl(origin);
  switch (source.from) {
    case "url":
      return redactUrl(source.urls[0] ?? "");
    case "file":
      // Parts of a file are nothing that it is named after.
      return source.extents === undefined ? (source.file.split("/").at(-1) ?? "") : "generated";
    case "kept":
      return "lock";
    case "generated":
      return "generated";
  }
}

/** A line for each item, made when it is read: of 200,000 there need not be a list. */
function provenanceOf(items: readonly PlanItem[]): Iterable<Provenance> {
  return {
    *[Symbol.iterator]() {
      for (const it of items) yield lineOf(it);
    },
  };
}

function lineOf(item: PlanItem): Provenance {
  return {
    path: item.path,
    // Readers that do not know of web answers know files.
    kind: item.kind === "web" ? "file" : item.kind,
    source: sourceName(item),
    established: item.established,
    ...(item.signedBy && { signedBy: item.signedBy }),
    ...(item.integrity !== undefined && !isDigest(item.integrity) && { integrity: formatIntegrity(item.integrity) }),
  };
}

function onePerPath(items: readonly PlanItem[]): PlanItem[] {
  const seen = new Map<string, PlanItem>();
  for (const item of items) {
    const earlier = seen.get(item.path);
    if (earlier === undefined) seen.set(item.path, item);
    else if (earlier.integrity !== item.integrity || earlier.size !== item.size || item.source.from === "generated") {
      throw new AirferryError(
        "ERR_MANIFEST_INVALID",
        `cannot plan "${item.path}": two entries of the manifest have this path`,
        {
          path: item.path,
          hint: "give one of them another name, or as:",
        },
      );
    }
  }
  return [...seen.values()];
}

/** The builder's kickstart file is checked once its bytes are available. */
async function kickstartChecks(workspace: Workspace): Promise<(item: PlanItem) => PlanItem> {
  const builder = parseBuilder(workspace.manifest.builder);
  if (builder === undefined) return (item) => item;
  const { checkPackedKickstart, isKickstart } = await import("../builder/kickstart-findings.ts");
  const look: PlanItem["look"] = async (bytes) =>
    bytes.size > MAX_KICKSTART_BYTES
      ? []
      : checkPackedKickstart(Buffer.from(await bytes.read(0, bytes.size)).toString("utf8"), builder);
  return (item) => (isKickstart(item.path, builder.kickstart) ? { ...item, look } : item);
}
