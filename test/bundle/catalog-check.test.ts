import t from "tap";
import { CatalogReader } from "../../src/bundle/catalog-check.ts";
import { EntryTable } from "../../src/bundle/entry-table.ts";
import type { Catalog } from "../../src/bundle/inventory-types.ts";
import { atOnce } from "../../src/io/pace.ts";

const DIGEST = `sha256:${"a".repeat(64)}` as const;
const FINGERPRINT = "A".repeat(40);
const PATHS = ["files/x.txt", "images/index.json", "isos/rocky.iso", "keys/rpm.asc", "rpms/base/repodata/repomd.xml"];
const tableOf = (paths: readonly string[]) =>
  EntryTable.from(paths.map((path) => ({ path, size: 1, mode: "0644", digest: DIGEST, from: "store" })));
const ENTRIES = tableOf(PATHS);

const GOOD: Catalog = {
  isos: [{ name: "rocky", path: "isos/rocky.iso", volumeId: "Rocky-9" }],
  files: [{ path: "files/x.txt" }],
  rpms: [
    {
      name: "base",
      path: "rpms/base/",
      mode: "subset",
      repomdSignedBy: "upstream",
      gpgcheck: true,
      keys: ["rpm.asc"],
      packages: 3,
      tree: false,
      rpmrepo: true,
      arch: ["x86_64"],
    },
  ],
  images: [
    {
      reference: "registry.example.com/pause:3.9",
      digest: DIGEST,
      mediaType: "application/vnd.oci.image.index.v1+json",
      size: 1000,
      platforms: ["linux/amd64"],
      manifests: [DIGEST],
      tags: { "3.9-old": DIGEST },
      established: "first-sight",
      signedBy: ["b".repeat(64)],
      attached: 2,
      insecure: true,
    },
  ],
  keys: [{ path: "keys/rpm.asc", fingerprints: [FINGERPRINT], for: ["base"] }],
  provenance: [
    { path: "rpms/base/", kind: "rpm", source: "https://example.com/", established: "upstream-signed" },
    {
      path: "files/x.txt",
      kind: "file",
      source: "x.txt",
      established: "manifest",
      integrity: `sha256-${"A".repeat(43)}=`,
    },
  ],
};

function problemsOf(catalog: unknown, entries = ENTRIES): string[] {
  const reader = new CatalogReader();
  const { provenance } = (catalog ?? {}) as { provenance?: unknown };
  if (Array.isArray(provenance)) reader.take(provenance);
  return atOnce(reader.finish(catalog, entries)).problems.map((it) => it.path.replace(/^airferry\.json /, ""));
}

/** The good catalog with something else at a place: `images.0.size`; undefined takes it away. */
function withAt(place: string, value: unknown): unknown {
  const catalog = structuredClone(GOOD) as unknown as Record<string, unknown>;
  const keys = place.split(".");
  const last = keys.pop() as string;
  const parent = keys.reduce((it, key) => it[key] as Record<string, unknown>, catalog);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return catalog;
}

t.test("CatalogReader takes a catalog, with keys that it does not know", async (t) => {
  t.same(problemsOf(GOOD), []);
  t.same(problemsOf(withAt("isos.0.later", { anything: [1] })), []);
  t.same(problemsOf(withAt("later", null)), []);
});

t.test("CatalogReader takes what may be left out, and nothing in its place but what it is", async (t) => {
  const optional: [string, ...unknown[]][] = [
    ["isos.0.volumeId", null, 1, "a\u202eb", "x".repeat(4097), "\ud800"],
    ["rpms.0.arch", null, "x86_64", ["x86/64"], [1]],
    ["rpms.0.moduleHotfixes", null, 0, "true"],
    ["rpms.0.legacySignatures", null, 1],
    ["images.0.tags", null, [], { "not a tag": DIGEST }, { ok: "sha256:1" }, { __proto: DIGEST, "-x": DIGEST }],
    ["images.0.source", null, {}, "line\nbreak"],
    ["images.0.established", null, "guessed"],
    ["images.0.signedBy", null, ["B".repeat(64).toLowerCase().slice(1)], [null]],
    ["images.0.insecure", null, false, 1, "true"],
    ["images.0.attached", null, -1, 1.5, "2", 2 ** 53],
    ["provenance.0.integrity", null, "sha256:abc", "sha256-"],
    ["provenance.0.signedBy", null, "x"],
  ];
  for (const [place, ...wrong] of optional) {
    t.same(problemsOf(withAt(place, undefined)), [], `without ${place}`);
    for (const value of wrong) t.not(problemsOf(withAt(place, value)).length, 0, `${place}: ${JSON.stringify(value)}`);
  }
});

