/**
 * `diff`: what changed between two releases: bundles, releases of a store, or what a lock pins. Asks for no trust and
 * says so; an inventory is only read when it has the digest that SHA256SUMS gives.
 */
import { stat } from "node:fs/promises";
import { readContents } from "./bundle/contents.ts";
import { readMedia } from "./bundle/media.ts";
import { type Comparison, compare } from "./compare/compare.ts";
import { type Content, contentOfInventory, contentOfLock } from "./compare/content.ts";
import { AirferryError } from "./errors.ts";
import { inventoryDropped, keepHeapSmall } from "./io/flat-memory.ts";
import { shellWord } from "./io/shell.ts";
import { readLock } from "./sources/lock-document.ts";
import { withStore } from "./store/object-store.ts";
import type { Store } from "./store/store.ts";

/** Which of two things was compared. */
export interface Side extends Pick<Content, "stream" | "epoch" | "serial" | "created" | "signers"> {
  kind: "bundle" | "release" | "lock";
  /** As it was named. */
  name: string;
  /** Signatures were checked, which is so for releases of a store only. */
  verified: boolean;
}

/** What `diff --json` prints. */
export interface DiffReport extends Comparison {
  before: Side;
  after: Side;
}

/** Where names are looked up. */
interface DiffOptions {
  /**
   * A store: then both names are of its releases, `STREAM` for the one that is served, `STREAM-000001`,
   * `STREAM/000001`.
   */
  store?: string | undefined;
}

/**
 * Compares two bundles (folders), locks (files), or releases of a store.
 * @throws {AirferryError} ERR_NOT_FOUND; ERR_BUNDLE_INVALID …, ERR_LOCK_INVALID, ERR_STORE_INVALID when one cannot be
 *   read
 */
export async function diff(before: string, after: string, options: DiffOptions = {}): Promise<DiffReport> {
  keepHeapSmall();
  const compared = async (read: (name: string) => Promise<Read>): Promise<DiffReport> => {
    const old = await read(before);
    inventoryDropped(old.content.files);
    const fresh = await read(after);
    inventoryDropped(fresh.content.files);
    return { before: old.side, after: fresh.side, ...compare(old.content, fresh.content) };
  };
  if (options.store === undefined) return compared(readSide);
  return withStore(options.store, async (store) => compared(await releaseReader(store)));
}

interface Read {
  side: Side;
  content: Content;
}

function sideOf(kind: Side["kind"], name: string, content: Content): Read {
  const { stream, epoch, serial, created, signers } = content;
  return { side: { kind, name, verified: kind === "release", stream, epoch, serial, created, signers }, content };
}

async function readSide(name: string): Promise<Read> {
  const found = await stat(name).catch((cause: NodeJS.ErrnoException) => {
    throw new AirferryError(
      cause.code === "ENOENT" ? "ERR_NOT_FOUND" : "ERR_IO",
      `cannot compare "${name}": expected a bundle's folder or a lock: ${cause.code === "ENOENT" ? "no such file" : cause.message}`,
      { path: name, hint: "for releases of a store: airferry diff STREAM-000001 STREAM-000002 --store DIR", cause },
    );
  });
  if (found.isDirectory()) return readBundle(name);
  if (/\.ya?ml$/.test(name)) {
    const lock = name.replace(/\.ya?ml$/, ".lock.json");
    throw new AirferryError("ERR_USAGE", `cannot compare "${name}": a manifest pins nothing, its lock does`, {
      path: name,
      hint: `name its lock, ${shellWord(lock)}, which airferry lock ${shellWord(name)} writes`,
    });
  }
  const lock = await readLock(name);
  if (lock === undefined)
    throw new AirferryError("ERR_NOT_FOUND", `cannot read lock "${name}": no such file`, { path: name });
  return sideOf("lock", name, contentOfLock(lock));
}

async function readBundle(name: string): Promise<Read> {
  const media = await readMedia([name]);
  const { contents, problems } = await readContents(media);
  if (contents === undefined) {
    const first = problems[0];
    throw new AirferryError(
      first?.code ?? "ERR_BUNDLE_INVALID",
      `cannot compare "${name}": ${first?.message ?? "no inventory"}`,
      { path: first?.path, problems, hint: `for details run: airferry verify ${shellWord(name)} --trust KEY` },
    );
  }
  const signers = [...new Set(media.signatures.map((it) => it.name.slice(0, 16)))];
  return sideOf("bundle", name, contentOfInventory(contents.inventory, signers));
}

async function releaseReader(store: Store): Promise<(name: string) => Promise<Read>> {
  const dir = store.name;
  const streams = await store.streams();
  const known: { stream: string; release: string }[] = [];
  for (const stream of streams) {
    for (const release of await store.releaseNames(stream)) known.push({ stream, release });
  }
  return async (name) => {
    const current = streams.includes(name) ? await store.currentName(name) : undefined;
    const found = known.find(({ stream, release }) =>
      current === undefined
        ? [`${stream}-${release}`, `${stream}/${release}`].includes(name)
        : stream === name && release === current,
    );
    if (found === undefined) {
      const names = known.map((it) => `${it.stream}-${it.release}`).join(", ");
      throw new AirferryError(
        "ERR_NOT_FOUND",
        `cannot compare "${name}": no such release in "${dir}": ${names || "it has none"}`,
        {
          path: name,
          hint: `list them with: airferry status --store ${shellWord(dir)}`,
        },
      );
    }
    const release = await store.release(found.stream, found.release);
    return sideOf("release", name, contentOfInventory(release.inventory, release.signers));
  };
}
