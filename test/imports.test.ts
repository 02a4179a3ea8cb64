/** Holds the import rules of CONTRIBUTING.md as a table: downwards only, no cycles, inside never reaches outside. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { importsOf } from "./fixtures/source-imports.ts";

const src = join(dirname(fileURLToPath(import.meta.url)), "..", "src");
const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));

/** Folders that are divided into rooms themselves. */
const DIVIDED = ["server"];

/** Room of a file: its folder, or `verb:name` for the files directly in src/. */
function roomOf(file: string): string {
  const [first, second] = file.split("/") as [string, string?];
  if (second === undefined) return `verb:${file.replace(/\.ts$/, "")}`;
  return DIVIDED.includes(first) ? `${first}/${second}` : first;
}

/** Whether a room is `name` or a part of it. */
function isIn(room: string, name: string): boolean {
  return room === name || room.startsWith(`${name}/`);
}

/** Data beside src/ (manifests/compatibility.json, package.json) belongs to no room. */
const imports = files
  .flatMap((file) => importsOf(join("src", file)))
  .map((it) => ({ ...it, from: relative("src", it.from), to: relative("src", it.to) }))
  .filter(({ to }) => !to.startsWith(".."));

/**
 * The map of rooms: which rooms each folder of src/ may import values from. Types may come from any room, and errors.ts and
 * version.ts are for all. CONTRIBUTING.md says the same.
 */
const ROOMS: Record<string, readonly string[]> = {
  io: [],
  sign: ["io"],
  oci: ["io", "sign"],
  iso: ["io"],
  rpm: ["io", "sign"],
  packages: ["io", "iso", "rpm"],
  builder: ["io"],
  manifest: ["io", "oci", "builder"],
  init: ["io", "oci", "iso", "builder"],
  http: ["io", "oci"],
  fetch: ["io", "http"],
  record: ["io", "certs", "http", "server/http"],
  bundle: ["io", "sign", "oci", "builder"],
  parity: ["io"],
  repair: ["io", "sign", "bundle", "parity"],
  scan: ["io", "iso", "rpm", "bundle"],
  receipt: ["io", "sign"],
  timestamp: ["io", "sign", "http", "bundle"],
  s3: ["io"],
  store: ["io", "s3", "oci", "bundle"],
  cache: ["io", "s3", "bundle", "store"],
  sources: ["io", "sign", "oci", "iso", "rpm", "manifest", "http", "fetch", "bundle"],
  pack: ["io", "sign", "builder", "manifest", "http", "fetch", "bundle", "sources", "bom", "scan", "parity", "receipt"],
  sort: ["io", "sign", "oci", "rpm", "manifest", "http", "bundle", "sources"],
  origins: ["io", "oci"],
  render: ["io", "oci", "iso", "builder", "bundle", "store", "origins"],
  stage: ["io", "builder", "bundle", "render"],
  export: ["oci", "store"],
  tree: ["io", "s3", "iso", "oci", "render", "server/http", "server/pages", "server/registry"],
  publish: ["io", "oci", "http", "store"],
  doctor: ["io", "oci", "rpm", "http"],
  wanted: ["io"],
  html: ["io"],
  report: ["io", "html"],
  bom: ["io", "html", "oci", "rpm", "bundle"],
  compare: ["io", "oci", "html", "rpm", "sources", "store"],
  "server/http": ["io"],
  "server/registry": ["io", "oci", "server/http"],
  "server/pages": [
    "io",
    "html",
    "iso",
    "oci",
    "packages",
    "bom",
    "compare",
    "origins",
    "render",
    "wanted",
    "server/http",
  ],
  "server/git": ["io", "server/http"],
  "server/origins": ["io", "certs", "origins", "server/http"],
  "server/process": [
    "io",
    "cache",
    "certs",
    "origins",
    "wanted",
    "server/http",
    "server/registry",
    "server/pages",
    "server/git",
    "server/origins",
  ],
  rehearsal: ["io"],
  certs: [],
  completion: [],
  cli: ["io", "sign", "manifest", "init", "bundle", "pack", "compare", "report"],
};

