/**
 * The files inside an ISO as contents of the pool. What was found in one is kept beside the tree, so that an image is
 * read once, however often the tree is written.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ifThere, writeAtomic } from "../io/atomic.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import { hexDigestSchema, parseNote } from "../io/own-file.ts";
import { checkPath } from "../io/path-grammar.ts";
import { isoFault } from "../iso/fault.ts";
import { IsoImage } from "../iso/iso-image.ts";
import type { StoredFile, TreeContents } from "./types.ts";

/** How often as much as the image may be read, of files that overlap. */
const MAX_READ_FACTOR = 2;

const notesSchema = z.strictObject({
  isoMembersVersion: z.literal(1),
  /** Path, size and SHA-256. */
  files: z.array(z.tuple([z.string(), z.int().min(0), hexDigestSchema])),
  folders: z.array(z.string()),
  /** Path, and the path that it leads to. */
  links: z.array(z.tuple([z.string(), z.string()])),
  /** Path, and why it was left out. */
  leftOut: z.array(z.tuple([z.string(), z.string()])),
});

/** What is inside an image; paths are legal, those of links too. */
export type IsoMembers = Omit<z.output<typeof notesSchema>, "isoMembersVersion">;

/**
 * Puts the files inside an image into the pool, from the copy of the image that is there.
 * @param dir where notes about images are kept
 * @throws {AirferryError} ERR_ISO_INVALID; ERR_IO, ERR_SPACE
 */
export async function readIsoMembers(
  iso: Pick<StoredFile, "digest" | "size">,
  name: string,
  pool: TreeContents,
  dir: string,
): Promise<IsoMembers> {
  const file = join(dir, `${hexOf(iso.digest)}.json`);
  const known = await readNotes(file, iso.digest, pool);
  if (known !== undefined) return known;
  const { bytes, close } = await pool.openImage(iso.digest);
  try {
    const members = await extract(await IsoImage.open(bytes, `${name}.iso`), iso, pool);
    const files = members.files.map(([path, size, digest]) => [path, size, hexOf(digest)]);
    await writeAtomic(file, `${JSON.stringify({ isoMembersVersion: 1, ...members, files })}\n`);
    return members;
  } finally {
    await close();
  }
}

/** Undefined when there are none, or something of them is no longer in the pool. */
async function readNotes(file: string, iso: Digest, pool: TreeContents): Promise<IsoMembers | undefined> {
  const text = await ifThere(file, readFile(file, "utf8"));
  const known = text === undefined ? undefined : parseNote(notesSchema, text);
  if (known === undefined) return undefined;
  for (const [path, size, digest] of known.files) if (!(await pool.has(digest, size, { iso, path }))) return undefined;
  return known;
}

async function extract(
  image: IsoImage,
  iso: Pick<StoredFile, "digest" | "size">,
  pool: TreeContents,
): Promise<IsoMembers> {
  const members: IsoMembers = { files: [], folders: [], links: [], leftOut: [] };
  const digests = new Map<string, [number, Digest]>();
  // Several names may share their bytes, and a hostile image may say so of all of them.
  const known = new Map<string, Digest>();
  let left = MAX_READ_FACTOR * iso.size;
  for await (const { entry, path } of image.walk()) {
    const fault = checkPath(path);
    if (fault !== undefined) members.leftOut.push([path, fault]);
    else if (entry.kind === "directory") members.folders.push(path);
    else if (entry.kind === "file" && entry.unreadable === undefined) {
      const member = image.member(entry);
      const key = member.extents.map((it) => `${it.offset}+${it.size}`).join(" ");
      let digest = known.get(key);
      if (digest === undefined) {
        left -= member.size;
        if (left < 0)
          throw isoFault(image.label, entry.recordOffset, "its files are larger than the image", {
            hint: "serve it whole: --isos none",
          });
        digest = await pool.addAll(member, { iso: iso.digest, path });
        known.set(key, digest);
      }
      digests.set(path, [member.size, digest]);
      members.files.push([path, member.size, digest]);
    } else if (entry.kind === "symlink") {
      const target = await image.find(path);
      // As a server does, which follows no link out of the image.
      if (target === undefined || checkPath(target.path || "x") !== undefined)
        members.leftOut.push([path, "it is a link that leads nowhere in the image"]);
      else members.links.push([path, target.path]);
    } else members.leftOut.push([path, entry.unreadable ?? "it is a device"]);
  }
  const isFile = ([, to]: [string, string]) => digests.has(to);
  for (const link of members.links.filter(isFile)) {
    const [path, to] = link;
    const found = digests.get(to);
    if (found !== undefined) members.files.push([path, ...found]);
  }
  members.links = members.links.filter((it) => !isFile(it));
  return members;
}
