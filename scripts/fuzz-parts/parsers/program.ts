/** The program under test: all targets in one file, with a counter at each of its branches. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { instrument } from "./instrument.ts";

const SRC = join(import.meta.dirname, "..", "..", "..", "src");

/** Builds it in `dir`; returns its path and the number of branches. */
export async function buildProgram(dir: string): Promise<{ program: string; branches: number }> {
  const program = join(dir, "targets.cjs");
  await build({
    entryPoints: [join(import.meta.dirname, "targets.ts")],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node24",
    define: { "import.meta.url": "__url", "import.meta.dirname": "__dirname", "import.meta.filename": "__filename" },
    // Files beside a source file are looked up there.
    banner: { js: `const __url = ${JSON.stringify(pathToFileURL(join(SRC, "io", "any.ts")).href)};` },
    logLevel: "error",
  });
  const { code, branches } = instrument(readFileSync(program, "utf8"));
  writeFileSync(program, code);
  return { program, branches };
}