/** The verbs, a file for each command, in the order of a journey, and the rooms that each is made from. */
const VERBS: Record<string, readonly string[]> = {
  init: ["io", "oci", "manifest", "init"],
  record: ["io", "fetch", "manifest", "record", "server/http", "sort"],
  schema: ["manifest"],
  keygen: ["io", "sign"],
  check: ["io", "builder", "manifest", "pack", "sources"],
  lock: ["io", "manifest", "pack"],
  plan: ["io", "manifest", "pack", "sources", "wanted"],
  pack: ["io", "pack", "timestamp"],
  sign: ["io", "sign", "bundle", "timestamp"],
  attest: ["io", "sign", "bundle", "scan"],
  trust: ["io", "sign"],
  inspect: ["io", "iso", "bundle", "bom"],
  diff: ["io", "bundle", "compare", "sources", "store"],
  verify: ["io", "sign", "bundle", "store", "receipt", "repair"],
  repair: ["io", "bundle", "parity", "repair"],
  unpack: ["io", "s3", "sign", "bundle", "store", "packages", "scan", "receipt", "repair"],
  status: ["io", "sign", "store"],
  rollback: ["io", "store"],
  fsck: ["io", "sign", "bundle", "store", "receipt"],
  receipt: ["io", "sign", "receipt", "store"],
  journal: ["io", "store"],
  prune: ["io", "store"],
  serve: ["io", "bundle", "store", "cache", "s3", "origins", "server/http", "server/process"],
  wanted: ["io", "wanted"],
  rehearse: ["io", "bundle", "origins", "record", "rehearsal", "store", "wanted"],
  render: ["io", "cache", "render"],
  stage: ["io", "cache", "render", "stage"],
  export: ["io", "cache", "s3", "store", "export", "tree", "server/process"],
  publish: ["io", "cache", "oci", "store", "publish"],
  doctor: ["render", "doctor"],
  completion: ["completion"],
  complete: ["io", "cache", "manifest", "s3", "store"],
};

/** What else lies directly in src/: where the program and threads of it begin, and what all rooms share. */
const ENTRIES: Record<string, readonly string[]> = {
  bin: ["cli"],
  "parser-worker": ["io", "compare", "init", "manifest", "packages", "rpm", "sources", "store"],
  "serve-worker": ["store", "server/process"],
};
const SHARED = ["errors", "version"];

/** Imports of values from one room into another, as `from → to`. */
const crossing = imports
  .filter(({ typeOnly }) => !typeOnly)
  .map(({ from, to }) => ({ a: roomOf(from), b: roomOf(to), to, text: `${from} → ${to}` }))
  .filter(({ a, b, to }) => a !== b && !SHARED.includes(to.replace(/\.ts$/, "")));

t.test("src/ reads as a table of contents: a file for each verb, a folder for each room", async (t) => {
  const found = readdirSync(src, { withFileTypes: true });
  const names = (isFolder: boolean) =>
    found.flatMap((it) => (it.isDirectory() === isFolder ? [it.name.replace(/\.ts$/, "")] : [])).sort();
  t.strictSame(names(false), [...Object.keys(VERBS), ...Object.keys(ENTRIES), ...SHARED].sort());
  t.strictSame(names(true), [...new Set(Object.keys(ROOMS).map((it) => it.split("/")[0] as string))].sort());
});

t.test("CONTRIBUTING.md has the same map", async (t) => {
  const guide = readFileSync(join(src, "../CONTRIBUTING.md"), "utf8");
  const rows = [...guide.matchAll(/^\| `([a-z0-9/]+)\/` \| .* \| ([^|]+) \|$/gm)].map(
    ([, room, may]) => [room, may === "nothing" ? [] : may?.split(", ").sort()] as const,
  );
  const map = Object.entries(ROOMS).map(([room, may]) => [room, [...may, ...(room === "cli" ? ["verbs"] : [])].sort()]);
  t.strictSame(Object.fromEntries(rows), Object.fromEntries(map));
});

t.test("imports run downwards", async (t) => {
  t.ok(imports.length > 2000, `${imports.length} imports to look at`);
  const rows: (readonly [string, readonly string[]])[] = [
    ...Object.entries(ROOMS),
    ...[...Object.entries(VERBS), ...Object.entries(ENTRIES)].map(([verb, may]) => [`verb:${verb}`, may] as const),
  ];
  for (const [room, allowed] of rows) {
    const wrong = crossing.filter(({ a, b }) => a === room && !b.startsWith("verb:") && !allowed.includes(b));
    t.same(
      wrong.map(({ text }) => text),
      [],
      `${room}: ${allowed.join(", ") || "nothing"}`,
    );
  }
  const shared = imports.filter(({ from, to, typeOnly }) => {
    const isShared = SHARED.includes(from.replace(/\.ts$/, ""));
    return isShared && !typeOnly && roomOf(to) !== "io";
  });
  t.same(shared, [], "what everybody imports imports only io");
});

