/**
 * Makes one executable: the pinned Node of a platform without its symbols, the chunks of the program as its assets
 * (nodejs.org/api/single-executable-applications.html), and the stamp at its end.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inject } from "postject";
import { formatStamp, type ProgramStamp } from "../../src/pack/program-stamp.ts";
import type { Chunk } from "./chunks.ts";
import { stripElf } from "./strip-elf.ts";
import { CACHE_SUFFIX } from "./wrapper.ts";

/** What is in an executable besides Node, the same for all platforms. */
export interface Parts {
  loader: string;
  chunks: readonly Chunk[];
  /** Further assets by name. */
  assets: ReadonlyMap<string, string>;
}

interface ExecutableOptions {
  /** An empty folder for what is made on the way. */
  work: string;
  /** The Node to put it into. */
  node: string;
  parts: Parts;
  stamp: Omit<ProgramStamp, "content">;
}

/** Makes the executable and returns its path in `work`. */
export async function makeExecutable({ work, node, parts, stamp }: ExecutableOptions): Promise<string> {
  const file = (name: string) => join(work, name);
  const assets = new Map<string, string>();
  const add = (name: string, bytes: string | Uint8Array) => {
    writeFileSync(file(name), bytes);
    assets.set(name, name);
  };
  mkdirSync(work, { recursive: true });
  for (const { name, code } of parts.chunks) {
    // The loader reads them as Latin-1, which V8 keeps in one byte a character.
    add(name, Buffer.from(code, "latin1"));
    assets.set(`${name}${CACHE_SUFFIX}`, `${name}${CACHE_SUFFIX}`);
    writeFileSync(file(`${name}${CACHE_SUFFIX}`), "");
  }
  // Compiled code is only made here for the architecture that this runs on.
  const own = stamp.platform === `${process.platform}-${process.arch}`;
  if (own) runNode(work, ["--random-seed=42", join(import.meta.dirname, "code-cache.ts"), work]);
  for (const [name, text] of parts.assets) add(name, text);
  writeFileSync(file("loader.cjs"), parts.loader);
  const config = {
    main: "loader.cjs",
    output: "sea.blob",
    disableExperimentalSEAWarning: true,
    useCodeCache: own,
    assets: Object.fromEntries(assets),
  };
  writeFileSync(file("sea.json"), JSON.stringify(config));
  // Relative paths: the blob has the name of its main file in it.
  runNode(work, ["--random-seed=42", "--experimental-sea-config", "sea.json"]);
  const made = file("airferry");
  writeFileSync(made, stripElf(readFileSync(node)));
  await inject(made, "NODE_SEA_BLOB", readFileSync(file("sea.blob")), {
    sentinelFuse: "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2",
  });
  const content = createHash("sha256").update(readFileSync(made)).digest("hex");
  appendFileSync(made, formatStamp({ ...stamp, content: `sha256:${content}` }));
  chmodSync(made, 0o755);
  return made;
}

function runNode(cwd: string, args: string[]): void {
  const { NODE_OPTIONS: _, NODE_COMPILE_CACHE: __, ...env } = process.env;
  execFileSync(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], { cwd, env, stdio: "pipe" });
}
