/** Files that somebody names: regular ones and pipes, whose writer is waited for where a signal reaches it. */
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { runUnder } from "../../src/io/limit.ts";
import { readNamed } from "../../src/io/named-file.ts";
import { readTrustedKeys } from "../../src/sign/keys.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { scratch, start } from "../fixtures/program.ts";

const dir = scratch(t);

function makePipe(name: string): string {
  execFileSync("mkfifo", [join(dir, name)]);
  return join(dir, name);
}

/** Opens a pipe for writing as soon as somebody reads it; undefined for nobody. */
function openWriter(pipe: string): number | undefined {
  try {
    return openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}

t.test("a regular file is read whole, and what is missing or a folder is an error of the system", async (t) => {
  const file = join(dir, "file");
  writeFileSync(file, "x".repeat(200_000));
  t.equal((await readNamed(file)).length, 200_000);
  await t.rejects(readNamed(join(dir, "none")), { code: "ENOENT" });
  await t.rejects(readNamed(dir), { code: "EISDIR" });
});

t.test("a pipe is read to its end, however late its writer comes", async (t) => {
  const pipe = makePipe("late");
  const { pem, keyid } = makeKey();
  const reading = readTrustedKeys([pipe]);
  await writeFile(pipe, pem);
  t.match(await reading, [{ keyid }]);
});

t.test("an abort ends the wait for a writer", async (t) => {
  const stop = new AbortController();
  const reading = runUnder(stop.signal, () => readNamed(makePipe("unwritten")));
  stop.abort();
  await t.rejects(reading, { name: "AbortError" });
});

t.test("a signal ends a program that waits for a key from a pipe", { timeout: 60_000 }, async (t) => {
  const pipe = makePipe("key");
  makeBundle(join(dir, "bundle"), { files: {}, keys: [makeKey()] });
  const child = start(dir, ["verify", "bundle", "--trust", pipe]);
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  let writer = openWriter(pipe);
  while (writer === undefined && child.exitCode === null) {
    await sleep(20);
    writer = openWriter(pipe);
  }
  child.kill("SIGTERM");
  t.equal(await ended, 130);
  if (writer !== undefined) closeSync(writer);
});
