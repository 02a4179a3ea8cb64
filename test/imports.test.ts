/** Holds the import rules of docs/design.md as a table: downwards only, no cycles, inside never reaches outside. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";

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

interface Import {
  from: string;
  to: string;
  typeOnly: boolean;
}

const imports: Import[] = files.flatMap((file) => {
  const text = readFileSync(join(src, file), "utf8");
  const found = [
    ...text.matchAll(/(?:^|\n)\s*(import|export)\s+(type\s+)?(?:[^;'"]*?\sfrom\s+)?["'](\.[^"']+)["']/g),
  ].map(([, , type, to]) => ({ to: to as string, typeOnly: type !== undefined }));
  const dynamic = [...text.matchAll(/import\(\s*["'](\.[^"']+)["']\s*\)/g)].map(([, to]) => ({
    to: to as string,
    typeOnly: false,
  }));
  // Data beside src/ (manifests/compatibility.json, package.json) belongs to no room.
  return [...found, ...dynamic]
    .map(({ to, typeOnly }) => ({ from: file, to: relative(src, join(src, dirname(file), to)), typeOnly }))
    .filter(({ to }) => !to.startsWith(".."));
});

const OUTSIDE_VERBS = ["lock", "plan", "pack", "fill", "reuse", "finished", "workspace", "pack-signers", "why"].map(
  (it) => `verb:${it}`,
);

/** Which rooms each room may import values from (types may come from anywhere below cli). One row for every room. */
const MAY: Record<string, readonly string[]> = {
  io: [],
  manifest: ["io", "oci", "builder"],
  fetch: ["io", "manifest"],
  rpm: ["io", "sign"],
  oci: ["io", "sign"],
  iso: ["io"],
  sign: ["io"],
  builder: ["io"],
  render: ["io", "builder", "bundle", "oci", "rpm", "iso"],
  stage: ["io", "builder", "bundle", "render"],
  bundle: ["io", "sign", "oci", "builder"],
  store: ["io", "bundle", "sign"],
  sources: ["io", "manifest", "fetch", "bundle", "sign", "rpm", "oci", "iso"],
  export: ["io", "oci", "store", "bundle"],
  publish: ["io", "oci", "export"],
  doctor: ["io", "oci", "rpm", "builder"],
  "server/http": ["io"],
  "server/registry": ["io", "oci", "server/http"],
  "server/pages": ["io", "iso", "oci", "render", "server/http"],
  "server/process": ["io", "server/http", "server/registry", "server/pages"],
};
/** Files that every room may import. */
const COMMON = ["verb:errors", "verb:version", "verb:findings"];
/** What those may not reach that have no row: the verbs of each side, cli and bin. */
const MAY_NOT: readonly [name: string, of: (room: string) => boolean, rooms: readonly string[]][] = [
  ["cli goes through a verb", (it) => it === "cli", ["server", "sources", "fetch"]],
  ["verbs of the outside stay there", (it) => OUTSIDE_VERBS.includes(it), ["server", "store", "render", "cli"]],
  ["verbs of the inside stay there", (it) => isInsideVerb(it), ["sources", "fetch", "cli"]],
];

function isInsideVerb(room: string): boolean {
  return room.startsWith("verb:") && room !== "verb:bin" && !OUTSIDE_VERBS.includes(room) && !COMMON.includes(room);
}

/** Imports of values from one room into another, as `from → to`. */
const crossing = imports
  .filter(({ typeOnly }) => !typeOnly)
  .map(({ from, to }) => ({ a: roomOf(from), b: roomOf(to), text: `${from} → ${to}` }))
  .filter(({ a, b }) => a !== b && !COMMON.includes(b));

t.test("every room has a row, in the table and in docs/design.md", async (t) => {
  t.ok(imports.length > 500, `${imports.length} imports to look at`);
  const rooms = [...new Set(files.map(roomOf))].filter((it) => !it.startsWith("verb:"));
  t.strictSame(rooms.sort(), [...Object.keys(MAY), "cli"].sort());
  const design = readFileSync(join(src, "../docs/design.md"), "utf8");
  const named = [...design.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap(([, cell]) => cell?.match(/[a-z/]+\//g) ?? []);
  t.same(
    rooms.filter((it) => !named.includes(`${it}/`)),
    [],
  );
});

t.test("imports run downwards", async (t) => {
  for (const [room, allowed] of Object.entries(MAY)) {
    const wrong = crossing.filter(({ a, b }) => a === room && !allowed.includes(b));
    t.same(
      wrong.map(({ text }) => text),
      [],
      `${room}: ${allowed.join(", ") || "nothing"}`,
    );
  }
  for (const [name, of, rooms] of MAY_NOT) {
    const wrong = crossing.filter(({ a, b }) => of(a) && rooms.some((it) => isIn(b, it)));
    t.same(
      wrong.map(({ text }) => text),
      [],
      name,
    );
  }
  const bin = crossing.filter(({ a, b }) => a === "verb:bin" && b !== "cli");
  t.same(bin, [], "bin imports only the cli");
  const common = crossing.filter(({ a, b }) => COMMON.includes(a) && b !== "io");
  t.same(common, [], "what everybody imports imports only io");
});

t.test("sources and server never meet", async (t) => {
  const met = imports
    .map(({ from, to }) => ({ a: roomOf(from), b: roomOf(to), text: `${from} → ${to}` }))
    .filter(
      ({ a, b }) => (a === "sources" && isIn(b, "server")) || (isIn(a, "server") && ["sources", "fetch"].includes(b)),
    );
  t.same(met, [], "not even types");
});

t.test("verify, unpack and serve cannot reach upstream, even through others", async (t) => {
  for (const verb of ["verify", "unpack", "serve", "status", "inspect", "export", "render", "stage"]) {
    const seen = new Set<string>();
    const walk = (file: string) => {
      if (seen.has(file)) return;
      seen.add(file);
      for (const it of imports) if (it.from === file && !it.typeOnly) walk(it.to);
    };
    walk(`${verb}.ts`);
    const reached = [...seen].filter((file) => ["sources", "fetch"].includes(roomOf(file)));
    t.same(reached, [], `${verb} reaches nothing that fetches`);
  }
});

t.test("no cycles", async (t) => {
  const state = new Map<string, "open" | "done">();
  const cycles: string[] = [];
  const walk = (file: string, path: string[]) => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "open") {
      cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    state.set(file, "open");
    for (const it of imports) if (it.from === file && !it.typeOnly) walk(it.to, [...path, file]);
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
      /from "got"|from "node:https?"[^\n]*request|https?\.request\(|https?\.get\(/,
      (file, room) => room === "fetch" || /^(doctor|publish)/.test(file),
    ],
    ["listen", /\bcreateServer\(|\.listen\(/, (_, room) => isIn(room, "server")],
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
