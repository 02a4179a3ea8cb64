/** Reads on the main thread: only of local files, and none for a while after one that had to wait. */
import t from "tap";
import { isLocal, ReadGuard } from "../../../src/server/http/read-guard.ts";

t.test("ReadGuard pauses after a wait for a disk", async (t) => {
  const guard = new ReadGuard(true);
  guard.took(1000, 1000.5);
  t.ok(guard.mayRead(1001), "quick");
  guard.took(1000, 1400);
  t.notOk(guard.mayRead(1401), "very slow, whatever the cause");
  t.notOk(guard.mayRead(1400 + 39_000));
  t.ok(guard.mayRead(1400 + 40_001), "a hundred times as long");
  t.notOk(new ReadGuard(false).mayRead(0), "never where files are not local");
});

t.test("ReadGuard tells a slow disk from a busy processor", async (t) => {
  let bytes = 4096;
  const guard = new ReadGuard(true, () => bytes);
  guard.took(1000, 1030);
  t.ok(guard.mayRead(1030), "nothing came from a disk");
  bytes += 4096;
  guard.took(1030, 1033);
  t.notOk(guard.mayRead(1034));
  t.ok(guard.mayRead(1334), "three milliseconds cost three hundred");
  bytes += 4096;
  t.ok(guard.mayRead(2500), "what was quick pauses nothing");
  guard.took(2500, 2540);
  t.ok(guard.mayRead(2540), "and a later read is not blamed for it");
});

t.test("isLocal() says no where it cannot know", async (t) => {
  t.equal(await isLocal("/proc"), false, "no file system of disks");
  t.equal(await isLocal(`${t.testdir()}/none`), false);
});
