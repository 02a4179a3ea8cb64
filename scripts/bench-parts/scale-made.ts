/** What the benchmark of growth packs: m.yaml and its files in a folder, of any size. Local, so that no server is measured. */
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { readLoosePackage, writeLooseRepodata } from "../../src/rpm/loose-packages.ts";
import { inMemory, int32, MINIMAL, makeRpm, REGION, text, texts, withRegion } from "../../test/fixtures/rpm-files.ts";

/** Something that there can be any number of. */
export interface Dimension {
  name: string;
  unit: string;
  /** n. */
  base: number;
  make(dir: string, size: number): Promise<void>;
}

const FOLDER_FILES = 1000;
const PACKAGES_EACH = 50;
const CHUNK_BYTES = 1024 * 1024;

export const DIMENSIONS: readonly Dimension[] = [
  { name: "entries", unit: "files of 120 bytes", base: 1000, make: makeFiles },
  { name: "packages", unit: "packages of 700 bytes in one repository", base: 500, make: makePackages },
  { name: "repositories", unit: `repositories of ${PACKAGES_EACH} packages`, base: 2, make: makeRepositories },
  { name: "bytes", unit: "MiB in one file", base: 16, make: makeBytes },
];

async function makeFiles(dir: string, size: number): Promise<void> {
  const paths: string[] = [];
  for (let i = 0; i < size; i++) {
    const folder = `d${Math.floor(i / FOLDER_FILES)}`;
    if (i % FOLDER_FILES === 0) mkdirSync(join(dir, folder));
    paths.push(`${folder}/f${i}`);
    writeFileSync(join(dir, folder, `f${i}`), `content of ${i}\n`.padEnd(120, "."));
  }
  writeManifest(
    dir,
    "files",
    paths.map((path) => `  - path: ${path}\n    as: ${path}\n`),
  );
}

async function makePackages(dir: string, size: number): Promise<void> {
  await makeRepository(join(dir, "r"), size);
  writeManifest(dir, "rpms", ["  - {name: r, path: r, gpgcheck: false}\n"]);
}

/** Names for one and the same folder. */
async function makeRepositories(dir: string, size: number): Promise<void> {
  await makeRepository(join(dir, "r"), PACKAGES_EACH);
  const entries = Array.from({ length: size }, (_, it) => `  - {name: r${it}, path: r, gpgcheck: false}\n`);
  writeManifest(dir, "rpms", entries);
}

async function makeBytes(dir: string, size: number): Promise<void> {
  const file = openSync(join(dir, "large"), "w");
  for (let i = 0; i < size; i++) writeSync(file, randomBytes(CHUNK_BYTES));
  closeSync(file);
  writeManifest(dir, "files", ["  - path: large\n"]);
}

function writeManifest(dir: string, key: string, entries: readonly string[]): void {
  writeFileSync(join(dir, "m.yaml"), `apiVersion: airferry/v1\nstream: bench\n${key}:\n${entries.join("")}`);
}

/** Real packages without content, with files and dependencies, and the metadata of all. */
async function makeRepository(dir: string, count: number): Promise<void> {
  mkdirSync(join(dir, "repodata"), { recursive: true });
  const files = [int32(1116, 0, 0, 0), texts(1117, ["a", "b", "c"]), texts(1118, ["/usr/share/bench/"])];
  const packages = [];
  for (let i = 0; i < count; i++) {
    const entries = [text(1000, `bench-${i}`), ...MINIMAL.slice(1), int32(1037, 0, 0, 0), ...files];
    const all = entries.sort((a, b) => a.tag - b.tag);
    const bytes = makeRpm({ header: withRegion(REGION(all.length + 1), all), payload: Buffer.from(`payload ${i}`) });
    const href = `bench-${i}-1.0-1.noarch.rpm`;
    writeFileSync(join(dir, href), bytes);
    packages.push(await readLoosePackage({ href, bytes: inMemory(bytes) }));
  }
  const { files: written, repomd } = await writeLooseRepodata(packages, new Date(0));
  writeFileSync(join(dir, "repodata/repomd.xml"), repomd);
  for (const { path, bytes } of written) writeFileSync(join(dir, path), bytes);
}
