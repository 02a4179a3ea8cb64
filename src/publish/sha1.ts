/** SHA-1 of stored files: the only checksum that Nexus reports. Compared with, never trusted. */
import { createHash } from "node:crypto";
import { type PackedBlob, readPackedBlob } from "../store/packed-blob.ts";

/** The SHA-1 of a blob, lower-case hex. @throws {AirferryError} as {@link readPackedBlob} */
export async function sha1Of(blob: PackedBlob): Promise<string> {
  const hash = createHash("sha1");
  for await (const chunk of readPackedBlob(blob)) hash.update(chunk);
  return hash.digest("hex");
}
