import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { takeLock } from "../../src/io/process-lock.ts";

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