t.test("CatalogReader names the place of each fault", async (t) => {
  const wrong: [string, ...unknown[]][] = [
    ["isos", undefined, null, {}, "x"],
    ["files", undefined, [null], [[]], ["x"]],
    ["rpms", undefined],
    ["images", undefined],
    ["keys", undefined],
    ["provenance", undefined],
    ["isos.0.name", undefined, "", "a/b", ".x", 1],
    ["isos.0.path", undefined, "/etc/passwd", "a/../b", 1],
    ["files.0.path", undefined, "..", ""],
    ["rpms.0.path", undefined, "rpms/base", "/", "../"],
    ["rpms.0.mode", undefined, "all", "toString"],
    ["rpms.0.repomdSignedBy", undefined, "me"],
    ["rpms.0.gpgcheck", undefined, "yes", null],
    ["rpms.0.keys", undefined, "rpm.asc", ["../rpm.asc"]],
    ["rpms.0.packages", undefined, -1, 0.5, "3"],
    ["rpms.0.tree", undefined, 0],
    ["rpms.0.rpmrepo", undefined],
    ["images.0.reference", undefined, "pause", "PAUSE:3", "docker.io/pause:3.9"],
    ["images.0.digest", undefined, "sha256:abc", "md5:x", 1],
    ["images.0.mediaType", undefined, "\u0000"],
    ["images.0.size", undefined, -1],
    ["images.0.platforms", undefined, ["linux"], [1]],
    ["images.0.manifests", undefined, ["x"]],
    ["keys.0.path", undefined, 1],
    ["keys.0.fingerprints", undefined, ["a".repeat(40)], ["A".repeat(41)]],
    ["keys.0.for", undefined, [1]],
    ["provenance.0.path", undefined, "../", "a//b"],
    ["provenance.0.kind", undefined, "rpms"],
    ["provenance.0.source", undefined, 1],
    ["provenance.0.established", undefined, "tofu"],
  ];
  for (const [place, ...values] of wrong) {
    for (const value of values) {
      const found = problemsOf(withAt(place, value));
      t.ok(
        found.some((it) => it.startsWith(`catalog.${place}`)),
        `${place}: ${JSON.stringify(value)}, found ${found}`,
      );
    }
  }
  for (const value of [undefined, null, [], "x", 1]) t.same(problemsOf(value), ["catalog"], JSON.stringify(value));
});

t.test("CatalogReader refuses what does not fit the entries", async (t) => {
  const unfit = new Map([
    ["isos.0.path", "isos/other.iso"],
    ["files.0.path", "files/y.txt"],
    ["keys.0.path", "keys/other.asc"],
    ["rpms.0.name", "other"],
    ["provenance.0.path", "rpms/other/"],
    ["provenance.1.path", "files/y.txt"],
  ]);
  for (const [place, value] of unfit) t.not(problemsOf(withAt(place, value)).length, 0, place);
  t.same(problemsOf(withAt("rpms.0.keys", ["none.asc"])), ["catalog.rpms"]);
  t.same(problemsOf({ ...GOOD, files: [...GOOD.files, ...GOOD.files] }), [], "a file may be named twice");
  t.same(problemsOf({ ...GOOD, isos: [...GOOD.isos, ...GOOD.isos] }), ["catalog.isos"]);
});

t.test("CatalogReader takes web answers with their index", async (t) => {
  const entries = tableOf([...PATHS, "web/index.json"]);
  const problems = (web: unknown, of = entries) => problemsOf({ ...GOOD, web }, of).length;
  const web = {
    name: "pypi",
    answers: 3,
    origins: ["https://pypi.org", "http://h.example:8443", "https://[2001:db8::1]:80", "http://a_b"],
  };
  t.equal(problems([web]), 0);
  t.equal(problems(undefined), 0);
  t.not(problems([web], ENTRIES), 0, "without the index");
  t.not(problems([web, web]), 0, "twice");
  const wrong = [
    null,
    {},
    [null],
    [{ ...web, name: "a/b" }],
    [{ ...web, answers: -1 }],
    [{ ...web, origins: ["https://../a"] }],
  ];
  const hosts = ["A", "a b", "", "h:port", "h:70000", "h:443", "a.", "u@h", "h?q", "h/", "a\u202e", "<b>"];
  const origins = [...hosts.map((it) => `https://${it}`), "h.example", "ftp://h.example", "HTTPS://h.example"];
  for (const it of [...wrong, ...origins.map((one) => [{ ...web, origins: [one] }])])
    t.not(problems(it), 0, JSON.stringify(it));
});
