/** Small files: what is read is never believed, and is read at once only where that is sure to be quick. */
import { createHash } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { SharedFiles } from "../../../src/server/http/handles.ts";
import { ReadGuard } from "../../../src/server/http/read-guard.ts";
import { HEADROOM_BYTES, SmallFiles } from "../../../src/server/http/small-files.ts";

const digestOf = (bytes: string): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** Nothing fits into memory, unless it is said. */
function setUp(t: Test, content: string, { bytes = 0, local = true } = {}) {
  const files = new SharedFiles();
  const small = new SmallFiles(files, { bytes, handles: 10 }, new ReadGuard(local));
  const path = join(t.testdir({ blob: content }), "blob");
  t.teardown(() => {
    small.closeIdle();
    files.closeIdle();
  });
  const target = Buffer.alloc(content.length + 4);
  const file = small.at(path, content.length, digestOf(content));
  const readNow = (): string | false => small.readNow(file, target, 4) && target.toString("latin1", 4);
  return { files, small, path, file, readNow };
}

t.test("read at once only after it was read and verified, and only from local disks", async (t) => {
  const { small, file, path, readNow } = setUp(t, "content");
  t.equal(readNow(), false, "nobody has seen it yet");
  t.equal((await small.load(file)).toString(), "content");
  t.equal(readNow(), "content");
  t.equal(small.at(path, 7, digestOf("content")), file, "one record a file");
  t.equal(small.inMemory(file), undefined);

  const remote = setUp(t, "content", { local: false });
  await remote.small.load(remote.file);
  t.equal(remote.readNow(), false);

  const large = "l".repeat(64 * 1024 + 1);
  const other = setUp(t, large);
  await other.small.load(other.file);
  t.equal(other.readNow(), false, "more than 64 KiB");
});

t.test("in memory with room before it", async (t) => {
  const { small, file } = setUp(t, "content", { bytes: 10_000 });
  await small.load(file);
  const bytes = small.inMemory(file);
  t.equal(bytes?.toString(), "content");
  t.ok((bytes?.byteOffset ?? 0) >= HEADROOM_BYTES);
});

const CHANGES: [string, (path: string) => Promise<unknown>][] = [
  ["other bytes of the same size", (path) => writeFile(path, "CONTENT")],
  ["fewer bytes", (path) => writeFile(path, "cont")],
  ["more bytes", (path) => writeFile(path, "content and more")],
];
t.test("a file that changes under an open descriptor is damaged, however it is read", async (t) => {
  for (const [what, change] of CHANGES) {
    await t.test(what, async (t) => {
      const { small, path, file, readNow } = setUp(t, "content");
      await small.load(file);
      t.equal(readNow(), "content");
      await change(path);
      // The first bytes are right still.
      t.equal(readNow(), what === "more bytes" ? "content" : false);
      small.closeIdle();
      await t.rejects(
        small.load(small.at(path, 7, digestOf("content").replace(/.$/, "x"))),
        { code: "ERR_STORE_INVALID" },
        "another digest is another file",
      );
      await t.rejects(small.load(small.at(path, 7, digestOf("content"))), { code: "ERR_STORE_INVALID", path });
      t.equal(readNow(), false, "nothing is believed any more");
      await rm(path);
      await t.rejects(small.load(small.at(path, 7, digestOf("content"))), { code: "ENOENT" });
      await writeFile(`${path}.new`, "content");
      await rename(`${path}.new`, path);
      t.equal((await small.load(small.at(path, 7, digestOf("content")))).toString(), "content", "mended at once");
    });
  }
});

function openDescriptors(path: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(path);
    } catch {
      return false;
    }
  }).length;
}

t.test("a read that fails leaves no descriptor open", { skip: process.platform !== "linux" }, async (t) => {
  // A folder can be opened and says a size, and no read of it succeeds.
  const folder = join(t.testdir({ folder: {} }), "folder");
  const { size } = await stat(folder);
  if (size === 0) return t.pass("folders have no size here");
  const { files, small, path, file, readNow } = setUp(t, "x".repeat(size));
  await small.load(file);
  files.closeIdle();
  await rm(path);
  await rm(folder, { recursive: true, force: true });
  await mkdir(path);
  if ((await stat(path)).size !== size) return t.pass("folders have various sizes here");
  t.equal(readNow(), false);
  // The system closes on another thread.
  for (let i = 0; i < 50 && openDescriptors(path) > 0; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(openDescriptors(path), 0);
});
