/** Deltas inside of ISOs: what of a new one is on the far side already is not carried, and the rest is built there. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { digestOf, hexOf } from "../src/io/digest.ts";
import { flip } from "./fixtures/bundle-tamper.ts";
import { needs } from "./fixtures/clients.ts";
import { makePointRelease } from "./fixtures/point-release.ts";
import { scratch, seededBytes, start } from "./fixtures/program.ts";
import { makeRpm } from "./fixtures/rpm-files.ts";
import { Sides } from "./fixtures/sides.ts";

const ISO = (path: string) => ({ name: "dvd", path });

function blobOf(sides: Sides, bytes: Uint8Array): string {
  const hex = hexOf(digestOf(bytes));
  return join(sides.dir, "st/blobs/sha256", hex.slice(0, 2), hex);
}

/** A pair of releases, made once: the first is in the store. */
async function begin(t: Test, releases: string): Promise<{ sides: Sides; old: Buffer; next: Buffer }> {
  const sides = await Sides.open(t);
  for (const name of ["old.iso", "new.iso"]) cpSync(join(releases, name), join(sides.dir, name));
  sides.content({ isos: [ISO("old.iso")] });
  await sides.unpack(await sides.pack());
  sides.content({ isos: [ISO("new.iso")] });
  return { sides, old: readFileSync(join(sides.dir, "old.iso")), next: readFileSync(join(sides.dir, "new.iso")) };
}

