/** What is said to who names a wrong place for a bundle: a file of it, its parent, another folder, nothing. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readMedia } from "../../src/bundle/media.ts";
import type { AirferryError } from "../../src/errors.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { scratch } from "../fixtures/program.ts";

t.test("readMedia() tells each wrong place from the others, and names the right one", async (t) => {
  const dir = scratch(t, "airferry media");
  const parent = join(dir, "all of them");
  for (const name of ["one", "two"])
    makeBundle(join(parent, name), { files: { "files/a": Buffer.from("1") }, keys: [makeKey()] });
  mkdirSync(join(dir, "empty"));
  mkdirSync(join(dir, "other"));
  writeFileSync(join(dir, "other", "notes.txt"), "x");
  writeFileSync(join(parent, "notes.txt"), "x");
  symlinkSync("nowhere", join(dir, "dangling"));
  for (const [place, code, message, hint] of [
    [
      join(parent, "one", "data.tar.0000"),
      "ERR_NOT_FOUND",
      /it is a file: expected the folder/,
      `folder: '${parent}/one'`,
    ],
    [join(parent, "notes.txt"), "ERR_NOT_FOUND", /it is a file/, `folder: '${parent}/one'`],
    [join(dir, "other", "notes.txt"), "ERR_NOT_FOUND", /it is a file/, "give the folder that holds SHA256SUMS"],
    [join(parent, "one", "data.tar.0000", "x"), "ERR_NOT_FOUND", /no such folder/, /check the path.*mounted/],
    [parent, "ERR_BUNDLE_INCOMPLETE", /it holds bundles: "[^"]*one", "[^"]*two"/, `give that folder: '${parent}/one'`],
    [join(dir, "empty"), "ERR_BUNDLE_INCOMPLETE", /not a bundle, or only a part of one/, /holds SHA256SUMS/],
    [join(dir, "other"), "ERR_BUNDLE_INCOMPLETE", /not a bundle/, /holds SHA256SUMS/],
    [join(dir, "nowhere"), "ERR_NOT_FOUND", /no such folder/, /mounted/],
    [join(dir, "dangling"), "ERR_NOT_FOUND", /a dangling link/, /mounted/],
  ] as const) {
    const error = await readMedia([place]).then(
      () => undefined,
      (it: AirferryError) => it,
    );
    t.match(error, { code, message, hint }, place);
  }
});
