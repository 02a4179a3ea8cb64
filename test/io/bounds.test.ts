/** Bounds on foreign JSON, YAML and XML: refused at once, with a message, whatever the input is. */
import { test } from "tap";
import { parseJson } from "../../src/io/json.ts";
import { parseYaml } from "../../src/io/yaml.ts";
import { parseModules } from "../../src/rpm/modules.ts";
import { readModules } from "../../src/rpm/modules-thread.ts";
import { parseXml } from "../../src/rpm/xml.ts";

test("parseJson() refuses what is nested too deeply, and counts no brackets in strings", async (t) => {
  t.ok(Array.isArray(parseJson(`${"[".repeat(64)}${"]".repeat(64)}`)));
  t.throws(() => parseJson(`${"[".repeat(65)}${"]".repeat(65)}`), /more than 64 levels deep/);
  t.throws(() => parseJson(`${"[".repeat(30_000)}${"]".repeat(30_000)}`), /more than 64 levels deep/);
  t.same(parseJson(JSON.stringify(`\\"${"[".repeat(100)}`)), `\\"${"[".repeat(100)}`);
});

test("parseYaml() finds double keys and depth", async (t) => {
  t.match(parseYaml("a: 1\nb: 2\na: 3\n").errors[0], {
    message: "Map keys must be unique",
    linePos: [{ line: 3, col: 1 }],
  });
  for (const depth of [101, 30_000]) {
    t.not(parseYaml("[".repeat(depth) + "]".repeat(depth)).errors.length, 0, `${depth}`);
  }
});

test("modules.yaml with many keys takes time that grows with it alone, in a thread", async (t) => {
  const keys = Array.from({ length: 20_000 }, (_, i) => `    p${i}:\n      rpms: [a]\n`).join("");
  const bytes = Buffer.from(
    `---\ndocument: modulemd\nversion: 2\ndata:\n  name: a\n  stream: "1"\n  profiles:\n${keys}`,
  );
  let ticks = 0;
  const timer = setInterval(() => ticks++, 10);
  const documents = await readModules(bytes, "modules.yaml");
  clearInterval(timer);
  t.equal(documents[0]?.profiles.size, 20_000);
  t.ok(ticks > 5, `the main thread was free: ${ticks} ticks`);
  // A document with a key twice is ignored, as libmodulemd does; it takes no longer to find that out.
  const twice = await readModules(Buffer.concat([bytes, Buffer.from("    p0:\n")]), "m");
  t.equal(twice.length, 1);
  t.match(twice[0]?.fault, /unique/);
  t.same(parseModules(Buffer.from(`---\n${"\n".repeat(1_000_000)}`), "m"), []);
});

test("a tree of XML has a bound on its nodes", async (t) => {
  t.throws(() => parseXml(Buffer.from(`<a>${"<b/>".repeat(1_000_001)}</a>`), "x"), { code: "ERR_UPSTREAM_INVALID" });
});
