/**
 * The releases that a stream ever had in a store, as far as their records are there: told from the evidence of each
 * import and the first keys of its inventory, so that large inventories are not parsed for one line each.
 */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { INVENTORY_NAME } from "../bundle/media-names.ts";
import { AirferryError } from "../errors.ts";
import { readImport } from "./release-record.ts";
import type { PastRelease } from "./types.ts";

/** What precedes the volumes and entries of an inventory is far shorter. */
const HEAD_BYTES = 4096;

/**
 * Reads the records of releases in a stream's folder, in the order of their names; those that are unreadable are left
 * out.
 */
export async function readHistory(
  dir: string,
  names: readonly string[],
  current: string | undefined,
): Promise<PastRelease[]> {
  const found: PastRelease[] = [];
  for (const name of names) {
    const folder = join(dir, name);
    try {
      const [{ digest, importedAt, signers, rolledBack }, head] = [await readImport(folder), await readHead(folder)];
      found.push({
        name,
        digest,
        importedAt,
        signers,
        rolledBack: rolledBack === true,
        current: name === current,
        ...head,
      });
    } catch (error) {
      // Pruned meanwhile, or damaged: `status` tells.
      if (!(error instanceof AirferryError)) throw error;
    }
  }
  return found;
}

/** Names that the operator gave to the files of a release's trusted keys, by keyid. */
export async function readSignerNames(folder: string): Promise<Record<string, string>> {
  return (await readImport(folder)).names ?? {};
}

/** The keys that an inventory begins with; its form is canonical, so their order is known. */
async function readHead(folder: string): Promise<Pick<PastRelease, "serial" | "created" | "notAfter">> {
  const file = join(folder, INVENTORY_NAME);
  try {
    const handle = await open(file, "r");
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
      const text = buffer.toString("utf8", 0, bytesRead);
      const { serial, created, notAfter } = JSON.parse(`${text.slice(0, text.indexOf(',"lock":'))}}`);
      return { serial: Number(serial), created: String(created), ...(notAfter && { notAfter: String(notAfter) }) };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw new AirferryError("ERR_STORE_INVALID", `cannot read "${file}": ${(cause as Error).message}`, {
      path: file,
      cause,
    });
  }
}