t.test("a verb is called by its own command and by nobody else", async (t) => {
  const commands = readdirSync(join(src, "cli/commands"));
  t.strictSame(commands.map((it) => it.replace(/\.ts$/, "")).sort(), Object.keys(VERBS).sort());
  const wrong = imports.filter(
    ({ from, to, typeOnly }) =>
      to.replace(/\.ts$/, "") in VERBS && !(from === `cli/commands/${to}` || (from.startsWith("cli/") && typeOnly)),
  );
  t.same(wrong, [], "no verb and no room imports a verb");
  const among = imports.filter(({ from, to }) => from.startsWith("cli/commands/") && to.startsWith("cli/commands/"));
  t.same(among, [], "no command takes from another");
});

t.test("sources and server never meet", async (t) => {
  const met = imports
    .map(({ from, to }) => ({ a: roomOf(from), b: roomOf(to), text: `${from} → ${to}` }))
    .filter(
      ({ a, b }) =>
        (a === "sources" && isIn(b, "server")) || (isIn(a, "server") && ["sources", "fetch", "http"].includes(b)),
    );
  t.same(met, [], "not even types");
});

t.test("verify, unpack and serve cannot reach upstream, even through others", async (t) => {
  for (const verb of [
    "verify",
    "unpack",
    "serve",
    "status",
    "rollback",
    "fsck",
    "inspect",
    "export",
    "render",
    "stage",
    "complete",
  ]) {
    const seen = new Set<string>();
    const walk = (file: string) => {
      if (seen.has(file)) return;
      seen.add(file);
      for (const it of imports) if (it.from === file && !it.typeOnly) walk(it.to);
    };
    walk(`${verb}.ts`);
    const reached = [...seen].filter((file) => ["sources", "fetch", "http"].includes(roomOf(file)));
    t.same(reached, [], `${verb} reaches nothing that fetches`);
  }
});

t.test("check and complete ask no server, even through others", async (t) => {
  for (const verb of ["check", "complete"]) {
    const seen = new Set<string>();
    const walk = (file: string) => {
      if (seen.has(file)) return;
      seen.add(file);
      for (const it of imports) if (it.from === file && !it.typeOnly) walk(it.to);
    };
    walk(`${verb}.ts`);
    t.ok(seen.size > 10, `${verb}: ${seen.size} files`);
    t.strictSame(
      [...seen].filter((file) => ["fetch", "http"].includes(roomOf(file))),
      [],
      `${verb} reaches nothing that asks`,
    );
  }
});

t.test("no cycles, not even of types", async (t) => {
  const state = new Map<string, "open" | "done">();
  const cycles: string[] = [];
  const walk = (file: string, path: string[]) => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "open") {
      cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    state.set(file, "open");
    for (const it of imports) if (it.from === file) walk(it.to, [...path, file]);
    state.set(file, "done");
  };
  for (const file of files) walk(file, []);
  t.same(cycles, []);
});

t.test("only the rooms that may do it print, listen, exit or dial", async (t) => {
  const rules: readonly [name: string, text: RegExp, may: (file: string, room: string) => boolean][] = [
    ["print", /console\.|process\.stdout\.write/, (_, room) => room === "cli" || room === "verb:bin"],
    ["end the process", /process\.exit\(/, (_, room) => room === "verb:bin"],
    [
      "open connections",
      /request[^\n]*from "node:https?"|\b(?:https?|nodeHttp|nodeHttps\(\))\.(?:request|get)\(/,
      (file) => ["http/sending.ts", "record/upstream.ts", "s3/direct-objects.ts"].includes(file),
    ],
    ["know got", /["']got["']/, (file) => file === "http/sending.ts"],
    ["know the AWS SDK", /["']@aws-sdk\//, (file) => file === "s3/sdk-client.ts"],
    // The site has it; docs/design.md, "A site owns its state".
    [
      "keep state in a module",
      /^(?:export )?(?:let |const \w+.*? = new \w*Map(?:<.*>)?\(\))/m,
      (_, room) => !isIn(room, "server"),
    ],
    [
      "listen",
      /\bcreateServer\(|\.listen\(/,
      (_, room) => isIn(room, "server") || room === "record" || room === "rehearsal",
    ],
  ];
  const texts = files.map((file) => ({ file, room: roomOf(file), text: readFileSync(join(src, file), "utf8") }));
  for (const [name, pattern, may] of rules) {
    const found = texts.filter(({ text }) => pattern.test(text));
    t.ok(found.length > 0, `somebody must ${name}, or the pattern is out of date`);
    t.same(
      found.filter(({ file, room }) => !may(file, room)).map(({ file }) => file),
      [],
      `who may not ${name}`,
    );
  }
});
