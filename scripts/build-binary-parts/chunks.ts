/**
 * The program as chunks of CommonJS: what a verb does not need is neither read nor compiled when it runs. esbuild cuts
 * along the program's own `await import()`; it does so only for ES modules, so each chunk is translated afterwards.
 */
import { join } from "node:path";
import { build, transform } from "esbuild";

/** One chunk; its name is what other chunks require. */
export interface Chunk {
  name: string;
  code: string;
}

const COMMON = {
  bundle: true,
  // Less to read and to keep in memory. Names stay: some appear in messages.
  minifyWhitespace: true,
  minifySyntax: true,
  platform: "node",
  target: "node24",
  // Files beside the source do not exist in an executable; what is looked up there is looked up beside it.
  define: {
    "import.meta.url": "__airferry_url",
    "import.meta.dirname": "__dirname",
    "import.meta.filename": "__filename",
  },
  write: false,
  logLevel: "error",
} as const;

/** The chunks of the program; `bin.js` is where it starts. The same source gives the same bytes in any folder. */
export async function programChunks(root: string): Promise<Chunk[]> {
  const { outputFiles } = await build({
    ...COMMON,
    absWorkingDir: root,
    entryPoints: ["src/bin.ts"],
    outdir: "chunks",
    format: "esm",
    splitting: true,
  });
  return Promise.all(
    outputFiles.map(async ({ path, text }) => ({
      name: path.slice(join(root, "chunks").length + 1),
      code: await toCommonJs(text.replace(/^#!.*\n/, "")),
    })),
  );
}

async function toCommonJs(text: string): Promise<string> {
  const { code } = await transform(text, {
    format: "cjs",
    platform: "node",
    target: "node24",
    minifyWhitespace: true,
    // An executable has no loader of modules: what is loaded late is required late.
    supported: { "dynamic-import": false },
  });
  return lateModules(code);
}

/**
 * Requires Node's own modules when one of their names is first used: loading them is most of what a short command
 * costs. A module that is also used as a whole is left alone.
 */
function lateModules(code: string): string {
  return code.replaceAll(
    /var (import_[\w$]+)=(?:require\("(node:[\w/]+)"\)|__toESM\(require\("(node:[\w/]+)"\),?1?\));/g,
    (statement, variable: string, plain: string | undefined, wrapped: string | undefined) => {
      const uses = [
        ...code.matchAll(new RegExp(`(?<![\\w$])${variable.replaceAll("$", "\\$")}(?![\\w$])(?:\\.([\\w$]+))?`, "g")),
      ];
      const names = new Set(uses.slice(1).map(([, name]) => name));
      if (names.size === 0 || names.has(undefined)) return statement;
      return `var ${variable}=require.late(${JSON.stringify(plain ?? wrapped)},${JSON.stringify([...names].sort())});`;
    },
  );
}

/** What runs in a thread of its own (src/io/parser-thread.ts), as one text; and the loader that the executable runs. */
export async function wholeProgram(root: string, entry: string): Promise<string> {
  const { outputFiles } = await build({
    ...COMMON,
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: "whole.cjs",
    format: "cjs",
  });
  return outputFiles[0]?.text ?? "";
}
