/**
 * The quarantine of one bundle while it is being unpacked: what an earlier run left, and what is still needed. Private
 * to the unpacking process and never served.
 */
import { appendFileSync, mkdirSync } from "node:fs";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ifThere, ioError, makeFolder, syncPath, writeAtomic } from "../io/atomic.ts";
import { type Digest, hexOf, parseHex } from "../io/digest.ts";
import { DigestSet } from "../io/digest-set.ts";
import { digestSchema, parseNote } from "../io/own-file.ts";
import { readSmall } from "../io/safe-open.ts";
import { incomingFolder } from "./layout.ts";

const STATE_FILE = "bundle.json";
const MAX_STATE_BYTES = 1024 * 1024;
const BLOBS_FILE = "blobs";

const stateSchema = z.strictObject({
  stream: z.string(),
  epoch: z.int().min(0),
  serial: z.int().min(0),
  /** Of its SHA256SUMS. */
  digest: digestSchema,
  /** Volumes that another medium must provide; empty while one is being read. */
  missing: z.array(z.string()),
  /** Names of the media that were read so far, if they have names of a set: `medium-1-of-3`. */
  media: z.array(z.string()).exactOptional(),
});

/** What status reports about an incomplete bundle. */
export type IncomingState = z.output<typeof stateSchema>;

const MEDIUM = /^medium-(\d+)-of-(\d+)$/;

/** Returns whether a folder name is that of a medium of a set. */
export function isMediumName(name: string): boolean {
  return MEDIUM.test(name);
}

/** Media of the set that were not read yet, according to the names of those that were; empty if unknown. */
export function mediaToCome(media: readonly string[] = []): string[] {
  const read = media.map((it) => MEDIUM.exec(it)).filter((it) => it !== null);
  const totals = new Set(read.map((it) => Number(it[2])));
  const [total] = totals;
  if (total === undefined || totals.size > 1 || total > 10_000) return [];
  const numbers = new Set(read.map((it) => Number(it[1])));
  return Array.from({ length: total }, (_, index) => index + 1)
    .filter((it) => !numbers.has(it))
    .map((it) => `medium-${it}-of-${total}`);
}

/**
 * The recorded state of every unfinished import of a store; folders without one are skipped. Null for users other than
 * the store's owner, who may not read them.
 */
export async function readIncoming(storeDir: string): Promise<IncomingState[] | null> {
  const root = join(storeDir, "incoming");
  const states: IncomingState[] = [];
  const names = readdir(root).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "EACCES") return null;
    throw error;
  });
  const found = await ifThere(root, names);
  if (found === null) return null;
  for (const name of (found ?? []).sort()) {
    const state = await readIncomingState(join(root, name));
    if (state !== undefined) states.push(state);
  }
  return states;
}

/** The recorded state of the unfinished import in a folder; undefined if unreadable. */
export async function readIncomingState(folder: string): Promise<IncomingState | undefined> {
  const text = await readSmall(join(folder, STATE_FILE), MAX_STATE_BYTES).catch(() => undefined);
  return text && parseNote(stateSchema, text.toString());
}

/** Bytes on disk of a bundle's partial entries from earlier runs. */
export async function bytesWaiting(root: string, digest: Digest): Promise<number> {
  const parts = join(incomingFolder(root, digest), "parts");
  let bytes = 0;
  for (const name of await readdir(parts).catch(() => [])) bytes += (await stat(join(parts, name))).blocks * 512;
  return bytes;
}

/** Digests of the blobs that the import of a bundle has created so far. */
export async function importedBlobs(root: string, digest: Digest): Promise<DigestSet> {
  const bytes = await readFile(join(incomingFolder(root, digest), BLOBS_FILE)).catch(() => Buffer.alloc(0));
  const found = new DigestSet();
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf("\n", at);
    const line = parseHex(bytes.toString("latin1", at, end < 0 ? bytes.length : end));
    if (line !== undefined) found.add(line);
    at = end < 0 ? bytes.length : end + 1;
  }
  return found;
}

/** The quarantine folder of one bundle. */
export class Incoming {
  readonly dir: string;
  /** Completely imported volumes. */
  readonly doneVolumes: Set<string>;

  private constructor(dir: string, doneVolumes: Set<string>) {
    this.dir = dir;
    this.doneVolumes = doneVolumes;
  }

  /** Opens the folder of a bundle, creating it if needed; unfinished small files of an earlier run are dropped. */
  static async open(root: string, digest: Digest): Promise<Incoming> {
    const dir = incomingFolder(root, digest);
    await makeFolder(dir, 0o700);
    mkdirSync(join(dir, "parts"), { recursive: true, mode: 0o700 });
    mkdirSync(join(dir, "done"), { recursive: true, mode: 0o700 });
    const incoming = new Incoming(dir, new Set(await readdir(join(dir, "done"))));
    await incoming.dropSmall();
    return incoming;
  }

  /** Drops small files that have not become blobs. */
  async dropSmall(): Promise<void> {
    await rm(join(this.dir, "small"), { recursive: true, force: true });
    // Many folders: threads that create files in one folder wait for each other.
    for (let byte = 0; byte < 256; byte++) {
      mkdirSync(join(this.dir, "small", byte.toString(16).padStart(2, "0")), { recursive: true, mode: 0o700 });
    }
  }

  /** Records blobs that this import created, so that they need not be hashed again for a later medium. */
  noteBlobs(digests: readonly Digest[]): void {
    if (digests.length === 0) return;
    const file = join(this.dir, BLOBS_FILE);
    try {
      // The leading newline ends a line torn by a kill.
      appendFileSync(file, `\n${digests.map(hexOf).join("\n")}\n`, { mode: 0o600 });
    } catch (error) {
      throw ioError("write", file, error);
    }
  }

  /** Path of a small entry before it becomes a blob. */
  smallFile(digest: Digest): string {
    const hex = hexOf(digest);
    return join(this.dir, "small", hex.slice(0, 2), hex);
  }

  /** A large entry copied from its start: the existing file is a prefix of it. */
  partFile(digest: Digest): string {
    return join(this.dir, "parts", hexOf(digest));
  }

  /** A large entry whose pieces come from several media, each at its own offset. */
  piecesFile(digest: Digest): string {
    return join(this.dir, "parts", `${hexOf(digest)}.pieces`);
  }

  /** What a stream notes of that file: which pieces are good. Whoever else writes to it removes the note. */
  piecesNote(digest: Digest): string {
    return `${this.piecesFile(digest)}.good`;
  }

  /** Records that a volume was good and its pieces are on disk. */
  async markDone(volume: string): Promise<void> {
    const file = join(this.dir, "done", volume);
    await writeFile(file, "");
    await syncPath(file);
    await syncPath(join(this.dir, "done"));
    this.doneVolumes.add(volume);
  }

  /** Removes volumes whose pieces are damaged on this disk. */
  async forget(volumes: readonly string[]): Promise<void> {
    for (const it of volumes) {
      await rm(join(this.dir, "done", it), { force: true });
      this.doneVolumes.delete(it);
    }
  }

  /** The state that an earlier run recorded. */
  state(): Promise<IncomingState | undefined> {
    return readIncomingState(this.dir);
  }

  async saveState(state: IncomingState): Promise<void> {
    await writeAtomic(join(this.dir, STATE_FILE), `${JSON.stringify(state)}\n`);
  }

  async remove(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}
