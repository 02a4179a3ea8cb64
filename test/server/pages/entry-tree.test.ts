/** The merged tree of several streams, its listings, and its memory. */
import t from "tap";
import type { InventoryEntry } from "../../../src/bundle/inventory-types.ts";
import type { Digest } from "../../../src/io/digest.ts";
import { createTreeView, isDirectory, qualifiedUrl } from "../../../src/server/pages/entry-tree.ts";
import { makeRelease } from "../../fixtures/store-reader.ts";

function entry(path: string, digest: Digest = `sha256:${"aa".repeat(32)}`): InventoryEntry {
  return { path, size: 1, mode: "0644", digest, offset: 0 };
}

t.test("find() merges streams and tells conflicts apart", async (t) => {
  const view = createTreeView([
    makeRelease("a", 1, [entry("files/same"), entry("files/only-a"), entry("files/x +y", `sha256:${"11".repeat(32)}`)]),
    makeRelease("b", 2, [entry("files/same"), entry("files/x +y", `sha256:${"22".repeat(32)}`)]),
  ]);
  const same = view.find("files/same");
  t.ok(same !== undefined && "entry" in same, "equal digests count as one");
  t.match(view.find("files/only-a"), { release: { stream: "a" } });
  t.same(view.find("files/x +y"), { conflict: ["/s/a/files/x%20+y", "/s/b/files/x%20+y"] });
  t.match(view.find("files/x +y", "b"), { release: { stream: "b" } });
  t.equal(view.find("files/only-a", "b"), undefined);
  t.equal(view.find("files"), undefined, "a directory is no entry");
  t.equal(view.find("files/same", "nobody"), undefined);
  t.equal(qualifiedUrl("a", "files/100%"), "/s/a/files/100%25");
});

t.test("names() are what is directly below, sorted", async (t) => {
  const view = createTreeView([
    makeRelease(
      "a",
      1,
      ["rpms/x/b.rpm", "rpms/x/repodata/p", "rpms/x/repodata/q", "rpms/x-y/z", "rpms/x0", "top"].map((p) => entry(p)),
    ),
    makeRelease(
      "b",
      1,
      ["rpms/x/a.rpm", "rpms/w"].map((p) => entry(p)),
    ),
  ]);
  t.same([...view.names("")], ["rpms/", "top"]);
  t.same([...view.names("rpms")], ["w", "x-y/", "x/", "x0"]);
  t.same([...view.names("/rpms/x/")], ["a.rpm", "b.rpm", "repodata/"]);
  t.same([...view.names("rpms/x", "a")], ["b.rpm", "repodata/"]);
  t.same([...view.names("rpms/x/b.rpm")], []);
  t.same([...view.names("rpm")], []);
  t.ok(isDirectory(view, "rpms/x/repodata"));
  t.notOk(isDirectory(view, "rpms/x/repo"));
  t.notOk(isDirectory(view, "rpms/w", "a"));
});

t.test("100,000 entries need no memory of their own", async (t) => {
  const entries = Array.from({ length: 100_000 }, (_, i) => entry(`rpms/repo/Packages/${i % 26}/package-${i}.rpm`));
  const release = makeRelease("big", 1, entries);
  const before = process.memoryUsage().heapUsed;
  const view = createTreeView([release]);
  t.ok(process.memoryUsage().heapUsed - before < 1024 * 1024, "a view is small");
  const started = performance.now();
  t.equal([...view.names("rpms/repo/Packages")].length, 26);
  t.equal([...view.names("rpms/repo/Packages/7")].length, Math.ceil((100_000 - 7) / 26));
  t.ok(performance.now() - started < 5000, "listing a part does not walk the whole");
});
