/**
 * How the program starts and ends: the same for the checkout and for the single-file program, which is built here. Everything
 * between is the same code in both, and tested elsewhere with the checkout.
 */
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { builtFolder, programIn } from "./fixtures/executable.ts";
import { CHECKOUT, type Ran, scratch, start, writeManifest } from "./fixtures/program.ts";
import { startUpstream } from "./fixtures/upstream.ts";

const PROGRAMS = new Map<string, readonly [string, ...string[]]>([
  ["checkout", CHECKOUT],
  ["executable", [programIn(await builtFolder())]],
]);

for (const [name, program] of PROGRAMS) {
  t.test(name, async (t) => {
    const dir = scratch(t);
    const begin = (args: readonly string[], env: NodeJS.ProcessEnv = {}) => start(dir, args, env, program);
    const run = (...args: string[]): Promise<Ran> => begin(args).done;

    t.test("exit statuses", async (t) => {
      const version = await run("--version");
      t.strictSame([version.status, version.stderr], [0, ""]);
      t.match(version.stdout, /^\d+\.\d+\.\d+(?:-dev)?\n$/);
      const usage = await run("verify");
      t.strictSame([usage.status, usage.stdout], [2, ""]);
      t.match(usage.stderr, /^airferry: error: cannot run airferry verify: .*\nairferry: hint: /);
      const failed = await run("status", "--store", "nope");
      t.equal(failed.status, 1);
      t.match(failed.stderr, /^airferry: error: cannot open store "nope": no such folder/);
    });

    t.test("what nobody caught is told in one line, and is a failure", async (t) => {
      writeFileSync(join(dir, "fault.cjs"), 'setImmediate(() => { throw new Error("out of the blue"); });');
      const ran = await begin(["schema"], { NODE_OPTIONS: `--require=${join(dir, "fault.cjs")}` }).done;
      t.equal(ran.status, 1);
      t.match(ran.stderr, /^airferry: error: .*out of the blue\nairferry: hint: .*AIRFERRY_DEBUG=1.*\n$/);
    });

    t.test("a reader that went away is no failure", async (t) => {
      const child = begin(["schema"]);
      child.stdout?.destroy();
      const ran = await child.done;
      t.strictSame([ran.status, ran.stderr], [0, ""]);
    });

    t.test("a result that stdout does not take is told, and is a failure", async (t) => {
      for (const args of [["schema"], ["--help"]]) {
        const ran = await start(dir, args, {}, ["sh", "-c", 'exec "$@" >/dev/full', "sh", ...program]).done;
        t.equal(ran.status, 1);
        t.equal(
          ran.stderr,
          'airferry: error: cannot write to "stdout": no space left\nairferry: hint: free some space and run the same command again\n',
        );
      }
    });

    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      t.test(`${signal} says that it ended the work`, async (t) => {
        const upstream = await startUpstream({
          files: new Map([["/slow.bin", Buffer.alloc(500_000, 1)]]),
          behaviour: { "/slow.bin": { drip: { bytes: 1000, everyMs: 20 } } },
        });
        t.teardown(() => upstream.close());
        const manifest = writeManifest(dir, { files: [{ url: `${upstream.url}/slow.bin` }] }, "slow.yaml");
        const child = begin(["lock", manifest]);
        while (upstream.of("/slow.bin", "GET").length === 0) await sleep(20);
        child.kill(signal);
        const ran = await child.done;
        t.equal(ran.status, 130);
        t.match(ran.stderr, /^airferry: interrupted; run the same command to resume$/m);
        t.notOk(existsSync(join(dir, "slow.lock.json")));
      });
    }

    t.test("from keys to a server of several processes, under any umask", async (t) => {
      const [command, ...before] = program;
      const keys = start(dir, ["-c", 'umask 0; exec "$@"', "sh", command, ...before, "keygen", "--out", "site"], {}, [
        "sh",
      ]);
      t.equal((await keys.done).status, 0);
      t.strictSame(
        ["site.key", "site.pub"].map((it) => statSync(join(dir, it)).mode & 0o777),
        [0o600, 0o644],
      );
      mkdirSync(join(dir, "in"));
      writeFileSync(join(dir, "in", "a.bin"), Buffer.alloc(3_000_000, 7));
      writeManifest(dir, { stream: "one", files: [{ path: "in/a.bin" }] });
      t.equal((await run("pack", "m.yaml", "--key", "site.key", "--out", "out")).stdout, "out/one-000001\n");
      t.match((await run("verify", "out/one-000001", "--trust", "site.pub")).stdout, /^good: stream one, serial 1/);
      const unpacked = await run("unpack", "out/one-000001", "--trust", "site.pub", "--store", "store");
      t.equal(unpacked.status, 0, unpacked.stderr);
      t.equal(JSON.parse((await run("status", "--store", "store", "--json")).stdout).streams[0].stream, "one");

      const server = begin(["serve", "--store", "store", "--listen", "127.0.0.1:0", "--workers", "2"]);
      t.teardown(() => server.kill("SIGKILL"));
      const url = await new Promise<string>((resolve, reject) => {
        server.stdout?.on("data", (text: string) => {
          const found = /http\S+/.exec(text)?.[0];
          if (found !== undefined) resolve(found);
        });
        void server.done.then((ran) => reject(new Error(ran.stderr)));
      });
      const answer = await fetch(`${url}/files/a.bin`);
      t.same(Buffer.from(await answer.arrayBuffer()), Buffer.alloc(3_000_000, 7));
      server.kill("SIGTERM");
      t.equal((await server.done).status, 0);
    });

    t.test("the manifests that come with it", async (t) => {
      t.equal((await run("init", "ready", "--for", "starter")).status, 0);
      t.ok(existsSync(join(dir, "ready", "starter.yaml")));
    });
  });
}
