/**
 * `airferry export image`: packed images as one archive that docker, podman, containerd and skopeo load. See
 * docs/images.md. `airferry export tree`: everything as files for web servers. See docs/static.md.
 */
import { spawn } from "node:child_process";
import { randomBytes, X509Certificate } from "node:crypto";
import { createWriteStream } from "node:fs";
import { readFile, rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { openSource, type SourceOptions } from "./cache/open-source.ts";
import { AirferryError } from "./errors.ts";
import { createImageArchive, type ImageArchive } from "./export/hybrid-archive.ts";
import { ioError, syncPath, systemFault } from "./io/atomic.ts";
import { currentSignal } from "./io/limit.ts";
import { shellWord, shellWords } from "./io/shell.ts";
import { isS3Name } from "./s3/s3-target.ts";
import type { FileSource } from "./server/http/handles.ts";
import { findImages, type PackedImage, readPackedImage } from "./store/packed-images.ts";
import type { StoreReader } from "./store/types.ts";
import type { TreeOptions, WrittenTree } from "./tree/write-tree.ts";

interface ExportOptions extends SourceOptions {
  /** The store's folder, or its name in object storage. */
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
  const store = await openSource(options.store, options);
  try {
    return await exportFrom(store, options);
  } finally {
    await store.close();
  }
}

async function exportFrom(store: StoreReader, options: ExportOptions): Promise<Exported> {
  const { out, load, references } = options;
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

interface ExportTreeOptions extends Omit<TreeOptions, "isos" | "link" | "recheck">, SourceOptions {
  isos?: TreeOptions["isos"] | undefined;
  link?: boolean | undefined;
  recheck?: boolean | undefined;
  /** Use only this stream. */
  stream?: string | undefined;
  /** PEM file of the CA that signed the web server's certificate, for clients. */
  ca?: string | undefined;
  /** Hears how much of new images was read to find what is inside, before a tree is written into a bucket. */
  reading?: ((done: number, total: number) => void) | undefined;
  /** Hears what is unusable in a release. */
  onFault?: ((message: string) => void) | undefined;
  /** Opens the store for reading. */
  openStore?: ((dir: string) => Promise<StoreReader>) | undefined;
}

/** A command for hints. It has all flags that say what is in a tree: without one it would remove what is there. */
export function treeCommand(
  { store, base, isos, stream, ca }: Pick<ExportTreeOptions, "store" | "base" | "isos" | "stream" | "ca">,
  dir: string,
): string {
  const flags = { store, base, isos: isos === "extract" ? undefined : isos, stream, ca };
  const words = Object.entries(flags).map(([flag, value]) =>
    value === undefined ? "" : ` --${flag} ${shellWord(value)}`,
  );
  return `airferry export tree ${shellWord(dir)}${words.join("")}`;
}

/** @throws {AirferryError} ERR_USAGE for what cannot be */
function checkPlace(options: ExportTreeOptions): void {
  const { dir, store, link, isos } = options;
  const refuse = (fault: string, other: Partial<ExportTreeOptions> = {}) => {
    const it = { ...options, ...other };
    throw new AirferryError("ERR_USAGE", fault, { hint: treeCommand(it, it.dir) });
  };
  if (!isS3Name(dir) && /^[a-z][a-z0-9+.-]*:\/\//i.test(dir))
    refuse(`cannot write a tree to "${dir}": only to a folder, or to s3://BUCKET/PREFIX`, { dir: "./tree" });
  if (link === true && isS3Name(store)) refuse(`cannot make hard links to "${store}": it is not a folder`);
  if (!isS3Name(dir)) return;
  if (link === true) refuse(`cannot make hard links in "${dir}": it is not a folder`);
  if (isos === "mount") refuse(`cannot mount ISOs in "${dir}": it is not a folder`, { isos: "none" });
}

/** Stands for the server's address where nobody said it. */
const NO_BASE = "http://SERVER";

/**
 * Writes everything that a server would answer for the current releases as files for web servers.
 * @throws {AirferryError} ERR_USAGE, ERR_NOT_FOUND, ERR_STORE_EMPTY; ERR_STORE_INVALID for a damaged blob; ERR_BUSY,
 *   ERR_IO, ERR_SPACE
 */
export async function exportTree(options: ExportTreeOptions): Promise<WrittenTree> {
  const { store: storeDir } = options;
  checkPlace(options);
  const base = options.base === undefined ? undefined : treeBase(options.base);
  const ca = options.ca === undefined ? undefined : await readCa(options.ca);
  if (options.openStore !== undefined)
    return writeTreeOf(await options.openStore(storeDir), undefined, base, ca, options);
  const store = await openSource(storeDir, options);
  try {
    if (!("isCache" in store)) return await writeTreeOf(store, undefined, base, ca, options);
    const { downSince } = store.counts();
    if (downSince !== undefined)
      options.onFault?.(`the bucket of "${storeDir}" does not answer: this is what was current when it last did`);
    await store.mirrorPast();
    return await writeTreeOf(store, store.files(), base, ca, options);
  } finally {
    await store.close();
  }
}

/** @param ca certificates (PEM) */
async function writeTreeOf(
  store: StoreReader,
  source: FileSource | undefined,
  base: string | undefined,
  ca: string | undefined,
  options: ExportTreeOptions,
): Promise<WrittenTree> {
  const { dir, store: storeDir, stream, isos = "extract", link = false, recheck = false, progress } = options;
  const all = await store.releases();
  const releases = all.filter((it) => stream === undefined || it.stream === stream);
  if (releases.length === 0) {
    const [fault] = store.faults ?? [];
    if (fault !== undefined && (stream === undefined || fault.stream === stream)) throw fault.error;
    throw new AirferryError(
      stream === undefined ? "ERR_STORE_EMPTY" : "ERR_NOT_FOUND",
      `cannot export "${storeDir}": ${stream === undefined ? "the store has no release yet" : `it has no stream "${stream}"`}`,
      { path: storeDir, hint: `see what it has: airferry status --store ${shellWord(storeDir)}` },
    );
  }
  for (const { error } of store.faults ?? []) options.onFault?.(error.message);
  const { openSilentSite } = await import("./server/process/silent-site.ts");
  const site = await openSilentSite({
    store,
    source,
    releases,
    url: base ?? NO_BASE,
    hasConfig: base !== undefined,
    caCertificate: ca,
    onFault: (error) => options.onFault?.(error instanceof Error ? error.message : String(error)),
  });
  if (isS3Name(dir)) {
    const { writeBucketTree } = await import("./tree/write-bucket.ts");
    try {
      return await writeBucketTree(site, { dir, base, isos, recheck, progress, reading: options.reading });
    } finally {
      site.close();
    }
  }
  const { writeTree } = await import("./tree/write-tree.ts");
  // A web server's user has to read it all.
  const umask = process.umask(0o022);
  try {
    return await writeTree(site, { dir, store: store.dir, base, isos, link, recheck, progress });
  } finally {
    process.umask(umask);
    site.close();
  }
}

/**
 * The URL of a site: registries have no path before `/v2/`, and a server answers nothing for a host that is none.
 * @throws {AirferryError} ERR_USAGE
 */
function treeBase(text: string): string {
  const url = /^https?:\/\/[\w.:[\]-]+\/*$/i.test(text) && URL.canParse(text) ? new URL(text) : undefined;
  const isSite = url !== undefined && `${url.pathname}${url.search}${url.hash}${url.username}${url.password}` === "/";
  if (isSite) return text.replace(/\/+$/, "");
  throw new AirferryError("ERR_USAGE", `cannot use --base "${text}": not the URL of a site`, {
    expected: "http://HOST[:PORT] or https://HOST[:PORT], without a path",
    actual: text,
    hint: "give the address that clients will use: --base http://mirror.example.com",
  });
}

/** Reads certificates, and nothing else that the file may have. @throws {AirferryError} ERR_NOT_FOUND, ERR_USAGE */
async function readCa(file: string): Promise<string> {
  const text = await readFile(file, "latin1").catch((cause: unknown) => {
    throw new AirferryError("ERR_NOT_FOUND", `cannot read "${file}": ${systemFault(cause)}`, {
      path: file,
      cause,
      hint: "give the PEM file of the CA that signed the web server's certificate",
    });
  });
  const found = text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  try {
    if (found.length > 0) return found.map((it) => new X509Certificate(it).toString()).join("");
  } catch {
    // It is refused below.
  }
  throw new AirferryError("ERR_USAGE", `cannot use --ca "${file}": it has no certificate in PEM`, {
    path: file,
    hint: "give the PEM file of the CA that signed the web server's certificate",
  });
}
