/**
 * Resources shared by all responses of one site: open files, memory, and limits on waiting responses. The site creates
 * one, the router passes it with each request; modules have no state.
 */
import { readFileSync } from "node:fs";
import { BufferPool } from "./buffers.ts";
import { type FileSource, type FindHeld, SharedFiles } from "./handles.ts";
import { PendingResponses } from "./pending-responses.ts";
import type { ReadCheck } from "./read-check.ts";
import type { ReadGuard } from "./read-guard.ts";
import { SmallFiles } from "./small-files.ts";

const SMALL_FILES_BYTES = 8 * 1024 * 1024;
const MAX_KEPT_HANDLES = 4096;

/** Sends clients elsewhere for large content. */
interface Redirects {
  /** From this size on, in bytes. */
  above: number;
  /** Where the content is that has a path here; undefined: nowhere. @throws when nobody is there now */
  urlOf(path: string): Promise<string | undefined>;
}

/** Made at the start of a site; {@link Resources.closeIdle} ends what it holds open. */
export class Resources {
  readonly files: SharedFiles;
  readonly buffers: BufferPool;
  readonly small: SmallFiles;
  readonly waiting: PendingResponses;
  /** Of generated pages that are kept: hashing a large one again would cost more than sending it. */
  readonly etags = new WeakMap<Buffer, string>();
  /** Set where clients may be sent elsewhere. */
  redirect: Redirects | undefined;
  /** How many sites there are in this process: what it may have of a kind is divided among them. */
  readonly sites: number;

  constructor(guard?: ReadGuard, sites = 1, findHeld?: FindHeld, check?: ReadCheck, source?: FileSource) {
    this.files = new SharedFiles(findHeld, check, source);
    this.sites = sites;
    this.buffers = new BufferPool(sites);
    this.waiting = new PendingResponses(sites);
    const handles = Math.floor(keptHandles() / sites);
    this.small = new SmallFiles(this.files, { bytes: SMALL_FILES_BYTES, handles }, guard);
  }

  /** Closes every file that nobody is reading. */
  closeIdle(): void {
    this.small.closeIdle();
    this.files.closeIdle();
  }
}

/** A quarter of the descriptors that this process may have; most of them are for connections. */
function keptHandles(): number {
  let limit = 1024;
  try {
    limit = Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? limit);
  } catch {
    // Not Linux: what every system allows at least.
  }
  return Math.min(limit >> 2, MAX_KEPT_HANDLES);
}
