import t from "tap";
import type { AirferryError } from "../../src/errors.ts";
import { checkFileName, checkName, checkPath, fileIn, isStreamName, pathIn } from "../../src/io/path-grammar.ts";

const printable = (text: string) => JSON.stringify(text).slice(0, 40);

const GOOD = [
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

const BAD = new Map([
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

t.test("checkPath() takes what real repositories have", async (t) => {
  for (const path of GOOD) t.equal(checkPath(path), undefined, printable(path));
});

t.test("checkPath() refuses what could leave its folder, hide or collide", async (t) => {
  for (const [path, why] of BAD) t.type(checkPath(path), "string", why);
});

t.test("checkFileName() takes one segment", async (t) => {
  t.equal(checkFileName("RHEL 9 (x).iso"), undefined);
  for (const name of ["a/b", "..", ".", "", "/", "a\0", "..\\x"])
    t.type(checkFileName(name), "string", printable(name));
});

t.test("checkName() and isStreamName() take plain names", async (t) => {
  for (const name of ["rocky-9", "a", "9", "a.b_c-d", "a..b"]) t.equal(checkName(name), undefined, name);
  for (const name of ["", ".", "..", ".a", "-a", "a/b", "a b", "ä", "a\n", "x".repeat(201)])
    t.type(checkName(name), "string", printable(name));
  t.ok(isStreamName("x".repeat(64)));
  t.notOk(isStreamName("x".repeat(65)));
});

t.test("pathIn() and fileIn() lead nowhere but into their folder", async (t) => {
  t.equal(pathIn("/srv/x", "a/b"), "/srv/x/a/b");
  t.equal(fileIn("/srv/x", "b"), "/srv/x/b");
  for (const [path, why] of BAD) {
    t.throws(() => pathIn("/srv/x", path, "catalog"), { code: "ERR_PATH_UNSAFE", path: "catalog" }, why);
    t.throws(() => fileIn("/srv/x", path), { code: "ERR_PATH_UNSAFE" }, why);
  }
  t.throws(() => fileIn("/srv/x", "a/b"), { code: "ERR_PATH_UNSAFE" });
  try {
    pathIn("/srv", "../\u001b[2J", "builder.iso");
  } catch (error) {
    t.notMatch((error as AirferryError).message, "\u001b");
    t.match((error as AirferryError).message, /builder\.iso "\.\.\/\\u\{1b\}\[2J" as a path: it has a control/);
  }
});
