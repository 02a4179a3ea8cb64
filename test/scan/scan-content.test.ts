import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { SCAN_MEDIA_TYPE } from "../../src/bundle/scan-report.ts";
import { scanContent } from "../../src/scan/scan-content.ts";
import { openScanner } from "../../src/scan/scanner.ts";
import { inMemory, makeIso, NM, PX } from "../fixtures/iso-maker.ts";
import { scratch } from "../fixtures/program.ts";
import { fixtureRpms, readFixture } from "../fixtures/rpm-files.ts";

const dir = scratch(t, "airferry-scan");
const folder = join(dir, "scan");
let count = 0;

/** A scanner that is a shell script: `$1` is the folder. */
function script(text: string): string {
  const file = join(dir, `scanner-${count++}`);
  writeFileSync(file, `#!/bin/sh\nif [ "$1" = --version ]; then echo "Test 1.0"; exit; fi\n${text}\n`);
  chmodSync(file, 0o755);
  return file;
}

const file = (path: string, text: string) => ({
  path,
  size: Buffer.byteLength(text),
  from: inMemory(Buffer.from(text)),
});
const blob = join(dir, "blob");
const link = (path: string, text: string) => {
  writeFileSync(blob, text);
  return { path, size: Buffer.byteLength(text), from: blob };
};

/** Scans with a script; what it saw is in its findings, since it lists them and ends with 1. */
async function scan(text: string, files: Parameters<typeof scanContent>[1]) {
  const notes: string[] = [];
  const report = await scanContent(await openScanner(script(text)), files, { folder, report: (it) => notes.push(it) });
  t.notOk(existsSync(folder), "the folder is gone");
  return { report, notes };
}
const LIST = 'cd "$1" && find . -type f | LC_ALL=C sort; exit 1';

t.test("a scanner sees all files under their own paths, read-only, and its answer is recorded", async (t) => {
  const seen = 'cd "$1" && cat files/a && cat rpms/x/b && stat -c %a files/a; exit 1';
  const { report, notes } = await scan(seen, [file("files/a", "one\n"), link("rpms/x/b", "two\n")]);
  t.match(report, {
    mediaType: SCAN_MEDIA_TYPE,
    version: "Test 1.0",
    result: "found",
    files: 2,
    bytes: 8,
    findings: ["one", "two", "444"],
    truncated: false,
    gaps: [],
  });
  t.match(report.command, [/scanner-0$/, "{}"]);
  t.match(notes, [/^scanning 2 files, 8 B, with /]);
  t.match((await scan("echo fine; exit 0", [file("a", "x")])).report, { result: "clean", findings: [] });
});

t.test(
  "an ISO is scanned by its members, each range of bytes once; names that no file may have get another",
  async (t) => {
    const long = Buffer.from("member\n".padEnd(100, "x"));
    const named = (id: string, name: string, block: number) => ({
      id,
      block,
      size: long.length,
      use: Buffer.concat([PX(0o100644), NM(name)]),
    });
    const image = makeIso(
      [named("A;1", "-rf", 21), named("B;1", "a\nb: FOUND", 22), named("C;1", "twin", 21)],
      new Map([21, 22].map((block) => [block, long])),
    );
    const iso = { path: "isos/x.iso", size: image.length, from: inMemory(image) };
    const { report } = await scan(LIST, [iso]);
    t.strictSame(report.images, ["isos/x.iso"]);
    t.strictSame(report.findings, ["./isos/x.iso/-rf", "./unnamed-2"]);
    t.strictSame(report.gaps, []);
  },
);

t.test("an image of which not all can be read is scanned as a whole, and that is told", async (t) => {
  const { report } = await scan(LIST, [file("isos/x.iso", "no image")]);
  t.strictSame(report.findings, ["./isos/x.iso"]);
  t.strictSame(report.images, []);
  t.match(report.gaps, [/^"isos\/x.iso" is scanned as a whole too: cannot read/]);
});