t.test("a point release", async (t) => {
  if (!needs(t, "xorriso")) return;
  const releases = scratch(t);
  const { changed } = makePointRelease(releases, 2000, 22_000);

  t.test("of which 3 % changed crosses in at most 5 % of its size, and is the same inside", async (t) => {
    const { sides, next } = await begin(t, releases);
    // What was packed is gone from this side but for the small files.
    for (const name of ["data.tar.0000", "data.pieces"]) rmSync(join(sides.dir, "out/test-000001", name));
    rmSync(join(sides.dir, "old.iso"));
    const receipt = await sides.receipt();
    const second = await sides.pack(...receipt);
    const weight = sides.size(second) / next.length;
    t.ok(weight <= 0.05, `${weight}, ${changed / next.length} of it new`);
    const { entries } = sides.inventory(second);
    t.match(
      entries.find((it) => it.path === "isos/dvd.iso"),
      { from: "recipe", size: next.length },
    );
    t.same(sides.carried(second), ["recipes/isos/dvd.iso"]);
    t.match(JSON.parse(readFileSync(join(sides.dir, second, "airferry.json"), "utf8")), { requires: ["recipes"] });
    const verified = await sides.run(["verify", second, "--trust", "site.pub", "--json"]);
    t.match(JSON.parse(verified.stdout), { ok: true, fromRecipe: 1 });
    t.match(verified.stderr, /1 file will be built at import, of 1 file \(.+\) of the store/);
    t.match((await sides.run(["inspect", second, "--json"])).stdout, /"from": "recipe"/);
    t.equal(await sides.pack(...receipt), second, "again is no work");
    const listing = await sides.run(["serve", second, "--trust", "site.pub", "--listen", "127.0.0.1:0"], 3);
    t.match(listing.stderr, /it is a delta/);

    await sides.unpack(second);
    const blob = blobOf(sides, next);
    t.ok(readFileSync(blob).equals(next), "byte for byte");
    t.match(
      execFileSync("xorriso", ["-indev", blob, "-find", "/Packages", "-name", "p00033-2.rpm"], { stdio: "pipe" }),
      /p00033-2/,
    );
    const inside = await sides.served("/isos/dvd/Packages/p00033-2.rpm");
    t.ok(inside.equals(readFileSync(join(releases, "tree/Packages/p00033-2.rpm"))), "its files are served");
    await sides.run(["status", "--store", "st", "--check"]);
    t.match(JSON.parse((await sides.unpack(second, 0, "--json")).stdout), { already: true });
    flip(blob, 30_000_000);
    await sides.run(["fsck", "--store", "st"], 3);
    await sides.unpack(second);
    t.ok(readFileSync(blob).equals(next), "unpacked again, it is built again where it was damaged");
    const pruned = await sides.run(["prune", "--store", "st", "--keep", "1", "--json"]);
    t.match(JSON.parse(pruned.stdout), { releases: ["test/000001"] }, "what it was built of is free to go");
    t.match(JSON.parse((await sides.run(["fsck", "--store", "st", "--json"])).stdout), { ok: true, releases: 1 });

    // The third release builds on the second, whose ISO no bundle carries.
    sides.content({ isos: [ISO("new.iso"), { name: "again", path: "third.iso" }] });
    writeFileSync(join(sides.dir, "third.iso"), Buffer.concat([next, Buffer.alloc(4096, 1)]));
    const third = await sides.pack("--base", "2");
    t.ok(sides.size(third) < 0.03 * next.length);
    await sides.unpack(third);
    t.ok(existsSync(blobOf(sides, readFileSync(join(sides.dir, "third.iso")))));
  });

  t.test("whose base never came in is told before anything is copied, and the answer brings it", async (t) => {
    const { sides, next } = await begin(t, releases);
    const second = await sides.pack("--base", "1");
    rmSync(join(sides.dir, "st"), { recursive: true });
    const refused = await sides.unpack(second, 3);
    t.match(refused.stderr, /it needs 1 file that this store does not have, first "isos\/dvd\.iso"/);
    t.match(refused.stderr, /nor can it be built: the store has no whole sha256:/);
    t.same(readdirSync(join(sides.dir, "st/incoming")), [], "nothing was copied");
    await sides.unpack(second, 5, "--need", "need.json");
    const need = JSON.parse(readFileSync(join(sides.dir, "need.json"), "utf8"));
    t.same(need.blobs, [{ digest: digestOf(next), size: next.length }], "what is missing of the release");
    const answer = await sides.pack("--need", "need.json");
    t.same(sides.carried(answer), ["isos/dvd.iso"]);
    await sides.unpack(answer);
    await sides.run(["status", "--store", "st", "--check"]);
  });

  t.test("of which a source is damaged: it is named, noted, and the answer needs it no more", async (t) => {
    const { sides, old, next } = await begin(t, releases);
    const second = await sides.pack("--base", "1");
    const blob = blobOf(sides, old);
    flip(blob, 20_000_000);
    const refused = await sides.unpack(second, 3);
    t.match(refused.stderr, new RegExp(`${hexOf(digestOf(old))}" is damaged, so "isos/dvd.iso" cannot be built of it`));
    t.match(refused.stderr, /need\.json; the packing side answers/);
    t.same(JSON.parse(readFileSync(join(sides.dir, "st/damaged.json"), "utf8")), { damaged: [digestOf(old)] });
    t.match((await sides.run(["status", "--store", "st"])).stdout, /test\s+1 \*/, "what is served did not change");
    await sides.unpack(second, 5, "--need", "need.json");
    await sides.unpack(await sides.pack("--need", "need.json"));
    t.ok(readFileSync(blobOf(sides, next)).equals(next));
    // Mended, it is a source again.
    const mended = await sides.run([
      "fsck",
      "--store",
      "st",
      "--repair-from",
      "out/test-000001",
      "--trust",
      "site.pub",
    ]);
    t.match(mended.stderr, /repaired/);
  });

  t.test("whose import is killed while it is built is finished by a rerun", async (t) => {
    const { sides, next } = await begin(t, releases);
    const second = await sides.pack("--base", "1");
    const parts = () => {
      const [incoming = ""] = readdirSync(join(sides.dir, "st/incoming"));
      const part = join(sides.dir, "st/incoming", incoming, "parts", hexOf(digestOf(next)));
      return statSync(part, { throwIfNoEntry: false })?.size ?? 0;
    };
    for (let round = 0; round < 3; round++) {
      const child = start(sides.dir, ["unpack", second, "--trust", "site.pub", "--store", "st"]);
      while (child.exitCode === null && parts() === 0) await new Promise((resolve) => setImmediate(resolve));
      child.kill("SIGKILL");
      await child.done;
      t.match((await sides.run(["status", "--store", "st", "--json"])).stdout, /"serial": 1,/);
    }
    await sides.unpack(second);
    t.ok(readFileSync(blobOf(sides, next)).equals(next));
    await sides.run(["fsck", "--store", "st"]);
    t.same(readdirSync(join(sides.dir, "st/incoming")), []);
  });

  t.test("on a set of media, one after the other, is built when the last has come", async (t) => {
    const { sides, next } = await begin(t, releases);
    const second = await sides.pack("--base", "1", "--volume-size", "1MiB", "--per-medium");
    const media = readdirSync(join(sides.dir, second)).sort();
    t.ok(media.length >= 2);
    for (const [index, name] of media.entries())
      await sides.unpack(join(second, name), index < media.length - 1 ? 5 : 0);
    t.ok(readFileSync(blobOf(sides, next)).equals(next));
  });
});

