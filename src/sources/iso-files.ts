/** The files of an ISO as ranges of it, for what is packed of it in parts. */
import { AirferryError } from "../errors.ts";
import type { Extent, RandomAccess } from "../io/types.ts";
import { IsoImage } from "../iso/iso-image.ts";

/** Smaller ones are not worth an operation of a recipe. */
const MIN_FILE_BYTES = 2048;
/** Ten times those of the largest real image. */
const MAX_FILES = 500_000;

/** The bytes of a file: extents that follow each other are one. */
export interface IsoFile {
  size: number;
  extents: readonly Extent[];
}

/**
 * The files of an ISO that share no bytes with each other, in the order of their first bytes: names, links and the
 * smallest ones do not matter. Of those that overlap the first counts, so that all of them together are no larger than
 * the image. Empty if it cannot be read as an ISO, or has too many.
 */
export async function isoFiles(bytes: RandomAccess, label: string): Promise<IsoFile[]> {
  const found = new Map<string, IsoFile>();
  try {
    const image = await IsoImage.open(bytes, label);
    for await (const { entry } of image.walk()) {
      if (entry.kind !== "file" || entry.unreadable !== undefined || entry.size < MIN_FILE_BYTES) continue;
      const extents = joined(entry.extents);
      // Several names of one file, as of hard links and boot images.
      if (found.size > MAX_FILES) return [];
      found.set(extents.map((it) => `${it.offset}+${it.size}`).join(), { size: entry.size, extents });
    }
  } catch (error) {
    if (error instanceof AirferryError && error.code === "ERR_ISO_INVALID") return [];
    throw error;
  }
  return withoutOverlaps([...found.values()]);
}

/** Extents of more than 4 GiB files usually follow each other. */
function joined(extents: readonly Extent[]): Extent[] {
  const all: Extent[] = [];
  for (const { offset, size } of extents) {
    const last = all.at(-1);
    if (last !== undefined && last.offset + last.size === offset) last.size += size;
    else if (size > 0) all.push({ offset, size });
  }
  return all;
}

function withoutOverlaps(files: IsoFile[]): IsoFile[] {
  const extents = files.flatMap((file) => file.extents.map((it) => ({ ...it, file })));
  extents.sort((a, b) => a.offset - b.offset || b.size - a.size);
  const dropped = new Set<IsoFile>();
  let end = 0;
  for (const { offset, size, file } of extents) {
    if (offset < end) dropped.add(file);
    else if (!dropped.has(file)) end = offset + size;
  }
  const first = ({ extents }: IsoFile) => extents[0]?.offset ?? 0;
  return files.filter((it) => !dropped.has(it)).sort((a, b) => first(a) - first(b));
}
