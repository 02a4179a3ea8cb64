/**
 * Resources shared by all responses of one site: open files, memory, and limits on waiting responses. The site creates
 * one, the router passes it with each request; modules have no state.
 */
import { BufferPool } from "./buffers.ts";
import { SharedFiles } from "./handles.ts";
import { BlobMemory } from "./memory.ts";
import { PendingResponses } from "./pending-responses.ts";

const BLOB_MEMORY_BYTES = 32 * 1024 * 1024;

/** Created at the start of a site; {@link SharedFiles.closeIdle} closes its files. */
export class Resources {
  readonly files = new SharedFiles();
  readonly buffers = new BufferPool();
  readonly blobs = new BlobMemory(BLOB_MEMORY_BYTES);
  readonly waiting = new PendingResponses();
}