t.test("a package is scanned with its payload beside it, or that is told", async (t) => {
  const name = fixtureRpms().find((it) => !it.includes("bad")) as string;
  const bytes = readFixture(name);
  const rpm = { path: "rpms/p.rpm", size: bytes.length, from: inMemory(bytes) };
  const { report } = await scan('head -c 6 "$1/rpms/p.rpm.cpio"; exit 1', [rpm]);
  t.match(report.findings, [/^07070[1X]/], name);
  t.equal(report.files, 2);
  const broken = { ...rpm, size: bytes.length - 20, from: inMemory(bytes.subarray(0, -20)) };
  t.match((await scan(LIST, [broken])).report.gaps, [/^"rpms\/p.rpm.cpio" does not have the \d+ bytes/]);
  t.match((await scan(LIST, [file("p.rpm", "no package".padEnd(200))])).report.gaps, [
    /^"p.rpm" is scanned as it is only/,
  ]);
});

t.test("findings are printable, one line each, and bounded", async (t) => {
  const { report } = await scan(`printf 'a\\033[31mb\\n'; seq 1000; exit 1`, [file("a", "x")]);
  t.equal(report.findings[0], "a\\u{1b}[31mb");
  t.equal(report.findings.length, 200);
  t.equal(report.truncated, true);
});

t.test("a scanner that fails, is killed, or changes a file stops the work", async (t) => {
  const bad = new Map([
    ["echo no database >&2; exit 2", /it ended with status 2: no database/],
    ["kill -9 $$", /it was ended by SIGKILL/],
  ]);
  for (const [text, message] of bad)
    await t.rejects(scan(text, [file("a", "x")]), { code: "ERR_SCANNER", message }, text);
  const cleaned = scan('chmod u+w "$1/a"; echo cleaned >"$1/a"', [link("a", "dirty")]);
  await t.rejects(cleaned, { code: "ERR_SCANNER", message: /the scanner changed it; it was removed/ });
  t.notOk(existsSync(blob));
  t.strictSame(
    readdirSync(dir).filter((it) => it === "scan"),
    [],
  );
});

t.test("openScanner() splits words without a shell; an absent program is told at once", async (t) => {
  const tool = script("exit 0");
  const good = new Map([
    [`${tool} -r  --infected`, [tool, "-r", "--infected", "{}"]],
    [`${tool} 'a b' "c \\" d" e\\ f`, [tool, "a b", 'c " d', "e f", "{}"]],
    [`${tool} dir:{} '$HOME;x'`, [tool, "dir:{}", "$HOME;x"]],
    [`env X=1 ${tool}`, ["env", "X=1", tool, "{}"]],
  ]);
  for (const [command, words] of good) t.match(await openScanner(command), { words, version: "Test 1.0" }, command);
  for (const command of ["", "  ", "x 'a", 'x "a', "x \\", "env X=1"])
    await t.rejects(openScanner(command), { code: "ERR_USAGE" }, JSON.stringify(command));
  for (const command of ["no-such-scanner -r", "env no-such-scanner", dir])
    await t.rejects(openScanner(command), { code: "ERR_SCANNER", message: /cannot start scanner/ }, command);
});

t.test("a scanner gets nothing of the environment but PATH, HOME and TMPDIR", async (t) => {
  process.env.AIRFERRY_PASSWORD = "secret";
  const { report } = await scan("env | grep -E '^[A-Za-z_]+=' | cut -d= -f1; exit 1", [file("a", "x")]);
  // tap puts its own into every process.
  const own = /^(?:HOME|LC_ALL|PATH|PWD|OLDPWD|SHLVL|TMPDIR|_|NODE_OPTIONS|_TAPJS_.*)$/;
  t.strictSame(
    report.findings.filter((it) => !own.test(it)),
    [],
  );
  t.ok(report.findings.includes("PATH"));
});
