/** `airferry check`: everything that is wrong with a manifest at once, from this host alone. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "./fixtures/host.ts";
import { CHECKOUT, commandEnvironment, scratch } from "./fixtures/program.ts";

const WRONG = `apiVersion: airferry/v1
stream: s
isos:
  - { name: a, path: ./missing.iso }
  - { name: a, path: empty.iso }
rpms:
  - name: r
    url: https://x.example/$releasever/
    keys: [bad.key]
  - { name: q, path: empty }
  - { name: w, path: nowhere, packges: [x] }
files:
  - path: ks.cfg
  - { path: empty, checksums: { path: SUMS } }
images:
  - list: list.txt
  - archive: none.tar
  - ref: example.com/x:1
    signatures: { keys: [bad.key] }
hosts:
  x.example: { token_env: AIRFERRY_TEST_TOKEN, ca: bad.key }
builder:
  flavor: spectro-capi
  kickstart: ks.cfg
  imageconfig: { os_versoin: rockylinux-9 }
`;

/** Every problem of {@link WRONG}, in the order of its lines, those without one last. */
const FOUND: [path: string, message: RegExp][] = [
  ["m.yaml:4 isos[0].path", /^no such file: ".\/missing.iso"$/],
  ["m.yaml:5 isos[1].name", /same name as isos\[0\]/],
  ["m.yaml:5 isos[1].path", /^the file is empty/],
  ["m.yaml:8 rpms[0].url", /"\$releasever" has no value in .*: give it one: vars: \{ releasever: … \}$/],
  ["m.yaml:9 rpms[0].keys[0]", /no usable key/],
  ["m.yaml:10 rpms[1].path", /neither packages \(\*\.rpm\) nor repodata/],
  ["m.yaml:11 rpms[2].packges", /did you mean packages\?/],
  ["m.yaml:11 rpms[2].path", /^no such folder/],
  ["m.yaml:14 files[1].path", /^not a regular file/],
  ["m.yaml:14 files[1].checksums.path", /^no such file: "SUMS"/],
  ["m.yaml:16 images[0].list", /^list.txt:2: is not an image reference/],
  ["m.yaml:17 images[1].archive", /^no such file/],
  ["m.yaml:19 images[2].signatures.keys[0]", /not a public key/],
  ["m.yaml:21 hosts.x.example.ca", /^no PEM block in it/],
  ["builder.imageconfig.os_versoin", /unknown imageconfig key "os_versoin"; write os_version/],
];

function folder(t: Parameters<typeof scratch>[0]): string {
  const dir = scratch(t);
  mkdirSync(join(dir, "empty"));
  writeFileSync(join(dir, "empty.iso"), "");
  writeFileSync(join(dir, "bad.key"), "no key\n");
  writeFileSync(join(dir, "list.txt"), "example.com/y:1\na b c\n");
  writeFileSync(join(dir, "ks.cfg"), "lang en_US\nuser --name=builder --password=$SSH_PASSWORD\n");
  writeFileSync(join(dir, "m.yaml"), WRONG);
  return dir;
}

t.test("reports all problems at once, with their lines, and what depends on the place as warnings", async (t) => {
  const dir = folder(t);
  const { status, stdout } = await airferry(dir, ["check", "m.yaml", "--json"]);
  t.equal(status, 2);
  const report = JSON.parse(stdout);
  t.match(report, { ok: false, stream: "s", entries: { isos: 2, rpms: 3, files: 2, images: 3 } });
  t.strictSame(
    report.problems.map((it: { path: string }) => it.path),
    FOUND.map(([path]) => path),
  );
  for (const [index, [path, message]] of FOUND.entries()) t.match(report.problems[index].message, message, path);
  t.match(report.warnings, [
    { path: "m.yaml:21 hosts.x.example.token_env", message: /AIRFERRY_TEST_TOKEN is not set here/ },
    { path: "builder.kickstart", message: /\$SSH_PASSWORD in line 2/ },
  ]);
  const text = await airferry(dir, ["check", "m.yaml"], { AIRFERRY_TEST_TOKEN: "x" });
  t.equal(text.stdout, "");
  t.match(text.stderr, /error: cannot use manifest "m.yaml": 15 problems$/m);
  for (const [path] of FOUND) t.ok(text.stderr.includes(`  ${path}: `), path);
  t.notMatch(text.stderr, /token_env/, "a variable that is set is no warning");
});

