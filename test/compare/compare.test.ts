/** Which packages, images and files are another version of one another, and which way it went. */
import t from "tap";
import { EntryTable } from "../../src/bundle/entry-table.ts";
import type { Inventory } from "../../src/bundle/inventory-types.ts";
import { compare } from "../../src/compare/compare.ts";
import { type Content, contentOfInventory } from "../../src/compare/content.ts";
import type { Item } from "../../src/compare/parts.ts";
import type { Digest } from "../../src/io/digest.ts";

const NONE: Content = {
  stream: "s",
  epoch: 1,
  serial: 1,
  created: "2026-01-01T00:00:00Z",
  signers: [],
  packages: [],
  images: [],
  isos: [],
  files: [],
  web: [],
};
const digest = (letter: string): Digest => `sha256:${letter.repeat(64)}`;

/** Content of an inventory with one repository `r`, whose packages are all of other bytes. */
function withPackages(...files: string[]): Content {
  const entries = EntryTable.from(
    files.map((it, at) => ({ path: `rpms/r/Packages/${it}`, size: at, mode: "0644", digest: digest("a") })),
  );
  const catalog = { rpms: [{ name: "r", path: "rpms/r/" }], images: [], isos: [], files: [] };
  return contentOfInventory({ ...NONE, entries, catalog } as unknown as Inventory, []);
}

const versions = (items: readonly Item[]) => items.map((it) => `${it.name} ${it.version}`);

t.test("packages are paired by name, architecture and repository, and ordered as rpm does", async (t) => {
  const { packages, same } = compare(
    withPackages(
      "a-1.9-1.x86_64.rpm",
      "b-1.0-1.noarch.rpm",
      "c-2.0-1.x86_64.rpm",
      "same-1-1.x86_64.rpm",
      "gone-1-1.i686.rpm",
    ),
    withPackages("a-1.10-1.x86_64.rpm", "b-1.0~rc1-1.noarch.rpm", "c-2.0-1.i686.rpm", "same-1-1.x86_64.rpm"),
  );
  t.notOk(same);
  t.strictSame(
    packages.upgraded.map(({ before, after }) => [before.version, after.version]),
    [["1.9-1", "1.10-1"]],
  );
  t.strictSame(
    packages.downgraded.map(({ before, after }) => [before.version, after.version]),
    [["1.0-1", "1.0~rc1-1"]],
  );
  t.strictSame(versions(packages.added), ["c.i686 2.0-1"]);
  t.strictSame(versions(packages.removed), ["c.x86_64 2.0-1", "gone.i686 1-1"]);
  t.equal(packages.unchanged, 1);
});

t.test("several versions of one package: the newest beside the newest", async (t) => {
  const kernel = (version: string) => `kernel-${version}-1.el9.x86_64.rpm`;
  const { packages } = compare(
    withPackages(kernel("5.9"), kernel("5.10")),
    withPackages(kernel("5.10"), kernel("5.12"), kernel("5.11")),
  );
  t.strictSame(
    packages.upgraded.map(({ before, after }) => [before.version, after.version]),
    [["5.9-1.el9", "5.12-1.el9"]],
  );
  t.strictSame(versions(packages.added), ["kernel.x86_64 5.11-1.el9"]);
  t.equal(packages.unchanged, 1);
});

t.test("epochs count where both sides know them", async (t) => {
  const item = (version: string, epoch?: number): Item => ({
    name: "p.noarch",
    version,
    path: `rpms/r/p-${version}.noarch.rpm`,
    digests: [],
    size: null,
    repository: "r",
    ...(epoch !== undefined && { epoch }),
  });
  const way = (before: Item, after: Item) => {
    const { packages } = compare({ ...NONE, packages: [before] }, { ...NONE, packages: [after] });
    return packages.upgraded.length - packages.downgraded.length;
  };
  t.equal(way(item("9-1", 0), item("1-1", 1)), 1);
  t.equal(way(item("9-1", 1), item("1-1", 1)), -1);
  t.equal(way(item("9-1", 0), item("1-1")), -1, "a name of a file has none");
});

t.test("the same name with other bytes is changed, as far as both sides know a digest of one algorithm", async (t) => {
  const file = (digests: string[], platforms?: string[]): Item => ({
    name: "f",
    version: "f",
    path: "f",
    digests,
    size: 1,
    ...(platforms && { platforms }),
  });
  const changed = (before: Item, after: Item) =>
    compare({ ...NONE, files: [before] }, { ...NONE, files: [after] }).files.changed.length;
  t.equal(changed(file([digest("a")]), file([digest("b")])), 1);
  t.equal(changed(file([digest("a")]), file([digest("a")])), 0);
  t.equal(changed(file(["sha512:00"]), file([digest("b")])), 0, "nothing to tell it by");
  t.equal(changed(file(["sha512:00", digest("a")]), file([digest("b")])), 1);
  t.equal(changed(file([]), file([digest("b")])), 0);
  t.equal(changed(file([digest("a")], ["linux/amd64"]), file([digest("a")], ["linux/arm64"])), 1, "other platforms");
});

t.test("images are ordered by tags, files and ISOs by the versions in their paths", async (t) => {
  const image = (tag: string) => ({
    reference: `host.example/app:${tag}`,
    digest: digest("c"),
    size: 1,
    platforms: [],
  });
  const content = (tag: string, ...paths: string[]) =>
    contentOfInventory(
      {
        ...NONE,
        entries: EntryTable.from(paths.map((path) => ({ path, size: 1, mode: "0644", digest: digest("d") }))),
        catalog: { rpms: [], images: [image(tag)], isos: [], files: paths.map((path) => ({ path })) },
      } as unknown as Inventory,
      [],
    );
  const { images, files } = compare(
    content("v1.9.0", "files/containerd-2.1.4-linux-amd64.tar.gz", "files/v1.29.3/bin/kubeadm", "files/a.txt"),
    content("v1.10.0", "files/containerd-2.1.5-linux-amd64.tar.gz", "files/v1.28.9/bin/kubeadm", "files/b.txt"),
  );
  t.strictSame(
    images.upgraded.map(({ before, after }) => [before.version, after.version]),
    [["v1.9.0", "v1.10.0"]],
  );
  t.strictSame(
    files.upgraded.map(({ after }) => after.path),
    ["files/containerd-2.1.5-linux-amd64.tar.gz"],
  );
  t.strictSame(
    files.downgraded.map(({ after }) => after.path),
    ["files/v1.28.9/bin/kubeadm"],
  );
  t.strictSame(versions(files.added), ["files/b.txt files/b.txt"]);
  t.strictSame(versions(files.removed), ["files/a.txt files/a.txt"]);
});

t.test("signers are compared by what both sides know of them", async (t) => {
  const long = "0123456789abcdef".repeat(4);
  const { signers, same } = compare(
    { ...NONE, signers: [long, "f".repeat(16)] },
    { ...NONE, signers: [long.slice(0, 16), "e".repeat(16)] },
  );
  t.strictSame(signers, { added: ["e".repeat(16)], removed: ["f".repeat(16)] });
  t.ok(same, "the content is the same");
});
