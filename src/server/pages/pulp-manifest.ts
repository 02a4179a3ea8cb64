/**
 * `PULP_MANIFEST`: the list that a file remote of Pulp syncs from, for `/files/`, `/isos/` and every directory below.
 * Lines are `path,sha256,size`, with paths below the list's directory, as pulp_file writes and reads them.
 */
import type { InventoryEntry } from "../../bundle/inventory-types.ts";
import { digestOf, hexOf } from "../../io/digest.ts";
import { compareUtf8 } from "../../io/text.ts";
import { sendBlob } from "../http/blob.ts";
import type { ServerRequest, TreeView } from "../http/context.ts";
import { entriesBelow } from "./entry-tree.ts";

const NAME = "PULP_MANIFEST";
const PATH = /^((?:files|isos)(?:\/.+)?)\/PULP_MANIFEST$/;

/** Answers with the list of a directory that has one; false for other paths. Entries of that name come first. */
export async function sendPulpManifest(request: ServerRequest, path: string, view: TreeView): Promise<boolean> {
  const [, directory] = PATH.exec(path) ?? [];
  if (directory === undefined) return false;
  const text = manifestOf(view, directory, request.stream);
  if (text === undefined) return false;
  const bytes = Buffer.from(text);
  const digest = digestOf(bytes);
  await sendBlob(request, { bytes, size: bytes.length, digest, contentType: "text/plain; charset=utf-8" });
  return true;
}

function manifestOf(view: TreeView, directory: string, stream: string | undefined): string | undefined {
  const found = new Map<string, InventoryEntry>();
  const leftOut = new Set<string>();
  for (const entry of entriesBelow(view, directory, stream)) {
    const path = entry.path.slice(directory.length + 1);
    const other = found.get(path);
    // One path with several contents is a 404, and ends a whole sync; some names would be read as others.
    if ((other !== undefined && other.digest !== entry.digest) || !isWritable(path)) leftOut.add(path);
    found.set(path, entry);
  }
  if (found.size === 0) return undefined;
  const listed = [...found].filter(([path]) => !leftOut.has(path)).sort(([a], [b]) => compareUtf8(a, b));
  const lines = listed.map(([path, { digest, size }]) => `${path},${hexOf(digest)},${size}\n`);
  const note = `# left out: ${leftOut.size} with several contents, or with a name that ${NAME} cannot have\n`;
  return `${leftOut.size > 0 ? note : ""}${lines.join("")}`;
}

/** A line that begins with `#` is a comment, and blanks around a path are removed. */
function isWritable(path: string): boolean {
  return !path.startsWith("#") && path.trim() === path;
}
