/** src/manifest/wanted-lines.ts: what a manifest and its lock say of URLs that were asked for in vain. */
import t from "tap";
import type { Manifest } from "../../src/manifest/schema.ts";
import { wantedLines } from "../../src/manifest/wanted-lines.ts";
import type { Lock, LockedEntry } from "../../src/sources/lock-document.ts";

const artifact = (path: string, nevra?: string) => ({
  path,
  size: 1,
  established: "manifest",
  ...(nevra && { nevra }),
});
const entry = (kind: string, name: string, artifacts: object[], detail: object = {}) =>
  ({ kind, name, request: "0", artifacts, detail }) as unknown as LockedEntry;
const image = (reference: string, digest = `sha256:${"a".repeat(64)}`) => ({ reference, digest });

const lock = {
  lockVersion: 1,
  stream: "a",
  time: "2026-01-01T00:00:00Z",
  entries: [
    entry("iso", "el", [artifact("isos/el.iso")]),
    entry("file", "d/x.tgz", [artifact("files/d/x.tgz")]),
    entry("rpm", "whole", [artifact("rpms/whole/Packages/b/bash-5.1-2.el9.x86_64.rpm", "bash-5.1-2.el9.x86_64")]),
    entry("rpm", "some", [artifact("rpms/some/gcc-c++-11-1.x86_64.rpm", "gcc-c++-0:11-1.x86_64")]),
    entry("image", "busybox", [], { images: [image("docker.io/library/busybox:1.36")] }),
    entry("web", "build", [], { answers: [{ url: "https://recorded.example/index.html" }] }),
    entry("image", "registry.k8s.io/pause:3.10", [], { images: [image("registry.k8s.io/pause:3.10")] }),
  ],
} as Lock;
const manifest = {
  apiVersion: "airferry/v1",
  stream: "a",
  rpms: [{ name: "whole" }, { name: "some", packages: ["gcc-c++"] }],
} as Manifest;
const URLS: Record<string, string[]> = {
  el: ["https://dl.example/el.iso"],
  "d/x.tgz": ["https://dl.example/x.tgz"],
  whole: ["https://dl.example/whole"],
  some: ["https://dl.example/some/"],
};
const explain = (...urls: string[]) =>
  wantedLines(
    urls.map((url) => ({ url, count: 1 })),
    manifest,
    lock,
    ({ name }) => URLS[name] ?? [],
  );

t.test("each kind, at this server's address and at upstream's", async (t) => {
  const digest = `sha256:${"a".repeat(64)}`;
  const rows: [string, string, (string | undefined)?, (string | undefined)?][] = [
    ["http://s/isos/el.iso", "carried", 'isos[0] "el"'],
    ["http://s/isos/el/x/y", "unknown", 'isos[0] "el"'],
    ["http://s/isos/other.iso", "unknown"],
    ["https://dl.example/el.iso", "carried", 'isos[0] "el"'],
    ["http://s/s/a/files/d/x.tgz.sha256sum", "carried", 'files[0] "d/x.tgz"'],
    ["https://dl.example/x.tgz", "carried", 'files[0] "d/x.tgz"'],
    ["https://recorded.example/index.html", "carried", 'web[0] "build"'],
    ["http://s/files/y.tgz", "unknown"],
    ["http://s/rpms/whole/Packages/b/bash-5.1-2.el9.x86_64.rpm", "carried", 'rpms[0] "whole"'],
    ["https://dl.example/whole/Packages/b/bash-5.1-9.el9.x86_64.rpm", "carried", 'rpms[0] "whole"'],
    ["http://s/rpms/whole/Packages/z/zsh-5-1.x86_64.rpm", "unknown", 'rpms[0] "whole"'],
    ["http://s/rpms/some/Packages/zsh-5-1.x86_64.rpm", "add", 'rpms[1] "some"', 'packages: ["zsh"]'],
    ["https://dl.example/some/g/gcc-c++-12-1.x86_64.rpm", "carried", 'rpms[1] "some"'],
    [
      "https://dl.example/some/l/libstdc++-devel-11-1.x86_64.rpm",
      "add",
      'rpms[1] "some"',
      'packages: ["libstdc++-devel"]',
    ],
    ["http://s/rpms/some/repodata/comps.xml", "unknown", 'rpms[1] "some"'],
    ["http://s/rpms/none/a-1-1.noarch.rpm", "unknown"],
    ["http://s/v2/library/busybox/manifests/1.36", "carried", 'images[0] "busybox"'],
    [`http://s/v2/library/busybox/manifests/${digest}`, "carried", 'images[0] "busybox"'],
    [
      "http://s/v2/library/busybox/manifests/1.37",
      "add",
      'images[0] "busybox"',
      'images: [{ref: "docker.io/library/busybox:1.37"}]',
    ],
    [
      "http://s/v2/pause/manifests/3.9",
      "add",
      'images[1] "registry.k8s.io/pause:3.10"',
      'images: [{ref: "registry.k8s.io/pause:3.9"}]',
    ],
    ["http://s/v2/pause/manifests/3.9?ns=quay.io", "add", undefined, 'images: [{ref: "quay.io/pause:3.9"}]'],
    ["http://s/ns/quay.io/v2/a/b/manifests/1", "add", undefined, 'images: [{ref: "quay.io/a/b:1"}]'],
    [`http://s/v2/pause/manifests/sha256-${"b".repeat(64)}.sig`, "unknown"],
    ["http://s/v2/pause/manifests/%22%5D%7Bx", "unknown"],
    [`http://s/v2/pause/blobs/${digest}`, "unknown"],
    ["http://s/v2/new/manifests/1", "unknown"],
    ["https://dl.example/tools/new.tgz", "add", undefined, 'files: [{url: "https://dl.example/tools/new.tgz"}]'],
    ["https://dl.example/tools/", "unknown"],
    ["https://other.example/new.tgz", "unknown"],
    ["http://s/%00%zz", "unknown"],
    ["http://s/", "unknown"],
  ];
  for (const [url, verdict, place, line] of rows) {
    const [found] = explain(url);
    t.strictSame([found?.verdict, found?.entry, found?.line], [verdict, place, line], `${url}: ${found?.why}`);
  }
});

t.test("a package that upstream does not have is not proposed", async (t) => {
  const wanted = ["zsh", "ksh"].map((it) => ({ url: `http://s/rpms/some/${it}-1-1.noarch.rpm`, count: 1 }));
  const offered = new Map([["some", new Set(["zsh"])]]);
  t.match(
    wantedLines(wanted, manifest, lock, () => [], offered),
    [
      { verdict: "add", repository: "some", why: /upstream's metadata has it/ },
      { verdict: "unknown", why: 'upstream\'s metadata has no package "ksh"' },
    ],
  );
});

t.test("ten thousand URLs take no long time", async (t) => {
  const began = process.cpuUsage();
  const urls = Array.from(
    { length: 10_000 },
    (_, i) => `http://s/rpms/some/Packages/p${i}${"-".repeat(900)}1-1.x86_64.rpm`,
  );
  t.equal(explain(...urls).length, 10_000);
  const { user, system } = process.cpuUsage(began);
  t.ok(user + system < 5_000_000, `${((user + system) / 1e6).toFixed(2)} s of processor time`);
});
