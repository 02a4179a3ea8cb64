import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { makeSharedFolder, writeShared } from "../../src/io/shared-folder.ts";

t.test("everybody can read what is made, whatever the umask, and only its owner can change it", async (t) => {
  for (const umask of [0o077, 0]) {
    const before = process.umask(umask);
    try {
      const dir = await makeSharedFolder("airferry-test-");
      t.teardown(() => rmSync(dir, { recursive: true }));
      const file = join(dir, "a");
      await writeShared(file, "text");
      t.strictSame(
        [dir, file].map((it) => statSync(it).mode & 0o777),
        [0o755, 0o644],
      );
    } finally {
      process.umask(before);
    }
  }
});

t.test("a folder that cannot be made is told", async (t) => {
  const before = process.env.TMPDIR;
  process.env.TMPDIR = join(t.testdir(), "none");
  t.teardown(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  await t.rejects(makeSharedFolder("x-"), { code: "ERR_IO", message: /cannot make a folder in ".*none"/ });
});
