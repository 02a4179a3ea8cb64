/** Progress: what fits is shown, whatever the width and the script; sums add up; a rerun finds what was shown. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mock } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { type ProgressScreen, startProgress } from "../../src/cli/progress.ts";
import { columnsOf } from "../../src/io/printable.ts";
import { needs } from "../fixtures/clients.ts";
import { CHECKOUT, commandEnvironment, scratch, start, writeManifest } from "../fixtures/program.ts";
import { openTerminal } from "../fixtures/terminal.ts";

interface Screen extends ProgressScreen {
  written: string;
  columns: number;
  resize(to: number): void;
  readonly listening: number;
}

/** A screen of so many columns, and all that was written to it. */
function screenOf(columns: number, isTTY = true) {
  const listeners = new Set<() => void>();
  const screen: Screen = {
    isTTY,
    columns,
    written: "",
    write: (text: string) => (screen.written += text),
    on: (_: "resize", listener: () => void) => listeners.add(listener),
    off: (_: "resize", listener: () => void) => listeners.delete(listener),
    resize: (to: number) => {
      screen.columns = to;
      for (const it of listeners) it();
    },
    get listening() {
      return listeners.size;
    },
  };
  return screen;
}

const MIB = 1024 * 1024;
const WHOLE = {
  total: 98 * MIB,
  totalItems: 39,
  totalVolumes: 5,
  path: "files/中文名字很长的文件/e\u0301👩‍👩‍👧/x.bin",
};

