/**
 * The quarantine of one bundle while it is being unpacked: what is there from an earlier run, and what is still needed. Everything
 * here is private to the unpacking process and outside of what is served.
 */
import { mkdirSync } from "node:fs";
import { readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder, syncPath, writeAtomic } from "../io/atomic.ts";
import { incomingFolder } from "./layout.ts";

const STATE_FILE = "bundle.json";

/** What status tells about a bundle that is not wholly here. */
export interface IncomingState {
  stream: string;
  epoch: number;
  serial: number;
  /** `sha256:` of its SHA256SUMS. */
  digest: string;
  /** Volumes that a further medium must bring; empty while one is being read. */
  missing: string[];
}

/** Bytes on disk that partial entries of a bundle hold already, from earlier runs. */
export async function bytesWaiting(root: string, digest: string): Promise<number> {
  const parts = join(incomingFolder(root, digest), "parts");
  let bytes = 0;
  for (const name of await readdir(parts).catch(() => [])) bytes += (await stat(join(parts, name))).blocks * 512;
  return bytes;
}

/** The quarantine folder of one bundle. */
export class Incoming {
  readonly dir: string;
  /** Volumes that are wholly taken in. */
  readonly doneVolumes: Set<string>;

  private constructor(dir: string, doneVolumes: Set<string>) {
    this.dir = dir;
    this.doneVolumes = doneVolumes;
  }

  /** Opens the folder of a bundle, making it where needed; unfinished small files of an earlier run are dropped. */
  static async open(root: string, digest: string): Promise<Incoming> {
    const dir = incomingFolder(root, digest);
    await makeFolder(dir, 0o700);
    await rm(join(dir, "small"), { recursive: true, force: true });
    // Many folders: threads that make files in one folder wait for each other.
    for (let byte = 0; byte < 256; byte++) {
      mkdirSync(join(dir, "small", byte.toString(16).padStart(2, "0")), { recursive: true });
    }
    mkdirSync(join(dir, "parts"), { recursive: true });
    mkdirSync(join(dir, "done"), { recursive: true });
    return new Incoming(dir, new Set(await readdir(join(dir, "done"))));
  }

  /** Where a small entry is written before it is a blob. */
  smallFile(sha256: string): string {
    return join(this.dir, "small", sha256.slice(0, 2), sha256);
  }

  /** A large entry that is copied from its start: what is there is a prefix of it. */
  partFile(sha256: string): string {
    return join(this.dir, "parts", sha256);
  }

  /** A large entry whose pieces come with several media, each at its own place. */
  piecesFile(sha256: string): string {
    return join(this.dir, "parts", `${sha256}.pieces`);
  }

  /** Remembers that a volume was good and its pieces are on disk. */
  async markDone(volume: string): Promise<void> {
    const file = join(this.dir, "done", volume);
    await writeFile(file, "");
    await syncPath(file);
    await syncPath(join(this.dir, "done"));
    this.doneVolumes.add(volume);
  }

  /** Forgets volumes again, whose pieces turned out to be damaged on this disk. */
  async forget(volumes: readonly string[]): Promise<void> {
    for (const it of volumes) {
      await rm(join(this.dir, "done", it), { force: true });
      this.doneVolumes.delete(it);
    }
  }

  async saveState(state: IncomingState): Promise<void> {
    await writeAtomic(join(this.dir, STATE_FILE), `${JSON.stringify(state)}\n`);
  }

  async remove(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}
