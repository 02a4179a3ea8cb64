/** `--user`: root becomes another user for good, in every process, on low ports too; nothing ever needs root. */
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import t from "tap";
import { findAccount } from "../../src/io/account.ts";
import { ROOT as CHECKOUT, type Ran, scratch } from "../fixtures/program.ts";

/** The test runner has every Node process write into its own folder, which other users cannot: `env` takes that off again. */
const PROGRAM = [
  "-u",
  "NODE_OPTIONS",
  process.execPath,
  "--disable-warning=ExperimentalWarning",
  `${CHECKOUT}/src/bin.ts`,
];

function start(cwd: string, args: readonly string[]) {
  const env = { ...process.env, AIRFERRY_PASSWORD: "test", AIRFERRY_CACHE: join(cwd, ".cache") };
  const child = spawn("env", [...PROGRAM, ...args], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  const ran = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].on("data", (text) => {
      ran[name] += text;
    });
  }
  const done = new Promise<Omit<Ran, "signal">>((resolve) =>
    child.on("close", (status) => resolve({ status, ...ran })),
  );
  return { child, done };
}

function airferry(dir: string, args: readonly string[]): Promise<Omit<Ran, "signal">> {
  return start(dir, args).done;
}

const ROOT = process.getuid?.() === 0 && process.platform === "linux" && "needs root on Linux, to give it up";

t.test("findAccount() takes names and numbers, and never root", async (t) => {
  const nobody = await findAccount("nobody");
  t.match(nobody, { name: "nobody", uid: Number, gid: Number });
  t.same(await findAccount(String(nobody.uid)), nobody);
  t.match(await findAccount(`nobody:${nobody.gid + 7}`), { uid: nobody.uid, gid: nobody.gid + 7 });
  t.same(await findAccount("4711:4712"), { uid: 4711, gid: 4712, home: "/" });
  for (const text of [
    "",
    ":",
    "root",
    "0",
    "0:0",
    "00",
    "nobody:0",
    "nobody:root",
    "4711",
    "no-such-user",
    "nobody:",
    ":1",
    "a:b:c",
    "-h",
    "nobody:no-such-group",
  ]) {
    await t.rejects(findAccount(text), { code: "ERR_USAGE" }, JSON.stringify(text));
  }
});

t.test(
  "unpack and serve run as who is named",
  { skip: ROOT === false && "needs root on Linux", timeout: 240_000 },
  async (t) => {
    const { uid, gid } = await findAccount("nobody");
    const dir = scratch(t);
    chmodSync(dir, 0o755);
    writeFileSync(join(dir, "a"), "content of a");
    writeFileSync(join(dir, "s.yaml"), "apiVersion: airferry/v1\nstream: s\nfiles:\n  - path: ./a\n");
    t.equal((await airferry(dir, ["keygen", "--out", "k"])).status, 0);
    const packed = await airferry(dir, ["pack", "s.yaml", "--key", "k.key"]);
    const bundle = packed.stdout.trim().split("\n").at(-1)!;
    const unpack = ["unpack", bundle, "--trust", "k.pub", "--store", "store"];
    const unpacked = await airferry(dir, [...unpack, "--user", "nobody"]);
    t.equal(unpacked.status, 0, unpacked.stderr);
    t.notMatch(unpacked.stderr, "running as root");
    const others = execFileSync("find", [
      join(dir, "store"),
      "-not",
      "-uid",
      String(uid),
      "-o",
      "-not",
      "-gid",
      String(gid),
    ]);
    t.equal(others.toString(), "", "all of the store is that user's");
    t.match((await airferry(dir, unpack)).stderr, "running as root", "root without --user is told");

    for (const port of ["0", "453"]) {
      const more = ["--workers", "2", "--tls", "auto", "--tls-dir", `tls-${port}`, "--access-log", `log-${port}`];
      const args = ["serve", "--store", "store", "--listen", `127.0.0.1:${port}`, ...more, "--user", "nobody"];
      const { child, done } = start(dir, args);
      t.teardown(() => child.kill("SIGKILL"));
      const url = await new Promise<string>((resolve, reject) => {
        createInterface(child.stdout).once("line", resolve);
        done.then((it) => reject(new Error(it.stderr)));
      });
      const threads = readdirSync(`/proc/${child.pid}/task`);
      t.ok(threads.length > 2);
      for (const thread of threads) {
        const status = readFileSync(`/proc/${child.pid}/task/${thread}/status`, "utf8");
        t.match(status, `Uid:\t${uid}\t${uid}\t${uid}\t${uid}\n`, `port ${port}`);
        t.match(status, `Gid:\t${gid}\t${gid}\t${gid}\t${gid}\n`);
        // CAP_NET_BIND_SERVICE is bit 10.
        t.match(status, `CapEff:\t${port === "0" ? "0000000000000000" : "0000000000000400"}\n`);
      }
      const got = execFileSync("curl", ["-fsS", "--cacert", join(dir, `tls-${port}/ca.crt`), `${url}/files/a`]);
      t.equal(got.toString(), "content of a");
      for (const name of [`tls-${port}`, `tls-${port}/ca.key`, `log-${port}`]) {
        t.equal(statSync(join(dir, name)).uid, uid, name);
        t.equal(statSync(join(dir, name)).mode & 0o007, 0, name);
      }
      child.kill("SIGTERM");
      t.equal((await done).status, 0);
    }
  },
);

t.test("only root can become another", { skip: ROOT === false && "needs root on Linux" }, async (t) => {
  const dir = scratch(t);
  chmodSync(dir, 0o777);
  mkdirSync(join(dir, "store"));
  const as = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "env", ...PROGRAM];
  const run = (...args: string[]) => {
    try {
      return execFileSync("setpriv", [...as, ...args], {
        cwd: dir,
        stdio: "pipe",
        encoding: "utf8",
      });
    } catch (error) {
      return String((error as { stderr: string }).stderr);
    }
  };
  t.match(run("serve", "--store", "store", "--user", "daemon"), "only root can switch to another user");
});
