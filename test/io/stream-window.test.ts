import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { runUnder } from "../../src/io/limit.ts";
import { StreamWindow } from "../../src/io/stream-window.ts";

const MIB = 1024 * 1024;
const dir = mkdtempSync(join(tmpdir(), "airferry-window-"));
t.teardown(() => rmSync(dir, { recursive: true }));

/** A pipe that a shell writes to. */
function pipeOf(script: string): { window: Promise<StreamWindow>; ended: Promise<unknown> } {
  const fifo = join(dir, `fifo-${Math.random()}`);
  const writer = spawn("sh", ["-c", `mkfifo ${fifo}; exec > ${fifo}; ${script}`], { stdio: "ignore" });
  const open = async () => {
    for (;;) {
      try {
        return await StreamWindow.open(openSync(fifo, "r"));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  };
  return { window: open(), ended: once(writer, "close") };
}

t.test("a pipe of any length passes through memory of one size, which can go back", async (t) => {
  // Numbers in lines of 16 bytes.
  const count = 8_000_000;
  const pipe = pipeOf(`seq -f %015.0f 0 ${count - 1}`);
  const window = await pipe.window;
  const line = (at: number) => `${String(at).padStart(15, "0")}\n`;
  const step = 5 * MIB + 16;
  for (let at = 0; at + step < count * 16; at += step) {
    t.equal(await window.available(step), step);
    t.equal(window.copy(at, 16).toString(), line(at / 16));
    const back = Math.max(window.oldest, at - 64 * MIB);
    t.ok(at === 0 || at - back >= Math.min(at, 64 * MIB), "64 MiB are remembered");
    const place = Math.ceil(back / 16);
    t.equal(window.copy(place * 16, 16).toString(), line(place));
    window.seek(at + step);
  }
  const left = await window.available(8 * MIB);
  t.equal(window.position + left, count * 16);
  window.seek(window.position + left);
  t.equal(await window.available(1), 0);
  window.close();
  await pipe.ended;
});

t.test("a writer that pauses is waited for; a signal ends that", async (t) => {
  const pipe = pipeOf("printf abc; sleep 0.2; printf def; sleep 30");
  const window = await pipe.window;
  t.equal(await window.available(6), 6);
  t.equal(window.copy(0, 6).toString(), "abcdef");
  const controller = new AbortController();
  const waiting = runUnder(controller.signal, () => window.available(7));
  controller.abort(new Error("enough"));
  await t.rejects(waiting, { message: "enough" });
  window.close();
});

t.test("what is no stream is refused", async (t) => {
  const window = await StreamWindow.open(openSync(dir, "r"));
  await t.rejects(window.available(1), { code: "ERR_IO" });
  await t.rejects(StreamWindow.open(999), { code: "ERR_IO" });
});
