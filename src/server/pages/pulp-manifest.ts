/**
 * `PULP_MANIFEST`: the list that a file remote of Pulp syncs from, for `/files/`, `/isos/` and every directory below.
 * Lines are `path,sha256,size`, with paths below the list's directory, as pulp_file writes and reads them.
 */
import type { InventoryEntry } from "../../bundle/inventory-types.ts";
import { digestOf, hexOf } from "../../io/digest.ts";
import { sendBlob } from "../http/blob.ts";
import type { ServerRequest, TreeView } from "../http/context.ts";
import { isDirectory, pathsBelow } from "./entry-tree.ts";
import type { PageCache } from "./page-cache.ts";

const NAME = "PULP_MANIFEST";
const PATH = /^((?:files|isos)(?:\/.+)?)\/PULP_MANIFEST$/;

/** Answers with the list of a directory that has one; false for other paths. Entries of that name come first. */
export async function sendPulpManifest(
  request: ServerRequest,
  path: string,
  view: TreeView,
  pages: PageCache,
): Promise<boolean> {
  const [, directory] = PATH.exec(path) ?? [];
  if (directory === undefined) return false;
  if (!isDirectory(view, directory, request.stream)) return false;
  const { stream } = request;
  const key = JSON.stringify([NAME, directory, stream]);
  const bytes = pages.document(view, key, () => manifestOf(view, directory, stream));
  const digest = digestOf(bytes);
  await sendBlob(request, { bytes, size: bytes.length, digest, contentType: "text/plain; charset=utf-8" });
  return true;
}

/** Has at most this many bytes besides its path: comma, digest, comma, size, line feed. */
const LINE_BYTES = 1 + 64 + 1 + 16 + 1;
const NOTE_BYTES = 200;

function manifestOf(view: TreeView, directory: string, stream: string | undefined): Buffer {
  // Pages that nothing is written to take no memory.
  const buffer = Buffer.allocUnsafeSlow(NOTE_BYTES + mostBytes(view, `${directory}/`, stream));
  let end = NOTE_BYTES;
  let leftOut = 0;
  for (const { path: whole, entries } of pathsBelow(view, directory, stream)) {
    const path = whole.slice(directory.length + 1);
    const [{ digest, size }] = entries as [InventoryEntry];
    // One path with several contents is a 404, and ends a whole sync; some names would be read as others.
    if (isWritable(path) && entries.every((it) => it.digest === digest))
      end += buffer.write(`${path},${hexOf(digest)},${size}\n`, end);
    else leftOut++;
  }
  const note = `# left out: ${leftOut} with several contents, or with a name that ${NAME} cannot have\n`;
  const start = NOTE_BYTES - (leftOut > 0 ? note.length : 0);
  if (leftOut > 0) buffer.write(note, start);
  return buffer.subarray(start, end);
}

function mostBytes({ releases }: TreeView, prefix: string, stream: string | undefined): number {
  let bytes = 0;
  for (const { stream: name, inventory } of releases) {
    if (stream !== undefined && stream !== name) continue;
    const { entries } = inventory;
    const [first, end] = entries.range(prefix);
    for (let index = first; index < end; index++) bytes += entries.pathBytesAt(index) + LINE_BYTES;
  }
  return bytes;
}

/** A line that begins with `#` is a comment, and blanks around a path are removed. */
function isWritable(path: string): boolean {
  return !path.startsWith("#") && path.trim() === path;
}
