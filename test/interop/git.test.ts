/** Git repositories of `web:`: fetched without git from its http-backend, and cloned with git from what is served. */
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { serve } from "../../src/serve.ts";
import { absent } from "../fixtures/clients.ts";
import { git, gitEnv, hasGitBackend, startGitUpstream } from "../fixtures/git-upstream.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, seededBytes, writeManifest } from "../fixtures/program.ts";
import { everythingIn } from "../fixtures/recording.ts";

const run = promisify(execFile);

t.test("a repository is carried whole, and cloned in every way", { timeout: 120_000 }, async (t) => {
  if (!hasGitBackend()) return absent(t, "git http-backend");
  const dir = scratch(t);
  const root = join(dir, "up");
  mkdirSync(join(root, "work"), { recursive: true });
  writeFileSync(join(root, "work/large"), seededBytes(1, 300_000));
  git(
    root,
    `git init -q -b main work; cd work; git add large; git commit -qm one; git tag light
     for i in 1 2 3; do echo $i > f; git add f; git commit -qm "c $i"; done
     git tag -a v1.0 -m release; git checkout -qb side HEAD~1; echo s > s; git add s; git commit -qm side
     git update-ref refs/pull/1/head HEAD; git checkout -q main
     cd ..; git clone -q --mirror work repo.git; git init -q --bare -b main empty.git`,
  );
  const upstream = await startGitUpstream(t, root);
  writeManifest(dir, { web: [{ name: "src", git: [`${upstream}/repo.git/`, `${upstream}/empty.git`] }] });
  for (const args of [
    ["check", "m.yaml"],
    ["pack", "m.yaml", "--unsigned", "--out", "out"],
    ["keygen", "--out", "k"],
    ["sign", "out/test-000001", "--key", "k.key"],
    ["unpack", "out/test-000001", "--trust", "k.pub", "--store", "s"],
  ]) {
    const { status, stderr } = await airferry(dir, args);
    t.equal(status, 0, `${args[0]}: ${stderr}`);
  }
  const again = await airferry(dir, ["pack", "m.yaml", "--unsigned", "--out", "out"]);
  t.match(again.stderr, "nothing to do");
  const serving = await serve({ store: join(dir, "s"), listen: "127.0.0.1:0" });
  t.teardown(() => serving.close());
  const base = `${serving.urls.at(-1)}/git/${upstream.slice("http://".length)}`;
  const refs = git(root, "git -C repo.git for-each-ref --format='%(objectname) %(refname)' refs/heads refs/tags");
  const inside = async (script: string) => {
    rmSync(join(dir, "c"), { recursive: true, force: true });
    mkdirSync(join(dir, "c"));
    const env = { ...gitEnv(dir), U: `${base}/repo.git`, no_proxy: "*" };
    return (await run("sh", ["-ec", script], { cwd: join(dir, "c"), env })).stdout;
  };
  const ways: [name: string, script: string, expected: string | RegExp][] = [
    [
      "clone",
      "git clone -q $U r; cd r; git fsck --strict; git log --oneline | wc -l; git symbolic-ref HEAD",
      /^4\nrefs\/heads\/main$/m,
    ],
    [
      "mirror",
      "git clone -q --mirror $U r; cd r; git fsck; git for-each-ref --format='%(objectname) %(refname)'",
      refs,
    ],
    ["without .git", `git clone -q ${"$"}{U%.git} r; test -s r/large`, ""],
    ["depth 1", "git clone -q --depth 1 $U r; git -C r fsck --no-dangling; test -s r/large", ""],
    ["branch and depth", "git clone -q --depth 2 --branch side $U r; cat r/s", "s\n"],
    ["a tag", "git clone -q -c advice.detachedHead=false --branch v1.0 $U r; cat r/f", "3\n"],
    ["single branch, no tags", "git clone -q --single-branch --no-tags $U r; git -C r tag", ""],
    ["blobless", "git clone -q --filter=blob:none $U r; git -C r fsck --no-dangling; test -s r/large", ""],
    ["ls-remote", "git ls-remote --heads $U | wc -l", "2\n"],
    ["version 0", "git -c protocol.version=0 clone -q $U r; git -C r fsck; git -C r tag", "light\nv1.0\n"],
    ["version 1", "git -c protocol.version=1 clone -q $U r; git -C r fsck", ""],
    [
      "a commit by its name",
      "git init -q r; cd r; git fetch -q $U main; git log --format=%s FETCH_HEAD | head -1",
      "c 3\n",
    ],
    [
      "what it lacks",
      "git clone -q --branch light $U r 2>&1; cd r; git fetch -q origin main; git fetch -q --deepen 5; git fsck",
      /./,
    ],
    [
      "after own commits",
      "git clone -q $U r; cd r; git commit -q --allow-empty -m own; git update-ref -d refs/remotes/origin/side; git fetch -q; git fsck; git branch -r | wc -l",
      "3\n",
    ],
    ["empty", `git clone -q ${base}/empty.git r 2>&1; git -C r symbolic-ref HEAD`, /refs\/heads\/main/],
  ];
  for (const [name, script, expected] of ways) {
    const out = await inside(script).catch((error: { stderr: string }) => `failed: ${error.stderr}`);
    if (typeof expected === "string") t.equal(out, expected, name);
    else t.match(out, expected, name);
    t.notMatch(out, "failed:", name);
  }
  t.match(await inside(`git clone -q ${base}/none.git r 2>&1 || true`), "not found");
  t.match(
    await inside("git clone -q $U r; cd r; git commit -q --allow-empty -m x; git push -q 2>&1 || true"),
    /fatal|error/,
  );
  const inspected = JSON.parse((await airferry(dir, ["inspect", "out/test-000001", "--json"])).stdout);
  t.match(inspected.catalog.web, [{ name: "src", answers: 0, repositories: 2 }]);
  t.match(
    inspected.entries.filter((it: { kind: string }) => it.kind === "web"),
    [{ path: /^web\/127\.0\.0\.1_\d+\/repo\.git\/git\.pack$/, source: `${upstream}/repo.git` }],
  );
});

