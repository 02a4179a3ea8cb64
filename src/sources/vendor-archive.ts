/**
 * The vendor's archive, `capi-image-builder-*.tgz`: unpacked once, as a stream, into the download cache, and added to
 * the manifest as separate entries: the builder's image, the loose RPMs and the kickstart files. docs/manifest.md,
 * "vendor".
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { ioError, makeFolder, writeAtomic } from "../io/atomic.ts";
import { hexOf, parseHex, RunningDigest } from "../io/digest.ts";
import { digestSchema, parseNote } from "../io/own-file.ts";
import { pathIn } from "../io/path-grammar.ts";
import { takeLock } from "../io/process-lock.ts";
import type { FileEntry, ImageEntry, Manifest, VendorEntry } from "../manifest/schema.ts";
import { compressionOf, inflateFault, inflaters, MAGIC_BYTES } from "./archive/inflate.ts";
import { readTarStream, type TarFile } from "./archive/tar-stream.ts";
import type { UnpackedVendor } from "./local-path.ts";

/** Name of the `rpms:` entry that its packages become. */
const VENDOR_RPMS = "vendor";

/** How many skipped members are reported by name. */
const MAX_NAMED = 10;

/**
 * The purpose of a member; undefined if it is not carried. The container of the yum server is: airferry serves
 * /rpmrepo/ itself.
 */
function partOf(path: string): "image" | "rpm" | "kickstart" | undefined {
  if (/(?:^|\/)rpmrepo\/(?:.*\/)?[^/]+\.rpm$/.test(path)) return "rpm";
  if (/(?:^|\/)kickstart\/[^/]+$/.test(path)) return "kickstart";
  if (/^(?:[^/]+\/)?[^/]+\.tar$/.test(path) && !/(?:^|\/)yum-repo[^/]*$/.test(path)) return "image";
  return undefined;
}

/**
 * What an archive was unpacked into, and its identity: recorded by size and times, so that it is read whole only once.
 */
const noteSchema = z.object({
  stamp: z.string(),
  /** Of the archive. */
  digest: digestSchema,
  /** Paths of the unpacked members, in the archive's order. */
  kept: z.array(z.string()),
  leftOut: z.array(z.string()),
});
type Note = z.output<typeof noteSchema>;
type Contents = Omit<Note, "stamp">;

export interface OpenedVendor {
  /** The manifest with the archive's entries instead of `vendor:`. */
  manifest: Manifest;
  unpacked: UnpackedVendor;
}

/**
 * Unpacks the archive of a manifest unless that is done already, and adds its parts to the manifest.
 * @throws {AirferryError} ERR_MANIFEST_INVALID for a file that is missing, has another digest, or holds no image;
 *   ERR_PATH_UNSAFE and ERR_UPSTREAM_INVALID for anything else than such an archive; ERR_SPACE, ERR_IO
 */
export async function openVendor(
  manifest: Manifest,
  entry: VendorEntry,
  baseDir: string,
  cacheDir: string,
  report: (line: string) => void,
): Promise<OpenedVendor> {
  const given = entry.archive;
  const file = isAbsolute(given) ? given : resolve(baseDir, given);
  const root = join(cacheDir, "vendor");
  const contents = await unpackArchive(file, given, root, report);
  const wanted = entry.sha256 === undefined ? undefined : parseHex(entry.sha256.toLowerCase());
  if (wanted !== undefined && wanted !== contents.digest) {
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot use vendor archive "${given}": digest mismatch: expected ${wanted}, got ${contents.digest}`,
      {
        path: given,
        expected: wanted,
        actual: contents.digest,
        hint: "download it again, or correct vendor.sha256",
      },
    );
  }
  return {
    manifest: withParts(manifest, given, contents),
    unpacked: { given, dir: join(root, hexOf(contents.digest)) },
  };
}

/** The manifest as if it named the parts one by one, before its own entries. */
function withParts(manifest: Manifest, given: string, { kept }: Contents): Manifest {
  const at = (path: string) => `${given}/${path}`;
  const images: ImageEntry[] = kept.filter((it) => partOf(it) === "image").map((it) => ({ archive: at(it) }));
  if (images.length === 0) {
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot use vendor archive "${given}": it has no builder image: expected a .tar next to kickstart/ and rpmrepo/`,
      { path: given, hint: "is it capi-image-builder-VERSION.tgz? other files go under images:, files: or rpms:" },
    );
  }
  const files: FileEntry[] = kept
    .filter((it) => partOf(it) === "kickstart")
    .map((it) => ({ path: at(it), as: it.replace(/^.*?(?=kickstart\/)/, "") }));
  const rpm = kept.find((it) => partOf(it) === "rpm");
  const folder = rpm && at((/^(?:.*?\/)?rpmrepo(?=\/)/.exec(rpm) as RegExpExecArray)[0]);
  const { vendor: _, ...rest } = manifest;
  return {
    ...rest,
    images: [...images, ...(manifest.images ?? [])],
    files: [...files, ...(manifest.files ?? [])],
    ...((folder !== undefined || manifest.rpms) && {
      rpms: [...(folder === undefined ? [] : [{ name: VENDOR_RPMS, path: folder }]), ...(manifest.rpms ?? [])],
    }),
  };
}

