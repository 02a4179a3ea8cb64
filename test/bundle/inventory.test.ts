import { join } from "node:path";
import t from "tap";
import { formatInventory, parseInventory, streamEntries, streamEntriesBehind } from "../../src/bundle/inventory.ts";
import type { InventoryEntry, InventoryVolume } from "../../src/bundle/inventory-types.ts";
import { frameEnd } from "../../src/bundle/steps.ts";
import { type MadeInventory, makeBundle, makeKey, sampleFiles } from "../fixtures/bundle-maker.ts";

const dir = t.testdir();
const { inventory } = makeBundle(join(dir, "b"), { files: sampleFiles(), keys: [makeKey()], volumeSize: 1_000_000 });
const good = formatInventory(inventory);

/** As it stands in the file. */
type InFile = Omit<MadeInventory, "entries" | "volumes"> & {
  entries: (InventoryEntry & { sha256: string })[];
  volumes: (InventoryVolume & { sha256: string })[];
};

/** The inventory with something changed, formatted without the formatter's help. */
function changed(change: (it: InFile) => unknown): Buffer {
  const copy = JSON.parse(good.toString());
  const result = change(copy);
  return Buffer.from(typeof result === "string" && result.startsWith("{") ? result : JSON.stringify(copy));
}

t.test("parseInventory() takes what formatInventory() wrote, and nothing is lost", async (t) => {
  t.same(formatInventory(parseInventory(good)), good);
  t.equal(parseInventory(good).entries.length, Object.keys(sampleFiles()).length);
});

t.test("entries behind a position are those whose frames end behind it, in the order of the stream", async (t) => {
  const read = parseInventory(good);
  const all = [...streamEntries(read)];
  t.ok(all.length > 3 && all.some((it) => it.size === 0), "there are some, and an empty one");
  const ends = all.map((it) => frameEnd(it));
  for (const position of [-1, 0, 1, ...ends.flatMap((it) => [it - 1, it, it + 1]), read.streamSize]) {
    const expected = all.filter((it) => frameEnd(it) > position);
    t.strictSame([...streamEntriesBehind(read, position)], expected, `behind ${position}`);
  }
});

t.test("parseInventory() refuses lies and liberties", async (t) => {
  const text = good.toString();
  const bad = new Map<string, Buffer>([
    ["white space", Buffer.from(`${text}\n`)],
    ["pretty", Buffer.from(JSON.stringify(inventory, undefined, 1))],
    ["byte order mark", Buffer.concat([Buffer.from("\ufeff"), good])],
    ["repeated key", Buffer.from(text.replace('"stream":', '"stream":"other","stream":'))],
    ["repeated key in an entry", Buffer.from(text.replace('"mode":', '"mode":"0755","mode":'))],
    ["escape", Buffer.from(text.replace('"tool":"a', '"tool":"\\u0061'))],
    ["bad UTF-8", Buffer.from(text.replace("airferry test", "airferry tes\ufffd")).subarray(0, -1)],
    ["number form", Buffer.from(text.replace('"serial":1,', '"serial":1.0,'))],
    ["minus zero", changed((it) => JSON.stringify(it).replace('"size":0,', '"size":-0,'))],
    ["not an object", Buffer.from("[]")],
    ["null", Buffer.from("null")],
    ["unknown key", changed((it) => Object.assign(it, { extra: 1 }))],
    ["__proto__", Buffer.from(text.replace('"tool":', '"__proto__":{},"tool":'))],
    ["missing key", changed((it) => delete (it as Partial<InFile>).lock)],
    ["serial 0", changed((it) => (it.serial = 0))],
    ["serial too high", changed((it) => (it.serial = 2 ** 53))],
    ["serial text", changed((it) => (it.serial = "1" as never))],
    ["epoch 0", changed((it) => (it.epoch = 0))],
    ["stream with a slash", changed((it) => (it.stream = "../x"))],
    ["created", changed((it) => (it.created = "yesterday"))],
    ["created with fraction", changed((it) => (it.created = "2026-01-01T00:00:00.5Z"))],
    ["impossible date", changed((it) => (it.created = "2026-13-01T00:00:00Z"))],
    ["previous without digest", changed((it) => (it.previous = { serial: 1 } as never))],
    ["offset moved", changed((it) => (it.entries[3]!.offset! += 512))],
    ["overlap", changed((it) => (it.entries[2]!.offset = it.entries[1]!.offset!))],
    ["offset beyond the end", changed((it) => (it.entries[2]!.offset = 1e12))],
    ["size lies", changed((it) => (it.entries[2]!.size += 512))],
    ["size negative", changed((it) => (it.entries[2]!.size = -1))],
    ["size fraction", changed((it) => (it.entries[2]!.size = 1.5))],
    ["size huge", changed((it) => (it.entries[2]!.size = 2 ** 53))],
    ["stream size", changed((it) => (it.streamSize += 512))],
    ["volume size", changed((it) => (it.volumeSize = 1))],
    ["volume missing", changed((it) => it.volumes.pop())],
    ["volume extra", changed((it) => it.volumes.push({ ...it.volumes[0]!, name: "data.tar.0009" }))],
    ["volume name", changed((it) => (it.volumes[0]!.name = "data.tar.0001"))],
    ["volume length", changed((it) => (it.volumes[0]!.size -= 1))],
    ["volume digest", changed((it) => (it.volumes[0]!.sha256 = "x"))],
    ["not sorted", changed((it) => it.entries.reverse())],
    ["duplicate", changed((it) => (it.entries[1]!.path = it.entries[0]!.path))],
    ["mode", changed((it) => (it.entries[0]!.mode = "4755" as never))],
    ["digest upper case", changed((it) => (it.entries[0]!.sha256 = it.entries[0]!.sha256.toUpperCase()))],
    ["entry key", changed((it) => Object.assign(it.entries[0]!, { link: "/etc/passwd" }))],
    ["offset and from", changed((it) => (it.entries[0]!.from = "store"))],
    [
      "from elsewhere",
      changed((it) => {
        delete it.entries[0]!.offset;
        it.entries[0]!.from = "web" as never;
      }),
    ],
    ["one digest, two sizes", changed((it) => (it.entries[1]!.sha256 = it.entries[0]!.sha256))],
    ["entries not a list", changed((it) => (it.entries = {} as never))],
    ["entry null", changed((it) => (it.entries[0] = null as never))],
    ["catalog missing", changed((it) => (it.catalog = {} as never))],
    ["catalog names no entry", changed((it) => it.catalog.isos.push({ name: "x", path: "isos/x.iso" }))],
    [
      "catalog path",
      changed((it) => {
        it.catalog.provenance.push({ path: "../", kind: "file", source: "", established: "manifest" });
      }),
    ],
  ]);
  for (const [why, bytes] of bad) {
    t.throws(() => parseInventory(bytes), { code: /^ERR_BUNDLE_INVALID$|^ERR_PATH_UNSAFE$|^ERR_BUNDLE_VERSION$/ }, why);
  }
});

