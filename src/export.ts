/**
 * `airferry export image`: packed images as one archive that docker, podman, containerd and skopeo load. See
 * docs/images.md.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { AirferryError } from "./errors.ts";
import { createImageArchive, type ImageArchive } from "./export/hybrid-archive.ts";
import { ioError, syncPath } from "./io/atomic.ts";
import { currentSignal } from "./io/limit.ts";
import { shellWord, shellWords } from "./io/shell.ts";
import { findImages, type PackedImage, readPackedImage } from "./store/packed-images.ts";
import { openStore } from "./store/store.ts";

interface ExportOptions {
  /** The store's folder. */
  store: string;
  /** Names of packed images, see findImages. */
  references: readonly string[];
  /** File to write; or `load`. */
  out?: string | undefined;
  /** Tool to pipe the archive into, instead of a file. */
  load?: "docker" | "podman" | undefined;
  /** `linux/amd64`: for tools without index support. */
  platform?: string | undefined;
  /** Use only this stream. */
  stream?: string | undefined;
  /** Called with roughly how many bytes of `total` were written. */
  progress?: ((done: number, total: number) => void) | undefined;
}

interface Exported {
  images: { reference: string; digest: string }[];
  /** Absolute or relative as it was given; absent with `load`. */
  file?: string;
  /** The tool's output. */
  said?: string;
  /** Approximate bytes. */
  size: number;
}

const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
const MAX_SAID_LENGTH = 64 * 1024;

/**
 * Writes an archive of images, under its final name only when it is complete, or lets a tool load it without an
 * intermediate file: all images in one for docker, one after the other for podman. Leaves nothing behind when aborted
 * (io/limit.ts).
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_USAGE, ERR_IO, ERR_SPACE, ERR_TOOL; ERR_STORE_INVALID for a damaged blob
 */
export async function exportImage(options: ExportOptions): Promise<Exported> {
  const { out, load, references } = options;
  if ((out === undefined) === (load === undefined)) {
    throw new AirferryError("ERR_USAGE", "cannot export: expected one of --out FILE and --load docker or podman", {
      hint: `airferry export image ${shellWords(references.length > 0 ? references : ["REF"])} --store ${shellWord(options.store)} --out image.tar`,
    });
  }
  if (references.length === 0)
    throw new AirferryError("ERR_USAGE", "cannot export: no image is named", { hint: "airferry status lists them" });
  const store = await openStore(options.store);
  const releases = (await store.releases()).filter(
    (it) => options.stream === undefined || it.stream === options.stream,
  );
  const images: PackedImage[] = [];
  for (const { release, catalog } of findImages(releases, references)) {
    images.push(await readPackedImage(store, release, catalog));
  }
  const exported = images.map(({ catalog }) => ({ reference: catalog.reference, digest: catalog.digest }));
  // podman preserves the digest of a single image in an archive; for several, it creates new manifests.
  const groups = load === "podman" ? images.map((it) => [it]) : [images];
  let done = 0;
  let size = 0;
  const archives = groups.map((group) =>
    createImageArchive(group, options.platform, (bytes) => {
      done += bytes;
      options.progress?.(done, size);
    }),
  );
  size = archives.reduce((sum, it) => sum + it.size, 0);
  if (load === undefined) {
    const [archive] = archives;
    await writeWhole((archive as ImageArchive).open(), out as string);
    return { images: exported, size, file: out as string };
  }
  const said: string[] = [];
  for (const archive of archives) said.push(await pipeInto(archive.open(), load));
  return { images: exported, size, said: said.join("\n") };
}

async function writeWhole(stream: NodeJS.ReadableStream, file: string): Promise<void> {
  const signal = currentSignal();
  // A unique name: two exports to one file must not write into each other.
  const temporary = `${file}.${randomBytes(4).toString("hex")}.part`;
  try {
    await pipeline(stream, createWriteStream(temporary, { highWaterMark: WRITE_BUFFER_BYTES }), {
      ...(signal && { signal }),
    });
    await syncPath(temporary);
    await rename(temporary, file);
  } catch (cause) {
    await rm(temporary, { force: true });
    signal?.throwIfAborted();
    throw ioError("write", file, cause);
  }
}

async function pipeInto(stream: NodeJS.ReadableStream, tool: "docker" | "podman"): Promise<string> {
  const signal = currentSignal();
  const child = spawn(tool, ["load"], { stdio: ["pipe", "pipe", "pipe"] });
  const kill = () => child.kill();
  signal?.addEventListener("abort", kill, { once: true });
  let said = "";
  const listen = (chunk: Buffer) => {
    if (said.length < MAX_SAID_LENGTH) said += chunk.toString();
  };
  child.stdout.on("data", listen);
  child.stderr.on("data", listen);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  }).finally(() => signal?.removeEventListener("abort", kill));
  // When the tool ends early its own output says more than the broken pipe.
  const sent = pipeline(stream, child.stdin, { ...(signal && { signal }) }).then(
    () => undefined,
    (error: Error) => error,
  );
  let status: number | null;
  try {
    status = await ended;
  } catch (cause) {
    child.stdin.destroy();
    await sent;
    throw new AirferryError(
      "ERR_TOOL",
      `cannot run "${tool} load": ${(cause as NodeJS.ErrnoException).code === "ENOENT" ? "no such program" : (cause as Error).message}`,
      {
        cause,
        hint: "write a file instead: --out image.tar",
      },
    );
  }
  const fault = await sent;
  signal?.throwIfAborted();
  if (fault instanceof AirferryError) throw fault;
  if (status !== 0 || fault !== undefined) {
    const words = said.trim().slice(-500);
    throw new AirferryError(
      "ERR_TOOL",
      `cannot load with ${tool}: exit status ${status}${words ? `: ${words}` : fault ? `: ${fault.message}` : ""}`,
      {
        hint: "write a file instead: --out image.tar",
      },
    );
  }
  return said.trim();
}