/** The content of an archive: from the record of an earlier run, else by unpacking it into the cache. */
async function unpackArchive(
  file: string,
  given: string,
  root: string,
  report: (line: string) => void,
): Promise<Contents> {
  const found = await stat(file).catch(() => undefined);
  if (!found?.isFile()) {
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot use vendor archive "${given}": ${found ? "not a regular file" : "no such file"}`,
      { path: given, hint: "paths in a manifest are relative to the manifest's own folder" },
    );
  }
  const stamp = [found.dev, found.ino, found.size, found.mtimeMs].join(" ");
  const stem = join(root, createHash("sha256").update(file).digest("hex"));
  await makeFolder(root);
  const held = await takeLock(`${stem}.lock`, given);
  try {
    const note = await readNote(`${stem}.json`);
    if (note?.stamp === stamp && (await isFolder(join(root, hexOf(note.digest))))) return note;
    report(`unpacking ${given}, once`);
    const part = `${stem}.part`;
    await rm(part, { recursive: true, force: true });
    await mkdir(part, { mode: 0o700 });
    const contents = await unpackInto(part, file, found.size, given);
    const target = join(root, hexOf(contents.digest));
    await rm(target, { recursive: true, force: true });
    await rename(part, target);
    await writeAtomic(`${stem}.json`, `${JSON.stringify({ ...contents, stamp })}\n`);
    if (note !== undefined && note.digest !== contents.digest) {
      await rm(join(root, hexOf(note.digest)), { recursive: true, force: true });
    }
    const { leftOut } = contents;
    const more = leftOut.length > MAX_NAMED ? ` and ${leftOut.length - MAX_NAMED} more` : "";
    if (leftOut.length > 0) report(`${given}: skipped ${leftOut.slice(0, MAX_NAMED).join(", ")}${more}`);
    return contents;
  } catch (cause) {
    await rm(`${stem}.part`, { recursive: true, force: true });
    throw cause instanceof AirferryError ? cause : ioError("unpack the vendor's archive into", root, cause);
  } finally {
    await held.release();
  }
}

/** Streams the archive: hashed, decompressed, and its parts written below `dir`. */
async function unpackInto(dir: string, file: string, size: number, given: string): Promise<Contents> {
  const compression = compressionOf(await headOf(file));
  const running = new RunningDigest();
  const source = createReadStream(file, { highWaterMark: 1 << 20 });
  source.on("data", (chunk) => running.update(Buffer.from(chunk)));
  const kept: string[] = [];
  const leftOut: string[] = [];
  const visit = async (member: TarFile): Promise<void> => {
    if (partOf(member.path) === undefined) leftOut.push(member.path);
    else {
      kept.push(member.path);
      await writeMember(pathIn(dir, member.path, `member of ${given}`), member);
    }
  };
  const read = (chunks: AsyncIterable<Uint8Array>) => readTarStream(chunks, given, visit);
  try {
    if (compression === undefined) await pipeline(source, read);
    else await pipeline(source, ...inflaters(compression, size, given), read);
  } catch (cause) {
    throw inflateFault(cause, given);
  }
  return { digest: running.digest(), kept, leftOut };
}

/** No member can replace another: names are new, and only folders and files are ever created. */
async function writeMember(path: string, { body, mtimeMs }: TarFile): Promise<void> {
  await makeFolder(dirname(path), 0o700);
  const handle: FileHandle = await open(path, "wx", 0o600);
  try {
    for await (const chunk of body) await handle.writeFile(chunk);
    // The archive's times, not the current one, so that unpacking again gives the same result.
    const time = new Date(mtimeMs ?? 0);
    await handle.utimes(time, time);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function headOf(file: string): Promise<Buffer> {
  const handle = await open(file, "r");
  try {
    const head = Buffer.alloc(MAGIC_BYTES);
    const { bytesRead } = await handle.read(head, 0, MAGIC_BYTES, 0);
    return head.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function readNote(path: string): Promise<Note | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  return text === undefined ? undefined : parseNote(noteSchema, text);
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (it) => it.isDirectory(),
    () => false,
  );
}