t.test("parseInventory() refuses unsafe paths by name, with the code for it", async (t) => {
  for (const path of ["../evil", "/etc/passwd", "a/../../b", "C:\\x", "a\u202eb", "u\u0308", "a\nb"]) {
    const bytes = changed((it) => {
      // First in order whatever its name is: the list is short then.
      it.entries = [{ ...it.entries[0]!, path }];
    });
    t.throws(() => parseInventory(bytes), { code: "ERR_PATH_UNSAFE" }, JSON.stringify(path));
  }
});

t.test("parseInventory() tells an unknown version apart", async (t) => {
  const bytes = changed((it) => (it.mediaType = "application/vnd.airferry.inventory.v2+json" as never));
  t.throws(() => parseInventory(bytes), { code: "ERR_BUNDLE_VERSION" });
});

t.test("whatever parseInventory() accepts of mutated bytes, it would write again", async (t) => {
  let seed = 42;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed % below;
  };
  let accepted = 0;
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.from(good);
    for (let count = random(3); count >= 0; count--) bytes[random(bytes.length)] = 32 + random(95);
    try {
      const value = parseInventory(bytes);
      accepted++;
      if (!formatInventory(value).equals(bytes)) t.fail(`round ${round}`);
    } catch (error) {
      if (!/^ERR_/.test((error as { code?: string }).code ?? "")) throw error;
    }
  }
  t.ok(accepted > 0, `${accepted} mutations were harmless (a digit of a digest, a letter of a name)`);
});

t.test("long lists are read in parts, and every byte of them counts", async (t) => {
  const files = Object.fromEntries(
    Array.from({ length: 6000 }, (_, it) => [`files/ü-${String(it).padStart(5, "0")}`, Buffer.from(`${it}`)]),
  );
  files["web/index.json"] = Buffer.from("{}");
  const web = [{ name: "site", answers: 1, origins: ["https://example.org"] }];
  const origins = [{ path: "files/ü-00001", url: "https://mirror.example.org/1" }];
  const spoilers: [string, (it: MadeInventory) => unknown][] = [
    ["alone", () => undefined],
    ["with a builder", (it) => Object.assign(it, { builder: { a: '}]},"builder":', entries: [{ path: "x" }] } })],
    ["with a late end in a text", (it) => Object.assign(it.catalog.provenance[5000] ?? {}, { source: "a}]}}.txt" })],
    ["with origins", (it) => Object.assign(it.catalog, { origins })],
    ["with origins and web", (it) => Object.assign(it.catalog, { origins, web })],
    ["with web and origins", (it) => Object.assign(it.catalog, { web, origins })],
    [
      "with web, origins and a builder",
      (it) => Object.assign(it.catalog, { web, origins }) && Object.assign(it, { builder: {} }),
    ],
    ["with web", (it) => Object.assign(it.catalog, { web })],
  ];
  for (const [name, spoil] of spoilers) {
    const { inventory: long } = makeBundle(join(dir, name), { files, keys: [makeKey()] });
    long.catalog.provenance = long.entries.map(({ path }) => ({
      path,
      kind: "file",
      source: '},{"path":"}],"web":["}]}}é'.padEnd(80, "."),
      established: "manifest",
    }));
    spoil(long);
    const bytes = formatInventory(long);
    t.ok(bytes.indexOf('"catalog"') > 512 * 1024 && bytes.length > 1.5 * 1024 * 1024, "both are long");
    t.ok(formatInventory(parseInventory(bytes)).equals(bytes), name);
    for (const [at, what] of [
      [bytes.indexOf(',{"path":"', 600_000) + 1, " "],
      [bytes.lastIndexOf('"established"'), ' "'],
      [bytes.lastIndexOf("}]"), ",{}"],
      [bytes.indexOf('"size":', 600_000), '"size":1,'],
    ] as const) {
      const bad = Buffer.concat([bytes.subarray(0, at), Buffer.from(what), bytes.subarray(at)]);
      t.throws(() => parseInventory(bad), { code: /^ERR_BUNDLE_/ }, `${name}: ${JSON.stringify(what)} at ${at}`);
    }
  }
});
