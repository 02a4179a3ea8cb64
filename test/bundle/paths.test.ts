import t from "tap";
import { checkEntryPath, checkEntryPaths, compareUtf8, printable } from "../../src/bundle/paths.ts";

t.test("checkEntryPath() takes what real repositories have", async (t) => {
  const good = [
    "isos/rocky-9.iso",
    "rpms/a/Packages/l/libstdc++-11.5.0-5.el9_5.x86_64.rpm",
    "rpms/a/Packages/perl-Foo-1:2.0~rc1^git-1.noarch.rpm",
    "files/release/v1.33.4/bin/linux/amd64/kubeadm",
    "files/naïve-ü.txt",
    "files/日本語",
    "a",
    "...",
    ".treeinfo",
    "rpms/a/.treeinfo",
    "x".repeat(255),
    `${"d/".repeat(500)}x`,
  ];
  for (const path of good) t.equal(checkEntryPath(path), undefined, printable(path, 40));
});

t.test("checkEntryPath() refuses what could leave its folder, hide or collide", async (t) => {
  const bad = new Map([
    ["", "empty"],
    ["/etc/passwd", "absolute"],
    ["../x", "parent"],
    ["a/../b", "parent inside"],
    ["a/..", "parent at the end"],
    ["./a", "dot"],
    ["a//b", "empty segment"],
    ["a/", "trailing slash"],
    ["a\\b", "backslash"],
    ["C:/x", "drive"],
    ["c:x", "drive-relative"],
    ["a\0b", "NUL"],
    ["a\nb", "newline"],
    ["a\u001b[31m", "escape sequence"],
    ["a\u007f", "DEL"],
    ["a\u0085b", "C1 control"],
    ["a\u202egpj.exe", "right-to-left override"],
    ["a\u2066b", "isolate"],
    ["a\u200bb", "zero width"],
    ["\ufeffa", "byte order mark"],
    ["u\u0308", "not NFC"],
    ["a\ud800b", "lone surrogate"],
    ["x".repeat(256), "segment too long"],
    [`${"d/".repeat(512)}x`, "too long"],
  ]);
  for (const [path, why] of bad) t.type(checkEntryPath(path), "string", why);
});

t.test("checkEntryPaths() finds collisions, and tells of case twins without refusing them", async (t) => {
  const codes = (paths: string[]) => checkEntryPaths(paths).problems.map((it) => it.message);
  t.match(codes(["a/b", "a/b"]), [/twice/]);
  t.match(codes(["a", "a/b"]), [/as a directory/]);
  t.match(codes(["a/b/c", "x", "a/b"]), [/as a directory/]);
  t.same(codes(["a/b", "a/c", "ab"]), []);
  t.same(checkEntryPaths(["f/README", "f/readme"]), { problems: [], caseTwins: [["f/README", "f/readme"]] });
  t.same(checkEntryPaths(["f/README", "f/readme"], { twins: false }), { problems: [], caseTwins: [] });
});

t.test("compareUtf8() orders as bytes do", async (t) => {
  const texts = ["", "a", "a/b", "a-b", "ab", "é", "\ue000", "\uffff", "😀", "a😀", "a\uffff", "Z", "~", "日"];
  for (const a of texts) {
    for (const b of texts) {
      t.equal(Math.sign(compareUtf8(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)), JSON.stringify([a, b]));
    }
  }
});

t.test("printable() disarms text", async (t) => {
  t.equal(printable("a\u001b[2Jb"), "a\\u{1b}[2Jb");
  t.equal(printable("x".repeat(400)).length, 301);
  t.equal(printable("a\ud800"), "a\ufffd");
});
