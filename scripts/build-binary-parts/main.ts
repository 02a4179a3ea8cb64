/**
 * Builds the single-file programs and what goes with them into a folder. Everything is made beside the result and gets
 * its name at the end: a build never disturbs a program that runs, or another build.
 */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Digest } from "../../src/io/digest.ts";
import { readStamp, sourceDigest } from "../../src/pack/program-stamp.ts";
import { VERSION } from "../../src/version.ts";
import { packages, thirdParty } from "../lib/notices.ts";
import { programChunks, wholeProgram } from "./chunks.ts";
import { makeExecutable, type Parts } from "./executable.ts";
import { nodeFolder } from "./node-program.ts";
import { programSbom } from "./sbom.ts";
import { writeSums } from "./sums.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const ARCHES = ["x64", "arm64"];

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      out: { type: "string", default: join(ROOT, "dist") },
      arch: { type: "string", multiple: true },
      key: { type: "string" },
    },
  });
  const out = resolve(values.out);
  for (const arch of values.arch ?? []) {
    if (!ARCHES.includes(arch)) throw new Error(`cannot build for "${arch}": expected ${ARCHES.join(" or ")}`);
  }
  mkdirSync(out, { recursive: true });
  const work = mkdtempSync(join(out, ".build-"));
  process.on("exit", () => rmSync(work, { recursive: true, force: true }));
  const source = await sourceDigest(ROOT);
  const parts = await makeParts();
  const made = new Map<string, string>();
  for (const arch of values.arch ?? ARCHES) {
    const platform = `linux-${arch}`;
    let node: string;
    try {
      node = await nodeFolder(ROOT, platform);
    } catch (error) {
      // The one for this host is always wanted, the other only if its Node is available or it is asked for.
      if (arch === process.arch || values.arch !== undefined) throw error;
      console.error(`scripts/build-binary: without ${platform}: ${(error as Error).message}`);
      continue;
    }
    const stamp = { version: VERSION, platform, source };
    const folder = join(work, platform);
    made.set(
      `airferry-${platform}`,
      await makeExecutable({ work: folder, node: join(node, "bin", "node"), parts, stamp }),
    );
  }
  for (const [name, text] of texts(source)) {
    writeFileSync(join(work, name), text);
    chmodSync(join(work, name), 0o644);
    made.set(name, join(work, name));
  }
  // Sums of an earlier build must not be beside programs of this one.
  for (const name of ["SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.sigstore.json"])
    rmSync(join(out, name), { force: true });
  for (const [name, file] of made) renameSync(file, join(out, name));
  const kept = await dropOtherPrograms(out, new Set(made.keys()), source);
  await writeSums(out, [...made.keys(), ...kept].sort(), values.key);
  for (const name of made.keys()) if (name.startsWith("airferry-linux-")) console.log(join(out, name));
}

/** Removes programs that were built from other source; returns the names of those for other platforms that stay. */
async function dropOtherPrograms(out: string, made: ReadonlySet<string>, source: Digest): Promise<string[]> {
  const kept: string[] = [];
  for (const name of readdirSync(out).filter((it) => it.startsWith("airferry") && !made.has(it))) {
    const stamp = await readStamp(join(out, name));
    if (stamp === undefined) continue;
    if (stamp.version === VERSION && stamp.source === source && name === `airferry-${stamp.platform}`) kept.push(name);
    else rmSync(join(out, name));
  }
  return kept;
}

async function makeParts(): Promise<Parts> {
  const manifests = join(ROOT, "manifests");
  const ready = readdirSync(manifests)
    .filter((name) => name.endsWith(".yaml"))
    .sort()
    .map((name) => [name.slice(0, -".yaml".length), readFileSync(join(manifests, name), "utf8")]);
  return {
    loader: await wholeProgram(ROOT, "scripts/build-binary-parts/loader.ts"),
    chunks: await programChunks(ROOT),
    assets: new Map([
      // What runs in threads of its own (src/io/parser-thread.ts, src/server/process/workers.ts), and what `init` copies
      // (src/manifest/ready.ts).
      ["parser-worker.cjs", await wholeProgram(ROOT, "src/parser-worker.ts")],
      ["serve-worker.cjs", await wholeProgram(ROOT, "src/serve-worker.ts")],
      ["manifests.json", JSON.stringify(Object.fromEntries(ready))],
      // What every bundle carries (src/pack/write-sources.ts).
      ["FORMAT.txt", readFileSync(join(ROOT, "docs/format.md"), "utf8")],
    ]),
  };
}

/** What has to go with a program, wherever it goes. */
function texts(source: Digest): Map<string, string> {
  const own = ["LICENSE", "NOTICE"].map((name): [string, string] => [name, readFileSync(join(ROOT, name), "utf8")]);
  const sbom = programSbom({ version: VERSION, source, packages: packages(), node: process.versions });
  return new Map([...own, ["THIRD-PARTY.txt", thirdParty()], ["airferry.cdx.json", sbom]]);
}

try {
  await main();
} catch (error) {
  console.error(`scripts/build-binary: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
