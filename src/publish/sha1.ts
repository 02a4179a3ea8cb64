/** SHA-1 of stored files: the only checksum that Nexus reports. Compared with, never trusted. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { ioError } from "../io/atomic.ts";
import { currentSignal } from "../io/limit.ts";

const READ_BUFFER_BYTES = 1024 * 1024;

/** The SHA-1 of a file, lower-case hex. @throws {AirferryError} ERR_IO */
export async function sha1Of(file: string): Promise<string> {
  const hash = createHash("sha1");
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: READ_BUFFER_BYTES, signal: currentSignal() })) {
      hash.update(chunk);
    }
  } catch (cause) {
    throw ioError("read", file, cause);
  }
  return hash.digest("hex");
}
