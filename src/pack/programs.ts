/**
 * The single-file programs that a bundle brings for hosts that have none. A program that is one itself brings itself,
 * and the same for other architectures if it is in the same folder; a checkout brings what scripts/build-binary built
 * from exactly this source.
 */
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isSea } from "node:sea";
import type { Program } from "../bundle/carried-programs.ts";
import { shellWord } from "../io/shell.ts";
import { VERSION } from "../version.ts";
import { type ProgramStamp, readStamp, sourceDigest } from "./program-stamp.ts";

/** The available programs; and if there are none, how to get them. */
interface FoundPrograms {
  programs: Program[];
  note?: string;
}

const NAME = /^airferry/;
/** More files of that name are not looked at. */
const MAX_FILES = 20;

/** Finds the programs of this version. Their content is checked when it is copied. */
export async function findPrograms(): Promise<FoundPrograms> {
  if (!isSea()) return programsOfCheckout(join(import.meta.dirname, "../.."));
  const own = await readStamp(process.execPath);
  if (own === undefined)
    return { programs: [], note: "the bundle brings no program: this one has no stamp at its end" };
  return { programs: await programsIn(dirname(process.execPath), own) };
}

/** The programs in dist/ of a checkout; those of other source are not brought. */
export async function programsOfCheckout(root: string): Promise<FoundPrograms> {
  const dist = join(root, "dist");
  const build = `to bring airferry for hosts without it, run ${shellWord(join(root, "scripts/build-binary"))} first`;
  const any = await stampsIn(dist);
  if (any.length === 0) return { programs: [], note: `the bundle brings no program; ${build}` };
  const programs = await programsIn(dist, { version: VERSION, source: await sourceDigest(root) });
  if (programs.length > 0) return { programs };
  return { programs, note: `the bundle brings no program, since dist/ was built from other source; ${build}` };
}

/** One program for each platform, sorted by name. */
async function programsIn(folder: string, wanted: Pick<ProgramStamp, "version" | "source">): Promise<Program[]> {
  const programs = new Map<string, Program>();
  for (const { file, stamp } of await stampsIn(folder)) {
    if (stamp.version !== wanted.version || stamp.source !== wanted.source) continue;
    const name = `airferry-${stamp.platform}`;
    programs.set(name, { name, file, size: stamp.size, stampAt: stamp.at, content: stamp.content });
  }
  return [...programs.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function stampsIn(
  folder: string,
): Promise<{ file: string; stamp: NonNullable<Awaited<ReturnType<typeof readStamp>>> }[]> {
  const names = (await readdir(folder).catch(() => [])).filter((it) => NAME.test(it)).sort();
  const found = [];
  for (const name of names.slice(0, MAX_FILES)) {
    const file = join(folder, name);
    const stamp = await readStamp(file);
    if (stamp !== undefined) found.push({ file, stamp });
  }
  return found;
}
