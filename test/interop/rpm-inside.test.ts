/**
 * Inside the gap: what dracut and anaconda ask of an installation tree, what is left after a quarantine, keys in several armor blocks.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test as Tap } from "tap";
import { rpmKeyPair } from "../fixtures/keys.ts";
import { type Carried, dnf, rpmBench } from "../fixtures/rpm-carry.ts";
import { carryDistribution, distribution, get, IMAGES, sha256Of } from "../fixtures/rpm-distribution.ts";

/** Every checksum that the served tree names, against what is served. */
async function checksumsHold(t: Tap, carried: Carried): Promise<string> {
  const { body } = await get(carried, "/rpms/baseos/.treeinfo");
  const text = body.toString();
  const lines = text.slice(text.indexOf("[checksums]")).matchAll(/^(\S+) = sha256:([0-9a-f]{64})$/gm);
  let checked = 0;
  for (const [, path, hex] of lines) {
    const file = await get(carried, `/rpms/baseos/${path}`);
    t.equal(file.status, 200, `${path}`);
    t.equal(sha256Of(file.body), hex, `checksum of ${path}`);
    checked++;
  }
  t.equal(checked, Object.keys(IMAGES).length + 1);
  return text;
}

const bench = await rpmBench(t);
if (bench !== undefined) {
  const { tree } = bench;

  t.test("an installation tree, whole and subset, asked as dracut and anaconda ask", async (t) => {
    for (const mode of ["whole", "subset"]) {
      const part = (of: string) => (mode === "whole" ? {} : { packages: [of === "baseos" ? "aft-lib" : "aft-app"] });
      const carried = await carryDistribution(t, bench, `tree-${mode}`, part, distribution(tree));
      t.equal(carried.packed.status, 0, carried.packed.stderr);
      const text = await checksumsHold(t, carried);
      t.match(text, /^repository = \.\.\/appstream$/m, "the variant is where the mirror has it");
      t.match(text, /^packages = \.\.\/appstream\/Packages$/m);
      // dracut: .treeinfo, the main image, then updates and product, which nobody has.
      t.ok((await get(carried, "/rpms/baseos//.treeinfo")).body.equals(Buffer.from(text)), "doubled slashes");
      t.ok((await get(carried, "/rpms/baseos/images/install.img")).body.equals(IMAGES["images/install.img"] as Buffer));
      for (const it of ["images/updates.img", "images/product.img", "LiveOS/squashfs.img", "treeinfo", "media.repo"])
        t.equal((await get(carried, `/rpms/baseos/${it}`)).status, 404, `${it}: an honest 404`);
      // anaconda adds the variant's path to that of the tree.
      const variant = await get(carried, "/rpms/baseos/../appstream/repodata/repomd.xml");
      t.equal(variant.status, 200);
      t.ok(variant.body.equals((await get(carried, "/rpms/appstream/repodata/repomd.xml")).body));
      const installed = await dnf(carried.dir, "root", carried.repos, "install", "aft-app");
      t.equal(installed.status, 0, `${mode}: ${installed.out}`);
    }
  });

  t.test(
    "quarantined packages, wrong or missing, leave a whole mirror, and tree, metadata and signature follow",
    async (t) => {
      const files = distribution(tree);
      const path = [...files.keys()].find((it) => it.includes("aft-unneeded")) as string;
      const bytes = Buffer.from(files.get(path) as Buffer);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
      files.set(path, bytes);
      files.delete([...files.keys()].find((it) => it.includes("aft-words")) as string);
      const carried = await carryDistribution(t, bench, "quarantined", () => ({ on_bad_package: "quarantine" }), files);
      t.equal(carried.packed.status, 0, carried.packed.stderr);
      t.match(carried.packed.stderr, /dropped rpms\/baseos\/Packages\/aft-unneeded-1-1\.noarch\.rpm/);
      t.match(
        carried.packed.stderr,
        /dropped rpms\/baseos\/Packages\/aft-words.*404/,
        "one that is listed and not there",
      );
      await checksumsHold(t, carried);
      const { catalog } = JSON.parse(readFileSync(join(carried.bundle, "airferry.json"), "utf8")) as {
        catalog: { rpms: { name: string; mode: string; repomdSignedBy: string; packages: number }[] };
      };
      const before = readdirSync(join(tree.dir, "base/Packages")).length;
      t.match(catalog.rpms[0], { name: "baseos", mode: "subset", repomdSignedBy: "airferry", packages: before - 2 });
      t.match(catalog.rpms[1], { name: "appstream", mode: "exact" });
      const installed = await dnf(carried.dir, "root", carried.repos, "install", "aft-lib");
      t.equal(installed.status, 0, installed.out);
      const broken = await dnf(carried.dir, "broken", carried.repos, "install", "aft-app");
      t.match(
        broken.out,
        /nothing provides \/usr\/share\/aft\/words needed by aft-app/,
        "the client says what is missing",
      );
      const gone = await dnf(carried.dir, "gone", carried.repos, "install", "aft-unneeded");
      t.match(gone.out, /Unable to find a match/, "not a 404 in the middle of an installation");
    },
  );

  t.test("a key file of several armor blocks serves all of its packages", async (t) => {
    const files = distribution(tree);
    const armored = await Promise.all([1, 2].map(async (which) => (await rpmKeyPair(which)).publicKey));
    t.not(armored[0], armored[1]);
    files.set("/key", `${armored[0]}\n${tree.key}\n${armored[1]}`);
    const carried = await carryDistribution(t, bench, "several", () => ({}), files);
    t.equal(carried.packed.status, 0, carried.packed.stderr);
    const installed = await dnf(carried.dir, "root", carried.repos, "install", "aft-app");
    t.equal(installed.status, 0, installed.out);
    const imported = installed.out.match(/Importing GPG key/g)?.length ?? 0;
    t.ok(imported >= 3, `dnf took ${imported} keys`);
  });

  t.test("an image that is not what .treeinfo says fails the pack", async (t) => {
    const files = distribution(tree);
    files.set("/BaseOS/x86_64/os/images/install.img", Buffer.alloc(200_000, "other"));
    const { packed } = await carryDistribution(t, bench, "wrong-image", () => ({}), files);
    t.equal(packed.status, 4, packed.stderr);
    t.match(packed.stderr, /images\/install\.img.*sha256:/s);
  });
}
