/**
 * rehearse with real clients: a build with the URLs of upstream runs from a bundle alone, and what the bundle lacks is
 * named. Upstream is on loopback; pack reaches it by --rewrite, the build not at all.
 */
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import t from "tap";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { CHECKOUT, type Ran, start, writeManifest } from "../fixtures/program.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { startUpstream } from "../fixtures/upstream.ts";

/** The build: nothing in it knows of airferry. */
const BUILD = `set -e
curl -fsS -o tool.bin https://dl.example.test/v1/tool.bin
curl -fsS -o odd.txt http://dl.example.test:8080/v1/odd.txt
curl -fsS -o notes.txt http://dl.example.test/v1/notes.txt
dnf -q -y --config=dnf.conf --installroot=$PWD/root --releasever=9 --forcearch=x86_64 install aft-lib
`;

t.test("a build runs from its bundle alone, and fails by name without one of its entries", async (t) => {
  if (!needs(t, "unshare", "ip", "curl", "dnf", ...RPM_BUILDERS)) return;
  const dir = t.testdir();
  const tree = await buildRpmTree(join(dir, "tree"));
  const files = new Map([
    ...tree.served("base"),
    ["/key", tree.key],
    ["/v1/tool.bin", Buffer.from("a tool")],
    ["/v1/notes.txt", Buffer.from("notes")],
    ["/v1/odd.txt", Buffer.from("odd")],
  ] as const);
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  await writeKeyPairs(dir);
  writeFileSync(join(dir, "build.sh"), BUILD);
  writeFileSync(
    join(dir, "dnf.conf"),
    `[main]\nplugins=0\nreposdir=/dev/null\ncachedir=${dir}/cache\nlogdir=${dir}\n[base]\nname=base\n` +
      "baseurl=https://repo.example.test/base/\ngpgcheck=1\nrepo_gpgcheck=0\ngpgkey=https://repo.example.test/key\n",
  );
  const all = [
    { url: "https://dl.example.test/v1/tool.bin", as: "tool.bin" },
    { url: "http://dl.example.test:8080/v1/odd.txt", as: "odd.txt" },
    { url: "http://dl.example.test/v1/notes.txt", as: "notes.txt" },
  ];
  const rewrites = [
    "https://dl.example.test/",
    "http://dl.example.test/",
    "http://dl.example.test:8080/",
    "https://repo.example.test/",
  ];
  const pack = async (name: string, entries: object[]): Promise<string> => {
    const keys = ["https://repo.example.test/key"];
    const rpms = [{ name: "base", url: "https://repo.example.test/base/", keys }];
    writeManifest(dir, { stream: name, files: entries, rpms }, `${name}.yaml`);
    const args = rewrites.flatMap((it) => ["--rewrite", `${it}=${upstream.url}/`]);
    const packed = await start(dir, ["pack", `${name}.yaml`, "--key", "k.key", "-q", ...args]).done;
    t.equal(packed.status, 0, packed.stderr);
    return packed.stdout.trim();
  };
  const env = clientEnv({ AIRFERRY_PASSWORD: "test" });
  const rehearse = (bundle: string, ...more: string[]): Promise<Ran> =>
    start(dir, ["rehearse", bundle, "--trust", "k.pub", "--json", ...more, "--", "sh", "build.sh"], env).done;

  const whole = await pack("whole", all);
  const less = await pack("less", all.slice(0, 2));
  const asked = upstream.requests.length;
  const good = await rehearse(whole);
  t.equal(good.status, 0, good.stderr);
  t.match(JSON.parse(good.stdout), {
    status: 0,
    missing: [],
    asked: [{ host: "dl.example.test", answers: 2 }, { host: "dl.example.test:8080" }, { host: "repo.example.test" }],
  });

  const bad = await rehearse(less);
  t.equal(bad.status, 22, "that of the command");
  const { missing } = JSON.parse(bad.stdout);
  const what = "http://dl.example.test/v1/notes.txt";
  t.same(missing, [{ what, count: 1, isAllowed: false }]);
  const allowed = await rehearse(less, "--allow-missing", "http://dl.example.test/**");
  t.equal(allowed.status, 22);
  t.match(JSON.parse(allowed.stdout).missing, [{ what, isAllowed: true }]);
  t.equal(upstream.requests.length, asked, "upstream hears nothing of it");
});

