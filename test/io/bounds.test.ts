/** Bounds on what parsers take from outside: refused at once, with a message, whatever the input is. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "tap";
import { EntryTable } from "../../src/bundle/entry-table.ts";
import { parseRecipes } from "../../src/bundle/recipe-list.ts";
import { digestOf, hexOf } from "../../src/io/digest.ts";
import { parseJson } from "../../src/io/json.ts";
import { parseYaml } from "../../src/io/yaml.ts";
import { IsoImage } from "../../src/iso/iso-image.ts";
import { parseManifest, readManifest } from "../../src/manifest/load.ts";
import { readRpmFile } from "../../src/rpm/header.ts";
import { parseModules } from "../../src/rpm/modulemd.ts";
import { readModules } from "../../src/rpm/modules-thread.ts";
import { parseXml } from "../../src/rpm/xml.ts";
import { readOpenPgpKeyring } from "../../src/sign/openpgp-keyring.ts";
import { makeIso, NM } from "../fixtures/iso-maker.ts";
import { scratch } from "../fixtures/program.ts";
import { inMemory, MINIMAL, makeHeader, makeRpm } from "../fixtures/rpm-files.ts";

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

test("parseYaml() refuses a second document, however it begins", async (t) => {
  for (const text of ["a: 1\n---\nb: 2\n", "a: 1\n...\nb: 2\n", "--- a\n--- b\n", "---\n---\n"]) {
    for (const schema of ["core", "failsafe"] as const) {
      t.match(parseYaml(text, { schema }).errors[0]?.message, /more than one document/, JSON.stringify(text));
    }
  }
  t.same(parseYaml("---\na: 1\n...\n").errors, []);
});

test("a manifest of many faults is told of a hundred, a large one read with pauses", async (t) => {
  const faults = (text: string) => {
    try {
      parseManifest(text, "m");
      return undefined;
    } catch (error) {
      return error as { message: string; problems: unknown[] };
    }
  };
  const error = faults(Array.from({ length: 5000 }, (_, i) => `k${i}:\n`).join(""));
  t.equal(error?.problems.length, 100);
  t.match(error?.message, /100 problems and maybe more/);

  const file = join(scratch(t), "m.yaml");
  const head = "apiVersion: airferry/v1\nstream: x\nfiles:\n";
  await writeFile(file, head + Array.from({ length: 15_000 }, (_, i) => `  - { path: ./a, as: b${i} }\n`).join(""));
  let ticks = 0;
  const timer = setInterval(() => ticks++, 5);
  const manifest = await readManifest(file);
  clearInterval(timer);
  t.equal(manifest.files?.length, 15_000);
  t.ok(ticks > 5, `the main thread was free: ${ticks} ticks`);
  await writeFile(file, `${head}${"  - { path: ./a, as: b }\n".repeat(500)}  - { pat: c }\n`);
  const wrong = await readManifest(file).catch((it: unknown) => it);
  t.match(wrong, { code: "ERR_MANIFEST_INVALID", hint: /manifest.md/ }, "what is wrong comes back whole");
  t.match((wrong as { problems: unknown[] }).problems[0], { path: /m\.yaml:\d+/ });
});

test("tags of an RPM header cannot share their strings: so few bytes would be very many", async (t) => {
  const nuls = { type: 8, count: 4000, data: Buffer.alloc(4000) };
  const shared = { type: 8, count: 4000, offset: 0 };
  const read = (entries: Parameters<typeof makeHeader>[0]) =>
    readRpmFile(inMemory(makeRpm({ header: makeHeader(entries) })), "a.rpm");
  t.ok(await read([{ tag: 5000, ...nuls }, ...MINIMAL]));
  await t.rejects(
    read([
      { tag: 5000, ...nuls },
      { tag: 5001, ...shared },
      { tag: 5002, ...shared },
    ]),
    {
      code: "ERR_UPSTREAM_INVALID",
      message: /more strings than fit/,
    },
  );
});

test("directories of a disc have a bound on their records, and paths one on their steps", async (t) => {
  const file = (i: number) => ({ id: `F${i}.;1`, block: 0, size: 0, use: NM(`f${i}`) });
  const image = await IsoImage.open(inMemory(makeIso([file(1)])), "a.iso");
  t.ok(await image.find(`${"./".repeat(1000)}f1`));
  t.equal(await image.find(`${"./".repeat(3000)}f1`), undefined);
  const many = makeIso(Array.from({ length: 200_001 }, (_, i) => file(i)));
  const large = await IsoImage.open(inMemory(many), "b.iso");
  await t.rejects(large.list(large.root), { code: "ERR_ISO_INVALID", message: /too many records/ });
});

test("OpenPGP keys have a bound on their packets and their number", async (t) => {
  const userId = Buffer.from([0xcd, 1, 0x61]);
  const key = Buffer.concat([Buffer.from([0xc6, 6, 4, 0, 0, 0, 0, 22]), userId]);
  const read = (bytes: Uint8Array) => readOpenPgpKeyring([bytes], { name: "keys" });
  await t.rejects(read(Buffer.concat([key, ...Array.from({ length: 1000 }, () => userId)])), {
    message: /a key of 1002 packets: expected at most 1000/,
  });
  await t.rejects(read(Buffer.concat(Array.from({ length: 1001 }, () => key))), { message: /more than 1000 keys/ });
});

test("recipes have no more sources, operations and bytes than their file and the format allow", async (t) => {
  const digest = digestOf("built");
  const entry = { path: "a", size: 5, mode: "0644" as const, digest, from: "recipe" as const };
  const entries = EntryTable.from([entry]);
  const head = (sources: number, operations: number) => {
    const bytes = Buffer.alloc(48);
    bytes.write(hexOf(digest), "hex");
    bytes.writeUInt32BE(5, 36);
    bytes.writeUInt32BE(sources, 40);
    bytes.writeUInt32BE(operations, 44);
    return bytes;
  };
  const zeros = Buffer.from(`ffffffff${"0".repeat(16)}${"0".repeat(15)}5`, "hex");
  t.equal((await parseRecipes(Buffer.concat([head(0, 1), zeros]), entries)).size, 1);
  const refused: [string, Buffer, RegExp][] = [
    ["counts", head(0, 0xffff_ffff), /expected 85899345900 bytes at 48/],
    ["sources", head(0xffff_ffff, 1), /at most 500000 sources/],
    ["many", Buffer.concat([head(500_001, 1), Buffer.alloc(500_001 * 40)]), /at most 500000 sources/],
    ["sums", Buffer.concat([head(0, 2), zeros, zeros]), /more than 5 bytes/],
    ["end", Buffer.concat([head(0, 1), zeros, zeros]), /expected 68 bytes, got 88/],
  ];
  for (const [name, bytes, message] of refused)
    await t.rejects(parseRecipes(bytes, entries), { code: "ERR_BUNDLE_INVALID", message }, name);
  // Three million operations: the main thread pauses.
  const count = 3_000_000;
  const one = Buffer.from(`ffffffff${"0".repeat(16)}${"0".repeat(15)}1`, "hex");
  const whole = head(0, count);
  whole.writeUInt32BE(count, 36);
  const many = Buffer.concat([whole, Buffer.alloc(count * one.length, one)]);
  let ticks = 0;
  const timer = setInterval(() => ticks++, 10).unref();
  const recipe = (await parseRecipes(many, EntryTable.from([{ ...entry, size: count }]))).get(digest);
  clearInterval(timer);
  t.ok(ticks > 1, `the main thread was free: ${ticks} ticks`);
  const zero = { offset: 0, length: 1 };
  t.same([...(recipe?.ranges(count - 2, 9) ?? [])], [zero, zero]);
});
