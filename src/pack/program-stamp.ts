/**
 * The last line of a single-file program: what it was built from, for which platform, and the digest of the bytes
 * before that line, so that a program of other source, or a damaged one, is recognized without running it. ELF loaders
 * ignore what follows the program.
 */
import { createHash } from "node:crypto";
import { constants, open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, digestOf, hexOf, parseHex } from "../io/digest.ts";
import { compareUtf8 } from "../io/text.ts";

/** The stamp of one program. */
export interface ProgramStamp {
  version: string;
  /** `linux-x64` or `linux-arm64`. */
  platform: string;
  /** {@link sourceDigest} of what it was built from. */
  source: Digest;
  /** Of all bytes before the stamp. */
  content: Digest;
}

/** No stamp is longer. */
const MAX_STAMP_BYTES = 300;
const STAMP = /\nairferry-program 1 (\S+) (\S+) ([0-9a-f]{64}) ([0-9a-f]{64})\n$/;

/** What is appended to the program. */
export function formatStamp({ version, platform, source, content }: ProgramStamp): string {
  return `\nairferry-program 1 ${version} ${platform} ${hexOf(source)} ${hexOf(content)}\n`;
}

/** Reads the stamp of a file and where it begins; undefined if the file cannot be read or has none. */
export async function readStamp(file: string): Promise<(ProgramStamp & { size: number; at: number }) | undefined> {
  // A pipe without a writer would wait for one.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) return undefined;
    const position = Math.max(0, stats.size - MAX_STAMP_BYTES);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_STAMP_BYTES), 0, MAX_STAMP_BYTES, position);
    const found = STAMP.exec(buffer.toString("latin1", 0, bytesRead));
    const [line, version, platform, sourceHex = "", contentHex = ""] = found ?? [];
    const source = parseHex(sourceHex);
    const content = parseHex(contentHex);
    if (line === undefined || version === undefined || platform === undefined || !source || !content) return undefined;
    return { version, platform, source, content, size: stats.size, at: stats.size - line.length };
  } catch {
    return undefined;
  } finally {
    await handle.close();
  }
}

/** Folders and files of a checkout that the bytes of a program depend on. */
const SOURCES = ["src", "manifests", "scripts/build-binary-parts", "scripts/lib/node.lock", "package-lock.json"];

/** The digest of all that a program is built from: names and bytes, in the order of names. */
export async function sourceDigest(root: string): Promise<Digest> {
  const files = await Promise.all(SOURCES.map((it) => filesBelow(root, it)));
  const sum = createHash("sha256");
  for (const name of files.flat().sort(compareUtf8)) {
    sum.update(`${hexOf(digestOf(await readFile(join(root, name))))}  ${name}\n`);
  }
  return `sha256:${sum.digest("hex")}`;
}

async function filesBelow(root: string, name: string): Promise<string[]> {
  const entries = await readdir(join(root, name), { withFileTypes: true }).catch(() => undefined);
  if (entries === undefined) return [name];
  const inside = entries.map((it) =>
    it.isDirectory() ? filesBelow(root, `${name}/${it.name}`) : [`${name}/${it.name}`],
  );
  return (await Promise.all(inside)).flat();
}
