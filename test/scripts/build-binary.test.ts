/** scripts/build-binary: the same source gives the same bytes wherever it is built, and what goes with the program is there. */
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { stripElf } from "../../scripts/build-binary-parts/strip-elf.ts";
import { formatStamp, readStamp, sourceDigest } from "../../src/pack/program-stamp.ts";
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
  cpSync(join(ROOT, "docs/format.md"), join(copy, "docs/format.md"));
  cpSync(join(ROOT, "node_modules"), join(copy, "node_modules"), { recursive: true, verbatimSymlinks: true });
  mkdirSync(join(copy, ".cache"));
  for (const name of readdirSync(join(ROOT, ".cache")).filter((it) => it.startsWith("node"))) {
    symlinkSync(join(ROOT, ".cache", name), join(copy, ".cache", name));
  }
  const out = join(dir, "out");
  mkdirSync(out);
  // What an earlier version left is removed: pack would pass over it, and its sums are gone.
  const old = { version: "0.0.1", source: `sha256:${"1".repeat(64)}`, content: `sha256:${"2".repeat(64)}` } as const;
  for (const name of ["airferry", "airferry-linux-riscv64"])
    writeFileSync(join(out, name), formatStamp({ ...old, platform: "linux-riscv64" }));
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

/** Seconds of the processor that a plan of a ready manifest takes until its first request, and how V8 took its code. */
async function planUntilRequest(t: Test): Promise<{ cpu: number; taken: string[]; refused: string[] }> {
  const dir = scratch(t);
  // Loaded before the program: it looks over the shoulder of its loader.
  const spy = join(dir, "spy.cjs");
  writeFileSync(
    spy,
    `const vm = require("node:vm"), { appendFileSync } = require("node:fs"), { Script } = vm;
    vm.Script = class extends Script {
      constructor(text, options) {
        super(text, options);
        appendFileSync(${JSON.stringify(join(dir, "loaded"))}, options.filename + " " + this.cachedDataRejected + "\\n");
      }
    };`,
  );
  const manifest = join(dir, "rocky.yaml");
  cpSync(join(ROOT, "manifests", "rocky-9-capi.yaml"), manifest);
  const upstream = createServer().listen(0, "127.0.0.1");
  await once(upstream, "listening");
  const { port } = upstream.address() as AddressInfo;
  const child = spawn(
    programIn(await builtFolder()),
    ["plan", manifest, "--rewrite", `https://download.rockylinux.org=http://127.0.0.1:${port}`],
    { stdio: "ignore", env: { PATH: process.env["PATH"], HOME: dir, NODE_OPTIONS: `--require=${spy}` } },
  );
  try {
    await Promise.race([
      once(upstream, "request"),
      once(child, "exit").then(() => Promise.reject(new Error("it ended without a request"))),
    ]);
    const threads = readdirSync(`/proc/${child.pid}/task`);
    const cpu = threads.reduce(
      (sum, it) => sum + Number.parseInt(readFileSync(`/proc/${child.pid}/task/${it}/schedstat`, "utf8")) / 1e9,
      0,
    );
    const loaded = readFileSync(join(dir, "loaded"), "utf8").trimEnd().split("\n");
    const names = (ending: string) =>
      loaded.filter((it) => it.endsWith(ending)).map((it) => it.slice(0, -ending.length));
    return { cpu, taken: names(" false"), refused: names(" true") };
  } finally {
    child.kill("SIGKILL");
    upstream.closeAllConnections();
    upstream.close();
  }
}

t.test("V8 takes all compiled code, and a plan asks upstream within 300 ms", async (t) => {
  const runs = [];
  for (let i = 0; i < 3; i++) runs.push(await planUntilRequest(t));
  for (const { taken, refused } of runs) {
    t.strictSame(refused, []);
    // Also what is loaded when flags of V8 are set (src/io/v8-flags.ts).
    t.ok(
      taken.some((it) => it.startsWith("fetcher-")),
      taken.join(" "),
    );
    t.notOk(
      taken.some((it) => /^(?:rpm|image)-/.test(it)),
      "code of kinds whose turn has not come",
    );
  }
  const cpu = Math.min(...runs.map((it) => it.cpu));
  t.ok(cpu < 0.3, `${cpu} s of the processor`);
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
