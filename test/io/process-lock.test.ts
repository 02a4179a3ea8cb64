import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import t from "tap";
import { takeLock } from "../../src/io/process-lock.ts";
import { needs } from "../fixtures/clients.ts";
import { runWithFaults } from "../fixtures/failing-calls.ts";

t.test("takeLock() lets one in at a time", async (t) => {
  const file = join(t.testdir(), "lock");
  const held = await takeLock(file, "it");
  await t.rejects(takeLock(file, "it"), { code: "ERR_BUSY" });
  await held.release();
  await held.release();
  const taken = await Promise.allSettled(Array.from({ length: 8 }, () => takeLock(file, "it")));
  t.equal(taken.filter((it) => it.status === "fulfilled").length, 1);
  for (const it of taken) if (it.status === "fulfilled") await it.value.release();
  t.same(readdirSync(join(file, "..")), []);
});

t.test("takeLock() notices that the holder was killed, and a process id that was used again", async (t) => {
  const file = join(t.testdir(), "lock");
  const code = `
    import { takeLock } from ${JSON.stringify(join(import.meta.dirname, "../../src/io/process-lock.ts"))};
    await takeLock(${JSON.stringify(file)}, "it");
    console.log("held");
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  await t.rejects(takeLock(file, "it"), { code: "ERR_BUSY" });
  child.kill("SIGKILL");
  await once(child, "exit");
  t.ok(existsSync(file));
  const held = await takeLock(file, "it");
  const own = JSON.parse(readFileSync(file, "utf8"));
  await held.release();
  writeFileSync(file, JSON.stringify({ ...own, started: "1@another-boot" }));
  await (await takeLock(file, "it")).release();
  writeFileSync(file, JSON.stringify({ ...own, host: "elsewhere" }));
  await t.rejects(takeLock(file, "it"), { code: "ERR_BUSY" }, "on another host nobody can tell");
});

t.test("takeLock() takes the lock of a process that is gone, whoever else tries at the same time", async (t) => {
  if (!needs(t, "strace")) return;
  const file = join(t.testdir(), "lock");
  const dead = spawn("true");
  await once(dead, "exit");
  const stale = JSON.stringify({ pid: dead.pid, started: "1@this-boot", host: hostname() });
  writeFileSync(file, stale);
  const body = `
    const { takeLock } = await src("io/process-lock.ts");
    await (await takeLock(${JSON.stringify(file)}, "it")).release();`;
  t.equal(runWithFaults(body, { inject: "rename:error=ENOENT:when=1" }), "done", "another one had removed it");
  t.same(readdirSync(join(file, "..")), []);
});

t.test("takeLock() leaves the lock of another host, and of nobody it can read, to whoever knows", async (t) => {
  const file = join(t.testdir(), "lock");
  for (const [text, who] of [
    [JSON.stringify({ pid: 2 ** 22, started: "1@its-boot", host: "gone.example" }), /process 4194304 on gone\.example/],
    ["", /somebody/],
    ["{", /somebody/],
    [JSON.stringify({ pid: "1", started: "", host: hostname() }), /somebody/],
  ] as const) {
    writeFileSync(file, text);
    await t.rejects(takeLock(file, "it"), {
      code: "ERR_BUSY",
      message: who,
      hint: `wait until it has finished; if you know that it no longer runs, remove "${file}"`,
    });
    t.equal(readFileSync(file, "utf8"), text);
  }
  rmSync(file);
  await (await takeLock(file, "it")).release();
  t.same(readdirSync(join(file, "..")), []);
});

t.test("takeLock() works without hard links, as on FAT", async (t) => {
  if (!needs(t, "strace")) return;
  const file = join(t.testdir(), "lock");
  const body = `
    const { takeLock } = await src("io/process-lock.ts");
    const held = await takeLock(${JSON.stringify(file)}, "it");
    const second = await takeLock(${JSON.stringify(file)}, "it").catch((it) => it);
    await held.release();
    await (await takeLock(${JSON.stringify(file)}, "it")).release();
    return second.code;`;
  t.equal(runWithFaults(body, { inject: "link:error=EPERM" }), "ERR_BUSY");
  t.same(readdirSync(join(file, "..")), []);
  const failing = `await (await src("io/process-lock.ts")).takeLock(${JSON.stringify(file)}, "it");`;
  t.match(runWithFaults(failing, { inject: "link:error=ENOSPC" }), { code: "ERR_SPACE" });
  t.same(readdirSync(join(file, "..")), []);
});
