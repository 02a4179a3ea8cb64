/**
 * The verb `check`: everything that can be wrong with a manifest and is known without the network, at once. Changes
 * nothing.
 */
import { readFile } from "node:fs/promises";
import { parseBuilder } from "./builder/builder.ts";
import { checkImageconfig } from "./builder/check-imageconfig.ts";
import { checkBuilder } from "./builder/compatibility.ts";
import { checkPackedKickstart, isKickstart } from "./builder/kickstart-findings.ts";
import { AirferryError, type Problem } from "./errors.ts";
import type { Finding } from "./io/findings.ts";
import { filePathOf } from "./manifest/entry-names.ts";
import { pathsOf } from "./manifest/file-names.ts";
import { readExamined, STDIN } from "./manifest/load.ts";
import type { Manifest } from "./manifest/schema.ts";
import { requestsOf, staleEntries } from "./pack/entry-requests.ts";
import { checkNamed } from "./sources/check-named.ts";
import { localPath } from "./sources/local-path.ts";
import { type Lock, readLock } from "./sources/lock-document.ts";

/** What `check --json` prints. */
interface CheckReport {
  /** No problem; warnings may be. */
  ok: boolean;
  manifest: string;
  stream: string | null;
  /** How many of each kind the manifest names. */
  entries: { isos: number; rpms: number; files: number; images: number; web: number };
  /** What keeps a pack from working: `path` is the place, with the line where there is one. */
  problems: Problem[];
  /** What may keep it from working, or depends on where it is run. */
  warnings: Problem[];
  lock: {
    /** Null for standard input. */
    file: string | null;
    /** `absent` and `stale` entries are locked by the next lock, plan or pack. `unknown`: the manifest has problems. */
    state: "fresh" | "stale" | "absent" | "invalid" | "unknown";
    /** What of it is not fresh. */
    stale: Problem[];
  };
}

/**
 * Checks a manifest file, or standard input (`-`), whose paths then begin in the current folder.
 * @throws {AirferryError} ERR_USAGE, ERR_IO or ERR_MANIFEST_INVALID when there is no text to check
 */
export async function check(file: string, options: { env?: NodeJS.ProcessEnv } = {}): Promise<CheckReport> {
  const { manifest, value, problems, named } = await readExamined(file);
  const isStdin = file === STDIN;
  const baseDir = isStdin ? "." : pathsOf(file).baseDir;
  const local = await checkNamed(named, value, { baseDir, ...options });
  const lock = await checkLock(isStdin ? undefined : pathsOf(file).lock, manifest);
  const findings = [
    ...builderFindings(value, manifest, lock.state === "fresh" ? lock.content : undefined),
    ...(await kickstartFindings(value, baseDir)),
  ];
  const row = ({ subject, message, remedy }: Finding): Problem => ({
    code: "ERR_FINDINGS",
    path: subject,
    message: `${message}; ${remedy}`,
  });
  const all = [
    ...problems,
    ...local.problems,
    ...(lock.problem === undefined ? [] : [lock.problem]),
    ...findings.filter((it) => it.level === "error").map(row),
  ];
  const lineOf = ({ path }: Problem) => Number(/:(\d+) /.exec(path)?.[1] ?? Number.POSITIVE_INFINITY);
  const byLine = (a: Problem, b: Problem) => (lineOf(a) === lineOf(b) ? 0 : lineOf(a) - lineOf(b));
  const { stream, ...lists } = fields(value);
  const count = (kind: string) => (Array.isArray(lists[kind]) ? (lists[kind] as unknown[]).length : 0);
  return {
    ok: all.length === 0,
    manifest: file,
    stream: typeof stream === "string" ? stream : null,
    entries: {
      isos: count("isos"),
      rpms: count("rpms"),
      files: count("files"),
      images: count("images"),
      web: count("web"),
    },
    problems: all.sort(byLine),
    warnings: [...local.warnings, ...findings.filter((it) => it.level === "warning").map(row)],
    lock: { file: lock.file, state: lock.state, stale: lock.stale },
  };
}

interface CheckedLock {
  file: string | null;
  state: CheckReport["lock"]["state"];
  stale: Problem[];
  problem?: Problem;
  content?: Lock;
}

async function checkLock(file: string | undefined, manifest: Manifest | undefined): Promise<CheckedLock> {
  if (file === undefined) return { file: null, state: "absent", stale: [] };
  let content: Lock | undefined;
  try {
    content = await readLock(file);
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    const problem = { code: error.code, path: file, message: error.message };
    return { file, state: "invalid", stale: [...error.problems], problem };
  }
  if (content === undefined) return { file, state: "absent", stale: [] };
  // A vendor's archive has entries of its own, which are known once it is unpacked.
  if (manifest === undefined || manifest.vendor !== undefined) return { file, state: "unknown", stale: [], content };
  const stale = staleEntries(requestsOf(manifest), manifest.stream, content);
  return { file, state: stale.length === 0 ? "fresh" : "stale", stale, content };
}

/** With a fresh lock all of what pack would find; without it what does not depend on content that is not known yet. */
function builderFindings(value: unknown, manifest: Manifest | undefined, lock: Lock | undefined): Finding[] {
  const raw = fields(value)["builder"];
  if (lock !== undefined) {
    const images = lock.entries.flatMap((it) =>
      it.kind === "image" ? it.detail.images.map((it) => it.reference) : [],
    );
    const paths = lock.entries.flatMap((entry) => entry.artifacts.map((it) => it.path));
    return checkBuilder(raw, paths, images);
  }
  const images = manifest?.images ?? [];
  const isKnown =
    manifest !== undefined &&
    manifest.vendor === undefined &&
    manifest.rpms === undefined &&
    images.every((it) => it.ref !== undefined && it.tags === undefined && it.images === undefined);
  if (isKnown) {
    const paths = (manifest.files ?? []).map((it) => `files/${filePathOf(it)}`);
    return checkBuilder(
      raw,
      paths,
      images.map((it) => it.as ?? (it.ref as string)),
    );
  }
  const builder = parseBuilder(raw);
  if (builder?.flavor !== "spectro-capi") return [];
  return checkImageconfig(builder.imageconfig).map(({ key, message, remedy }) => ({
    level: "error",
    area: "builder",
    subject: `builder.imageconfig.${key}`,
    message,
    remedy,
  }));
}

/** Placeholders of a kickstart file on this host, and what packer would not find in it. */
async function kickstartFindings(value: unknown, baseDir: string): Promise<Finding[]> {
  const { builder: raw, files } = fields(value);
  const builder = parseBuilder(raw);
  if (builder === undefined || !Array.isArray(files)) return [];
  const findings: Finding[] = [];
  for (const entry of files.map(fields)) {
    if (typeof entry["path"] !== "string") continue;
    try {
      const path = `files/${filePathOf(entry as Parameters<typeof filePathOf>[0])}`;
      if (!isKickstart(path, builder.kickstart)) continue;
      findings.push(...checkPackedKickstart(await readFile(localPath(entry["path"], { baseDir }), "utf8"), builder));
    } catch {
      // Its name or file is a problem already.
    }
  }
  return findings;
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
