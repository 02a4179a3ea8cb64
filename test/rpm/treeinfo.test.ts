/** `.treeinfo`: real ones from Fedora 8 to RHEL 8, rewritten variants, and hostile ones. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Digest } from "../../src/io/digest.ts";
import { parseTreeinfo, rewriteTreeinfo, type VariantPlace } from "../../src/rpm/treeinfo.ts";
import { RPM_FIXTURES, readFixture } from "../fixtures/rpm-files.ts";

const folder = join(RPM_FIXTURES, "treeinfo");
const PULP = "pulp-fixtures/rpm/assets-distributiontree/.treeinfo";
const real = existsSync(folder) ? readdirSync(folder).map((it) => `treeinfo/${it}`) : [];

function read(path: string): string {
  return readFixture(path).toString();
}

t.test("parseTreeinfo() reads every real one", async (t) => {
  t.ok(real.length > 20);
  for (const path of [...real, PULP, "katello-zoo/zoo/.treeinfo"]) {
    const text = read(path);
    const tree = parseTreeinfo(text, path);
    t.ok(tree.family && tree.version && tree.arch, `${path}: ${tree.family} ${tree.version} ${tree.arch}`);
    for (const { path: image } of tree.files) t.notMatch(image, /^\/|\.\.|repomd/);
    // Whatever stands after an equals sign and looks like an image is among the files.
    for (const [, image] of text.matchAll(/^(?:kernel|initrd|mainimage|boot.iso) *= *(\S+)$/gm)) {
      t.ok(
        tree.files.some((it) => it.path === image),
        `${path}: ${image}`,
      );
    }
    t.equal(rewriteTreeinfo(text, {}, path), text, `${path}: nothing to change, nothing changed`);
  }
});

t.test("parseTreeinfo() tells images with checksums, and repositories", async (t) => {
  const server = parseTreeinfo(read("treeinfo/fedora-21-Server.x86_64"), "x");
  t.match(server, {
    family: "Fedora-Server",
    version: "21",
    arch: "x86_64",
    repomds: ["repodata/repomd.xml"],
    variants: [],
  });
  t.match(server.files.at(-1), {
    path: "images/pxeboot/vmlinuz",
    checksum: /^sha256:81c28a43/,
  });
  t.ok(server.files.some((it) => it.path === "LiveOS/squashfs.img" && it.checksum === undefined));
  const rhel = parseTreeinfo(read("treeinfo/RHEL-8-BETA.x86_64"), "x");
  t.same(rhel.variants, [
    { uid: "AppStream", repository: "../../appstream/x86_64/", packages: "Packages", outside: true },
    { uid: "BaseOS", repository: ".", packages: "Packages", outside: false },
  ]);
  t.same(
    parseTreeinfo(read(PULP), "x").variants.map((it) => [it.uid, it.outside]),
    [
      ["Sea-Dolphin", false],
      ["Sea-Whale", false],
      ["Sea", false],
      ["Land", false],
      ["External", true],
    ],
  );
});

/** Lines that differ. */
function difference(before: string, after: string): { gone: string[]; new: string[] } {
  const [a, b] = [before.split("\n"), after.split("\n")];
  return { gone: a.filter((it) => !b.includes(it)), new: b.filter((it) => !a.includes(it)) };
}

t.test("rewriteTreeinfo() points variants to where they are now", async (t) => {
  const text = read("treeinfo/RHEL-8-BETA.x86_64");
  const place = { repository: "../rhel-8-appstream", packages: "../rhel-8-appstream/Packages" };
  const moved = rewriteTreeinfo(text, { variants: new Map([["AppStream", place]]) }, "x");
  t.same(difference(text, moved), {
    gone: [
      "packagedir = ../../appstream/x86_64/Packages",
      "repository = AppStream",
      "repository = ../../appstream/x86_64/",
    ],
    new: [
      "packagedir = ../rhel-8-appstream/Packages",
      "repository = ../rhel-8-appstream",
      "packages = ../rhel-8-appstream/Packages",
      "repository = ../rhel-8-appstream",
    ],
  });
  t.same(parseTreeinfo(moved, "x").variants[0], { uid: "AppStream", ...place, outside: true });
});

