/** A look into a compressed tar: which archives of images lie in it. */
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { type Compression, inflaters } from "./inflate.ts";
import { readTarStream } from "./tar-stream.ts";

/** So many bytes of a file are looked at: the names of a vendor's archives come early, and an image's own list somewhere. */
const MAX_LOOK_BYTES = 16 * 1024 ** 3;

/** Thrown to end the look. */
class Enough extends Error {}

/** Tells the archives that a vendor packs from the layers of an older image archive, `ID/layer.tar`. */
export function isArchiveName(path: string): boolean {
  return /^(?:[^/]+\/)?[^/]+\.tar$/.test(path) && !path.endsWith("/layer.tar");
}

/**
 * The `.tar` members of a compressed tar, in its order. None for a compressed image archive (it has a list of its own), for what
 * is no tar, and for what cannot be read: this is for a hint alone, and never throws.
 */
export async function archivesIn(
  file: string,
  name: string,
  compression: Compression,
  size: number,
): Promise<string[]> {
  const found: string[] = [];
  let seen = 0;
  try {
    const read = (chunks: AsyncIterable<Uint8Array>) =>
      readTarStream(chunks, name, async (member) => {
        seen += member.size;
        if (/^(?:oci-layout|index\.json|manifest\.json|repositories)$/.test(member.path)) {
          found.length = 0;
          throw new Enough();
        }
        if (isArchiveName(member.path)) found.push(member.path);
        if (seen > MAX_LOOK_BYTES) throw new Enough();
      });
    await pipeline(createReadStream(file), ...inflaters(compression, size, name), read);
  } catch {
    // What is found until then is a hint as good.
  }
  return found;
}
