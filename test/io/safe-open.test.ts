/** Untrusted files: regular ones only, with their size limited before anything is read, and disks that fail. */
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openRegular, readSmall } from "../../src/io/safe-open.ts";
import { needs } from "../fixtures/clients.ts";
import { runWithFaults } from "../fixtures/failing-calls.ts";
import { scratch } from "../fixtures/program.ts";

const dir = scratch(t);
const file = join(dir, "file");
writeFileSync(file, "ten bytes\n");

t.test("readSmall() reads a file of up to the limit, and refuses a larger one", async (t) => {
  t.equal(String(await readSmall(file, 10)), "ten bytes\n");
  await t.rejects(readSmall(file, 9), { code: "ERR_SIZE_LIMIT", expected: "at most 9 bytes", actual: "10 bytes" });
  const empty = join(dir, "empty");
  writeFileSync(empty, "");
  t.equal((await readSmall(empty, 0)).length, 0);
});

t.test("openRegular() opens regular files only, and never waits for a pipe", async (t) => {
  const at = (name: string) => join(dir, name);
  symlinkSync("file", at("link"));
  symlinkSync("nothing", at("dangling"));
  mkdirSync(at("folder"));
  execFileSync("mkfifo", [at("pipe")]);
  for (const name of ["link", "dangling", "folder", "pipe"]) {
    await t.rejects(openRegular(at(name)), { code: "ERR_PATH_UNSAFE", message: /not a regular file/, path: at(name) });
  }
  await t.rejects(openRegular("/dev/null"), { code: "ERR_PATH_UNSAFE" });
  await t.rejects(openRegular(at("none")), { code: "ERR_NOT_FOUND", hint: /the medium is mounted/ });
});

t.test("a disk that fails is an error of its own, at the open and while it is read", async (t) => {
  if (!needs(t, "strace")) return;
  const body = `return String(await (await src("io/safe-open.ts")).readSmall(${JSON.stringify(file)}, 100));`;
  const failed = (inject: string) => runWithFaults(body, { inject, path: file });
  t.match(failed("openat:error=EIO"), { code: "ERR_IO", message: /^cannot open ".*file": EIO/ });
  t.match(failed("openat:error=EACCES"), { code: "ERR_IO", message: /permission denied/ });
  t.match(failed("pread64:error=EIO"), { code: "ERR_IO", message: /^cannot read ".*file": EIO/ });
  t.equal(failed("pread64:error=EIO:when=3"), "ten bytes\n", "it is read once, and once at its end");
});
