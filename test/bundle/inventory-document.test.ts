/**
 * docs/format.md, "Inventory", "Entry paths" and "Catalog", as a check of its own, held against what the parser accepts: every value
 * of a good inventory is replaced, removed, doubled and moved, and whatever still passes must be valid by the document.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parseInventory } from "../../src/bundle/inventory.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { seeded } from "../fixtures/seeded.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Record_ = { [key: string]: Json };

const HEX = /^[0-9a-f]{64}$/;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const DIGEST = /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;
const EMPTY = createHash("sha256").digest("hex");

class Invalid extends Error {}
function must(fine: unknown, what: string): asserts fine {
  if (!fine) throw new Invalid(what);
}
const isObject = (it: Json | undefined): it is Record_ => typeof it === "object" && it !== null && !Array.isArray(it);
const whole = (it: Json | undefined, from: number, to = Number.MAX_SAFE_INTEGER): it is number =>
  typeof it === "number" && Number.isInteger(it) && it >= from && it <= to;
const only = (it: Record_, names: string[], optional: string[] = []) => {
  for (const key of Object.keys(it)) must(names.includes(key) || optional.includes(key), `name ${key}`);
  for (const key of names) must(key in it, `no ${key}`);
};
const time = (it: Json | undefined) => {
  const [, y, mo, d, h, mi, s] = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z$/.exec(String(it)) ?? [];
  must(typeof it === "string" && y !== undefined, "time");
  const year = Number(y);
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][Number(mo) - 1] ?? 0;
  must(
    Number(d) >= 1 && Number(d) <= days && Number(h) < 24 && Number(mi) < 60 && Number(s) < 60,
    "a time that exists",
  );
};
const path = (it: Json | undefined) => {
  must(typeof it === "string" && it !== "" && !it.startsWith("/") && !it.includes("\\"), "path");
  must(!/^[A-Za-z]:/.test(it) && it.normalize("NFC") === it && it.isWellFormed(), "path form");
  must(Buffer.byteLength(it) <= 1024, "path length");
  must(
    !/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/u.test(it),
    "control",
  );
  for (const part of it.split("/"))
    must(part !== "" && part !== "." && part !== ".." && Buffer.byteLength(part) < 256, "segment");
};
const list = (it: Json | undefined): Json[] => {
  must(Array.isArray(it), "list");
  return it;
};
const object = (it: Json | undefined): Record_ => {
  must(isObject(it), "object");
  return it;
};
const texts = (it: Json | undefined) => {
  for (const one of list(it)) must(typeof one === "string", "text");
};

/** Returns its place in the order of releases. */
function release(it: Json | undefined): number {
  const one = object(it);
  only(one, ["epoch", "serial", "sha256"]);
  must(whole(one.epoch, 1, 999_999_999) && whole(one.serial, 1, 999_999_999), "epoch, serial");
  must(typeof one.sha256 === "string" && HEX.test(one.sha256), "sha256");
  return one.epoch * 1e9 + one.serial;
}

