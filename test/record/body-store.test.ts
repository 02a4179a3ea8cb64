/** src/record/body-store.ts: what becomes of bodies that the folder has already, whole or damaged. */
import { lstatSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import t from "tap";
import { BodyStore } from "../../src/record/body-store.ts";

function put(store: BodyStore, bytes: Buffer) {
  const body = store.begin();
  body.push(bytes);
  return body.finish();
}

t.test("a body that is damaged is replaced when it arrives again", async (t) => {
  for (const bytes of [Buffer.from("small"), Buffer.alloc(600_000, "large")]) {
    const blobs = t.testdir({ elsewhere: "small" });
    const store = new BodyStore(blobs);
    t.teardown(() => store.close());
    const { digest, isNew } = await put(store, bytes);
    t.equal(isNew, true);
    const file = store.pathOf(digest);
    const damage = new Map([
      ["cut", () => truncateSync(file, 2)],
      ["changed", () => writeFileSync(file, Buffer.alloc(bytes.length, "x"))],
      [
        "a link",
        () => {
          rmSync(file);
          symlinkSync("elsewhere", file);
        },
      ],
    ]);
    for (const [what, harm] of damage) {
      harm();
      t.match(await put(store, bytes), { digest, isNew: true }, `${what}, of ${bytes.length} bytes`);
      t.ok(lstatSync(file).isFile());
      t.ok(readFileSync(file).equals(bytes));
    }
    t.equal(readdirSync(blobs).length, 2, "nothing else is left");
  }
});

t.test("a small body that is whole is not written again", async (t) => {
  const store = new BodyStore(t.testdir());
  t.teardown(() => store.close());
  const bytes = Buffer.from("small");
  const { digest } = await put(store, bytes);
  const { ino } = lstatSync(store.pathOf(digest));
  t.equal((await put(store, bytes)).isNew, false);
  t.equal(lstatSync(store.pathOf(digest)).ino, ino);
});
