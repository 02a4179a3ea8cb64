/** What is said to who names a wrong place for a store. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openStore } from "../../src/store/store.ts";
import { scratch } from "../fixtures/program.ts";

t.test("openStore() names the store that is near, and proposes to make one only where that can be", async (t) => {
  const dir = scratch(t, "airferry stores");
  const store = join(dir, "my store");
  await openStore(store, { create: true });
  mkdirSync(join(dir, "empty"));
  mkdirSync(join(dir, "away", "other"), { recursive: true });
  writeFileSync(join(dir, "away", "other", "notes.txt"), "x");
  const unpack = (place: string) => `to create the store: airferry unpack BUNDLE --trust KEY --store '${place}'`;
  for (const [place, message, hint] of [
    [
      join(store, "blobs"),
      /not a store but another folder/,
      `give --store '${store}'; a new store needs a new or empty folder`,
    ],
    [dir, /not a store but another folder/, `give --store '${store}'`],
    [
      join(dir, "away", "other"),
      /not a store but another folder/,
      "give the folder that airferry unpack --store was given",
    ],
    [join(dir, "away", "other", "notes.txt"), /it is a file: expected a store's folder/, /give the folder/],
    [join(dir, "empty"), /no \S+ there/, unpack(join(dir, "empty"))],
    [join(dir, "nowhere"), /no such folder/, unpack(join(dir, "nowhere"))],
  ] as const)
    await t.rejects(openStore(place), { code: "ERR_NOT_FOUND", message, hint }, place);
});

t.test("a floor that cannot be read is no floor of nothing", async (t) => {
  const store = await openStore(join(scratch(t), "store"), { create: true });
  const folder = join(store.dir, "releases", "lab");
  mkdirSync(folder);
  t.equal(await store.floor("lab"), undefined, "before the first release");
  const good = { epoch: 1, serial: 3, digest: `sha256:${"a".repeat(64)}`, created: "2026-01-01T00:00:00Z" };
  const file = join(folder, "floor.json");
  writeFileSync(file, JSON.stringify(good));
  t.same(await store.floor("lab"), good);
  for (const [text, fault] of [
    ["", /not JSON/],
    ["null", /expected object/],
    ["{}", /epoch: missing/],
    [JSON.stringify({ ...good, serial: "3" }), /serial: expected number, got "3"/],
    [JSON.stringify({ ...good, digest: "a" }), /digest: expected sha256:/],
    [JSON.stringify({ ...good, created: "yesterday" }), /created: /],
  ] as const) {
    writeFileSync(file, text);
    await t.rejects(store.floor("lab"), { code: "ERR_STORE_INVALID", message: fault, path: file }, text);
  }
});