t.test("other users rehearse in a user namespace, and what nothing answers is named", async (t) => {
  if (!needs(t, "unshare", "ip", "curl", "setpriv")) return;
  const dir = t.testdir();
  chmodSync(dir, 0o755);
  const upstream = await startUpstream({ files: new Map([["/a.txt", Buffer.from("a")]]) });
  t.teardown(() => upstream.close());
  await writeKeyPairs(dir);
  writeManifest(dir, { stream: "a", files: [{ url: "https://dl.example.test/a.txt" }] });
  const rewrite = ["--rewrite", `https://dl.example.test/=${upstream.url}/`];
  const packed = await start(dir, ["pack", "m.yaml", "--key", "k.key", "-q", ...rewrite]).done;
  t.equal(packed.status, 0, packed.stderr);
  const build =
    "env -u CURL_CA_BUNDLE -u SSL_CERT_FILE curl -fsS https://dl.example.test/a.txt; curl -s https://nobody.example.test/; curl -s https://dl.example.test/b.txt; exit 0";
  const args = ["rehearse", packed.stdout.trim(), "--trust", "k.pub", "--", "sh", "-c", build];
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] as const;
  const isRoot = process.getuid?.() === 0;
  const ran = await start(dir, args, { TMPDIR: tmpdir() }, isRoot ? [...nobody, ...CHECKOUT] : CHECKOUT).done;
  t.equal(ran.status, 1, ran.stderr);
  t.match(ran.stdout, /^a/);
  t.match(ran.stdout, /nobody\.example\.test +1/);
  t.match(ran.stdout, /https:\/\/dl\.example\.test\/b\.txt +1 +https:\/\/dl\.example\.test\/a\.txt/);
  t.match(ran.stderr, /the command succeeded; 2 things missing/);
});

t.test("what keeps the server from starting is told as the command tells its own errors", async (t) => {
  if (!needs(t, "unshare", "ip")) return;
  const args = ["rehearse", "none", "--trust", "none.pub", "--json", "--", "true"];
  const ran = await start(t.testdir(), args).done;
  t.match({ status: ran.status, stdout: ran.stdout }, { status: 1, stdout: "" });
  t.match(JSON.parse(ran.stderr), { event: "error", code: "ERR_NOT_FOUND" });
});

t.test("a signal ends it before the build as well as in it, and nothing stays", async (t) => {
  if (!needs(t, "unshare", "ip")) return;
  const dir = t.testdir();
  const upstream = await startUpstream({ files: new Map([["/a.txt", Buffer.from("a")]]) });
  t.teardown(() => upstream.close());
  await writeKeyPairs(dir);
  writeManifest(dir, { stream: "a", files: [{ url: `${upstream.url}/a.txt` }] });
  const packed = await start(dir, ["pack", "m.yaml", "--key", "k.key", "-q"]).done;
  t.equal(packed.status, 0, packed.stderr);
  const temporary = join(dir, "temporary");
  mkdirSync(temporary);
  const args = ["rehearse", packed.stdout.trim(), "--trust", "k.pub", "--", "sh", "-c", "echo runs; exec sleep 60"];

  // Whatever it does then, the build has not started: it says when it does.
  const early = start(dir, args, { TMPDIR: temporary });
  while (readdirSync(temporary).length === 0) await setTimeout(20);
  early.kill("SIGTERM");
  const ended = await early.done;
  t.match({ status: ended.status, stdout: ended.stdout }, { status: 130, stdout: "" }, ended.stderr);
  t.same(readdirSync(temporary), []);

  for (const [signal, status] of [
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    const late = start(dir, args, { TMPDIR: temporary });
    await once(late.stdout ?? late, "data");
    late.kill(signal);
    t.equal((await late.done).status, status, signal);
    t.same(readdirSync(temporary), []);
  }

  const leaving = [...args.slice(0, -1), "setsid sleep 61 & echo $!"];
  const left = await start(dir, leaving, { TMPDIR: temporary }).done;
  t.equal(left.status, 0, left.stderr);
  t.match(left.stderr, /ended 1 process that the command left running/);
  const pid = Number(left.stdout);
  t.ok(!existsSync(`/proc/${pid}`) || / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8")), "gone, or a zombie");

  const ending = [...args.slice(0, -1), "(sleep 1; echo late > late.txt) & exit 0"];
  const late = await start(dir, ending, { TMPDIR: temporary }).done;
  t.equal(late.status, 0, late.stderr);
  t.equal(readFileSync(join(dir, "late.txt"), "utf8"), "late\n", "what ends by itself is left to it");
  t.notMatch(late.stderr, /left running/);

  // Even when nobody can clean up, the server does not stay.
  const killed = start(dir, [...args.slice(0, -1), "echo runs; exec sleep 3"], { TMPDIR: temporary });
  await once(killed.stdout ?? killed, "data");
  const [inner] = readFileSync(`/proc/${killed.pid}/task/${killed.pid}/children`, "utf8").split(" ");
  process.kill(Number(inner), "SIGKILL");
  t.equal((await killed.done).status, 137);
  const serves = () =>
    readdirSync("/proc").some((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(temporary);
      } catch {
        return false;
      }
    });
  for (let attempt = 0; attempt < 100 && serves(); attempt++) await setTimeout(100);
  t.notOk(serves());
});
