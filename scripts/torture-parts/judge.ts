/** Judges stores, bundles and answers by their bytes: with sha256sum, and nothing of the program's own. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join, relative } from "node:path";
import type { Outcome } from "./kind.ts";
import type { Release } from "./lab.ts";

const HEX = /^[0-9a-f]{64}$/;
/** Files at a time, so that no command line is too long. */
const AT_ONCE = 500;

/** Files below a folder, with their whole paths; none if it is not there. */
export function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((it) => it.isFile())
    .map((it) => join(it.parentPath, it.name));
}

/** Digests (hex) of files, by the path that was given. */
export function sha256sumOf(files: readonly string[]): Map<string, string> {
  const sums = new Map<string, string>();
  for (let at = 0; at < files.length; at += AT_ONCE) {
    const text = execFileSync("sha256sum", ["-z", "--", ...files.slice(at, at + AT_ONCE)], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    for (const it of text.split("\0")) if (it !== "") sums.set(it.slice(66), it.slice(0, 64));
  }
  return sums;
}

/** Digests (hex) of all files below a folder, by their paths in it. */
export function sha256sums(folder: string): Map<string, string> {
  return new Map([...sha256sumOf(filesBelow(folder))].map(([path, hex]) => [relative(folder, path), hex]));
}

/** Serial of the release that a store would serve; undefined when there is none. */
export function currentOf(store: string): number | undefined {
  const file = join(store, "releases/sample/current");
  return existsSync(file) ? Number(readFileSync(file, "utf8")) : undefined;
}

/**
 * Whether every blob is what its name says, and everything is there of each release that has a record.
 * @param damaged digests that an attempt damaged itself
 */
export function judgeStore(store: string, releases: readonly Release[], damaged = new Set<string>()): Outcome {
  const outcome = { lost: 0, corrupt: 0, wrong: [] as string[] };
  const blobs = new Set<string>();
  for (const [path, hex] of sha256sumOf(filesBelow(join(store, "blobs")).filter((it) => HEX.test(basename(it))))) {
    blobs.add(basename(path));
    if (hex === basename(path) || damaged.has(basename(path))) continue;
    outcome.corrupt += statSync(path).size;
    outcome.wrong.push(`${relative(store, path)} has the digest ${hex}`);
  }
  const folder = join(store, "releases/sample");
  // As the program has it: a folder becomes a release by its import.json.
  const isRelease = (it: string) => /^\d{6}$/.test(it) && existsSync(join(folder, it, "import.json"));
  const named = existsSync(folder) ? readdirSync(folder).filter(isRelease) : [];
  const current = currentOf(store);
  if (current !== undefined && !named.includes(String(current).padStart(6, "0"))) {
    outcome.lost++;
    outcome.wrong.push(`current names release ${current}, which is missing`);
  }
  for (const name of named) {
    const release = releases.find((it) => it.serial === Number(name));
    for (const [path, { hex, size }] of release?.truth ?? []) {
      if (blobs.has(hex) || damaged.has(hex)) continue;
      outcome.lost += Math.max(size, 1);
      outcome.wrong.push(`release ${name} lacks ${path}`);
    }
  }
  return outcome;
}

/** What a finished store must be: `serial` is served, and all of it is there. */
export function judgeFinished(store: string, releases: readonly Release[], serial: number): Outcome {
  const outcome = judgeStore(store, releases);
  const current = currentOf(store);
  if (current === serial) return outcome;
  return {
    ...outcome,
    lost: (outcome.lost ?? 0) + 1,
    wrong: [...(outcome.wrong ?? []), `current is ${current}, not ${serial}`],
  };
}

/** Files of a bundle that are not what an undamaged one has; a signature made again is another one. */
export function judgeBundle(dir: string, good: string): Outcome {
  const [got, expected] = [sha256sums(dir), sha256sums(good)];
  const outcome = { lost: 0, corrupt: 0, wrong: [] as string[] };
  for (const [path, hex] of expected) {
    if (path.startsWith("signatures/")) continue;
    const { size } = statSync(join(good, path));
    if (!got.has(path)) outcome.lost += Math.max(size, 1);
    else if (got.get(path) !== hex) outcome.corrupt += size;
    else continue;
    outcome.wrong.push(`${path} of ${basename(dir)} is ${got.has(path) ? "other bytes" : "not there"}`);
  }
  return outcome;
}

/** Several outcomes as one attempt. */
export function together(...all: Outcome[]): Outcome {
  const sum = { refused: 0, completed: 0, lost: 0, corrupt: 0, wrong: [] as string[] };
  for (const it of all) {
    for (const key of ["refused", "completed", "lost", "corrupt"] as const) sum[key] += it[key] ?? 0;
    sum.wrong.push(...(it.wrong ?? []));
  }
  return { ...sum, refused: Math.min(sum.refused, 1), completed: Math.min(sum.completed, 1) };
}
