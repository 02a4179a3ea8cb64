/**
 * What all answers of one site share: open files, memory, and the limits on what waits. The site makes one, the router hands it
 * on with each request; no module keeps anything of its own.
 */
import { BufferPool } from "./buffers.ts";
import { SharedFiles } from "./handles.ts";
import { BlobMemory } from "./memory.ts";
import { PendingResponses } from "./pending-responses.ts";

const BLOB_MEMORY_BYTES = 32 * 1024 * 1024;

/** Made at the start of a site; {@link SharedFiles.closeIdle} ends what it holds open. */
export class Resources {
  readonly files = new SharedFiles();
  readonly buffers = new BufferPool();
  readonly blobs = new BlobMemory(BLOB_MEMORY_BYTES);
  readonly waiting = new PendingResponses();
}
