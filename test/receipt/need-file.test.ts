/** Need files: one form, with bounds, and nothing else passes. */
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { formatNeed, parseNeed, readNeed } from "../../src/receipt/need-file.ts";
import { scratch } from "../fixtures/program.ts";

const [a, b] = [digestOf("a"), digestOf("b")].sort() as [`sha256:${string}`, `sha256:${string}`];
const need = {
  releases: [
    { stream: "rocky-9", epoch: 1, serial: 4, digest: digestOf("r") },
    { stream: "rocky-9", epoch: 1, serial: 5, digest: digestOf("s") },
  ],
  blobs: [
    { digest: a, size: 1 },
    {
      digest: b,
      size: 5_000_000_000,
      pieces: [
        { first: 0, count: 2 },
        { first: 3, count: 4766 },
      ],
    },
  ],
};

t.test("what is written is read back, and is JSON with a line for each file", async (t) => {
  const text = formatNeed({ releases: need.releases.toReversed(), blobs: need.blobs.toReversed() });
  t.strictSame(parseNeed(text, "n"), need);
  t.match(JSON.parse(text), { mediaType: "application/vnd.airferry.need.v1+json", blobs: [{ size: 1 }, {}] });
  t.equal(text.split("\n").length, 8);
});

t.test("nothing else is a need file", async (t) => {
  const text = formatNeed(need);
  const spoilt: [string, string][] = [
    ["empty", ""],
    ["null", "null"],
    ["another type", text.replace("need.v1", "need.v2")],
    ["an unknown member", text.replace("{", '{"x":1,')],
    ["an unknown member of a file", text.replace('"size":1}', '"size":1,"note":"x"}')],
    ["white space", text.replace(",\n", ", \n")],
    ["one line", JSON.stringify(JSON.parse(text))],
    ["an escape", text.replace("rocky", "\\u0072ocky")],
    ["a negative size", text.replace('"size":1}', '"size":-1}')],
    ["half a byte", text.replace('"size":1}', '"size":1.5}')],
    ["a size beyond integers", text.replace('"size":1}', '"size":1e99}')],
    ["a path", text.replace('"rocky-9"', '"../x"')],
    ["serial zero", text.replace('"serial":4', '"serial":0')],
    ["no files", formatNeed({ ...need, blobs: [] })],
    ["no releases", formatNeed({ ...need, releases: [] })],
    ["a file twice", formatNeed({ ...need, blobs: [need.blobs[0], need.blobs[0]] as typeof need.blobs })],
    ["out of order", text.replace(/(\{"digest.*\}),\n(\{"digest.*\})\n/, "$2,\n$1\n")],
    ["no pieces", text.replace(/"pieces":.*\}\n/, '"pieces":[]}\n')],
    ["pieces beyond the end", text.replace("4766", "4767")],
    ["runs that touch", text.replace("[3,", "[2,")],
    ["pieces of a small file", text.replace('"size":1}', '"size":1,"pieces":[[0,1]]}')],
    ["a run of three numbers", text.replace("[0,2]", "[0,2,3]")],
    ["a run of texts", text.replace("[0,2]", '["0",2]')],
    ["deep", `${"[".repeat(100)}${"]".repeat(100)}`],
  ];
  for (const [name, it] of spoilt) {
    t.not(it, text, name);
    t.throws(() => parseNeed(it, "n"), { code: "ERR_NEED_INVALID" }, name);
  }
});

t.test("only a small regular file is read", async (t) => {
  const dir = scratch(t);
  const file = join(dir, "need.json");
  await t.rejects(readNeed(file), { code: "ERR_NOT_FOUND" });
  writeFileSync(file, formatNeed(need));
  t.strictSame(await readNeed(file), need);
  symlinkSync(file, join(dir, "link"));
  await t.rejects(readNeed(join(dir, "link")), { code: "ERR_PATH_UNSAFE" });
  mkdirSync(join(dir, "folder"));
  await t.rejects(readNeed(join(dir, "folder")), { code: "ERR_PATH_UNSAFE" });
  truncateSync(file, 100 * 1024 * 1024);
  await t.rejects(readNeed(file), { code: "ERR_SIZE_LIMIT" });
});
