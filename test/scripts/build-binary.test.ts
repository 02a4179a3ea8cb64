/** scripts/build-binary: the same source gives the same bytes wherever it is built, and what goes with the program is there. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { stripElf } from "../../scripts/build-binary-parts/strip-elf.ts";
import { readStamp, sourceDigest } from "../../src/pack/program-stamp.ts";
import { VERSION } from "../../src/version.ts";
import { needs } from "../fixtures/clients.ts";
import { build, builtFolder, programIn } from "../fixtures/executable.ts";
import { ROOT, scratch } from "../fixtures/program.ts";

const digest = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");
const TEXTS = ["LICENSE", "NOTICE", "THIRD-PARTY.txt", "airferry.cdx.json"];

t.test("two builds in different folders, under another umask, are the same bytes", async (t) => {
  const first = await builtFolder();
  const dir = scratch(t);
  // A checkout elsewhere, with the same source.
  const copy = join(dir, "some where", "else");
  mkdirSync(copy, { recursive: true });
  for (const name of ["src", "manifests", "scripts", "package.json", "package-lock.json", "LICENSE", "NOTICE"]) {
    cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  }
  cpSync(join(ROOT, "tsconfig.json"), join(copy, "tsconfig.json"));
  cpSync(join(ROOT, "node_modules"), join(copy, "node_modules"), { recursive: true, verbatimSymlinks: true });
  mkdirSync(join(copy, ".cache"));
  for (const name of readdirSync(join(ROOT, ".cache")).filter((it) => it.startsWith("node"))) {
    symlinkSync(join(ROOT, ".cache", name), join(copy, ".cache", name));
  }
  const out = join(dir, "out");
  execFileSync(
    "sh",
    ["-c", 'umask 077; exec "$@"', "sh", join(copy, "scripts/build-binary"), "--out", out, "--arch", process.arch],
    {
      stdio: "pipe",
      env: { ...process.env, TZ: "Pacific/Auckland", LC_ALL: "C" },
    },
  );
  const names = readdirSync(first).sort();
  t.strictSame(names, [...TEXTS, "SHA256SUMS", `airferry-linux-${process.arch}`].sort());
  t.strictSame(readdirSync(out).sort(), names);
  for (const name of names) {
    t.equal(digest(join(out, name)), digest(join(first, name)), name);
    t.equal(
      statSync(join(out, name)).mode & 0o777,
      name.startsWith("airferry-linux") ? 0o755 : 0o644,
      `mode of ${name}`,
    );
  }
});

t.test("the sums cover everything, and are signed on request", async (t) => {
  const first = await builtFolder();
  const lines = readFileSync(join(first, "SHA256SUMS"), "utf8").trimEnd().split("\n");
  t.strictSame(
    lines,
    readdirSync(first)
      .filter((it) => it !== "SHA256SUMS")
      .sort()
      .map((it) => `${digest(join(first, it))}  ${it}`),
  );
});

t.test("the program says what it was built from, and a changed byte shows", async (t) => {
  const program = programIn(await builtFolder());
  const stamp = await readStamp(program);
  t.match(stamp, { version: VERSION, platform: `linux-${process.arch}`, source: await sourceDigest(ROOT) });
  const bytes = readFileSync(program);
  t.equal(stamp?.content, `sha256:${createHash("sha256").update(bytes.subarray(0, stamp?.at)).digest("hex")}`);
});

t.test("the list of parts is CycloneDX, with every package of the notices and Node", async (t) => {
  const bom = JSON.parse(readFileSync(join(await builtFolder(), "airferry.cdx.json"), "utf8"));
  t.match(bom, { bomFormat: "CycloneDX", specVersion: "1.6", metadata: { component: { version: VERSION } } });
  t.match(bom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  const notices = readFileSync(join(await builtFolder(), "THIRD-PARTY.txt"), "utf8");
  const listed = [...notices.matchAll(/^ {2}(\S+) ([0-9]\S*): (.+)$/gm)].map(
    ([, name, version]) => `${name} ${version}`,
  );
  const components = bom.components as { type: string; name: string; version: string; purl: string }[];
  t.strictSame(
    components.filter((it) => it.type === "library").map((it) => `${it.name} ${it.version}`),
    listed,
  );
  t.match(components.at(-1), { name: "node", version: process.versions.node });
  t.equal(new Set(components.map((it) => it.purl)).size, components.length);
});

t.test("it asks for no newer C library than EL 8 has", async (t) => {
  if (!needs(t, "objdump")) return;
  const text = execFileSync("objdump", ["-T", programIn(await builtFolder())], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  const parts = (version: string) => version.split(".").map(Number);
  const newer = (name: string, limit: string) =>
    [...text.matchAll(new RegExp(`\\(${name}_([0-9.]+)\\)`, "g"))]
      .map(([, version]) => version as string)
      .filter((it) => compare(parts(it), parts(limit)) > 0);
  t.match(text, /GLIBC_2\.17\)/);
  t.strictSame(newer("GLIBC", "2.28"), []);
  t.strictSame(newer("GLIBCXX", "3.4.25"), []);
});

function compare(one: number[], other: number[]): number {
  const at = one.findIndex((it, index) => it !== (other[index] ?? 0));
  return at < 0 ? 0 : (one[at] ?? 0) - (other[at] ?? 0);
}

t.test("stripElf() refuses what is no such program", async (t) => {
  t.throws(() => stripElf(Buffer.alloc(100)), /expected a 64-bit little-endian ELF file/);
  const dir = scratch(t);
  writeFileSync(join(dir, "x"), "");
  t.throws(() => build("--out", dir, "--arch", "riscv64"), /cannot build for "riscv64"/);
});
