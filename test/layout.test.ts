/**
 * test/ mirrors src/: a room's tests stand in the folder of its name, and a test of one module has that module's path and name. The
 * folders of other kinds are those of the table in CONTRIBUTING.md, "The map of tests".
 */
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import t from "tap";
import { ROOT } from "./fixtures/program.ts";

/** Modules that tests of anything use. */
const EVERYWHERE = ["errors", "io/digest"];
/** Tests that are about the repository as a whole. */
const WHOLE = ["docs", "imports", "layout"];

const tests = globSync("test/**/*.test.ts", { cwd: ROOT }).map((it) => it.slice("test/".length, -".test.ts".length));
const isModule = (path: string) => existsSync(join(ROOT, "src", `${path}.ts`));
const isRoom = (path: string) => readdirSync(join(ROOT, "src", path)).some((it) => it.endsWith(".ts"));

/** Folders of src/ that have modules, and so have tests; but for commands: whoever runs a verb's tests by its command runs them. */
const rooms = readdirSync(join(ROOT, "src"), { recursive: true, withFileTypes: true })
  .filter((it) => it.isDirectory())
  .map((it) => relative(join(ROOT, "src"), join(it.parentPath, it.name)))
  .filter((it) => isRoom(it) && it !== "cli/commands");

/** First folders of the table's rows that mirror no room. */
function otherKinds(): string[] {
  const guide = readFileSync(join(ROOT, "CONTRIBUTING.md"), "utf8");
  const section = /^## The map of tests\n([\s\S]*?)^## /m.exec(guide)?.[1] ?? "";
  return [...section.matchAll(/^\| `([a-z]+)\/` \|/gm)].map(([, name]) => name as string);
}

/** Modules of src/ whose values a test imports. */
function subjects(test: string): string[] {
  const file = join(ROOT, "test", `${test}.test.ts`);
  const text = readFileSync(file, "utf8");
  const found = [...text.matchAll(/^(?:import|export) (?!type )[^;]*?"(\.[^"]+)\.ts";|import\("(\.[^"]+)\.ts"\)/gm)];
  return found
    .map(([, named, loaded]) => relative(join(ROOT, "src"), join(dirname(file), (named ?? loaded) as string)))
    .filter((it) => !it.startsWith("..") && !EVERYWHERE.includes(it));
}

t.test("each folder of tests mirrors one of src/, or is of a kind that the table names", async (t) => {
  const kinds = otherKinds();
  const folders = readdirSync(join(ROOT, "test"), { withFileTypes: true }).filter((it) => it.isDirectory());
  const others = folders.map((it) => it.name).filter((it) => !rooms.includes(it) && it !== "server");
  t.strictSame(kinds.sort(), others.sort());
  const below = new Set(tests.map((it) => dirname(it)).filter((it) => !kinds.includes(it.split("/")[0] as string)));
  below.delete(".");
  t.strictSame(
    [...below].filter((it) => !rooms.includes(it)),
    [],
  );
});

t.test("each room has tests", async (t) => {
  const tested = new Set(tests.map((it) => dirname(it)));
  t.ok(rooms.length > 20, `${rooms.length} rooms`);
  t.strictSame(
    rooms.filter((it) => !tested.has(it)),
    [],
  );
});

t.test("a test of one module has its path and name", async (t) => {
  const kinds = otherKinds();
  const mirrored = tests.filter((it) => !kinds.includes(it.split("/")[0] as string) && !WHOLE.includes(it));
  const single = mirrored.map((test) => ({ test, modules: subjects(test) })).filter((it) => it.modules.length === 1);
  t.ok(single.length > 60, `${single.length} tests of one module`);
  const isAt = (test: string, module: string) =>
    test === module || test.startsWith(`${module}-`) || test.startsWith(`${module}/`);
  const wrong = single.filter(({ test, modules: [module] }) => !isModule(test) && !isAt(test, module as string));
  t.strictSame(
    wrong.map(({ test, modules: [module] }) => `test/${test}.test.ts is about src/${module}.ts`),
    [],
  );
});
