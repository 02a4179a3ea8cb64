/** Which kind of room a failed write wanted. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { freeBytesAt, readSpace, spaceFault, verifySpace } from "../../src/io/space.ts";
import { needs } from "../fixtures/clients.ts";
import { runWithFaults } from "../fixtures/failing-calls.ts";
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

t.test("verifySpace() refuses what lacks bytes or inodes, before anything is written", async (t) => {
  const at = mounted(t, "size=20M,nr_inodes=20");
  if (at === undefined) return;
  const { freeBytes, freeFiles } = await readSpace(at);
  t.equal(freeBytes, 20 * 1024 * 1024);
  await verifySpace("write", at, { bytes: freeBytes, files: freeFiles, largest: freeBytes });
  await t.rejects(verifySpace("write", at, { bytes: freeBytes + 1, files: 1, largest: 1 }), {
    code: "ERR_SPACE",
    message: /: 1 byte missing|: 1 B missing/,
    hint: /free some space.* to resume$/,
  });
  await t.rejects(verifySpace("write", at, { bytes: 1, files: freeFiles + 2, largest: 1 }), {
    code: "ERR_SPACE",
    message: new RegExp(`: 2 inodes missing: ${freeFiles + 2} files to create, ${freeFiles} left$`),
    hint: /more inodes.* to resume$/,
  });
  t.equal(await freeBytesAt(join(at, "not", "there")), freeBytes, "where it would be created");
});

t.test("verifySpace() refuses a file that FAT cannot hold", async (t) => {
  if (!needs(t, "strace")) return;
  const dir = scratch(t);
  const check = (largest: number) => `
    const { verifySpace } = await src("io/space.ts");
    await verifySpace("write", ${JSON.stringify(dir)}, { bytes: 1, files: 1, largest: ${largest} });`;
  // The first word of struct statfs is the type: MSDOS_SUPER_MAGIC.
  const inject = "statfs:poke_exit=@arg2=444d000000000000";
  t.equal(runWithFaults(check(4 * 1024 ** 3 - 1), { inject }), "done");
  t.match(runWithFaults(check(4 * 1024 ** 3), { inject }), {
    code: "ERR_FILE_TOO_LARGE",
    message: /files up to 4\.00 GiB \(4294967295 bytes\), got one of 4\.00 GiB \(4294967296 bytes\)$/,
  });
});