t.test("packages of a repository, and what the bundle carries anyway, are sources too", async (t) => {
  if (!needs(t, "xorriso")) return;
  const sides = await Sides.open(t);
  const rpm = makeRpm({ payload: seededBytes(70, 3_000_000) });
  mkdirSync(join(sides.dir, "rpms"));
  mkdirSync(join(sides.dir, "tree"));
  writeFileSync(join(sides.dir, "rpms/a.rpm"), rpm);
  writeFileSync(join(sides.dir, "tree/a.rpm"), rpm);
  const repository = { rpms: [{ name: "loose", path: "rpms", gpgcheck: false }] };
  sides.content(repository);
  await sides.unpack(await sides.pack());
  const carried = sides.file(2_000_000);
  cpSync(join(sides.dir, carried.path), join(sides.dir, "tree/b.bin"));
  writeFileSync(join(sides.dir, "tree/c.bin"), seededBytes(71, 100_000));
  execFileSync("xorriso", ["-as", "mkisofs", "-quiet", "-r", "-o", "x.iso", "tree"], {
    cwd: sides.dir,
    stdio: "ignore",
  });
  sides.content({ ...repository, files: [carried], isos: [ISO("x.iso")] });
  // A scanner is given the whole ISO, by its members.
  const script = '#!/bin/sh\n[ "$1" = --version ] || (cd "$1" && find . -name c.bin) >> seen.txt\n';
  writeFileSync(join(sides.dir, "look"), script.replace("seen.txt", join(sides.dir, "seen.txt")), { mode: 0o755 });
  const second = await sides.pack("--base", "1", "--scan", `${join(sides.dir, "look")} {}`);
  t.match(readFileSync(join(sides.dir, "seen.txt"), "utf8"), /c\.bin/);
  const { entries } = sides.inventory(second);
  const part = entries.find((it) => it.path === "recipes/isos/dvd.iso");
  t.ok((part?.size ?? 0) > 100_000 && (part?.size ?? 0) < 200_000, `${part?.size}`);
  t.match(
    entries.find((it) => it.path === "isos/dvd.iso"),
    { from: "recipe" },
  );
  // A package that rotted in the store is found while the ISO is built of it, and asked for as well.
  const iso = readFileSync(join(sides.dir, "x.iso"));
  flip(blobOf(sides, rpm), 2_000_000);
  const refused = await sides.unpack(second, 3);
  t.match(refused.stderr, /is damaged, so "isos\/dvd\.iso" cannot be built of it/);
  t.match(refused.stderr, /it needs 2 files that this store does not have/);
  await sides.unpack(second, 5, "--need", "need.json");
  const { blobs } = JSON.parse(readFileSync(join(sides.dir, "need.json"), "utf8"));
  t.same(new Set(blobs.map((it: { digest: string }) => it.digest)), new Set([digestOf(rpm), digestOf(iso)]));
  // Mended, the same bundle is complete.
  await sides.run(["fsck", "--store", "st", "--repair-from", "out/test-000001", "--trust", "site.pub"]);
  await sides.unpack(second);
  t.ok(readFileSync(blobOf(sides, iso)).equals(iso));
  await sides.run(["status", "--store", "st", "--check"]);

  // Little is saved: it is carried whole, without a recipe.
  rmSync(join(sides.dir, "tree"), { recursive: true });
  mkdirSync(join(sides.dir, "tree"));
  cpSync(join(sides.dir, "f1"), join(sides.dir, "tree/b.bin"));
  writeFileSync(join(sides.dir, "tree/d.bin"), seededBytes(72, 60_000_000));
  execFileSync("xorriso", ["-as", "mkisofs", "-quiet", "-r", "-o", "y.iso", "tree"], {
    cwd: sides.dir,
    stdio: "ignore",
  });
  sides.content({ ...repository, files: [carried], isos: [ISO("y.iso")] });
  const third = await sides.pack("--base", "2");
  t.match(sides.inventory(third).entries.find((it) => it.path === "isos/dvd.iso")?.offset, Number);
  t.notOk(existsSync(join(sides.dir, third, "data.recipes")));
});