/** Throws when a value breaks a rule of the document. */
function hold(value: Json): void {
  const it = object(value);
  only(
    it,
    [
      "mediaType",
      "requires",
      "stream",
      "epoch",
      "serial",
      "created",
      "lock",
      "tool",
      "streamSize",
      "volumeSize",
      "volumes",
      "entries",
      "catalog",
      "ext",
    ],
    ["notAfter", "audience", "previous", "bases", "builder"],
  );
  must(it.mediaType === "application/vnd.airferry.inventory.v1+json", "mediaType");
  must(typeof it.stream === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(it.stream), "stream");
  must(whole(it.epoch, 1, 999_999_999) && whole(it.serial, 1, 999_999_999), "epoch, serial");
  time(it.created);
  if ("notAfter" in it) time(it.notAfter);
  if ("audience" in it) {
    const sites = list(it.audience);
    must(sites.length >= 1 && sites.length <= 64, "audience");
    for (const one of sites) must(typeof one === "string" && /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(one), "a site");
    must(
      sites.every(
        (one, at) => at === 0 || Buffer.compare(Buffer.from(String(sites[at - 1])), Buffer.from(String(one))) < 0,
      ),
      "sites",
    );
  }
  if ("previous" in it) {
    release(it.previous);
  }
  if ("bases" in it) {
    const bases = list(it.bases).map(release);
    must(bases.length > 0 && bases.every((one, at) => at === 0 || one > (bases[at - 1] as number)), "bases");
  }
  must(list(it.requires).length === 0 && isObject(it.ext), "requires, ext");
  must(HEX.test(String(it.lock)) && typeof it.lock === "string", "lock");
  must(typeof it.tool === "string" && it.tool.length <= 200, "tool");
  if ("builder" in it) must(isObject(it.builder), "builder");

  const entries = list(it.entries).map(object);
  const sizes = new Map<Json, Json>();
  const paths = new Set<string>();
  let before: Buffer | undefined;
  for (const entry of entries) {
    only(entry, ["path", "size", "mode", "sha256", "from" in entry ? "from" : "offset"]);
    path(entry.path);
    const bytes = Buffer.from(entry.path as string);
    must(before === undefined || Buffer.compare(before, bytes) < 0, "sorted, none twice");
    before = bytes;
    paths.add(entry.path as string);
    must(whole(entry.size, 0) && HEX.test(String(entry.sha256)), "size, sha256");
    must((entry.size === 0) === (entry.sha256 === EMPTY), "digest of nothing");
    must(entry.mode === "0644" || entry.mode === "0755", "mode");
    must("from" in entry ? entry.from === "store" || entry.from === "bundle" : whole(entry.offset, 0), "place");
    must(!sizes.has(entry.sha256!) || sizes.get(entry.sha256!) === entry.size, "one size");
    sizes.set(entry.sha256!, entry.size!);
  }
  for (const one of paths) {
    for (let at = one.indexOf("/"); at > 0; at = one.indexOf("/", at + 1)) must(!paths.has(one.slice(0, at)), "folder");
  }
  const carried = new Set(entries.filter((entry) => "offset" in entry).map((entry) => entry.sha256));
  for (const entry of entries) {
    if ("from" in entry) must((entry.from === "bundle") === carried.has(entry.sha256), "from");
  }
  let position = 0;
  const placed = entries
    .filter((entry) => "offset" in entry)
    .sort((a, b) => (a.offset as number) - (b.offset as number));
  // Paths of the sample fit ustar: one header record each.
  for (const { offset, size } of placed) {
    must(offset === position + 512, "offset");
    position = (offset as number) + Math.ceil((size as number) / 512) * 512;
  }
  must(it.streamSize === position + 1024, "streamSize");
  must(whole(it.volumeSize, 4096) && it.volumeSize % 512 === 0, "volumeSize");
  const volumes = list(it.volumes).map(object);
  must(volumes.length === Math.ceil(it.streamSize / it.volumeSize) && volumes.length <= 10_000, "volumes");
  for (const [index, volume] of volumes.entries()) {
    only(volume, ["name", "size", "sha256"]);
    must(volume.name === `data.tar.${String(index).padStart(4, "0")}`, "volume name");
    must(volume.size === Math.min(it.volumeSize, it.streamSize - index * it.volumeSize), "volume size");
    must(typeof volume.sha256 === "string" && HEX.test(volume.sha256), "volume sha256");
  }

  const catalog = object(it.catalog);
  const below = (prefix: string) => [...paths].some((one) => one.startsWith(prefix));
  for (const iso of list(catalog.isos).map(object)) {
    must(typeof iso.name === "string" && NAME.test(iso.name) && iso.path === `isos/${iso.name}.iso`, "iso");
    must(paths.has(iso.path), "iso entry");
  }
  for (const file of list(catalog.files).map(object)) must(paths.has(file.path as string), "file entry");
  for (const rpm of list(catalog.rpms).map(object)) {
    must(typeof rpm.name === "string" && NAME.test(rpm.name) && rpm.path === `rpms/${rpm.name}/`, "rpm path");
    must(below(rpm.path), "rpm entries");
    must(["exact", "subset", "loose"].includes(rpm.mode as string), "rpm mode");
    must(["upstream", "airferry", "none"].includes(rpm.repomdSignedBy as string), "repomdSignedBy");
    for (const flag of ["gpgcheck", "tree", "rpmrepo"]) must(typeof rpm[flag] === "boolean", flag);
    must(whole(rpm.packages, 0), "packages");
    for (const key of list(rpm.keys)) must(typeof key === "string" && paths.has(`keys/${key}`), "rpm key");
  }
  for (const image of list(catalog.images).map(object)) {
    must(
      typeof image.reference === "string" && /^[a-z0-9.:_-]+\/[a-z0-9._/-]+(:[\w.-]+)?(@.*)?$/.test(image.reference),
      "reference",
    );
    must(DIGEST.test(String(image.digest)) && typeof image.mediaType === "string" && whole(image.size, 0), "image");
    texts(image.platforms);
    for (const one of list(image.manifests)) must(DIGEST.test(String(one)), "manifests");
  }
  for (const key of list(catalog.keys).map(object)) {
    must(paths.has(key.path as string), "key entry");
    texts(key.fingerprints);
    texts(key.for);
  }
  for (const line of list(catalog.provenance).map(object)) {
    must(typeof line.path === "string", "provenance path");
    must(paths.has(line.path) || (line.path.endsWith("/") && below(line.path)), "provenance entry");
    must(["iso", "rpm", "file", "image", "generated"].includes(line.kind as string), "kind");
    must(typeof line.source === "string", "source");
    const classes = ["manifest", "upstream-signed", "upstream-checksum", "first-sight", "generated"];
    must(classes.includes(line.established as string), "established");
  }
}

