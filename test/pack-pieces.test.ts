/** Of large files only the pieces are carried again that were lost: on a medium, on a link, in a store. */
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { flip } from "./fixtures/bundle-tamper.ts";
import { ROOT, start } from "./fixtures/program.ts";
import { Sides } from "./fixtures/sides.ts";

const MIB = 1024 * 1024;
const PROGRAM = join(ROOT, "src", "bin.ts");
const SIZE = 9 * MIB + 5;

/** Path of the file with these bytes in the store. */
function blobOf(sides: Sides, bundle: string, path: string): string {
  const hex = sides.inventory(bundle).entries.find((it) => it.path === path)?.sha256 ?? "";
  return join(sides.dir, "st/blobs/sha256", hex.slice(0, 2), hex);
}

t.test("a medium with one wrong bit", async (t) => {
  const sides = await Sides.open(t);
  sides.content({ files: [sides.file(SIZE), sides.file()] });
  const bundle = await sides.pack();
  const offset = sides.inventory(bundle).entries.find((it) => it.path === "files/f1")?.offset ?? 0;
  cpSync(join(sides.dir, bundle), join(sides.dir, "disc"), { recursive: true });
  flip(join(sides.dir, "disc/data.tar.0000"), offset + 4.5 * MIB);
  await sides.run(["verify", "disc", "--trust", "site.pub", "--need", "need.json"], 3);
  const answer = await sides.pack("--need", "need.json");
  t.same(sides.carried(answer), ["recipes/files/f1"]);
  t.ok(sides.size(answer) < 1.5 * MIB, `the answer has ${sides.size(answer)} bytes`);
  await sides.run(["repair", "disc", "--trust", "site.pub", "--in-place", "--from", answer]);
  t.ok(
    readFileSync(join(sides.dir, "disc/data.tar.0000")).equals(readFileSync(join(sides.dir, bundle, "data.tar.0000"))),
  );
  await sides.unpack("disc");
});

t.test("a file in a store, the first and the last piece of it", async (t) => {
  const sides = await Sides.open(t);
  sides.content({ files: [sides.file(SIZE), sides.file()] });
  const bundle = await sides.pack();
  await sides.unpack(bundle);
  const blob = blobOf(sides, bundle, "files/f1");
  const right = readFileSync(blob);
  for (const at of [0, SIZE - 1]) flip(blob, at);
  await sides.run(["fsck", "--store", "st", "--need", "need.json"], 3);
  const answer = await sides.pack("--need", "need.json");
  t.match(
    sides.inventory(answer).entries.find((it) => it.path === "files/f1"),
    { from: "recipe" },
  );
  t.ok(sides.size(answer) < 1.5 * MIB);

  // Another piece goes meanwhile: then the answer is not enough, and that is said before anything is written.
  flip(blob, 5 * MIB);
  const damaged = readFileSync(blob);
  const { stderr } = await sides.unpack(answer, 3);
  t.match(stderr, /needs 1 file that this store does not have, first "files\/f1"/);
  t.match(stderr, /nor are those of its pieces good here that the bundle does not carry/);
  t.ok(readFileSync(blob).equals(damaged), "what is good of it stays");
  flip(blob, 5 * MIB);
  await sides.unpack(answer);
  t.ok(readFileSync(blob).equals(right));
  await sides.run(["fsck", "--store", "st"]);
});

t.test("what a link lost, also where what came is gone", async (t) => {
  const sides = await Sides.open(t);
  sides.content({ files: [sides.file(SIZE), sides.file()] });
  const bundle = await sides.pack("--stream", "sent");
  const sent = readFileSync(join(sides.dir, "sent"));
  const at = sent.indexOf(readFileSync(join(sides.dir, "f1")).subarray(0, 64));
  sent.writeUInt8(sent.readUInt8(at + 3 * MIB) ^ 1, at + 3 * MIB);
  writeFileSync(join(sides.dir, "sent"), sent);
  const take = async (need: string, status: number) => {
    const unpack = ["unpack", "-", "--trust", "site.pub", "--store", "st", "--need", need];
    const child = start(sides.dir, ["-c", 'exec "$@" <sent', "sh", process.execPath, PROGRAM, ...unpack], {}, ["sh"]);
    const ran = await child.done;
    t.equal(ran.status, status, ran.stderr);
  };
  await take("need.json", 5);
  const need = JSON.parse(readFileSync(join(sides.dir, "need.json"), "utf8"));
  t.match(need.blobs, [{ pieces: [[3, 1]] }]);
  const answer = await sides.pack("--need", "need.json");
  t.same(sides.carried(answer), ["recipes/files/f1"]);
  cpSync(join(sides.dir, "st"), join(sides.dir, "emptied"), { recursive: true });
  rmSync(join(sides.dir, "emptied/incoming", need.releases[0].digest.slice(7)), { recursive: true });
  await sides.run(["unpack", answer, "--trust", "site.pub", "--store", "emptied"], 3);
  await sides.unpack(answer);
  t.ok(readFileSync(blobOf(sides, bundle, "files/f1")).equals(readFileSync(join(sides.dir, "f1"))));
  t.notOk(existsSync(join(sides.dir, "st/incoming", need.releases[0].digest.slice(7))), "nothing is left of the first");
});
