/** Trees that are hard to master, by xorriso and genisoimage with the options of distributions, beside bsdtar. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { IsoImage } from "../../src/iso/iso-image.ts";
import { needs } from "../fixtures/clients.ts";
import { listOurs, listWithBsdtar, openFile } from "../fixtures/iso-compare.ts";

/** Deeper than eight levels, longer than one record, links of every kind, names outside ASCII. */
function makeTree(dir: string, nameLength: number, components: number): string {
  const tree = join(dir, "tree");
  const deep = join(tree, ...Array.from({ length: 14 }, (_, i) => `level-${i}`));
  mkdirSync(deep, { recursive: true });
  writeFileSync(join(deep, "deepest.txt"), "deepest\n");
  mkdirSync(join(tree, "level-0/level-1/level-2/level-3/level-4/level-5/level-6/side/way/down"), { recursive: true });
  writeFileSync(join(tree, "level-0/level-1/level-2/level-3/level-4/level-5/level-6/side/way/down/x"), "x");
  mkdirSync(join(tree, "many"));
  for (let i = 0; i < 300; i++)
    writeFileSync(join(tree, "many", `${"n".repeat(nameLength + (i % 40))}-${i}.rpm`), `${i}`);
  writeFileSync(join(tree, `${"ä".repeat(30)}.txt`), "two bytes each\n");
  writeFileSync(join(tree, "empty"), "");
  symlinkSync("level-0/level-1", join(tree, "short-link"));
  symlinkSync(
    `/${Array.from({ length: components }, (_, i) => `component-${i}`).join("/")}/../.././end`,
    join(tree, "long-link"),
  );
  return tree;
}

function listFolder(tree: string): string[] {
  const lines: string[] = [];
  const walk = (folder: string, prefix: string) => {
    for (const it of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, it.name);
      if (it.isDirectory()) {
        lines.push(`${prefix}${it.name}/`);
        walk(path, `${prefix}${it.name}/`);
      } else if (it.isSymbolicLink()) lines.push(`${prefix}${it.name} -> ${readlinkSync(path)}`);
      else lines.push(`${prefix}${it.name} ${statSync(path).size}`);
    }
  };
  walk(tree, "");
  return lines.sort();
}

for (const [program, options] of [
  ["xorriso", ["-R", "-J", "-joliet-long"]],
  ["genisoimage", ["-U", "-J", "-joliet-long", "-R", "-T"]],
  ["genisoimage", ["-R"]],
  ["genisoimage", ["-r", "-J", "-joliet-long"]],
] as const) {
  t.test(`${program} ${options.join(" ")}`, async (t) => {
    if (!needs(t, program, "bsdtar")) return;
    const dir = t.testdir();
    // genisoimage cuts links short that do not fit one continuation area; Joliet has no names over 103 characters.
    const tree = makeTree(dir, options.some((it) => it === "-J") ? 50 : 120, program === "xorriso" ? 30 : 12);
    const iso = join(dir, "t.iso");
    const args = [...(program === "xorriso" ? ["-as", "mkisofs"] : []), "-quiet", ...options, "-o", iso, tree];
    execFileSync(program, args, { stdio: "ignore" });
    const bytes = await openFile(iso);
    t.teardown(() => bytes.close());
    const image = await IsoImage.open(bytes, "t.iso");
    t.equal(image.tree, "rock-ridge");
    const names = await listOurs(image);
    // bsdtar stumbles over what xorriso relocates, so the folder that the image was made of is the judge.
    t.strictSame(
      names.filter((it) => !/^\.?rr_moved\/|(^|\/)TRANS\.TBL /i.test(it)),
      listFolder(tree),
    );
    t.ok(
      names.some((it) => it.includes("level-13/deepest.txt 8")),
      "the deepest file is where it belongs",
    );
    const link = (await image.find("short-link/level-2"))?.path;
    t.equal(link, "level-0/level-1/level-2");
    for (const path of [
      "short-link/level-2/level-3/level-4/level-5/level-6/side/way/down/x",
      `${"ä".repeat(30)}.txt`,
      "empty",
    ]) {
      const found = await image.find(path);
      const content = found && Buffer.from(await image.member(found.entry).read(0, 100));
      t.same(content, readFileSync(join(tree, path.replace("short-link", "level-0/level-1"))), path.slice(0, 40));
    }
  });
}

t.test("a link that genisoimage cut short is lost alone", async (t) => {
  if (!needs(t, "genisoimage")) return;
  const dir = t.testdir({ tree: { file: "content" } });
  symlinkSync(
    `/${Array.from({ length: 30 }, (_, i) => `component-${i}`).join("/")}/../.././end`,
    join(dir, "tree/long-link"),
  );
  const iso = join(dir, "t.iso");
  execFileSync("genisoimage", ["-quiet", "-R", "-o", iso, join(dir, "tree")], { stdio: "ignore" });
  const bytes = await openFile(iso);
  t.teardown(() => bytes.close());
  const image = await IsoImage.open(bytes, "t.iso");
  t.strictSame(await listOurs(image), ["file 7", "long-link -> undefined"]);
  t.equal(await image.find("long-link"), undefined);
});

t.test("genisoimage -J alone, and plain", async (t) => {
  if (!needs(t, "genisoimage", "bsdtar")) return;
  const dir = t.testdir({ tree: { "Long Name With Spaces.TXT": "long", "größe.txt": "ö", sub: { "a.b.c": "abc" } } });
  for (const [name, options, tree] of [
    ["joliet", ["-J"], "joliet"],
    ["plain", [], "iso9660"],
  ] as const) {
    const iso = join(dir, `${name}.iso`);
    execFileSync("genisoimage", ["-quiet", ...options, "-o", iso, join(dir, "tree")], { stdio: "ignore" });
    const bytes = await openFile(iso);
    t.teardown(() => bytes.close());
    const image = await IsoImage.open(bytes, iso);
    t.equal(image.tree, tree);
    t.strictSame(await listOurs(image), listWithBsdtar(iso), name);
  }
});
