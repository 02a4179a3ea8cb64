/** Several architectures, and a build host that can reach nothing but the server: real RPMs and real dnf. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { Gap, SERVER_ADDRESS } from "../../scripts/rehearsal-parts/network.ts";
import { absent, needs } from "../fixtures/clients.ts";
import { ROOT } from "../fixtures/program.ts";
import { addressesOf, dnf, dnfInside, requireClosed, rpmBench, run } from "../fixtures/rpm-carry.ts";

const bench = await rpmBench(t);
const KEYS = ["@UPSTREAM@/key"];

if (bench !== undefined) {
  const { carry } = bench;

  t.test("two architectures and 32-bit twins out of one repository", async (t) => {
    const multi = { name: "multi", path: "../tree/multi", keys: ["../key.asc"], packages: ["aft-tool"] };
    const both = { ...multi, arch: ["x86_64", "aarch64"], multilib: true };
    const { dir, packed, repos } = await carry(t, "arches", [both]);
    t.equal(packed.status, 0, packed.stderr);
    // On one architecture dnf takes what another one has for missing.
    await requireClosed(t, dir, repos, ...["x86_64", "i686", "noarch"].flatMap((it) => ["--arch", it]));
    await requireClosed(t, dir, repos, "--forcearch=aarch64", "--arch=aarch64", "--arch=noarch");
    const x86 = await dnf(dir, "x86", repos, "install", "aft-tool");
    t.equal(x86.status, 0, x86.out);
    t.match((await run("rpm", ["--root", join(dir, "x86"), "-qa"], dir)).out, /aft-libtool-1-1\.x86_64/);
    const twin = await dnf(dir, "x86", repos, "install", "aft-tool.i686");
    t.equal(twin.status, 0, twin.out);
    t.match((await run("rpm", ["--root", join(dir, "x86"), "-qa"], dir)).out, /aft-libtool-1-1\.i686/);
    const arm = await dnf(dir, "arm", repos, "install", "aft-tool", "--forcearch=aarch64");
    t.equal(arm.status, 0, arm.out);
    const list = (await run("rpm", ["--root", join(dir, "arm"), "-qa"], dir)).out;
    t.match(list, /aft-libtool-1-1\.aarch64/);
    t.notMatch(list, /x86_64|i686/);
  });

  t.test("two repositories and packages, installed where nothing but the server can be reached", async (t) => {
    if (!needs(t, "ip")) return;
    if (process.getuid?.() !== 0 || spawnSync("unshare", ["-n", "true"]).status !== 0) {
      return absent(t, "the right to make network namespaces");
    }
    const { dir, packed, upstream } = await carry(t, "gap", [
      { name: "base", url: "@UPSTREAM@/base/", keys: KEYS, packages: [] },
      { name: "app", url: "@UPSTREAM@/app/", keys: KEYS, packages: ["aft-app"] },
    ]);
    t.equal(packed.status, 0, packed.stderr);
    const gap = new Gap();
    t.teardown(() => gap.close());
    const enter = ["ip", "netns", "exec", gap.name("builder")];
    const inside = (...command: string[]) => run("ip", [...enter.slice(1), ...command], dir);
    const store = ["--store", "store", "--tls", "auto", "--tls-dir", "tls-gap"];
    const listen = ["--listen", `${SERVER_ADDRESS}:0`, "--listen-http", `${SERVER_ADDRESS}:0`];
    const program = [process.execPath, join(ROOT, "src/bin.ts"), "serve", ...store, ...listen];
    const server = gap.spawn("server", program, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
    const ended = new Promise((resolve) => server.on("close", resolve));
    t.teardown(async () => {
      server.kill("SIGTERM");
      await ended;
    });
    const { https } = await addressesOf(server, SERVER_ADDRESS);
    const ca = join(dir, "tls-gap/ca.crt");
    const outside = await inside("curl", "-sS", "--max-time", "3", `${upstream.url}/key`);
    t.not(outside.status, 0, "upstream is out of reach");
    const rendered = await inside("curl", "-sS", "--cacert", ca, `${https}/config/airferry.repo`);
    t.match(rendered.out, /gpgcheck=1\nrepo_gpgcheck=1[\s\S]*gpgcheck=1\nrepo_gpgcheck=1/);
    const repos = rendered.out.replace(/^sslcacert=.*/gm, `sslcacert=${ca}`);
    const installed = await dnfInside(enter, dir, "root", repos, "install", "aft-app");
    t.equal(installed.status, 0, installed.out);
    const list = await run("rpm", ["--root", join(dir, "root"), "-qa"], dir);
    t.match(list.out, /aft-app-2\.0-1/);
    t.match(list.out, /aft\+\+-1\.0\^git1~rc-1/);
    const closure = await dnfInside(enter, dir, "closure", repos, "repoclosure");
    t.equal(closure.status, 0, closure.out);
  });
}
