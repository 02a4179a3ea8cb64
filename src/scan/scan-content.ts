/**
 * Scans the content of a release: every file under its own path, ISOs by their members, since scanners skip files
 * of 2 GiB and more. Batches bound the space; the scanner runs once for each.
 */
import { hostname } from "node:os";
import { SCAN_MEDIA_TYPE, type ScanReport } from "../bundle/scan-report.ts";
import { AirferryError, bug } from "../errors.ts";
import { formatBytes, plural } from "../io/format.ts";
import { runToEnd } from "../io/limit.ts";
import { openBytes } from "../io/open-bytes.ts";
import { printable } from "../io/printable.ts";
import type { RandomAccess } from "../io/types.ts";
import { IsoImage } from "../iso/iso-image.ts";
import { payloadOf } from "./rpm-payload.ts";
import { type ScanFile, ScanFolder } from "./scan-folder.ts";
import { runScanner, type Scanner } from "./scanner.ts";

/** ClamAV reports larger files as clean without looking. */
const LARGE_BYTES = 2 * 1024 ** 3;
const MAX_FINDINGS = 200;
const MAX_GAPS = 100;
/** Members may share bytes; more than this many times the image's size is an attack. */
const MAX_SHARING = 2;

/** How to scan. */
interface ScanOptions {
  /** Folder to make, use and remove; on the file system of the content, so that it can be linked. */
  folder: string;
  report: (line: string) => void;
}

/**
 * Scans all files, even if something is found early.
 * @throws {AirferryError} ERR_SCANNER, ERR_SPACE, ERR_IO
 */
export async function scanContent(
  scanner: Scanner,
  files: Iterable<ScanFile>,
  { folder, report }: ScanOptions,
): Promise<ScanReport> {
  const result: ScanReport = {
    mediaType: SCAN_MEDIA_TYPE,
    command: [...scanner.words],
    version: scanner.version,
    host: hostname(),
    started: now(),
    finished: "",
    result: "clean",
    files: 0,
    bytes: 0,
    images: [],
    gaps: [],
    findings: [],
    truncated: false,
  };
  const gap = (line: string) => {
    if (result.gaps.length < MAX_GAPS) result.gaps.push(printable(printable(line), 500));
  };
  const batch = await ScanFolder.make(folder);
  const flush = async () => {
    if (batch.files === 0) return;
    report(
      `scanning ${plural(batch.files, "file")}, ${formatBytes(batch.bytes)}, with ${scanner.version ?? scanner.words[0]}`,
    );
    result.files += batch.files;
    result.bytes += batch.bytes;
    const { found, lines, truncated } = await runScanner(scanner, batch.dir);
    await batch.verifyUnchanged();
    await batch.clear();
    if (!found) return;
    result.result = "found";
    const room = MAX_FINDINGS - result.findings.length;
    result.findings.push(...lines.slice(0, room));
    result.truncated ||= truncated || lines.length > room;
  };
  const put = async (file: ScanFile) => {
    if (batch.isFullFor(file.size)) await flush();
    if (!(await batch.add(file))) gap(`"${file.path}" does not have the ${file.size} bytes that it should`);
    if (file.size >= LARGE_BYTES)
      gap(`"${file.path}" has ${formatBytes(file.size)}: the scanner may skip files of 2 GiB and more`);
  };
  const add = async (file: ScanFile) => {
    await put(file);
    if (!/\.rpm$/i.test(file.path)) return;
    await withBytes(file, async (bytes) => {
      const payload = await payloadOf(file.path, bytes);
      if (typeof payload !== "string") await put(payload);
      else gap(`"${file.path}" is scanned as it is only: ${payload}`);
    });
  };
  try {
    for (const file of files) {
      if (/\.iso$/i.test(file.path) && (await addMembers(file, add, gap))) result.images.push(file.path);
      else await add(file);
    }
    await flush();
  } finally {
    await runToEnd(() => batch.clear({ remove: true }));
  }
  return { ...result, finished: now() };
}

/** Adds the members of an image. Returns false if some of it can only be seen in the image as a whole. */
async function addMembers(
  file: ScanFile,
  add: (file: ScanFile) => Promise<void>,
  gap: (line: string) => void,
): Promise<boolean> {
  return withBytes(file, async (bytes) => {
    const { members, faults } = await membersOf(bytes, file.path);
    for (const fault of faults) gap(`"${file.path}" is scanned as a whole too: ${fault}`);
    for (const it of members) await add(it);
    return faults.length === 0;
  });
}

async function withBytes<R>({ from }: ScanFile, work: (bytes: RandomAccess) => Promise<R>): Promise<R> {
  if (typeof from !== "string") return work("read" in from ? from : bug("a stream has no random access"));
  const { bytes, close } = await openBytes(from);
  try {
    return await work(bytes);
  } finally {
    await close();
  }
}

/** The files of an image, each range of bytes once, and why these are not all of it. */
async function membersOf(bytes: RandomAccess, path: string): Promise<{ members: ScanFile[]; faults: string[] }> {
  const members: ScanFile[] = [];
  const faults: string[] = [];
  const seen = new Set<string>();
  let total = 0;
  try {
    const image = await IsoImage.open(bytes, path);
    if (image.udf) faults.push("it has a UDF file system, which is not read");
    for await (const { entry, path: inside } of image.walk()) {
      if (entry.kind !== "file" || entry.size === 0) continue;
      if (entry.unreadable !== undefined) {
        faults.push(`"${inside}" cannot be read: ${entry.unreadable}`);
        continue;
      }
      const place = entry.extents.map((it) => `${it.offset}+${it.size}`).join(" ");
      if (seen.has(place)) continue;
      seen.add(place);
      total += entry.size;
      if (total > MAX_SHARING * bytes.size) {
        faults.push("its members have more bytes than the image");
        break;
      }
      const from = image.member(entry);
      members.push({ path: `${path}/${inside}`, size: from.size, from });
    }
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    faults.push(error.message);
  }
  return { members, faults };
}

function now(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}