t.test("rewriteTreeinfo() takes variants out, with all that names them", async (t) => {
  const text = read("treeinfo/RHEL-8-BETA.x86_64");
  const cut = rewriteTreeinfo(text, { variants: new Map([["AppStream", null]]) }, "x");
  t.notMatch(cut, /appstream/i);
  t.match(
    cut,
    /^\[general\]\n[^[]*^packagedir = Packages\n[^[]*^repository = \.\n[^[]*^variant = BaseOS\nvariants = BaseOS\n/m,
  );
  t.same(
    parseTreeinfo(cut, "x").variants.map((it) => it.uid),
    ["BaseOS"],
  );
  const sea = read(PULP);
  const gone: Map<string, VariantPlace | null> = new Map([["Sea", null]]);
  t.same(
    parseTreeinfo(rewriteTreeinfo(sea, { variants: gone }, "x"), "x").variants.map((it) => it.uid),
    ["Land", "External"],
    "add-ons go with their variant",
  );
  const external = rewriteTreeinfo(sea, { variants: new Map([["External", null]]) }, "x");
  t.match(external, /^\[tree\]\n[^[]*^variants = Land,Sea$/m);
  t.notMatch(external, "../rpm-signed");
});

t.test("rewriteTreeinfo() keeps checksums true", async (t) => {
  const text = read("treeinfo/fedora-21-Server.x86_64");
  const digest = `sha256:${"ab".repeat(32)}` as const;
  const changed = rewriteTreeinfo(
    text,
    {
      checksums: new Map<string, Digest | null>([
        ["repodata/repomd.xml", digest],
        ["images/boot.iso", null],
      ]),
    },
    "x",
  );
  const { gone, new: added } = difference(text, changed);
  t.equal(gone.length, 2);
  t.same(added, [`repodata/repomd.xml = ${digest}`]);
  const sums = changed.slice(changed.indexOf("[checksums]"));
  t.notMatch(sums, "boot.iso");
  t.match(changed, "boot.iso = images/boot.iso", "the image itself stays listed");
});

t.test("line ends and odd spellings stay as they are", async (t) => {
  const text = "[general]\r\nfamily: X\r\nversion=1\r\n; note\r\n[variant-A]\r\nrepository=../a\r\n";
  t.match(parseTreeinfo(text, "x"), {
    family: "X",
    version: "1",
    variants: [{ uid: "A", repository: "../a", outside: true }],
  });
  const variants = new Map([["A", { repository: "a", packages: "a" }]]);
  t.equal(rewriteTreeinfo(text, { variants }, "x"), text.replace("repository=../a", "repository= a"));
});

t.test("parseTreeinfo() passes over what leaves the tree or makes no sense, and tells it", async (t) => {
  const bad: [what: string, text: string, fault: RegExp][] = [
    ["a stage2 above", "[stage2]\nmainimage = ../../etc/shadow", /"\.\.\/\.\.\/etc\/shadow": it leaves the tree/],
    ["an absolute kernel", "[images-x86_64]\nkernel = /etc/passwd", /leaves the tree/],
    ["a URL", "[images-x86_64]\nkernel = http://evil.example/k", /leaves the tree/],
    ["a climb in the middle", "[images-x86_64]\nkernel = images/../../k", /leaves the tree/],
    ["a backslash", "[images-x86_64]\nkernel = images\\..\\k", /it has a backslash/],
    ["a checksum above", `[checksums]\n../x = sha256:${"0".repeat(64)}`, /leaves the tree/],
    ["an unknown checksum", "[checksums]\nx = crc32:01234567", /malformed checksum/],
    ["a short checksum", "[checksums]\nx = sha256:00", /malformed checksum/],
  ];
  for (const [what, text, fault] of bad) {
    const whole = `[general]\nfamily = X\n${text}\n[images-aarch64]\ninitrd = images/initrd.img\n`;
    const tree = parseTreeinfo(whole, "tree/.treeinfo");
    t.same(tree.files, [{ path: "images/initrd.img" }], what);
    t.match(tree.faults, [fault], what);
    const checksums = new Map(tree.badChecksums.map((it) => [it, null]));
    t.notMatch(rewriteTreeinfo(whole, { checksums }, "x"), /sha256|crc32/, `${what}: no such checksum is served`);
  }
});

t.test("parseTreeinfo() passes over garbage lines, doubled keys and sections", async (t) => {
  const text =
    "garbage\n[general\n[general]\nfamily = X\n= y\n\u0000\nfamily = Y\n[tree]\narch = a\n[general]\nversion = 9\n";
  for (const it of [text, text.replaceAll("\n", "\r\n")]) {
    t.match(parseTreeinfo(it, "x"), { family: "Y", version: "9", arch: "a", faults: [] });
  }
});

t.test("parseTreeinfo() refuses other formats", async (t) => {
  const bad = new Map<string, [string, RegExp]>([
    ["a page that says not found", ["<html><body>404</body></html>", /not a .treeinfo/]],
    ["an empty file", ["", /not a .treeinfo/]],
    ["a great many lines", [`[general]\n${"a = b\n".repeat(30_000)}`, /over 20000 lines/]],
    ["two megabytes", [`[general]\n${"x".repeat(2 << 20)}`, /over 1048576 characters/]],
  ]);
  for (const [what, [text, message]] of bad) {
    t.throws(
      () => parseTreeinfo(text, "tree/.treeinfo"),
      { code: "ERR_UPSTREAM_INVALID", message, path: "tree/.treeinfo" },
      what,
    );
  }
});
