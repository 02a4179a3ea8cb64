/**
 * `rollback`: serves an older release of a stream again, without its medium: all of it is still in the store. The floor
 * stays where it is, so that bundles that were refused before are refused afterwards.
 */
import { join } from "node:path";
import type { Inventory, InventoryEntry } from "./bundle/inventory-types.ts";
import { AirferryError } from "./errors.ts";
import { writeAtomic } from "./io/atomic.ts";
import type { Digest } from "./io/digest.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { plural } from "./io/format.ts";
import { shellWord } from "./io/shell.ts";
import { raiseFloor } from "./store/import-release.ts";
import { readKnownDamage } from "./store/known-damage.ts";
import { CURRENT_FILE, streamFolder } from "./store/layout.ts";
import { withStore } from "./store/object-store.ts";
import type { Store } from "./store/store.ts";
import { recordDeed, recordFailure } from "./store/store-journal.ts";
import type { Release } from "./store/types.ts";

interface RollbackOptions {
  /** Default: the only one. */
  stream?: string;
  /** The serial, or the name of a release as its folder has it; default: the one before the served one. */
  to?: string;
  /** The time to compare an expiry date with; default now. */
  now?: Date;
  /** Called with what was odd about the store's journal. */
  notice?: (line: string) => void;
}

/** One release as the report names it. */
interface Named {
  epoch: number;
  serial: number;
  digest: Digest;
}

/** What `rollback --json` prints. */
interface RollbackReport {
  stream: string;
  /** What was served before; null: nothing, or a release whose record is damaged. */
  from: Named | null;
  to: Named & { created: string; notAfter: string | null };
  /** False: it was served already. */
  changed: boolean;
  /** The release has expired; it is served nevertheless. */
  expired: boolean;
  /** Bundles up to this one are still refused. */
  floor: { epoch: number; serial: number };
}

/**
 * Makes another release of a store the current one.
 * @throws {AirferryError} ERR_USAGE for several streams and no name; ERR_NOT_FOUND; ERR_BUSY; ERR_STORE_INVALID when
 *   the release or the floor is damaged, or blobs of it are missing
 */
export async function rollback(dir: string, options: RollbackOptions = {}): Promise<RollbackReport> {
  keepHeapSmall();
  return withStore(dir, async (store) => {
    try {
      return await serveOther(store, options);
    } catch (error) {
      const { stream } = options;
      await recordFailure(store, { action: "rollback", ...(stream && { bundle: { stream } }) }, error, options);
      throw error;
    }
  });
}

async function serveOther(store: Store, options: RollbackOptions): Promise<RollbackReport> {
  const lock = await store.lock();
  try {
    await store.loadBlobs();
    const stream = await chosenStream(store, options.stream);
    const folder = streamFolder(store.dir, stream);
    const current = await store.currentName(stream);
    const name = await chosenRelease(store, stream, current, options.to);
    const release = await readHead(store, stream, name, (it) => checkBlobs(store, it));
    const read = async (it: string | undefined) =>
      it === undefined || it === name ? release : readHead(store, stream, it).catch(ignoreDamage);
    const before = current === undefined ? undefined : await read(current);
    // The rule does not become weaker because a file of the store was lost.
    const [newest] = (await store.releaseNames(stream)).reverse();
    const last = newest === current ? before : await read(newest);
    for (const it of [before, release, last]) if (it !== undefined) await raiseFloor(store, it.inventory, it);
    const floor = await store.floor(stream);
    if (name !== current) await writeAtomic(join(folder, CURRENT_FILE), `${name}\n`);
    const result = name === current ? "already" : "done";
    const from = before && { epoch: before.inventory.epoch, serial: before.serial };
    const bundle = { stream, ...named(release) };
    const { signers } = release;
    await recordDeed(store, { action: "rollback", result, bundle, signers, ...(from && { from }) }, options);
    await store.save();
    const { created, notAfter } = release.inventory;
    const now = options.now ?? new Date();
    return {
      stream,
      from: before === undefined ? null : named(before),
      to: { ...named(release), created, notAfter: notAfter ?? null },
      changed: name !== current,
      expired: notAfter !== undefined && now.getTime() > Date.parse(notAfter),
      floor: { epoch: floor?.epoch ?? release.inventory.epoch, serial: floor?.serial ?? release.serial },
    };
  } finally {
    await lock.release();
  }
}

