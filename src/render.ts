/**
 * `airferry render`: writes the files that the builder needs, filled in from what is in the store. Reads only the
 * store; the caller gives the address. See docs/build.md.
 */
import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { openSource, type SourceOptions } from "./cache/open-source.ts";
import { AirferryError } from "./errors.ts";
import { ioError, makeFolder, writeAtomic } from "./io/atomic.ts";
import type { Finding } from "./io/findings.ts";
import { pathIn } from "./io/path-grammar.ts";
import { shellWord } from "./io/shell.ts";
import { openRender, type RenderFrom } from "./render/open-render.ts";
import type { RenderName } from "./render/types.ts";

interface RenderOptions extends RenderFrom, SourceOptions {
  /**
   * Where to write: a file, or a folder (if it is an existing folder, ends in `/`, or several files are rendered).
   * Default: only return them.
   */
  out?: string | undefined;
  /** Replace existing files with other content. */
  force?: boolean | undefined;
}

/** One rendered file: its relative path, its text, and where it was written. */
interface Rendered {
  path: string;
  text: string;
  file?: string;
  /** Faults of its content. */
  findings?: Finding[];
}

/**
 * Renders one kind of file; some kinds give several. Files are written completely or not at all; imageconfig gets mode
 * 0600, since it may hold secrets, and so does every file with a secret. An existing file with the same content is not
 * touched; one with other content may be the host's own or edited, and is replaced only with `force`: otherwise nothing
 * is written.
 * @throws {AirferryError} ERR_RENDER when the release lacks what the file needs: the hint names the manifest entry to
 *   add; ERR_USAGE for a bad URL, and for existing files with other content, all in `problems`; ERR_IO
 */
export async function render(what: RenderName, options: RenderOptions): Promise<Rendered[]> {
  const opened = typeof options.store === "string" ? await openSource(options.store, options) : undefined;
  try {
    return await renderFrom(what, options, opened ?? options.store);
  } finally {
    await opened?.close();
  }
}

async function renderFrom(what: RenderName, options: RenderOptions, store: RenderFrom["store"]): Promise<Rendered[]> {
  const { files } = await openRender({ ...options, store });
  const wanted = files.filter((it) => it.name === what);
  const rendered: Rendered[] = [];
  const secrets = new Set<string>();
  for (const file of wanted) {
    const text = await file.make();
    const findings = (await file.check?.()) ?? [];
    if (file.name === "imageconfig" || (await file.hasSecret?.())) secrets.add(file.path);
    rendered.push({ path: file.path, text, ...(findings.length > 0 && { findings }) });
  }
  if (rendered.length === 0) {
    if (what === "registry-trust") throw nothingToTrust(options);
    throw new AirferryError("ERR_RENDER", `cannot render "${what}": nothing in the store needs it`, {
      hint: "list the releases: airferry status --store DIR",
    });
  }
  const { out } = options;
  if (out === undefined) return rendered;
  const isFolder = rendered.length > 1 || out.endsWith("/") || (await isDirectory(out));
  // In a folder each file has its path, and a text that is only for reading has none.
  const loose = new Set(wanted.filter((it) => it.isLoose).map((it) => it.path));
  const placed = rendered
    .filter((it) => !isFolder || !loose.has(it.path))
    .map((it) => ({ ...it, file: isFolder ? pathIn(out, it.path) : out }));
  const found = await Promise.all(placed.map((it) => compareFile(it.file, it.text)));
  const others = placed.filter((_, index) => found[index] === "other");
  if (others.length > 0 && options.force !== true) throw fileExists(what, others);
  for (const [index, { path, file, text }] of placed.entries()) {
    if (found[index] === "same") continue;
    await makeFolder(dirname(file));
    await writeAtomic(file, text, secrets.has(path) ? 0o600 : 0o644);
  }
  return placed;
}

/** Whether a file has exactly this text, something else, or does not exist. @throws {AirferryError} ERR_IO */
async function compareFile(file: string, text: string): Promise<"same" | "other" | "nothing"> {
  try {
    const stats = await stat(file);
    // A pipe or device must not be read, and for a large file the size is enough.
    if (!stats.isFile() || stats.size !== Buffer.byteLength(text)) return "other";
    return (await readFile(file, "utf8")) === text ? "same" : "other";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return "nothing";
    throw ioError("look at", file, error);
  }
}

function fileExists(what: RenderName, files: readonly { file: string }[]): AirferryError {
  const [{ file }] = files as [{ file: string }];
  return new AirferryError("ERR_USAGE", `cannot render "${what}": "${file}" exists already with other content`, {
    path: file,
    problems: files.map((it) => ({ code: "ERR_USAGE", path: it.file, message: "exists already with other content" })),
    hint: "render to another place with --out and merge by hand, or replace the existing files with --force",
  });
}

/**
 * With plain HTTP, or a CA that clients already trust, there is nothing to install; without images nothing needs it.
 */
function nothingToTrust({ url, store, publicCa }: RenderOptions): AirferryError {
  const why = url?.startsWith("http:")
    ? `${url} is plain HTTP, which has no certificate to trust`
    : publicCa
      ? "with --public-ca clients trust the server already"
      : "no images are in the store";
  return new AirferryError("ERR_RENDER", `cannot render "registry-trust": ${why}`, {
    hint: `for a server with TLS: airferry render registry-trust --store ${typeof store === "string" ? shellWord(store) : "DIR"} --url https://HOST:PORT; for plain HTTP render registries-conf, hosts-toml or docker-daemon instead`,
  });
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
