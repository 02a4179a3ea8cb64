/**
 * Finds the members of a tar file by its headers alone: contents are skipped, so an archive of many gigabytes is listed
 * in milliseconds and its blobs are later copied directly from it. Nothing is ever extracted.
 */
import { Header, Pax } from "tar";
import { AirferryError } from "../../errors.ts";

/**
 * One regular file of the archive, or a link to be looked up by name: from the archive's top (hard), or from its own
 * folder.
 */
type TarMember = { offset: number; size: number } | { link: string; hard: boolean };

/** Source of headers, read at ascending positions: a file, or a stream that cannot seek back. */
interface TarBytes {
  read(buffer: Buffer, at: number, length: number, position: number): Promise<{ bytesRead: number }>;
}

const BLOCK = 512;
const MAX_MEMBERS = 200_000;
/** Of a long name or pax record. */
const MAX_META_BYTES = 1024 * 1024;
const FILES = new Set(["File", "OldFile", "ContiguousFile"]);
const PASSED_OVER = new Set(["Directory", "GNUDumpDir", "TapeVolumeHeader"]);

/**
 * Lists a tar file's members by their normalised names. Links are noted, never followed to the file system.
 * @param fileSize bytes, or Infinity if only reading tells
 * @param visit called for each regular file when its header is read, before anything after it
 * @throws {AirferryError} ERR_PATH_UNSAFE for names that leave the archive; ERR_UPSTREAM_INVALID for devices, sparse
 *   files, truncation, too many members, and other formats
 */
export async function indexTar(
  handle: TarBytes,
  fileSize: number,
  name: string,
  visit?: (offset: number, size: number) => Promise<void>,
): Promise<Map<string, TarMember>> {
  const members = new Map<string, TarMember>();
  const block = Buffer.alloc(BLOCK);
  let local: Pax | undefined;
  let global: Pax | undefined;
  let longPath: string | undefined;
  let longLink: string | undefined;
  let position = 0;
  let count = 0;
  for (;;) {
    // Every writer ends with empty blocks. Without them members are missing, possibly layers whose absence nobody would
    // notice.
    if (position + BLOCK > fileSize)
      throw invalid(name, position === 0 ? "it is not a tar file" : "its end is missing");
    await readFully(handle, block, position, name);
    const header = headerOf(block, local, global);
    if (header?.nullBlock) break;
    if (!header?.cksumValid)
      throw invalid(name, position === 0 ? "it is not a tar file" : `its header at ${position} is damaged`);
    const size = header.size ?? 0;
    const body = position + BLOCK;
    if (!Number.isSafeInteger(size) || size < 0 || body + size > fileSize) {
      throw invalid(name, `it is truncated: a member at ${position} has ${size} bytes, ${fileSize - body} are left`);
    }
    position = body + Math.ceil(size / BLOCK) * BLOCK;
    if (++count > MAX_MEMBERS) throw invalid(name, `it has more than ${MAX_MEMBERS} members`);
    const { type } = header;
    const meta = async (): Promise<string> => {
      if (size > MAX_META_BYTES)
        throw invalid(name, `a record of ${size} bytes at ${body}: expected at most ${MAX_META_BYTES}`);
      const bytes = Buffer.alloc(size);
      await readFully(handle, bytes, body, name);
      return bytes.toString("utf8");
    };
    if (type === "ExtendedHeader" || type === "OldExtendedHeader") {
      local = Pax.parse(await meta(), local);
      continue;
    }
    if (type === "GlobalExtendedHeader") {
      global = Pax.parse(await meta(), global, true);
      continue;
    }
    if (type === "NextFileHasLongPath" || type === "OldGnuLongPath") {
      longPath = (await meta()).replace(/\0.*$/s, "");
      continue;
    }
    if (type === "NextFileHasLongLinkpath") {
      longLink = (await meta()).replace(/\0.*$/s, "");
      continue;
    }
    const path = normalise(longPath ?? header.path ?? "", name);
    const link = longLink ?? header.linkpath ?? "";
    local = undefined;
    longPath = undefined;
    longLink = undefined;
    if (FILES.has(type) && !path.endsWith("/")) {
      members.set(path, { offset: body, size });
      await visit?.(body, size);
    } else if (type === "SymbolicLink" || type === "Link") members.set(path, { link, hard: type === "Link" });
    else if (!PASSED_OVER.has(type) && !FILES.has(type)) {
      throw invalid(name, `member "${path.slice(0, 200)}" is a ${type}: expected files, folders and links`);
    }
  }
  return members;
}

/** The header reader throws for invalid numbers, which is what any other file begins with. */
function headerOf(block: Buffer, local: Pax | undefined, global: Pax | undefined): Header | undefined {
  try {
    return new Header(block, 0, local, global);
  } catch {
    return undefined;
  }
}

/**
 * Finds a regular file by name. A link counts when it leads, in one step, to a regular file of the same archive: older
 * docker and podman write symbolic ones for layers that occur twice, tar hard ones. @throws {AirferryError}
 * ERR_PATH_UNSAFE for any other
 */
export function findMember(
  members: ReadonlyMap<string, TarMember>,
  path: string,
  name: string,
): { offset: number; size: number } | undefined {
  const member = members.get(path);
  if (member === undefined || !("link" in member)) return member;
  const from = member.hard ? "" : path;
  const steps = member.link.startsWith("/") ? undefined : resolveInside(from, member.link);
  const target = steps === undefined ? undefined : members.get(steps);
  if (target === undefined || "link" in target) {
    throw new AirferryError(
      "ERR_PATH_UNSAFE",
      `cannot read archive "${name}": "${path}" is a link to "${member.link.slice(0, 200)}": expected a file of the archive`,
      { path: name, hint: "save the image again with a current docker, podman or skopeo" },
    );
  }
  return target;
}

function resolveInside(from: string, link: string): string | undefined {
  const steps = from.split("/").slice(0, -1);
  for (const step of link.split("/")) {
    if (step === "" || step === ".") continue;
    if (step !== "..") steps.push(step);
    else if (steps.pop() === undefined) return undefined;
  }
  return steps.join("/");
}

function normalise(path: string, name: string): string {
  const bare = path.replace(/^(?:\.\/+)+/, "");
  if (bare.startsWith("/") || bare.includes("\0") || bare.split(/[/\\]/).includes("..")) {
    throw new AirferryError(
      "ERR_PATH_UNSAFE",
      `cannot read archive "${name}": member "${path.slice(0, 200)}" is outside the archive`,
      {
        path: name,
        hint: "docker, podman and skopeo do not write this; do not use this file",
      },
    );
  }
  return bare;
}

async function readFully(handle: TarBytes, buffer: Buffer, position: number, name: string): Promise<void> {
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await handle.read(buffer, done, buffer.length - done, position + done);
    if (bytesRead === 0) throw invalid(name, `it ends at ${position + done}`);
    done += bytesRead;
  }
}

function invalid(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read archive "${name}": ${fault}`, {
    path: name,
    hint: "copy the file again, or save the image again",
  });
}