function sample(): Record_ {
  const dir = t.testdir();
  makeBundle(dir, {
    files: {
      "files/a": Buffer.from("a"),
      "files/empty": Buffer.alloc(0),
      "isos/r.iso": noise(9000, 1),
      "keys/k": Buffer.from("key"),
      "rpms/r/repodata/repomd.xml": Buffer.from("<x/>"),
      "images/blobs/sha256/x": Buffer.from("{}"),
    },
    keys: [makeKey()],
    volumeSize: 8192,
    notAfter: "2028-02-29T23:59:59Z",
    spoil: (it) => {
      it.bases = [{ epoch: 1, serial: 2, digest: `sha256:${"a".repeat(64)}` }];
      it.previous = { epoch: 1, serial: 3, digest: `sha256:${"b".repeat(64)}` };
      it.serial = 4;
      it.audience = ["site-a", "site-b"];
      it.builder = { flavor: "spectro-capi", iso: "r", imageconfig: { iso_name: "r.iso" } };
      it.catalog = {
        isos: [{ name: "r", path: "isos/r.iso" }],
        files: [{ path: "files/a" }],
        rpms: [
          {
            name: "r",
            path: "rpms/r/",
            mode: "exact",
            repomdSignedBy: "none",
            gpgcheck: true,
            keys: ["k"],
            packages: 0,
            tree: false,
            rpmrepo: false,
          },
        ],
        images: [
          {
            reference: "registry.k8s.io/pause:3.10",
            digest: `sha256:${"c".repeat(64)}`,
            mediaType: "application/vnd.oci.image.index.v1+json",
            size: 2,
            platforms: ["linux/amd64"],
            manifests: [`sha256:${"c".repeat(64)}`],
          },
        ],
        keys: [{ path: "keys/k", fingerprints: ["A".repeat(40)], for: ["r"] }],
        provenance: [
          { path: "files/a", kind: "file", source: "a", established: "manifest" },
          { path: "rpms/r/", kind: "rpm", source: "https://h/r/", established: "upstream-checksum" },
        ],
      };
    },
  });
  return JSON.parse(readFileSync(join(dir, "airferry.json"), "utf8")) as Record_;
}

