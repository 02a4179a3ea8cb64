/** A signal ends the program within a second, whatever a parser is working on. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { formatInventory } from "../../src/bundle/inventory.ts";
import type { Digest } from "../../src/io/digest.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { scratch, start, writeManifest } from "../fixtures/program.ts";
import { makeRepository } from "../fixtures/rpm-metadata.ts";
import { startUpstream } from "../fixtures/upstream.ts";

/** Of the processor: by then the program has started and is at its work, which takes much more. */
const BUSY_MS = 1200;
const MS_PER_TICK = 10;
const onLinux = process.platform === "linux" ? {} : { skip: "the processor's time is read in /proc" };

/** What the processor has spent on a process, its threads included. @see proc(5), /proc/PID/stat */
function spentMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

/** Runs a command until it is busy, sends the signal, and expects it to be gone at once, with the status of an interrupted one. */
async function isEnded(t: Test, dir: string, args: readonly string[], signal: "SIGINT" | "SIGTERM"): Promise<void> {
  const child = start(dir, args);
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  let output = "";
  child.stderr?.on("data", (chunk) => {
    output += chunk;
  });
  while (child.exitCode === null && spentMs(child.pid as number) < BUSY_MS) await sleep(20);
  t.equal(child.exitCode, null, `${args[0]} is busy: ${output}`);
  const sent = performance.now();
  child.kill(signal);
  t.equal(await ended, 130, `${args[0]}, ${signal}`);
  const ms = Math.round(performance.now() - sent);
  t.ok(ms < 1000, `${args[0]} ends ${ms} ms after ${signal}`);
  t.match(output, /interrupted/);
}

t.test("a manifest of megabytes", { ...onLinux, timeout: 200_000 }, async (t) => {
  const dir = scratch(t);
  const file = "  - { path: ./a, as: b }\n";
  const text = `apiVersion: airferry/v1\nstream: x\nfiles:\n${file.repeat(150_000)}`;
  await writeFile(join(dir, "m.yaml"), text);
  for (const signal of ["SIGTERM", "SIGINT"] as const) await isEnded(t, dir, ["plan", "m.yaml"], signal);
});

t.test("modules.yaml of a mirror", { ...onLinux, timeout: 200_000 }, async (t) => {
  const dir = scratch(t);
  const document = '---\ndocument: modulemd\nversion: 2\ndata:\n  name: a\n  stream: "1"\n';
  const list = `  artifacts:\n    rpms:\n${"      - a-0:1-1.noarch\n".repeat(2000)}`;
  const bytes = Buffer.from((document + list).repeat(400));
  const { files } = await makeRepository([{ name: "a" }], {
    extra: [{ type: "modules", name: "modules.yaml", bytes, compress: true }],
  });
  const upstream = await startUpstream({ files: new Map([...files].map(([path, it]) => [`/r/${path}`, it])) });
  t.teardown(() => upstream.close());
  const rpms = [{ name: "r", url: `${upstream.url}/r/`, gpgcheck: false }];
  const manifest = writeManifest(dir, { apiVersion: "airferry/v1", stream: "test", rpms });
  for (const signal of ["SIGTERM", "SIGINT"] as const) await isEnded(t, dir, ["lock", manifest], signal);
});

t.test("an inventory of 400,000 entries", { ...onLinux, timeout: 250_000 }, async (t) => {
  const dir = scratch(t);
  const key = makeKey();
  makeBundle(join(dir, "b"), {
    files: { "files/a": Buffer.from("a") },
    keys: [key],
    spoil: (inventory) => {
      const digest: Digest = `sha256:${"0".repeat(64)}`;
      for (let i = 0; i < 400_000; i++) {
        const path = `files/package-${String(i).padStart(7, "0")}-1.2.3-4.el9.x86_64.rpm`;
        inventory.entries.push({ path, size: 1, mode: "0644", digest, from: "store" });
      }
      return formatInventory(inventory);
    },
  });
  await writeFile(join(dir, "key.pub"), key.pem);
  const args = ["verify", "b", "--trust", "key.pub"];
  for (const signal of ["SIGTERM", "SIGINT"] as const) await isEnded(t, dir, args, signal);
});
