/** Files that all answers share: one descriptor each, closed when nobody needs it, opened anew when it is in doubt. */
import { readdirSync, readlinkSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { SharedFiles } from "../../../src/server/http/handles.ts";

t.test("SharedFiles shares one descriptor, and closing idle ones harms no reader", async (t) => {
  const files = new SharedFiles();
  const path = join(t.testdir(), "blob");
  await writeFile(path, "0123456789");
  const [a, b] = await Promise.all([files.open(path), files.open(path)]);
  t.equal(a, b);
  a.release();
  files.closeIdle();
  const target = Buffer.alloc(8);
  t.equal(await b.fill(target, 8, 2), 8, "the other one still reads");
  t.equal(target.toString(), "23456789");
  t.equal(await b.fill(target, 8, 6), 4, "fewer at the end");
  b.release();
  files.closeIdle();
  const c = await files.open(path);
  t.equal(await c.fill(target, 2, 0), 2, "opened anew");
  c.release();
  files.closeIdle();
  await t.rejects(files.open(`${path}.none`), { code: "ENOENT" });
  await t.rejects(files.open(`${path}.none`), { code: "ENOENT" }, "a failure is not remembered");
});

t.test("openNow() shares with open(), and forget() has a file opened anew", async (t) => {
  const files = new SharedFiles();
  const dir = t.testdir({ blob: "old", other: "new" });
  const path = join(dir, "blob");
  const opening = files.open(path);
  t.equal(files.openNow(path), undefined, "another caller is opening it");
  const a = await opening;
  t.equal(files.openNow(path), a);
  a.release();
  const target = Buffer.alloc(10);
  t.equal(a.fillNow(target, 2, 3, 0), 3);
  t.equal(target.toString("latin1", 2, 5), "old");
  t.equal(a.fillNow(target, 0, 5, 1), 2, "fewer at the end");

  await rename(join(dir, "other"), path);
  t.equal(files.openNow(path), a, "an open file stays what it was on this thread");
  a.release();
  const b = await files.open(path);
  t.not(b, a, "whoever can wait gets the file that is there now");
  t.equal(files.openNow(path), b);
  b.release();
  b.fillNow(target, 0, 3, 0);
  t.equal(target.toString("latin1", 0, 3), "new");
  t.equal(a.fillNow(target, 0, 3, 0), 3, "who has the old one can still read it");
  a.release();
  b.release();
  files.forget(path);
  files.closeIdle();
  t.throws(() => files.openNow(`${path}.none`), { code: "ENOENT" });
  await new Promise((resolve) => setTimeout(resolve, 50));
  if (process.platform === "linux") t.same(openBelow(dir), [], "nothing is left open");
});

function openBelow(dir: string): string[] {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return targets.filter((it) => it.startsWith(dir));
}
