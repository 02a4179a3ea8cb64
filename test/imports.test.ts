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

/** Which rooms each room may import values from (types may come from anywhere below cli). */
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
  "server/http": ["io"],
  "server/registry": ["io", "oci", "server/http"],
  "server/pages": ["io", "iso", "oci", "render", "server/http"],
  "server/process": ["io", "server/http", "server/registry", "server/pages"],
};

t.test("imports run downwards", async (t) => {
  t.ok(imports.length > 50, "there are imports to look at");
  for (const { from, to, typeOnly } of imports) {
    const [a, b] = [roomOf(from), roomOf(to)];
    // Data beside the source: the compatibility matrix, schemas.
    if (to.startsWith("../manifests/")) continue;
    if (a === b || typeOnly || ["verb:errors", "verb:version", "verb:findings"].includes(b)) continue;
    const allowed = MAY[a];
    if (allowed !== undefined) t.ok(allowed.includes(b), `${from} may import ${to}`);
    else if (a === "cli")
      t.notOk(isIn(b, "server") || b === "sources" || b === "fetch", `${from} goes through a verb, not to ${to}`);
    else if (a === "verb:bin") t.ok(b === "cli", `${from} imports only the cli`);
    else if (OUTSIDE_VERBS.includes(a))
      t.notOk(
        ["server", "store", "render", "cli"].some((it) => isIn(b, it)),
        `${from} stays outside: ${to}`,
      );
    else t.notOk(["sources", "fetch", "cli"].includes(b), `${from} stays inside: ${to}`);
  }
});

t.test("sources and server never meet", async (t) => {
  for (const { from, to } of imports) {
    t.notOk(roomOf(from) === "sources" && isIn(roomOf(to), "server"), `${from} → ${to}`);
    t.notOk(isIn(roomOf(from), "server") && ["sources", "fetch"].includes(roomOf(to)), `${from} → ${to}`);
  }
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
  for (const file of files) {
    const text = readFileSync(join(src, file), "utf8");
    const room = roomOf(file);
    if (room !== "cli" && room !== "verb:bin")
      t.notMatch(text, /console\.|process\.stdout\.write/, `${file} does not print`);
    if (room !== "verb:bin") t.notMatch(text, /process\.exit\(/, `${file} does not exit`);
    if (room !== "fetch" && !/^(doctor|publish)/.test(file)) {
      t.notMatch(
        text,
        /from "got"|from "node:https?"[^\n]*request|https?\.request\(|https?\.get\(/,
        `${file} opens no connections`,
      );
    }
    if (!isIn(room, "server")) t.notMatch(text, /\bcreateServer\(|\.listen\(/, `${file} does not listen`);
  }
});