/** What a value is replaced with: other types, edges of numbers, near misses of every text. */
function others(it: Json): Json[] {
  const any: Json[] = [null, true, false, 0, 1, -1, 0.5, "", "x", [], {}, 2 ** 53, 1e300];
  if (typeof it === "number") return [...any, it + 1, it - 1, it * 2, String(it), 4095, 999_999_999, 1_000_000_000];
  if (typeof it !== "string") return any;
  const near = [`${it}x`, `${it}/`, `${it}/..`, it.slice(0, -1), it.slice(1), it.toUpperCase(), `../${it}`, `/${it}`];
  const odd = [
    `${it}\n`,
    `${it}\u202e`,
    `${it} `,
    it.replaceAll("/", "\\"),
    it.replace("/", "//"),
    `./${it}`,
    "u\u0308",
  ];
  const times = ["2026-02-30T00:00:00Z", "2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2026-01-01T24:00:00Z"];
  const more = ["2026-01-01T00:00:60Z", "2026-01-01T00:00:00+00:00", "2026-1-1T00:00:00Z", "0".repeat(64), EMPTY];
  const names = [
    "a..b/c",
    "A/b:c",
    "host/x@sha256:0",
    "..",
    ".",
    "C:x",
    "x".repeat(70),
    "x".repeat(1100),
    "files/a",
    "rpms/r",
  ];
  return [...any, ...near, ...odd, ...times, ...more, ...names];
}

/** Every place of a value, as a path of keys. */
function* places(it: Json, at: (string | number)[] = []): Generator<(string | number)[]> {
  if (at.length > 0) yield at;
  if (Array.isArray(it)) for (const [index, one] of it.entries()) yield* places(one, [...at, index]);
  else if (isObject(it)) for (const [key, one] of Object.entries(it)) yield* places(one, [...at, key]);
}

const good = sample();
const accepted = { valid: 0, invalid: [] as string[], refused: 0, unneeded: [] as string[] };
function judge(value: Json, what: string): void {
  let refusal: string | undefined;
  try {
    parseInventory(Buffer.from(JSON.stringify(value)));
  } catch (error) {
    const { code } = error as { code?: string };
    if (!/^ERR_(BUNDLE_INVALID|BUNDLE_VERSION|PATH_UNSAFE)$/.test(code ?? "")) throw error;
    refusal = (error as Error).message;
  }
  let fault: string | undefined;
  try {
    hold(value);
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    fault = error.message;
  }
  if (refusal !== undefined) accepted.refused++;
  else if (fault === undefined) accepted.valid++;
  else accepted.invalid.push(`${what}: ${fault}`);
}

t.test("the sample is valid both ways", async () => {
  parseInventory(Buffer.from(JSON.stringify(good)));
  hold(good);
});

t.test("one change at every place: what the parser accepts is valid by the document", async (t) => {
  for (const at of places(good)) {
    const change = (apply: (parent: Record_, key: string) => unknown, what: string) => {
      const value = structuredClone(good);
      const parent = at.slice(0, -1).reduce<Json>((node, key) => (node as Record_)[key as string]!, value) as Record_;
      apply(parent, at.at(-1) as string);
      judge(value, `${at.join(".")} ${what}`);
    };
    const own = at.reduce<Json>((node, key) => (node as Record_)[key as string]!, good);
    for (const it of others(own)) {
      change((parent, key) => Object.assign(parent, { [key]: it }), JSON.stringify(it).slice(0, 60));
    }
    change((parent, key) => {
      if (Array.isArray(parent)) parent.splice(Number(key), 1);
      else delete parent[key];
    }, "removed");
    if (Array.isArray(own)) change((parent, key) => (parent[key] as Json[]).push(...structuredClone(own)), "doubled");
    if (isObject(own)) {
      change((parent, key) => Object.assign(parent[key] as Record_, { unknown: 1 }), "with an unknown name");
    }
  }
  t.same(accepted.invalid, []);
  t.ok(accepted.valid > 50 && accepted.refused > 2000, `${accepted.valid} valid, ${accepted.refused} refused`);
});

t.test("several changes at once, seeded", async (t) => {
  const random = seeded(20261130);
  const all = [...places(good)];
  for (let round = 0; round < 4000; round++) {
    const value = structuredClone(good);
    const done: string[] = [];
    for (let count = 1 + random(3); count > 0; count--) {
      const at = all[random(all.length)]!;
      const parent = at
        .slice(0, -1)
        .reduce<Json | undefined>((node, key) => (node as Record_ | null)?.[key as string], value);
      if (typeof parent !== "object" || parent === null) continue;
      const key = at.at(-1) as string;
      const choices = others((parent as Record_)[key] ?? null);
      (parent as Record_)[key] = choices[random(choices.length)]!;
      done.push(at.join("."));
    }
    judge(value, `round ${round}: ${done.join(", ")}`);
  }
  t.same(accepted.invalid, []);
});
