/** Versions mean something: all files name the same one, and a release refuses what is not the next. */
import { execFileSync, spawnSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  datedChangelog,
  followingVersion,
  lockWithVersion,
  newestSection,
  openedChangelog,
  requireNextVersion,
  VERSION_FILES,
  withVersion,
} from "../../scripts/lib/release-texts.ts";
import { VERSION } from "../../src/version.ts";
import { ROOT } from "../fixtures/program.ts";

const read = (name: string) => readFileSync(join(ROOT, name), "utf8");

t.test("all files name one version, and the changelog's newest section is about it", async (t) => {
  for (const [name, pattern] of Object.entries(VERSION_FILES)) t.equal(pattern.exec(read(name))?.[0], VERSION, name);
  const lock = read("package-lock.json");
  t.equal(lockWithVersion(lock, VERSION), lock, "package-lock.json, to the byte");
  t.equal(newestSection(`${read("CHANGELOG.md")}x`).version, VERSION.replace(/-dev$/, ""));
});

t.test("requireNextVersion() refuses what is not above the last", async (t) => {
  t.doesNotThrow(() => requireNextVersion("0.2.0", "0.2.0-dev", ["v0.1.0", "other"]));
  t.doesNotThrow(() => requireNextVersion("1.0.0-rc.1", "0.2.0-dev", []));
  for (const [version, tags] of [
    ["0.1.9", ["v0.1.0"]],
    ["0.2.0", ["v0.2.0"]],
    ["0.2.0", ["v0.10.0", "v0.9.0"]],
    ["v0.2.0", []],
    ["0.2", []],
    ["0.2.0-dev", []],
    ["0.3.0-dev", []],
    ["", []],
    ["--key", []],
  ] as const) {
    t.throws(() => requireNextVersion(version, "0.2.0-dev", tags), /^cannot release/, `${version} after ${tags}`);
  }
  t.equal(followingVersion("0.2.3"), "0.3.0");
  t.equal(followingVersion("1.0.0-rc.1"), "1.0.0");
});

t.test("the changelog's section is dated once, and the next one opened above it", async (t) => {
  const before = "# Changelog\n\n## 0.2.0 (unreleased)\n\n- New.\n\n## 0.1.0 (2026-01-01)\n\n- Old.\n";
  t.same(newestSection(before), { version: "0.2.0", note: "unreleased", text: "- New." });
  const dated = datedChangelog(before, "0.3.0", "2026-02-03");
  t.equal(dated, before.replace("0.2.0 (unreleased)", "0.3.0 (2026-02-03)"), "under the number that it got");
  t.throws(() => datedChangelog(dated, "0.3.0", "2026-02-03"), /expected "\(unreleased\)"/);
  const opened = openedChangelog(dated, "0.4.0");
  t.equal(opened, dated.replace("## 0.3.0", "## 0.4.0 (unreleased)\n\n## 0.3.0"));
  t.throws(() => newestSection(opened), /says nothing/);
  t.throws(() => newestSection("# Changelog\n"), /expected a section/);
  t.throws(() => withVersion("{}", VERSION_FILES["package.json"] as RegExp, "1.0.0"), /no match/);
});

t.test(
  "scripts/release --dry-run makes both commits and the tag in a clone, and changes nothing",
  {
    skip: !existsSync(join(ROOT, ".git")) && "not a checkout of git",
  },
  async (t) => {
    const folder = join(t.testdir(), "clone");
    execFileSync("git", ["clone", "--quiet", "--no-hardlinks", ROOT, folder]);
    const git = (...args: string[]) => execFileSync("git", ["-C", folder, ...args], { encoding: "utf8" });
    git("config", "user.name", "Release Test");
    git("config", "user.email", "release@example.com");
    writeFileSync(join(folder, "CHANGELOG.md"), "# Changelog\n\n## 8.9.0 (unreleased)\n\n- New.\n");
    git("commit", "--quiet", "--all", "-m", "Say what is new");
    const tags = git("tag");
    const release = (...args: string[]) =>
      spawnSync(process.execPath, [join(ROOT, "scripts", "lib", "release.ts"), ...args, "--root", folder], {
        encoding: "utf8",
      });
    const head = git("rev-parse", "HEAD");

    const done = release("9.0.0", "--dry-run");
    t.equal(done.status, 0, done.stderr);
    t.match(done.stdout, /Begin 9\.1\.0\n[\s\S]*src\/version\.ts[\s\S]*Release 9\.0\.0\n[\s\S]*CHANGELOG\.md/);
    t.match(done.stdout, /tag v9\.0\.0:\n\nairferry 9\.0\.0\n\n- New\./);
    t.equal(git("rev-parse", "HEAD"), head);
    t.equal(git("tag"), tags);
    t.equal(git("status", "--porcelain"), "");

    t.match(release("9.0.0").stderr, /usage: scripts\/release VERSION --key FILE/);
    t.match(release("0.0.1", "--dry-run").stderr, /cannot release 0\.0\.1: expected one above/);
    appendFileSync(join(folder, "README.md"), "x");
    t.match(release("9.0.0", "--dry-run").stderr, /cannot release: commit or remove what git status shows/);
  },
);
