/** src/store/committer.ts: a blob has its name only once its bytes are on the disk, and never through somebody's link. */
import { existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Digest } from "../../src/io/digest.ts";
import { Committer } from "../../src/store/committer.ts";
import { blobPathIn } from "../../src/store/layout.ts";
import { scratch } from "../fixtures/program.ts";

const digest = (n: number): Digest => `sha256:${n.toString(16).padStart(64, "0")}`;

function start(t: Test) {
  const dir = scratch(t);
  const named: string[] = [];
  const committer = new Committer(dir, (it) => named.push(...it));
  const file = (n: number) => {
    const path = join(dir, `part-${n}`);
    writeFileSync(path, `content ${n}`, { mode: 0o444 });
    return path;
  };
  return { dir, named, committer, file };
}

t.test("files wait for their group, and all are named in the end", async (t) => {
  const { dir, named, committer, file } = start(t);
  for (const n of [1, 2]) await committer.add(file(n), digest(n), 9);
  t.notOk(existsSync(blobPathIn(dir, digest(1))), "not before it was synced");
  t.same(named, []);
  await committer.flush();
  t.same(named, [digest(1), digest(2)]);
  await committer.add(file(3), digest(3), 9);
  await committer.finish();
  for (const n of [1, 2, 3]) t.ok(existsSync(blobPathIn(dir, digest(n))));
  t.same(named, [1, 2, 3].map(digest));
  t.same(readdirSync(dir), ["blobs"], "nothing is left elsewhere");
});

t.test("a group of many bytes is committed without being told to", async (t) => {
  const { dir, committer, file } = start(t);
  await committer.add(file(1), digest(1), 512 * 1024 * 1024);
  t.ok(existsSync(blobPathIn(dir, digest(1))));
});

t.test("addSynced() names a file at once, read-only", async (t) => {
  const { dir, named, committer } = start(t);
  const large = join(dir, "large");
  writeFileSync(large, "x", { mode: 0o600 });
  committer.addSynced(large, digest(7));
  t.equal(statSync(blobPathIn(dir, digest(7))).mode & 0o777, 0o444);
  t.same(named, [digest(7)]);
});

t.test("a link in place of a folder of blobs is refused, and nothing is written through it", async (t) => {
  const { dir, named, committer, file } = start(t);
  mkdirSync(join(dir, "blobs/sha256"), { recursive: true });
  mkdirSync(join(dir, "elsewhere"));
  symlinkSync(join(dir, "elsewhere"), join(dir, "blobs/sha256/00"));
  await committer.add(file(1), digest(1), 9);
  await t.rejects(committer.finish(), { code: "ERR_IO", message: /a link instead of a folder/ });
  t.same(readdirSync(join(dir, "elsewhere")), []);
  t.same(named, []);
});

t.test("a file that is gone fails the commit", async (t) => {
  const { committer, dir } = start(t);
  await committer.add(join(dir, "never"), digest(1), 1);
  await t.rejects(committer.finish(), { code: "ERR_IO" });
});
