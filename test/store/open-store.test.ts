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
  const unpack = (place: string) => `to make the store: airferry unpack BUNDLE --trust KEY --store '${place}'`;
  for (const [place, message, hint] of [
    [
      join(store, "blobs"),
      /other things, no store/,
      `give --store '${store}'; a new store needs a new or empty folder`,
    ],
    [dir, /other things, no store/, `give --store '${store}'`],
    [join(dir, "away", "other"), /other things, no store/, "give the folder that airferry unpack --store was given"],
    [join(dir, "away", "other", "notes.txt"), /it is a file: expected a store's folder/, /give the folder/],
    [join(dir, "empty"), /no \S+ there/, unpack(join(dir, "empty"))],
    [join(dir, "nowhere"), /no such folder/, unpack(join(dir, "nowhere"))],
  ] as const)
    await t.rejects(openStore(place), { code: "ERR_NOT_FOUND", message, hint }, place);
});
