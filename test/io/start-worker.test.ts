import { execFileSync } from "node:child_process";
import { hash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import t from "tap";

t.test("hash threads start from a single file, minified or with names kept", async (t) => {
  const dir = t.testdir();
  writeFileSync(join(dir, "data"), "airferry");
  // Both at once would rename the helper that keeps names: see start-worker.ts.
  for (const [format, keepNames, minify] of [
    ["esm", false, false],
    ["cjs", false, false],
    ["cjs", true, false],
    ["cjs", false, true],
  ] as const) {
    const outfile = join(dir, `one-${keepNames}-${minify}.${format === "esm" ? "mjs" : "cjs"}`);
    await build({
      stdin: {
        contents: `import { HashPool } from "./hash-pool.ts";
          const pool = new HashPool();
          pool.hashFile(process.argv[2]).then((it) => console.log(it.digest));`,
        resolveDir: join(import.meta.dirname, "../../src/io"),
        loader: "ts",
      },
      bundle: true,
      minify,
      keepNames,
      platform: "node",
      target: "node24",
      format,
      outfile,
    });
    const out = execFileSync(process.execPath, [outfile, join(dir, "data")], { encoding: "utf8" });
    t.equal(
      out.trim(),
      `sha256:${hash("sha256", "airferry", "hex")}`,
      `${format}, keepNames ${keepNames}, minify ${minify}`,
    );
  }
});
