/** ISOs and plain files in a recording: what was downloaded for itself, and not by a package manager from its index. */
import { checkFileName, NAME } from "../io/path-grammar.ts";
import type { RandomAccess } from "../io/types.ts";
import type { RecordedAnswer } from "../io/web-recording.ts";
import type { RecordedIndex } from "./recorded-index.ts";
import type { Candidate } from "./types.ts";

/** Files that are looked into. */
const MAX_FILES = 10_000;
/** Archives, packages, images and installers, by their names. */
const FILE_NAME =
  /\.(?:tar|tgz|txz|tbz2?|tzst|gz|xz|bz2|zst|zip|7z|run|bin|appimage|exe|msi|deb|rpm|img|qcow2|vmdk|vhdx?|ova|raw|jar)$/i;
/**
 * What package managers and registries fetch by an index of theirs: npm, go, apt, PyPI, cargo, Maven, RubyGems, dnf,
 * container registries.
 */
const OF_AN_INDEX =
  /\/-\/[^/]+\.tgz$|\/@v\/|\/pool\/|\/dists\/|\/packages\/[0-9a-f]{2}\/[0-9a-f]{2}\/[0-9a-f]{60}\/|\/crates\/|\.crate$|\/maven2?\/|\/gems\/|\/repodata\/|^https?:\/\/[^/]+\/v2\/|\/simple\//;
const SECTOR_BYTES = 2048;
const FIRST_DESCRIPTOR = 16 * SECTOR_BYTES;

/**
 * Looks for them, each under its first URL. `taken`: digests that are other entries' already; `repositories`: URLs that
 * dnf fetched below.
 */
export async function findFiles(
  index: RecordedIndex,
  taken: ReadonlySet<string>,
  repositories: readonly string[],
): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  const seen = new Set<string>(taken);
  for (const answer of index.answers) {
    const { url, method, status, vary, size, digest } = answer;
    if (method !== "GET" || status !== 200 || vary !== undefined || size === 0 || url.includes("?")) continue;
    if (seen.has(digest) || OF_AN_INDEX.test(url) || candidates.length >= MAX_FILES) continue;
    const name = nameOf(url);
    if (name === undefined || (name.endsWith(".rpm") && repositories.some((it) => url.startsWith(it)))) continue;
    if (/\.iso$/i.test(name) || /iso9660/i.test(answer.headers["content-type"] ?? "")) {
      if (await isIso(index, answer))
        candidates.push({ key: "isos", id: url, spellings: isoNames(url, name), variants: [{}] });
    } else if (FILE_NAME.test(name) || (await isProgram(index, answer))) {
      seen.add(digest);
      candidates.push({ key: "files", id: url, spellings: filePaths(url, name), variants: [{}] });
    }
  }
  return candidates;
}

/** The last segment of a URL's path, if it can be a file's name. */
function nameOf(url: string): string | undefined {
  try {
    const name = decodeURIComponent(new URL(url).pathname.split("/").at(-1) ?? "");
    return checkFileName(name) === undefined ? name : undefined;
  } catch {
    return undefined;
  }
}

function isoNames(url: string, file: string): Candidate["spellings"] {
  const stem = file.replace(/\.iso$/i, "").replace(/[^A-Za-z0-9._-]+/g, "-");
  const names = [stem, `${hostOf(url)}-${stem}`, `iso-${stem}`];
  return names.filter((it) => NAME.test(it)).map((name) => ({ name, url }));
}

/** Below the name of its host where another file has its name. */
function filePaths(url: string, file: string): Candidate["spellings"] {
  const folders = new URL(url).pathname.split("/").slice(1, -1);
  return [{ url }, { url, as: [hostOf(url), file].join("/") }, { url, as: [hostOf(url), ...folders, file].join("/") }];
}

function hostOf(url: string): string {
  return new URL(url).host.replace(/[^A-Za-z0-9.-]+/g, "_");
}

async function withBody<T>(
  index: RecordedIndex,
  { digest }: RecordedAnswer,
  look: (bytes: RandomAccess) => Promise<T>,
): Promise<T | undefined> {
  const opened = await index.open(digest).catch(() => undefined);
  try {
    return opened && (await look(opened.bytes));
  } finally {
    await opened?.close();
  }
}

/** By its volume descriptor, or that of UDF. */
async function isIso(index: RecordedIndex, answer: RecordedAnswer): Promise<boolean> {
  const head = await withBody(index, answer, (bytes) => bytes.read(FIRST_DESCRIPTOR, SECTOR_BYTES));
  const mark = Buffer.from(head ?? [])
    .subarray(1, 6)
    .toString("latin1");
  return mark === "CD001" || mark === "BEA01";
}

/** ELF: programs are often published without an ending. */
async function isProgram(index: RecordedIndex, answer: RecordedAnswer): Promise<boolean> {
  if (!/octet-stream|executable|^$/i.test(answer.headers["content-type"] ?? "")) return false;
  const head = await withBody(index, answer, (bytes) => bytes.read(0, 4));
  return Buffer.from(head ?? []).toString("latin1") === "\u007fELF";
}
