import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { ifThere, ioError } from "../../src/io/atomic.ts";
import { digestOf } from "../../src/io/digest.ts";
import { LockFolder } from "../../src/manifest/lock-folder.ts";
import { readState } from "../../src/manifest/pack-state.ts";
import { readLock } from "../../src/sources/lock-document.ts";

t.test("ioError() says what helps, by the system's code", async (t) => {
  const hints = new Map([
    ["EACCES", /permissions/],
    ["EPERM", /permissions/],
    ["EROFS", /read-write/],
    ["ENOSPC", /^free some space and run the same command again$/],
    ["EDQUOT", /^free some space/],
  ]);
  for (const [code, hint] of hints) {
    t.match(ioError("write", "x", Object.assign(new Error(`${code}: no`), { code })), { hint, path: "x" }, code);
  }
  t.equal(ioError("write", "x", Object.assign(new Error("EIO: i/o error"), { code: "EIO" })).hint, undefined);
  const own = new AirferryError("ERR_BUSY", "cannot x");
  t.equal(ioError("write", "x", own), own);
});

t.test("ifThere() takes nothing for absent but what is not there", async (t) => {
  const dir = t.testdir({ file: "text", folder: {} });
  const read = (path: string) => ifThere(path, readFile(path, "utf8"));
  t.equal(await read(join(dir, "file")), "text");
  t.equal(await read(join(dir, "absent")), undefined);
  t.equal(await read(join(dir, "file", "below")), undefined, "nothing lies below a file");
  await t.rejects(read(join(dir, "folder")), { code: "ERR_IO", path: join(dir, "folder"), message: /it is a folder/ });
  const broken = Object.assign(new Error("EIO: i/o error, read"), { code: "EIO" });
  const hint = /it may be intact/;
  await t.rejects(ifThere("x.lock.json", Promise.reject(broken)), { code: "ERR_IO", hint, cause: broken });
});

t.test("what the lock keeps is missing, damaged or unreadable, and each is said", async (t) => {
  const folder = new LockFolder(t.testdir());
  const digest = await folder.put(Buffer.from("metadata"));
  t.equal(await folder.has(digest), true);
  await t.rejects(folder.get(digestOf("absent")), { code: "ERR_LOCK_INVALID", message: /missing/, hint: /--update/ });
  writeFileSync(folder.fileOf(digest), "other");
  await t.rejects(folder.get(digest), { code: "ERR_LOCK_INVALID", message: /expected sha256:/ });
  rmSync(folder.fileOf(digest));
  mkdirSync(folder.fileOf(digest));
  const fault = await folder.get(digest).catch((error: unknown) => error as AirferryError);
  t.match(fault, { code: "ERR_IO", message: /cannot read/ });
  t.notMatch(fault, { hint: /--update/ }, "locking anew would give up what is locked");
});

t.test("a lock or state that cannot be read is not taken for absent", async (t) => {
  const dir = t.testdir({ "x.lock.json": {}, "x.state.json": {} });
  await t.rejects(readLock(join(dir, "x.lock.json")), { code: "ERR_LOCK_INVALID" });
  await t.rejects(readState(join(dir, "x.state.json")), { code: "ERR_IO" });
  t.equal(await readLock(join(dir, "y.lock.json")), undefined);
  t.equal(await readState(join(dir, "y.state.json")), undefined);
});