t.test("a line fits any width, in columns as they are shown", async (t) => {
  for (let columns = 1; columns <= 220; columns++) {
    const screen = screenOf(columns);
    const progress = startProgress("packing", "auto", screen);
    progress.update({ ...WHOLE, done: 12 * MIB, doneItems: 8, doneVolumes: 0 });
    progress.end();
    const lines = screen.written.split(/\r(?:\x1b\[\d*[A-K])*|\n/).filter((it) => it !== "");
    t.ok(lines.length > 0 || columns < 4, `${columns} columns show something`);
    for (const line of lines) if (columnsOf(line) >= Math.max(2, columns)) t.fail(`${columns} columns: ${line}`);
  }
  const wide = screenOf(220);
  const progress = startProgress("packing", "auto", wide);
  progress.update({ ...WHOLE, done: 49 * MIB, doneItems: 8, doneVolumes: 2 });
  t.match(
    wide.written,
    /packing \[#{15}-{15}\] 49\.0 MiB of 98\.0 MiB {2}0 B\/s {2}8 of 39 items {2}2 of 5 volumes {2}files\/中/,
  );
  progress.end();
  t.equal(wide.listening, 0, "nobody listens for resizes any more");
});

t.test("the rows that a narrower terminal makes of a line are erased", async (t) => {
  const screen = screenOf(100);
  const progress = startProgress("packing", "auto", screen);
  progress.update({ ...WHOLE, done: 12 * MIB, doneItems: 8, doneVolumes: 0 });
  screen.written = "";
  screen.resize(30);
  t.match(screen.written, /^\r\x1b\[3A\x1b\[J\S/, "four rows");
  screen.written = "";
  progress.clear();
  t.equal(screen.written, "\r\x1b[2K", "now it is one");
  screen.written = "";
  screen.resize(20);
  t.equal(screen.written, "", "what is not shown is not drawn");
  progress.end();
});

t.test("what was found counts for no rate, and left and done are the total", async (t) => {
  const screen = screenOf(80, false);
  const progress = startProgress("packing", "json", screen);
  progress.update({ done: 0, found: 0, total: 100 * MIB });
  await pause(30);
  progress.update({ done: 60 * MIB, found: 60 * MIB, total: 100 * MIB, doneItems: 3, totalItems: 9 });
  progress.end();
  const last = JSON.parse(screen.written.trim().split("\n").at(-1) as string);
  t.match(last, {
    event: "progress",
    what: "packing",
    done: 60 * MIB,
    left: 40 * MIB,
    total: 100 * MIB,
    bytesPerSecond: 0,
  });
  t.match(last, { found: 60 * MIB, doneItems: 3, totalItems: 9 });
});

t.test("without a terminal lines come seldom and ever more seldom", async (t) => {
  mock.timers.enable({ apis: ["Date"] });
  const screen = screenOf(80, false);
  const progress = startProgress("packing", "auto", screen);
  let seen = 0;
  const at: number[] = [];
  for (let second = 0; second < 1800; second++) {
    mock.timers.tick(1000);
    progress.update({ done: second * MIB, total: 2000 * MIB });
    const lines = screen.written.split("\n").length - 1;
    if (lines > seen) at.push(second + 1);
    seen = lines;
  }
  progress.end();
  mock.timers.reset();
  t.strictSame(at, [5, 15, 35, 75, 155, 315, 615, 915, 1215, 1515]);
  t.match(screen.written.split("\n")[1], /^airferry: packing: 14\.0 MiB of 1\.95 GiB, 1\.00 MiB\/s, \d+:\d\d left$/);
  t.notMatch(screen.written, /\x1b/);
});

t.test("what an interrupted pack shows is what the next one finds", async (t) => {
  const dir = scratch(t);
  const server = createServer((request, response) => {
    const size = request.url === "/small.bin" ? 700_000 : 24 * MIB;
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    response.statusCode = from > 0 ? 206 : 200;
    if (from > 0) response.setHeader("content-range", `bytes ${from}-${size - 1}/${size}`);
    // Without a validator or a digest nothing proves that the rest is of the same file.
    if (request.url !== "/untagged.bin") response.setHeader("etag", '"1"');
    response.setHeader("content-length", size - from);
    response.flushHeaders();
    if (request.method === "HEAD") return void response.end();
    let at = from;
    const timer = setInterval(() => {
      if (at >= size) return void response.end();
      const length = Math.min(100_000, size - at);
      response.write(Buffer.alloc(length, at % 251));
      at += length;
    }, 20);
    response.on("close", () => clearInterval(timer));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  writeManifest(dir, {
    files: ["a.bin", "b.bin", "untagged.bin", "small.bin"].map((it) => ({ url: `${base}/${it}` })),
  });
  const interrupted = async () => {
    const child = start(dir, ["pack", "m.yaml", "--unsigned", "--progress", "json"]);
    let done = 0;
    let begun = -1;
    let isSent = false;
    let text = "";
    child.stderr?.on("data", (it) => {
      text += it;
      for (const [, bytes] of text.matchAll(/"event":"progress".*?"done":(\d+)/g)) {
        done = Number(bytes);
        if (begun < 0 && done > 0) begun = done;
      }
      // A second signal would end it at once.
      if (done > begun + 5 * MIB && begun >= 0 && !isSent) isSent = child.kill("SIGINT");
    });
    const { status, stderr } = await child.done;
    t.equal(status, 130, stderr);
    const events = stderr.split("\n").flatMap((it) => (it.startsWith("{") ? [JSON.parse(it)] : []));
    for (const it of events) if (it.event === "progress") t.equal(it.done + it.left, it.total);
    return events.filter((it) => it.event === "progress");
  };
  const first = (await interrupted()).at(-1);
  t.ok(first.done > 2 * MIB, `${first.done} bytes are kept`);
  const second = await interrupted();
  const found = Math.max(...second.map((it) => it.found));
  t.equal(found, first.done, "all of it, and nothing else");
});

t.test("a real terminal that becomes narrow shows one line, and Ctrl-C how much is kept", async (t) => {
  if (!needs(t, "tmux")) return;
  const dir = scratch(t);
  const server = createServer((request, response) => {
    response.setHeader("etag", '"1"');
    response.setHeader("content-length", 64 * MIB);
    if (request.method === "HEAD") return void response.end();
    const timer = setInterval(() => response.write(Buffer.alloc(60_000)), 20);
    response.on("close", () => clearInterval(timer));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/%E4%B8%AD%E6%96%87%E5%90%8D%E5%AD%97.bin`;
  writeManifest(dir, { files: [{ url }] });
  const command = `${CHECKOUT.map((it) => `'${it}'`).join(" ")} pack m.yaml --unsigned; sleep 60`;
  const env = commandEnvironment(dir) as Record<string, string>;
  const terminal = await openTerminal(t, command, { cwd: dir, columns: 110, env });
  // The first row may come before there is a rate.
  await terminal.until(/MiB\/s.*中文名字\.bin/);
  t.match(await terminal.until(/packing \[.*中文名字\.bin/), /packing \[[-#]{30}\] .* of 64\.0 MiB .*中文名字\.bin$/m);
  for (const columns of [70, 38, 24, 100]) {
    await terminal.resize(columns, 30);
    await pause(400);
    const rows = (await terminal.screen()).filter((it) => /MiB|%/.test(it));
    t.equal(rows.length, 1, `${columns} columns: ${rows.join(" | ")}`);
    t.match(rows[0], /MiB\/s/, `${columns} columns show the rate`);
  }
  await terminal.press("C-c");
  const text = await terminal.until(/run the same command/);
  const kept = /run the same command to resume at ([\d.]+ MiB of 64\.0 MiB)/.exec(text)?.[1];
  t.ok(kept, text);
  t.ok(text.includes(`] ${kept} `), "as the last line of progress says");
});
