/** Writes a finished bundle front to back, as one tar archive. docs/format.md, "A bundle in a stream". */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { openRegular } from "../io/safe-open.ts";
import { foldersOf } from "./check-finished.ts";
import { SIGNATURES_NAME, SUMS_NAME } from "./media-names.ts";
import { folderInStream, memberHeader, streamOrder } from "./stream-form.ts";
import { parseSums } from "./sums.ts";
import { END_BYTES, paddedSize } from "./tar-layout.ts";
import { volumeIndexOf } from "./volume-layout.ts";

/** Length of what is read and written at once, whatever the files: tapes want blocks of one size. */
const BLOCK_BYTES = 256 * 1024;

interface StreamPlan {
  /** Bytes of one copy. */
  size: number;
  files: { file: string; header: Buffer; size: number }[];
}

/**
 * Finds the files of a finished bundle, in the order of the stream.
 * @param only numbers of volumes: of the content nothing else is sent
 * @throws {AirferryError} ERR_BUNDLE_INVALID and others for a folder that is no finished bundle
 */
export async function planStream(bundle: string, only?: ReadonlySet<number>): Promise<StreamPlan> {
  const folders = await foldersOf(bundle);
  const [first = bundle] = folders;
  const { lines, identity } = parseSums(await readFile(join(first, SUMS_NAME)));
  const signatures = (await readdir(join(first, SIGNATURES_NAME)).catch(() => [])).sort();
  const order = streamOrder(
    lines.map((it) => it.name),
    signatures,
  );
  const { head } = order;
  const content = order.content.filter((it) => only === undefined || only.has(volumeIndexOf(it) ?? -1));
  if (only !== undefined && content.length < only.size)
    throw new AirferryError("ERR_USAGE", `cannot send volumes of "${bundle}": it has fewer than that`, {
      hint: "give the numbers that unpack names",
    });
  const folder = folderInStream(identity);
  const known = new Map<string, StreamPlan["files"][number]>();
  for (const name of [...head, ...content]) {
    for (const it of folders.map((dir) => join(dir, name))) {
      const size = (await stat(it).catch(() => undefined))?.size;
      if (size === undefined) continue;
      known.set(name, { file: it, header: memberHeader({ folder, name, size }), size });
      break;
    }
  }
  // The head twice: without it nothing else is of use.
  const files = [...head, ...head, ...content].map((name) => {
    const it = known.get(name);
    if (it === undefined) throw changed(join(first, name));
    return it;
  });
  const size = files.reduce((sum, it) => sum + it.header.length + paddedSize(it.size), 0) + END_BYTES;
  return { size, files };
}

/**
 * Writes one copy of it.
 * @param write as in io/stream-out.ts
 * @param progress called with bytes as they are written
 */
export async function writeBundleStream(
  { files }: StreamPlan,
  write: (bytes: Uint8Array) => Promise<void>,
  progress: (bytes: number) => void,
): Promise<void> {
  const block = Buffer.alloc(BLOCK_BYTES);
  let filled = 0;
  const flush = async () => {
    await write(block.subarray(0, filled));
    progress(filled);
    filled = 0;
  };
  const put = async (bytes: Uint8Array) => {
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done + BLOCK_BYTES - filled);
      block.set(part, filled);
      filled += part.length;
      done += part.length;
      if (filled === BLOCK_BYTES) await flush();
    }
  };
  for (const { file, header, size } of files) {
    await put(header);
    const { handle } = await openRegular(file);
    try {
      for (let done = 0; done < size; ) {
        const length = Math.min(BLOCK_BYTES - filled, size - done);
        const { bytesRead } = await handle.read(block, filled, length, done);
        if (bytesRead === 0) throw changed(file);
        filled += bytesRead;
        done += bytesRead;
        if (filled === BLOCK_BYTES) await flush();
      }
    } finally {
      await handle.close();
    }
    await put(Buffer.alloc(paddedSize(size) - size));
  }
  await put(Buffer.alloc(END_BYTES));
  await flush();
}

function changed(file: string): AirferryError {
  return new AirferryError("ERR_BUNDLE_INCOMPLETE", `cannot send "${file}": it was removed or cut meanwhile`, {
    path: file,
    hint: "run the same command again: it packs what is missing",
  });
}
