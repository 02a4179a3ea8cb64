/** Deltas as users carry them: what the far side has is left out, and no lost disk breaks the chain. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import t from "tap";
import { flip } from "./fixtures/bundle-tamper.ts";
import { TestImages } from "./fixtures/images.ts";
import { writeKeyPair, writeKeyPairs } from "./fixtures/keys.ts";
import { seededBytes, writeManifest } from "./fixtures/program.ts";
import { fixtureRpms, RPM_FIXTURES } from "./fixtures/rpm-files.ts";
import { Sides } from "./fixtures/sides.ts";
import { startUpstream } from "./fixtures/upstream.ts";

t.test(
  "of five serials the third is lost: what the fourth lacks is listed, and one more bundle mends it",
  async (t) => {
    const sides = await Sides.open(t);
    const files = [sides.file(), sides.file(1_500_000)];
    const bundles: string[] = [];
    for (let serial = 1; serial <= 5; serial++) {
      files.push(sides.file());
      sides.content({ files });
      bundles.push(await sides.pack(...(serial === 1 ? [] : ["--base", `${serial - 1}`])));
    }
    t.same(sides.carried(bundles[3] ?? ""), ["files/f6"], "only what is new");
    t.match(sides.inventory(bundles[3] ?? ""), { bases: [{ serial: 3 }] });
    t.equal(sides.inventory(bundles[3] ?? "").entries.length, 18, "the whole content is listed");
    await sides.unpack(bundles[0] ?? "");
    await sides.unpack(bundles[1] ?? "");
    const [, , , fourth = "", fifth = ""] = bundles;
    const refused = await sides.unpack(fourth, 3);
    t.match(refused.stderr, /it needs 3 files that this store does not have/);
    t.match(refused.stderr, /--store st --need need\.json/);
    t.same(readdirSync(join(sides.dir, "st/incoming")), []);
    const verifying = ["verify", fifth, "--trust", "site.pub", "--store", "st", "--need", "looked.json", "--json"];
    const looked = JSON.parse((await sides.run(verifying, 5)).stdout);
    t.match(looked, { ok: true, need: { file: "looked.json", blobs: 6 } });
    t.same(readdirSync(join(sides.dir, "st/incoming")), [], "nothing is copied");
    const partly = await sides.unpack(fifth, 5, "--need", "need.json", "--json");
    t.match(JSON.parse(partly.stdout), { complete: false, missing: [], need: { file: "need.json", blobs: 6 } });
    const need = JSON.parse(readFileSync(join(sides.dir, "need.json"), "utf8"));
    t.match(need, { releases: [{ stream: "test", serial: 5 }] });
    t.same(
      readFileSync(join(sides.dir, "looked.json")),
      readFileSync(join(sides.dir, "need.json")),
      "verify's is the same",
    );
    t.equal(need.blobs.length, 6, "files of the third and the fourth, with their sidecars");

    const answer = await sides.pack("--need", "need.json");
    t.same(sides.carried(answer), ["files/f5", "files/f6"], "exactly what is needed");
    t.equal(await sides.pack("--need", "need.json"), answer, "again is no work");
    await sides.unpack(answer);
    await sides.run(["status", "--store", "st", "--check"]);
    t.match(JSON.parse((await sides.run(["receipt", "--store", "st", "--short", "--json"])).stdout), {
      releases: [{ serial: 1 }, { serial: 2 }, { serial: 6 }],
    });
  },
);

t.test("what is damaged on a medium is listed by verify, and the answer mends the medium", async (t) => {
  const sides = await Sides.open(t);
  sides.content({ files: [sides.file(), sides.file(2_500_000), sides.file()] });
  const bundle = await sides.pack();
  const { entries } = sides.inventory(bundle);
  const [small, large] = ["files/f1", "files/f2"].map((path) => entries.find((it) => it.path === path));
  cpSync(join(sides.dir, bundle), join(sides.dir, "disc"), { recursive: true });
  const volume = join(sides.dir, "disc/data.tar.0000");
  flip(volume, (small?.offset ?? 0) + 100);
  flip(volume, (large?.offset ?? 0) + 2_200_000);
  const verifying = ["verify", "disc", "--trust", "site.pub", "--need"];
  writeFileSync(join(sides.dir, "diary.txt"), "mine");
  await sides.run([...verifying, "diary.txt"], 2);
  await sides.run(["verify", "disc", "--trust", "site.pub", "--store", "st"], 2);
  const { stderr } = await sides.run([...verifying, "need.json"], 3);
  t.match(stderr, /missing here: 2 files, 2\.41 MiB, listed in need\.json/);
  t.match(stderr, /next: there: airferry pack MANIFEST --key FILE --need need\.json; then here: airferry repair disc /);
  const { releases, blobs } = JSON.parse(readFileSync(join(sides.dir, "need.json"), "utf8"));
  t.match(releases, [{ stream: "test", serial: 1 }]);
  t.strictSame(
    new Map(blobs.map((it: { digest: string; pieces?: number[][] }) => [it.digest, it.pieces])),
    new Map([
      [`sha256:${small?.sha256}`, undefined],
      [`sha256:${large?.sha256}`, [[2, 1]]],
    ]),
  );
  const answer = await sides.pack("--need", "need.json");
  t.same(sides.carried(answer), ["files/f1", "recipes/files/f2"]);
  const repairing = ["repair", "disc", "--trust", "site.pub", "--in-place", "--from"];
  await writeKeyPairs(sides.dir, "other");
  const unsigned = await sides.run(["repair", "disc", "--trust", "other.pub", "--from", answer], 3);
  t.match(unsigned.stderr, /not trusted here/);
  await sides.run([...repairing, answer]);
  t.same(readFileSync(volume), readFileSync(join(sides.dir, bundle, "data.tar.0000")));
  rmSync(join(sides.dir, "need.json"));
  t.match((await sides.run([...verifying, "need.json"])).stderr, /"need\.json" is not written: no content is missing/);

  rmSync(volume);
  await sides.run([...verifying, "need.json"], 3);
  t.equal(JSON.parse(readFileSync(join(sides.dir, "need.json"), "utf8")).blobs.length, entries.length);
  sides.content({ files: [sides.file()] });
  const theirs = (await sides.run(["pack", "m.yaml", "--key", "other.key", "--out", "theirs"])).stdout.trim();
  const { stderr: left } = await sides.run([...repairing, theirs]);
  t.match(left, /"theirs\/test-.*" is another bundle; only whole volumes of it are tried: signed by /);
  t.same(readFileSync(volume), readFileSync(join(sides.dir, bundle, "data.tar.0000")), "whose digests decide");
});

t.test("what is damaged in a store comes with the next bundle", async (t) => {
  const sides = await Sides.open(t);
  sides.content({ files: [sides.file(), sides.file(2_500_000)] });
  await sides.unpack(await sides.pack());
  const digest = sides.inventory("out/test-000001").entries.find((it) => it.path === "files/f2")?.sha256 ?? "";
  flip(join(sides.dir, "st/blobs/sha256", digest.slice(0, 2), digest), 1_100_000);
  const { stderr } = await sides.run(["fsck", "--store", "st", "--need", "need.json"], 3);
  t.match(stderr, /listed in need\.json: carry/);
  t.match(stderr, /next: there: airferry pack MANIFEST --key FILE --need need\.json; /);
  const need = JSON.parse(readFileSync(join(sides.dir, "need.json"), "utf8"));
  t.match(need, { releases: [{ serial: 1 }], blobs: [{ digest: `sha256:${digest}`, pieces: [[1, 1]] }] });
  await sides.run(["receipt", "--store", "st", "--key", "inside.key", "--out", "r.txt"], 1);
  const answer = await sides.pack("--need", "need.json");
  t.same(sides.carried(answer), ["recipes/files/f2"]);
  await sides.unpack(answer);
  await sides.run(["fsck", "--store", "st", "--need", "need.json"]);
  await sides.receipt();
});

t.test("--overlap repeats what the last bundles brought: any of them may be lost", async (t) => {
  const sides = await Sides.open(t);
  const files: object[] = [];
  const bundles: string[] = [];
  for (let serial = 1; serial <= 5; serial++) {
    files.push(sides.file());
    sides.content({ files });
    bundles.push(await sides.pack("--overlap", "1"));
  }
  t.same(
    bundles.map((it) => sides.carried(it).length),
    [1, 2, 2, 2, 2],
  );
  t.equal(await sides.pack("--overlap", "1"), bundles[4], "again is no work");
  for (const it of [1, 3, 4]) await sides.unpack(bundles[it] ?? "");
});

t.test("a receipt tells what is there; an old or foreign one costs only bytes", async (t) => {
  const sides = await Sides.open(t);
  const files = Array.from({ length: 20 }, () => sides.file(100_000));
  sides.content({ files });
  const first = await sides.pack("--volume-size", "1MiB", "--per-medium");
  t.match(readdirSync(join(sides.dir, first)), ["medium-1-of-2", "medium-2-of-2"]);
  await sides.unpack(first);
  sides.content({ files: [...files, sides.file(100_000)] });
  const flags = await sides.receipt();
  const second = await sides.pack(...flags);
  t.same(sides.carried(second), ["files/f21"]);
  const { entries } = sides.inventory(second);
  const content = entries.reduce((sum, it) => sum + it.size, 0);
  const provenance = readdirSync(join(sides.dir, second, "signatures")).find((it) => it.includes(".provenance.")) ?? "";
  const small = ["BOM.html", "BOM.cdx.json", "FORMAT.txt", "airferry.json", join("signatures", provenance)];
  const fixed = small.reduce((sum, it) => sum + (statSync(join(sides.dir, second, it)).size ?? 0), 0);
  t.ok(sides.size(second) - fixed < 0.06 * content, `${sides.size(second)} of ${content}`);
  await sides.unpack(second);
  const line = (await sides.run(["receipt", "--store", "st", "--short"])).stdout.trim();
  t.equal(sides.carried(await sides.pack("--for", line)).length, 0, "the line says that all of it is there");
  await sides.run(["receipt", "--store", "st", "--short", "--stream", "other"], 1);
  await sides.receipt("--digests");
  t.match(readFileSync(join(sides.dir, "r.txt"), "utf8"), /\ndigests 63\n/);
  rmSync(join(sides.dir, "out"), { recursive: true });
  t.equal(sides.carried(await sides.pack(...flags, "--serial", "9")).length, 0, "no earlier bundle is needed");
});

t.test("what is left out is not fetched where its pieces are known, and only checked where they are not", async (t) => {
  const sides = await Sides.open(t);
  const large = seededBytes(77, 3_000_000);
  const upstream = await startUpstream({
    files: new Map([
      ["/large", large],
      ["/new", Buffer.from("new\n")],
    ]),
  });
  t.teardown(() => upstream.close());
  const files = [{ url: `${upstream.url}/large` }];
  sides.content({ files });
  const first = await sides.pack();
  await sides.unpack(first);
  const volume = join(sides.dir, first, "data.tar.0000");
  rmSync(volume);
  rmSync(join(sides.dir, ".cache"), { recursive: true, force: true });
  const gets = () => upstream.of("/large", "GET").length;
  const before = gets();
  sides.content({ files: [...files, { url: `${upstream.url}/new` }] });
  const second = await sides.pack("--base", "1");
  t.same(sides.carried(second), ["files/new"]);
  t.equal(gets(), before, "the small files of the first bundle were enough");
  await sides.unpack(second);
  const flags = await sides.receipt("--digests");
  rmSync(join(sides.dir, "out"), { recursive: true });
  const third = await sides.pack(...flags, "--serial", "3");
  t.equal(sides.carried(third).length, 0);
  t.equal(gets(), before + 1, "for the digests of its pieces");
  t.ok(sides.size(third) < 200_000);
  await sides.unpack(third);
  await sides.run(["status", "--store", "st", "--check"]);
});

t.test("packages and images are left out too, and the bill of materials stays the same", async (t) => {
  const sides = await Sides.open(t);
  const made = new TestImages();
  const image = made.image("linux/amd64", [{ "etc/x": seededBytes(5, 20_000).toString("hex") }]);
  mkdirSync(join(sides.dir, "layout"));
  made.writeLayout(join(sides.dir, "layout"), { "example.com/x:1": image });
  mkdirSync(join(sides.dir, "rpms"));
  for (const it of fixtureRpms().slice(0, 3)) cpSync(join(RPM_FIXTURES, it), join(sides.dir, "rpms", basename(it)));
  const content = { images: [{ archive: "layout" }], rpms: [{ name: "loose", path: "rpms", gpgcheck: false }] };
  sides.content(content);
  const first = await sides.pack();
  await sides.unpack(first);
  sides.content({ ...content, files: [sides.file()] });
  const second = await sides.pack(...(await sides.receipt()));
  t.same(
    sides.carried(second).filter((it) => !/\/repomd\.xml(?:\.asc)?$/.test(it)),
    ["files/f1"],
    "and what says when the repository was made",
  );
  const components = (bundle: string) =>
    (JSON.parse(readFileSync(join(sides.dir, bundle, "BOM.cdx.json"), "utf8")).components as { name: string }[]).filter(
      (it) => it.name !== "f1",
    );
  t.same(components(second), components(first));
  await sides.unpack(second);
  await sides.run(["status", "--store", "st", "--check"]);
});

t.test("the role receipt of a trust root says whose receipts count", async (t) => {
  const sides = await Sides.open(t);
  const trust = (...args: string[]) => sides.run(["trust", ...args]);
  writeKeyPair(sides.dir, "bob");
  await trust("init", "root", "--name", "site", "--add", "site.pub=Ann", "--add", "bob.pub=Bob");
  for (const name of ["site", "bob"]) await trust("sign", "root", "--key", `${name}.key`);
  sides.content({ files: [sides.file()] });
  await sides.unpack(await sides.pack());
  await sides.receipt();
  sides.content({ files: [sides.file()] });
  writeManifest(sides.dir, { files: [{ path: "f1" }, { path: "f2" }] });
  const pack = ["pack", "m.yaml", "--key", "site.key", "--out", "out", "--for", "r.txt", "--trust-root", "root"];
  t.match((await sides.run(pack, 2)).stderr, /version 1 has nobody in the role receipt/);
  await trust("add-key", "root", "--add", "inside.pub=Cay", "--role", "receipt", "--threshold", "receipt=1");
  for (const name of ["site", "bob"]) await trust("sign", "root", "--key", `${name}.key`);
  const bundle = (await sides.run(pack)).stdout.trim();
  t.same(sides.carried(bundle), ["files/f2"]);
  await sides.run(["receipt", "--store", "st", "--key", "site.key", "--out", "r.txt"]);
  t.match((await sides.run(pack, 3)).stderr, /signed by key/);
});

t.test("a local file that changed since it was locked is refused, not taken for delivered", async (t) => {
  const sides = await Sides.open(t);
  const [file, gone] = [sides.file(), sides.file()];
  sides.content({ files: [file, gone] });
  await sides.pack();
  const pack = ["pack", "m.yaml", "--key", "site.key", "--out", "out", "--base", "1"];
  for (const size of [30_000, 30_001]) {
    writeFileSync(join(sides.dir, file.path), seededBytes(99, size));
    const { stderr } = await sides.run(pack, 2);
    t.match(stderr, /"\S+f1" changed since it was locked/);
    t.match(stderr, /airferry lock m\.yaml --update/);
  }
  writeFileSync(join(sides.dir, file.path), seededBytes(1, 30_000));
  rmSync(join(sides.dir, gone.path));
  t.same(sides.carried((await sides.run(pack)).stdout.trim()), [], "one that is gone is not needed");
});

t.test("what cannot be is said", async (t) => {
  const sides = await Sides.open(t);
  sides.content({ files: [sides.file()] });
  const pack = ["pack", "m.yaml", "--key", "site.key", "--out", "out"];
  const first = await sides.pack();
  await sides.unpack(first);
  await sides.receipt();
  t.match((await sides.run([...pack, "--base", "1", "--overlap", "1"], 2)).stderr, /exclude each other/);
  t.match((await sides.run([...pack, "--for", "r.txt"], 2)).stderr, /no key to check it with/);
  t.match((await sides.run([...pack, "--base", "9"], 1)).stderr, /cannot find serial 9 of test/);
  const file = join(sides.dir, first, "airferry.json");
  writeFileSync(file, readFileSync(file, "utf8").replace("files/f1", "files/f2"));
  sides.content({ files: [sides.file()] });
  writeManifest(sides.dir, { files: [sides.file()] });
  t.match((await sides.run([...pack, "--base", "1"], 1)).stderr, /digest mismatch/);
  await sides.run(["receipt", "--store", "st", "--out", "site.key", "--key", "inside.key"], 2);
  await sides.run(["receipt", "--store", "st"], 2);
  await sides.run(["receipt", "--store", "st", "--out", "x"], 2);
});
