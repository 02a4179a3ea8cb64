/** Makes an .rpm and a .deb of each program in a folder, and renews its SHA256SUMS. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { VERSION } from "../../src/version.ts";
import { writeSums } from "../build-binary-parts/sums.ts";
import { buildTime, ROOT } from "./build-time.ts";
import { makeDeb } from "./deb.ts";
import { fillTree, sharedFiles } from "./payload.ts";
import { makeRpm } from "./rpm.ts";

const PROGRAM = /^airferry-linux-(x64|arm64)$/;
const MAKERS = { rpmbuild: makeRpm, "dpkg-deb": makeDeb };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { out: { type: "string", default: join(ROOT, "dist") }, key: { type: "string" } },
  });
  const out = resolve(values.out);
  const programs = readdirSync(out).filter((it) => PROGRAM.test(it));
  if (programs.length === 0) throw new Error(`no program in ${out}: run scripts/build-binary first`);
  const time = buildTime();
  // Both kinds of package managers sort what follows a tilde before the release.
  const version = VERSION.replace("-", "~");
  const shared = await sharedFiles();
  const work = mkdtempSync(join(out, ".packages-"));
  process.on("exit", () => rmSync(work, { recursive: true, force: true }));
  for (const name of programs) {
    const arch = PROGRAM.exec(name)?.[1] as string;
    const tree = join(work, arch);
    fillTree({ tree, program: join(out, name), dist: out, shared, time });
    for (const [tool, make] of Object.entries(MAKERS)) {
      const own = join(work, `${arch}-${tool}`);
      mkdirSync(own);
      const made = make({ work: own, tree, version, arch, time });
      chmodSync(made, 0o644);
      renameSync(made, join(out, basename(made)));
      console.log(join(out, basename(made)));
    }
  }
  const names = readdirSync(out).filter((it) => !it.startsWith("SHA256SUMS") && !it.startsWith("."));
  await writeSums(out, names, values.key);
}

try {
  await main();
} catch (error) {
  const { stderr } = error as { stderr?: Buffer };
  console.error(`scripts/build-packages: ${error instanceof Error ? error.message : String(error)}${stderr ?? ""}`);
  process.exitCode = 1;
}