t.test("a clone that was recorded is in the manifest, and works from the bundle", { timeout: 120_000 }, async (t) => {
  if (!hasGitBackend()) return absent(t, "git http-backend");
  const dir = scratch(t);
  const root = join(dir, "up");
  mkdirSync(join(root, "work"), { recursive: true });
  git(
    root,
    "git init -q -b main work; cd work; git commit -q --allow-empty -m one; cd ..; git clone -q --mirror work a.git",
  );
  const login = `Basic ${Buffer.from("someone:SECRET-PASSWORD").toString("base64")}`;
  const upstream = await startGitUpstream(t, root, login);
  // Loopback is not asked through proxies.
  const proxied = ["env", "-u", "no_proxy", "-u", "NO_PROXY"];
  const header = `http.extraHeader=Authorization: ${login}`;
  const clone = ["git", "-c", header, "clone", "-q", "--depth", "1", `${upstream}/a.git`];
  const args = ["record", "--out", "b.yaml", "--", ...proxied, ...clone, "first"];
  const recorded = await airferry(dir, args);
  t.equal(recorded.status, 0, recorded.stderr);
  t.notMatch(recorded.stderr, "cannot fetch");
  t.notMatch(everythingIn(join(dir, "b.recording")), login.slice("Basic ".length));
  t.notMatch(readFileSync(join(dir, "b.yaml"), "utf8"), "git:", "it is in the recording");
  git(root, "cd work; git commit -q --allow-empty -m two; git push -q ../a.git main");
  const twice = await airferry(dir, [...args.slice(0, -1), "second"]);
  t.equal(twice.status, 0, twice.stderr);
  const lines = readFileSync(join(dir, "b.recording/git.jsonl"), "utf8").trim().split("\n");
  t.equal(lines.length, 1, "the second recording replaces the first");
  const moment = git(root, "git -C a.git rev-parse main").trim();
  t.match(JSON.parse(lines[0] ?? ""), { url: `${upstream}/a.git`, format: "sha1", head: "refs/heads/main" });
  git(root, "cd work; git commit -q --allow-empty -m three; git push -q ../a.git main");
  renameSync(join(root, "a.git"), join(root, "gone.git"));
  for (const args of [
    ["keygen", "--out", "k"],
    ["pack", "b.yaml", "--key", "k.key", "--out", "out"],
    ["unpack", "out/b-000001", "--trust", "k.pub", "--store", "s"],
  ]) {
    const { status, stderr } = await airferry(dir, args);
    t.equal(status, 0, `${args[0]}: ${stderr}`);
  }
  const serving = await serve({ store: join(dir, "s"), listen: "127.0.0.1:0" });
  t.teardown(() => serving.close());
  const url = `${serving.urls.at(-1)}/git/${upstream.slice("http://".length)}/a.git`;
  await run("git", ["clone", "-q", url, "again"], { cwd: dir, env: gitEnv(dir) });
  t.equal(git(dir, "git -C again log --format=%s"), "two\none\n");
  t.equal(git(dir, "git -C again rev-parse main").trim(), moment, "as it was recorded, not as it was packed");
});