/** Of a release what is left when its inventory is not needed any more. */
type Head = Pick<Release, "serial" | "digest" | "signers" | "importedAt"> & {
  inventory: Pick<Inventory, "stream" | "epoch" | "serial" | "created" | "notAfter">;
};

/** @param look at all of it, before it is dropped */
async function readHead(
  store: Store,
  stream: string,
  name: string,
  look: (release: Release) => Promise<void> = async () => {},
): Promise<Head> {
  return store.look(stream, name, async (release) => {
    await look(release);
    const { serial, digest, signers, importedAt, inventory } = release;
    const { epoch, created, notAfter } = inventory;
    const head = { stream, epoch, serial, created, ...(notAfter !== undefined && { notAfter }) };
    return { serial, digest, signers, importedAt, inventory: head };
  });
}

function named({ inventory, serial, digest }: Head): Named {
  return { epoch: inventory.epoch, serial, digest };
}

function ignoreDamage(error: unknown): undefined {
  if (!(error instanceof AirferryError)) throw error;
}

async function chosenStream(store: Store, wanted: string | undefined): Promise<string> {
  const streams = await store.streams();
  const [only, another] = streams;
  if (wanted === undefined && only !== undefined && another === undefined) return only;
  if (wanted !== undefined && streams.includes(wanted)) return wanted;
  const known = streams.length === 0 ? "it has no stream" : `it has ${streams.map((it) => `"${it}"`).join(", ")}`;
  if (wanted === undefined && streams.length > 0) {
    throw new AirferryError("ERR_USAGE", `cannot roll back store "${store.dir}": ${known}: name one of them`, {
      hint: `airferry rollback --store ${shellWord(store.dir)} --stream ${shellWord(only ?? "NAME")}`,
    });
  }
  const what = wanted === undefined ? "" : `no stream "${wanted}": `;
  throw new AirferryError("ERR_NOT_FOUND", `cannot roll back store "${store.dir}": ${what}${known}`, {
    path: store.dir,
    hint: `airferry status --store ${shellWord(store.dir)}`,
  });
}

/** The folder name of the release to serve. */
async function chosenRelease(
  store: Store,
  stream: string,
  current: string | undefined,
  to: string | undefined,
): Promise<string> {
  const names = await store.releaseNames(stream);
  // The highest epoch comes last.
  const found =
    to === undefined
      ? names[names.indexOf(current ?? "") - 1]
      : (names.find((it) => it === to) ?? names.findLast((it) => /^\d+$/.test(to) && serialOf(it) === Number(to)));
  if (found !== undefined) return found;
  const fault =
    to === undefined
      ? current === undefined
        ? "it serves no release"
        : `no release before ${current} is in the store`
      : `no release ${to} is in the store`;
  const have = names.length === 0 ? "it has none" : `it has ${names.join(", ")}`;
  const hint =
    to === undefined
      ? "unpack an older bundle from its medium: airferry unpack BUNDLE --trust KEY --allow-rollback --store"
      : "choose one that is in the store: airferry status --store";
  throw new AirferryError("ERR_NOT_FOUND", `cannot roll back stream "${stream}": ${fault}; ${have}`, {
    path: streamFolder(store.dir, stream),
    hint: `${hint} ${shellWord(store.dir)}`,
  });
}

function serialOf(name: string): number {
  return Number(name.slice(name.lastIndexOf("-") + 1));
}

/** Refuses a release that could not be served. Content is not hashed: what is known to be damaged counts. */
async function checkBlobs(store: Store, { stream, serial, inventory }: Release): Promise<void> {
  const damaged = await readKnownDamage(store.dir);
  const { entries } = inventory;
  let count = 0;
  let first: InventoryEntry | undefined;
  for (let index = 0; index < entries.length; index++) {
    const digest = entries.digestAt(index);
    if (!damaged.has(digest) && store.hasBlob(digest, entries.sizeAt(index))) continue;
    count++;
    first ??= entries.at(index);
  }
  if (first === undefined) return;
  throw new AirferryError(
    "ERR_STORE_INVALID",
    `cannot roll back stream "${stream}" to serial ${serial}: ${plural(count, "file")} of it missing or damaged in the store, first "${first.path}"`,
    {
      path: store.blobPath(first.digest),
      hint: `repair it from its bundle: airferry fsck --store ${shellWord(store.dir)} --repair-from BUNDLE --trust KEY`,
    },
  );
}
