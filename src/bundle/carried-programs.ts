/** Programs in bin/ of a bundle, for hosts that have no airferry. docs/format.md, "Programs". */
import { createHash } from "node:crypto";
import { chmod, constants, copyFile, open } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { ioError, makeFolder } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { throwIfAborted } from "../io/limit.ts";
import { BIN_NAME } from "./media-names.ts";
import type { SumLine } from "./sums.ts";

/** A program to bring. */
export interface Program {
  /** Its name in bin/: `airferry-` and the platform. */
  name: string;
  file: string;
  size: number;
  /** How many of its bytes are before its stamp, and their digest. */
  stampAt: number;
  content: Digest;
}

const CHUNK_BYTES = 1024 * 1024;

/**
 * Copies programs into bin/ of a bundle and returns their lines of SHA256SUMS. What is signed is what was read back
 * from the copy.
 * @throws {AirferryError} ERR_DIGEST_MISMATCH when a program is damaged; ERR_SPACE, ERR_IO
 */
export async function copyPrograms(programs: readonly Program[], bundle: string): Promise<SumLine[]> {
  const lines: SumLine[] = [];
  for (const program of programs) {
    throwIfAborted();
    const name = `${BIN_NAME}/${program.name}`;
    const copy = join(bundle, name);
    await makeFolder(join(bundle, BIN_NAME));
    try {
      await copyFile(program.file, copy, constants.COPYFILE_FICLONE);
      // Some file systems have no modes.
      await chmod(copy, 0o755).catch(() => {});
      lines.push({ name, digest: await digestOfCopy(program, copy) });
    } catch (error) {
      throw ioError("write", copy, error);
    }
  }
  return lines;
}

async function digestOfCopy({ file, stampAt, content }: Program, copy: string): Promise<Digest> {
  const handle = await open(copy);
  try {
    const sum = createHash("sha256");
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    let before: string | undefined;
    for (let at = 0; ; ) {
      const length = before === undefined ? Math.min(CHUNK_BYTES, stampAt - at) : CHUNK_BYTES;
      const { bytesRead } = await handle.read(buffer, 0, length, at);
      sum.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
      if (bytesRead === 0) break;
      if (at === stampAt) before = sum.copy().digest("hex");
    }
    if (`sha256:${before}` === content) return `sha256:${sum.digest("hex")}`;
    throw new AirferryError("ERR_DIGEST_MISMATCH", `cannot bring program "${file}": its bytes differ from its stamp`, {
      path: file,
      expected: content,
      actual: `sha256:${before}`,
      hint: "build it again with scripts/build-binary, or run the same command with --no-program",
    });
  } finally {
    await handle.close();
  }
}
