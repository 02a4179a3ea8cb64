/**
 * What a file exports, another one uses: an `export` says so, and the compiler tells of everything else that nothing uses
 * (noUnusedLocals). A name is imported from the file that has it.
 */
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import t from "tap";
import { ROOT } from "./fixtures/program.ts";
import { exportsOf, importsOf, SOURCE_FILES } from "./fixtures/source-imports.ts";

const imports = SOURCE_FILES.flatMap(importsOf);
/** Of tests nothing is imported, and some hold the text of programs. */
const exported = SOURCE_FILES.filter((it) => !it.endsWith(".test.ts")).flatMap(exportsOf);

t.test("every export is used by another file", async (t) => {
  const used = new Set(imports.flatMap(({ to, names }) => names.map((name) => `${to}: ${name}`)));
  const all = exported.map(({ file, name }) => `${file}: ${name}`);
  t.ok(all.length > 1000 && used.size > 1000, `${all.length} exports, ${used.size} of them imported`);
  t.strictSame(
    all.filter((it) => !used.has(it)),
    [],
  );
});

t.test("a name is imported from where it is declared", async (t) => {
  // What a command asks of its verb, which is made elsewhere; and a class that only its own file may make.
  const allowed = ["src/schema.ts: schema", "src/status.ts: checkStore", "src/html/html.ts: Html"];
  const passedOn = exported.filter((it) => it.passedOn).map(({ file, name }) => `${file}: ${name}`);
  t.strictSame(passedOn.sort(), allowed.sort());
});

t.test("a name and a file name of src/ mean one thing", async (t) => {
  const twice = (all: readonly (readonly [name: string, file: string])[]) => {
    const files = new Map<string, string[]>();
    for (const [name, file] of all) files.set(name, [...(files.get(name) ?? []), file]);
    return [...files].flatMap(([name, list]) => (new Set(list).size > 1 ? [`${name}: ${list.join(", ")}`] : []));
  };
  const own = exported.filter((it) => it.file.startsWith("src/") && !it.passedOn);
  t.strictSame(twice(own.map(({ file, name }) => [name, file])), []);
  // A command has the name of its verb, each room keeps its types in types.ts, and `schema` prints what manifest/schema.ts is.
  const shared = /^src\/cli\/commands\/|\/types\.ts$|^src\/schema\.ts$/;
  const files = SOURCE_FILES.filter((it) => it.startsWith("src/") && !shared.test(it));
  t.strictSame(twice(files.map((file) => [basename(file), file])), []);
});

t.test("no import or export is of a form that these tests do not know", async (t) => {
  const strange = SOURCE_FILES.flatMap((file) => {
    const text = readFileSync(join(ROOT, file), "utf8");
    // JSON is no file of this list.
    const named =
      text.match(/^(?:import|export)\b[^;]*? from "\.[^"]+\.ts";$|^import "\.|\bimport\(\s*["'`]\./gm) ?? [];
    const starred = text.match(/^(?:import|export) (?:type )?\*.* from "\.|^export default\b/gm) ?? [];
    const known = importsOf(file).length;
    return named.length === known && starred.length === 0 ? [] : [`${file}: ${named.length} imports, ${known} known`];
  });
  t.strictSame(strange, []);
});