t.test("a large manifest is checked in its thread, with the same result", async (t) => {
  const dir = folder(t);
  writeFileSync(join(dir, "m.yaml"), `${WRONG}${"# a long comment\n".repeat(2000)}`);
  const { stdout } = await airferry(dir, ["check", "m.yaml", "--json"]);
  t.strictSame(
    JSON.parse(stdout).problems.map((it: { path: string }) => it.path),
    FOUND.map(([path]) => path),
  );
});

t.test("what is no YAML, and no manifest at all", async (t) => {
  const dir = folder(t);
  writeFileSync(join(dir, "broken.yaml"), "isos: [\n  - {\n");
  writeFileSync(join(dir, "list.yaml"), "- 1\n");
  for (const [file, message] of [
    ["broken.yaml", /broken.yaml:\d+: /],
    ["list.yaml", /expected a mapping, got a list/],
    ["nowhere.yaml", /no such file/],
  ] as const) {
    const { status, stderr } = await airferry(dir, ["check", file]);
    t.equal(status, 2, file);
    t.match(stderr, message, file);
  }
});

t.test("the lock is absent, fresh, stale or unreadable", async (t) => {
  const dir = folder(t);
  const write = (more = "") =>
    writeFileSync(join(dir, "m.yaml"), `apiVersion: airferry/v1\nstream: s\nfiles:\n  - path: ks.cfg\n${more}`);
  const check = async () => {
    const { status, stdout } = await airferry(dir, ["check", "m.yaml", "--json"]);
    return { status, ...JSON.parse(stdout) };
  };
  write();
  t.match(await check(), { status: 0, ok: true, lock: { state: "absent" } });
  await airferry(dir, ["lock", "m.yaml"]);
  t.match(await check(), { status: 0, lock: { file: "m.lock.json", state: "fresh", stale: [] } });
  write("  - path: list.txt\n");
  t.match(await check(), {
    status: 0,
    lock: { state: "stale", stale: [{ path: "file list.txt", message: /not in the lock/ }] },
  });
  const { stdout, stderr } = await airferry(dir, ["check", "m.yaml"]);
  t.match(stdout, /^good: stream s: 0 ISOs, 0 RPM repositories, 2 files, 0 image entries; lock out of date$/m);
  t.match(stderr, /^airferry: next: airferry plan m\.yaml$/m);
  writeFileSync(join(dir, "m.lock.json"), "{");
  t.match(await check(), { status: 2, ok: false, problems: [{ code: "ERR_LOCK_INVALID", path: "m.lock.json" }] });
});

t.test("reads a manifest on standard input, for check and plan; lock and pack refuse it", async (t) => {
  const dir = folder(t);
  const run = async (verb: string, text: string) => {
    const child = spawn(CHECKOUT[0], [...CHECKOUT.slice(1), verb, "-", "--json"], {
      cwd: dir,
      env: { ...commandEnvironment(dir), TMPDIR: dir },
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (it) => (stdout += it));
    child.stderr.on("data", (it) => (stderr += it));
    child.stdin.on("error", () => {});
    child.stdin.end(text);
    const [status] = await once(child, "close");
    return { status, stdout, stderr };
  };
  const good = "apiVersion: airferry/v1\nstream: s\nfiles: [{ path: ks.cfg }]\n";
  const checked = await run("check", good);
  t.match(JSON.parse(checked.stdout), { ok: true, manifest: "-", lock: { file: null, state: "absent" } });
  const wrong = await run("check", WRONG);
  t.equal(wrong.status, 2);
  t.equal(JSON.parse(wrong.stdout).problems[0].path, "-:4 isos[0].path");
  const planned = await run("plan", good);
  t.match(JSON.parse(planned.stdout).entries[0], { path: "files/ks.cfg", size: 56 }, planned.stderr);
  for (const verb of ["lock", "pack"]) {
    const { status, stderr } = await run(verb, good);
    t.equal(status, 2);
    t.match(stderr, /standard input: the lock .* beside the manifest: expected a file/);
  }
  const { stdout } = await airferry(dir, ["check", "m.yaml", "--json"]);
  t.match(JSON.parse(stdout).lock.state, "absent", "nothing was written beside a manifest");
  const { readdirSync } = await import("node:fs");
  t.strictSame(
    readdirSync(dir).filter((it) => it.startsWith("airferry-") || it.startsWith("-")),
    [],
  );
});
