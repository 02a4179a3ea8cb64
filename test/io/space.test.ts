/** Which kind of room a failed write wanted. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { spaceFault } from "../../src/io/space.ts";
import { scratch } from "../fixtures/program.ts";

/** A small file system in memory; undefined where this user may not mount one. */
function mounted(t: Test, options: string): string | undefined {
  const at = join(scratch(t), "fs");
  mkdirSync(at);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "none", at], { stdio: "pipe" });
  } catch {
    t.pass("a file system of its own", { skip: "only root may mount one" });
    return undefined;
  }
  t.teardown(() => execFileSync("umount", [at]));
  return at;
}

t.test("spaceFault() names inodes where they ran out, with what is left of bytes", async (t) => {
  const at = mounted(t, "size=20M,nr_inodes=20");
  if (at === undefined) return;
  t.throws(
    () => {
      for (let n = 0; n < 30; n++) writeFileSync(join(at, String(n)), "");
    },
    { code: "ENOSPC" },
  );
  t.match(
    spaceFault(join(at, "no", "such", "file"), "ENOSPC"),
    /^out of inodes: its file system holds at most 20 files, and still has 20/,
  );
});

t.test("spaceFault() speaks of bytes where those ran out, few inodes or many", async (t) => {
  const at = mounted(t, "size=1M,nr_inodes=12");
  if (at === undefined) return;
  t.throws(() => writeFileSync(join(at, "a"), Buffer.alloc(2 * 1024 * 1024)), { code: "ENOSPC" });
  t.equal(spaceFault(join(at, "a"), "ENOSPC"), "no space left");
});

t.test("spaceFault() tells a quota, and survives a place that is none", async (t) => {
  t.equal(spaceFault("/", "EDQUOT"), "the quota of this user is used up");
  t.equal(spaceFault("/no/such/folder/at all", "ENOSPC"), "no space left");
});
