/** Long locks, read entry by entry. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { formatLock, type Lock, parseLock, readLock } from "../../src/sources/lock-document.ts";
import { readLockInPieces } from "../../src/sources/read-lock.ts";

const COUNT = 8000;
const LOCK: Lock = {
  lockVersion: 1,
  stream: "long",
  time: "2026-01-01T00:00:00Z",
  last: { serial: 3, digest: digestOf("last") },
  entries: Array.from({ length: COUNT }, (_, index) => ({
    kind: "file" as const,
    name: `f${index}`,
    request: `}\n  },\n ${index} ü`,
    artifacts: [
      {
        path: `files/f${index}`,
        file: `f${index}`,
        size: index,
        integrity: digestOf(`${index}`),
        established: "manifest" as const,
      },
    ],
  })),
};

t.test("a long lock read in pieces is the same as read whole", async (t) => {
  const file = join(t.testdir(), "m.lock.json");
  const text = formatLock(LOCK);
  writeFileSync(file, text);
  let count = 0;
  let calls = 0;
  const rest = await readLockInPieces(file, (entries) => {
    count += entries.length;
    calls++;
  });
  t.equal(count, COUNT);
  t.ok(calls > 1, "in more than one piece");
  t.match(rest, { lockVersion: 1, stream: "long", entries: [] });
  t.strictSame(await readLock(file), parseLock(text, file));
  t.equal(formatLock((await readLock(file)) as Lock), text);
});

t.test("what another program wrote is left to the whole parse", async (t) => {
  const dir = t.testdir();
  const text = formatLock(LOCK);
  for (const [name, changed] of Object.entries({
    compact: JSON.stringify(JSON.parse(text)),
    cut: text.slice(0, -200),
    twice: text.replace('\n "lockVersion"', '\n "entries": [],\n "lockVersion"'),
    empty: "",
  })) {
    const file = join(dir, name);
    writeFileSync(file, changed);
    const read = await readLockInPieces(file, () => {}).catch(() => undefined);
    t.equal(read, undefined, name);
  }
});

t.test("a long lock with a fault is refused with the path of the fault", async (t) => {
  const file = join(t.testdir(), "m.lock.json");
  writeFileSync(file, formatLock(LOCK).replace('"size": 7000', '"size": -1'));
  await t.rejects(readLock(file), { code: "ERR_LOCK_INVALID", message: /entries\[7000\]\.artifacts\[0\]\.size/ });
});
