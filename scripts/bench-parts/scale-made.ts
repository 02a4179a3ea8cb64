/** What the benchmark of growth packs: m.yaml and its files in a folder, of any size. Local, so that no server is measured. */
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readLoosePackage, writeLooseRepodata } from "../../src/rpm/loose-packages.ts";
import { inMemory, int32, MINIMAL, makeRpm, REGION, text, texts, withRegion } from "../../test/fixtures/rpm-files.ts";
import { layOutSparse, makeSparse } from "./scale-layout.ts";
import type { Verb } from "./scale-verbs.ts";

/** Something that there can be any number of. */
export interface Dimension {
  name: string;
  unit: string;
  /** n. */
  base: number;
  /** What can be measured of it, in this order. */
  verbs: readonly Verb[];
  make(dir: string, size: number): Promise<void>;
  /** Before `inspect`: what stands for those that would hash a terabyte. */
  afterPlan?(dir: string): Promise<void>;
}

const FOLDER_FILES = 1000;
/** Of each file of the manifest: itself and two sidecars. */
const ENTRIES_EACH = 3;
const REPOSITORIES = 10;
const MIB = 1024 ** 2;

const WHOLE = ["lock", "plan", "pack", "verify", "unpack", "status", "serve start", "prune"] as const;

export const DIMENSIONS: readonly Dimension[] = [
  {
    name: "entries",
    unit: "entries: files of 120 bytes, each with two sidecars",
    base: 5000,
    verbs: WHOLE,
    make: makeFiles,
  },
  {
    name: "packages",
    unit: `packages of 700 bytes in ${REPOSITORIES} repositories`,
    base: 2000,
    verbs: WHOLE,
    make: makePackages,
  },
  { name: "bytes", unit: "MiB in one file, every byte hashed and copied", base: 100, verbs: WHOLE, make: makeBytes },
  {
    name: "layout",
    unit: "GiB in sparse files of 1 GiB, laid out, signed and served, but hashed by nobody",
    base: 10,
    verbs: ["plan", "plan bd25", "inspect", "verify partial", "status", "serve start", "serve ranges", "prune"],
    make: makeSparse,
    afterPlan: layOutSparse,
  },
];

async function makeFiles(dir: string, size: number): Promise<void> {
  const paths: string[] = [];
  for (let i = 0; i < Math.floor(size / ENTRIES_EACH); i++) {
    const folder = `d${Math.floor(i / FOLDER_FILES)}`;
    if (i % FOLDER_FILES === 0) mkdirSync(join(dir, folder));
    paths.push(`${folder}/f${i}`);
    writeFileSync(join(dir, folder, `f${i}`), `content of ${i}\n`.padEnd(120, "."));
  }
  writeManifest(
    dir,
    "files",
    // As short as it can be: a manifest has 4 MiB at most.
    paths.map((path) => `- path: ${path}\n`),
  );
}

async function makePackages(dir: string, size: number): Promise<void> {
  const each = Math.ceil(size / REPOSITORIES);
  const names = Array.from({ length: REPOSITORIES }, (_, it) => `r${it}`);
  for (const name of names) await makeRepository(join(dir, name), name, each);
  writeManifest(
    dir,
    "rpms",
    names.map((name) => `- {name: ${name}, path: ${name}, gpgcheck: false}\n`),
  );
}

/** Zeros: what is read is hashed and written like anything else, and only the source takes no room. */
async function makeBytes(dir: string, size: number): Promise<void> {
  writeFileSync(join(dir, "large"), "");
  truncateSync(join(dir, "large"), size * MIB);
  writeManifest(dir, "files", ["- path: large\n"]);
}

function writeManifest(dir: string, key: string, entries: readonly string[]): void {
  writeFileSync(join(dir, "m.yaml"), `apiVersion: airferry/v1\nstream: bench\n${key}:\n${entries.join("")}`);
}

/** Real packages without content, with files and dependencies, and the metadata of all. */
async function makeRepository(dir: string, prefix: string, count: number): Promise<void> {
  mkdirSync(join(dir, "repodata"), { recursive: true });
  const files = [int32(1116, 0, 0, 0), texts(1117, ["a", "b", "c"]), texts(1118, ["/usr/share/bench/"])];
  const packages = [];
  for (let i = 0; i < count; i++) {
    const entries = [text(1000, `${prefix}-${i}`), ...MINIMAL.slice(1), int32(1037, 0, 0, 0), ...files];
    const all = entries.sort((a, b) => a.tag - b.tag);
    const bytes = makeRpm({
      header: withRegion(REGION(all.length + 1), all),
      payload: Buffer.from(`payload ${prefix} ${i}`),
    });
    const href = `${prefix}-${i}-1.0-1.noarch.rpm`;
    writeFileSync(join(dir, href), bytes);
    packages.push(await readLoosePackage({ href, bytes: inMemory(bytes) }));
  }
  const { files: written, repomd } = await writeLooseRepodata(packages, new Date(0));
  writeFileSync(join(dir, "repodata/repomd.xml"), repomd);
  for (const { path, bytes } of written) writeFileSync(join(dir, path), bytes);
}
