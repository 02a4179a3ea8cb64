/**
 * Makes a release in a separate clone: the release's commit, all of .ci/run, the files of dist/ with their signed sums,
 * the tag, and the commit that starts the next version. Only then this branch and the tag move; an earlier failure
 * changes nothing.
 */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { VERSION } from "../../src/version.ts";
import { writeSums } from "../build-binary-parts/sums.ts";
import {
  datedChangelog,
  followingVersion,
  lockWithVersion,
  newestSection,
  openedChangelog,
  requireNextVersion,
  VERSION_FILES,
  withVersion,
} from "./release-texts.ts";

function git(folder: string, ...args: string[]): string {
  return execFileSync("git", ["-C", folder, ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  }).trim();
}

function rewrite(folder: string, name: string, change: (text: string) => string): void {
  const file = join(folder, name);
  writeFileSync(file, change(readFileSync(file, "utf8")));
}

function setVersion(folder: string, version: string): void {
  for (const [name, pattern] of Object.entries(VERSION_FILES)) {
    rewrite(folder, name, (text) => withVersion(text, pattern, version));
  }
  rewrite(folder, "package-lock.json", (text) => lockWithVersion(text, version));
}

/** Builds dist/VERSION/ of the clone, with signed sums. */
async function buildFiles(clone: string, version: string, key: string): Promise<void> {
  const out = join(clone, "dist", version);
  execFileSync(join(clone, "scripts", "build-binary"), ["--out", out], { stdio: ["ignore", "ignore", "inherit"] });
  execFileSync(join(clone, "scripts", "build-packages"), ["--out", out], { stdio: ["ignore", "ignore", "inherit"] });
  execFileSync(join(clone, "scripts", "build-image"), ["--out", out], { stdio: ["ignore", "ignore", "inherit"] });
  const source = `airferry-${version}.tar.gz`;
  git(clone, "archive", "--format=tar.gz", `--prefix=airferry-${version}/`, "-o", join(out, source), "HEAD");
  const names = readdirSync(out).filter((it) => !it.startsWith("SHA256SUMS"));
  await writeSums(out, names, key);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      key: { type: "string" },
      next: { type: "string" },
      "dry-run": { type: "boolean", default: false },
      // For the test: a checkout other than this one.
      root: { type: "string", default: join(import.meta.dirname, "..", "..") },
    },
  });
  const { root } = values;
  const [version] = positionals;
  const { key, "dry-run": dryRun } = values;
  if (version === undefined || positionals.length !== 1 || (key === undefined && !dryRun)) {
    throw new Error("usage: scripts/release VERSION --key FILE [--next VERSION] [--dry-run]");
  }
  const next = values.next ?? followingVersion(version);
  requireNextVersion(version, VERSION, git(root, "tag").split("\n"));
  requireNextVersion(next, version, []);
  if (git(root, "status", "--porcelain") !== "")
    throw new Error("cannot release: commit or remove what git status shows");
  const branch = git(root, "rev-parse", "--abbrev-ref", "HEAD");

  const work = mkdtempSync(join(tmpdir(), "airferry-release-"));
  const clone = join(work, "airferry");
  try {
    // Beside the project, as tests look for it.
    const shared = join(root, "..", "shared");
    if (existsSync(shared)) symlinkSync(realpathSync(shared), join(work, "shared"));
    git(root, "clone", "--quiet", "--branch", branch, root, clone);
    for (const name of ["user.name", "user.email"]) git(clone, "config", name, git(root, "config", name));
    setVersion(clone, version);
    rewrite(clone, "CHANGELOG.md", (text) => datedChangelog(text, version, new Date().toISOString().slice(0, 10)));
    const notes = newestSection(readFileSync(join(clone, "CHANGELOG.md"), "utf8")).text;
    git(clone, "commit", "--quiet", "--all", "-m", `Release ${version}`);
    git(clone, "tag", "-a", `v${version}`, "-m", `airferry ${version}`, "-m", notes);
    if (key !== undefined && !dryRun) {
      execFileSync(join(clone, ".ci", "run"), { stdio: ["ignore", "inherit", "inherit"] });
      await buildFiles(clone, version, resolve(key));
      git(clone, "diff", "--quiet", "HEAD");
    }
    setVersion(clone, `${next}-dev`);
    rewrite(clone, "CHANGELOG.md", (text) => openedChangelog(text, next));
    git(clone, "commit", "--quiet", "--all", "-m", `Begin ${next}`);
    if (dryRun) {
      console.log(git(clone, "log", "--stat", "--format=%n%s", "-2"));
      console.log(`\ntag v${version}:\n\n${git(clone, "tag", "-l", "--format=%(contents)", `v${version}`)}`);
      console.log("\nNothing was changed.");
      return;
    }
    const out = join(root, "dist", version);
    cpSync(join(clone, "dist", version), out, { recursive: true });
    git(root, "fetch", "--quiet", clone, `refs/tags/v${version}:refs/tags/v${version}`, branch);
    git(root, "merge", "--quiet", "--ff-only", "FETCH_HEAD");
    console.log(out);
    console.error(`Released ${version}. To publish it: git push --follow-tags`);
    console.error(
      "To check it: sha256sum -c SHA256SUMS; openssl dgst -sha256 -verify KEY.pub -signature SHA256SUMS.sig SHA256SUMS",
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  console.error(`scripts/release: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
