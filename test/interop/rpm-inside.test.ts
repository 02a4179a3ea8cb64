/**
 * Inside the gap: what dracut and anaconda ask of an installation tree, what is left after a quarantine, keys in several armor
 * blocks, and what dnf must refuse of repositories that airferry signed.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, zstdCompressSync } from "node:zlib";
import t, { type Test as Tap } from "tap";
import { needs } from "../fixtures/clients.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { airferry } from "../fixtures/program.ts";
import { type Carried, carryAcross, dnf, run } from "../fixtures/rpm-carry.ts";
import { buildRpmTree, RPM_BUILDERS, type RpmTree } from "../fixtures/rpm-tree.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

const work = mkdtempSync(join(tmpdir(), "airferry-inside-"));
t.teardown(() => rmSync(work, { recursive: true, force: true }));
let tree: RpmTree;

t.before(async () => {
  if (!needs(t, "dnf", "curl", ...RPM_BUILDERS)) return;
  tree = await buildRpmTree(join(work, "tree"));
  writeFileSync(join(work, "key.asc"), tree.key);
  await writeKeyPairs(work);
});

const sha256Of = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const IMAGES: Record<string, Buffer> = {
  "images/pxeboot/vmlinuz": Buffer.from("kernel"),
  "images/pxeboot/initrd.img": Buffer.from("initrd"),
  "images/install.img": Buffer.alloc(200_000, "stage2"),
};

/** As Rocky has it: AppStream beside BaseOS, beyond its repository. */
const treeinfo = (repomd: Uint8Array) => `[general]
family = Aft Linux
name = Aft Linux 9
version = 9
arch = x86_64
platforms = x86_64
variant = BaseOS
variants = AppStream,BaseOS
repository = .
packagedir = Packages

[header]
type = productmd.treeinfo
version = 1.2

[release]
name = Aft Linux
short = Aft
version = 9

[tree]
arch = x86_64
build_timestamp = 1
platforms = x86_64
variants = AppStream,BaseOS

[variant-AppStream]
id = AppStream
name = AppStream
packages = ../../../AppStream/x86_64/os/Packages
repository = ../../../AppStream/x86_64/os
type = variant
uid = AppStream

[variant-BaseOS]
id = BaseOS
name = BaseOS
packages = Packages
repository = .
type = variant
uid = BaseOS

[images-x86_64]
initrd = images/pxeboot/initrd.img
kernel = images/pxeboot/vmlinuz

[stage2]
mainimage = images/install.img

[checksums]
${Object.entries(IMAGES)
  .map(([path, bytes]) => `${path} = sha256:${sha256Of(bytes)}`)
  .join("\n")}
repodata/repomd.xml = sha256:${sha256Of(repomd)}
`;

/** The tree of a distribution, with BaseOS an installation source. */
function distribution(): Map<string, UpstreamFile> {
  const files = new Map<string, UpstreamFile>([["/key", tree.key]]);
  const place = { base: "/BaseOS/x86_64/os", app: "/AppStream/x86_64/os" };
  for (const [name, to] of Object.entries(place))
    for (const [path, bytes] of tree.served(name)) files.set(path.replace(`/${name}`, to), bytes);
  const repomd = files.get(`${place.base}/repodata/repomd.xml`) as Buffer;
  files.set(`${place.base}/.treeinfo`, treeinfo(repomd));
  for (const [path, bytes] of Object.entries(IMAGES)) files.set(`${place.base}/${path}`, bytes);
  return files;
}

async function carry(t: Tap, name: string, entry: (of: string) => object, files: Map<string, UpstreamFile>) {
  const dir = join(work, name);
  mkdirSync(dir);
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  const common = (of: string) => ({ url: `${upstream.url}/${of}/$basearch/os/`, keys: [`${upstream.url}/key`] });
  const rpms = [
    { name: "baseos", ...common("BaseOS"), ...entry("baseos") },
    { name: "appstream", ...common("AppStream"), ...entry("appstream") },
  ];
  return carryAcross(t, dir, { stream: name, rpms }, "../k");
}

/** Status and body of a request, its path exactly as written. */
async function get({ dir, url }: Carried, path: string): Promise<{ status: number; body: Buffer }> {
  const to = join(dir, "got");
  const options = ["-sS", "--path-as-is", "--cacert", join(dir, "tls/ca.crt"), "-o", to, "-w", "%{http_code}"];
  const { out } = await run("curl", [...options, `${url}${path}`], dir);
  return { status: Number(out.trim().slice(-3)), body: readFileSync(to) };
}

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

t.test("an installation tree, whole and subset, asked as dracut and anaconda ask", async (t) => {
  if (tree === undefined) return;
  for (const mode of ["whole", "subset"]) {
    const part = (of: string) => (mode === "whole" ? {} : { packages: [of === "baseos" ? "aft-lib" : "aft-app"] });
    const carried = await carry(t, `tree-${mode}`, part, distribution());
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
    if (tree === undefined) return;
    const files = distribution();
    const path = [...files.keys()].find((it) => it.includes("aft-unneeded")) as string;
    const bytes = Buffer.from(files.get(path) as Buffer);
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
    files.set(path, bytes);
    files.delete([...files.keys()].find((it) => it.includes("aft-words")) as string);
    const carried = await carry(t, "quarantined", () => ({ on_bad_package: "quarantine" }), files);
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
  if (tree === undefined) return;
  const files = distribution();
  const others = ["other-1", "other-2"].map((name) => {
    const dir = join(work, name);
    mkdirSync(dir);
    return dir;
  });
  const armored = await Promise.all(
    others.map(async (dir) => {
      t.equal((await airferry(dir, ["keygen", "--out", "o"])).status, 0);
      return readFileSync(join(dir, "o.rpm.pub"), "utf8");
    }),
  );
  files.set("/key", `${armored[0]}\n${tree.key}\n${armored[1]}`);
  const carried = await carry(t, "several", () => ({}), files);
  t.equal(carried.packed.status, 0, carried.packed.stderr);
  const installed = await dnf(carried.dir, "root", carried.repos, "install", "aft-app");
  t.equal(installed.status, 0, installed.out);
  const imported = installed.out.match(/Importing GPG key/g)?.length ?? 0;
  t.ok(imported >= 3, `dnf took ${imported} keys`);
});

t.test("what airferry signed, changed on the way: dnf refuses each of it", async (t) => {
  if (tree === undefined) return;
  const files = distribution();
  files.delete("/BaseOS/x86_64/os/repodata/repomd.xml.asc");
  const unsigned = readdirSync(join(tree.dir, "unsigned"))[0] as string;
  for (const mode of ["whole", "subset"]) {
    const part = (of: string) => (mode === "whole" ? {} : { packages: of === "baseos" ? ["aft-lib"] : [] });
    const carried = await carry(t, `changed-${mode}`, part, files);
    t.equal(carried.packed.status, 0, carried.packed.stderr);
    const { dir } = carried;
    const good = new Map<string, UpstreamFile>();
    const take = async (path: string) => good.set(`/${path}`, (await get(carried, `/rpms/baseos/${path}`)).body);
    await take("repodata/repomd.xml");
    await take("repodata/repomd.xml.asc");
    const repomd = String(good.get("/repodata/repomd.xml"));
    for (const [, href] of repomd.matchAll(/href="([^"]*)"/g)) await take(href as string);
    const lib = "/Packages/aft-lib-1.1-1.noarch.rpm";
    await take(lib.slice(1));
    for (const key of ["baseos", "airferry"]) good.set(`/${key}.key`, (await get(carried, `/keys/${key}`)).body);
    const install = async (root: string, change: (files: Map<string, UpstreamFile>) => void, repoGpgcheck = 1) => {
      const changed = new Map(good);
      change(changed);
      const { url, close } = await startUpstream({ files: changed });
      t.teardown(() => close());
      const keys = `gpgkey=${url}/baseos.key\n       ${url}/airferry.key\n`;
      const repo = `[x]\nname=x\nbaseurl=${url}/\ngpgcheck=1\nrepo_gpgcheck=${repoGpgcheck}\nretries=1\n${keys}`;
      return dnf(dir, root, repo, "install", "aft-lib");
    };
    const edit = (it: Map<string, UpstreamFile>) =>
      it.set("/repodata/repomd.xml", repomd.replace("</repomd>", "<!-- edited --></repomd>"));
    t.equal((await install("control", () => {})).status, 0, `${mode}: unchanged it installs`);
    const edited = await install("edited", edit);
    t.not(edited.status, 0);
    t.match(edited.out, /Bad GPG signature|GPG signature verification error/, mode);
    t.equal((await install("unchecked", edit, 0)).status, 0, "only repo_gpgcheck=1 sees it");
    const flipped = await install("flipped", (it) => {
      const bytes = Buffer.from(it.get(lib) as Buffer);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
      it.set(lib, bytes);
    });
    t.not(flipped.status, 0);
    t.match(flipped.out, /Cannot download|checksum doesn't match/i, mode);
    const missing = await install("missing", (it) => it.delete(lib));
    t.not(missing.status, 0);
    t.match(missing.out, /404/);
    const noSignature = await install("no-asc", (it) => it.delete("/repodata/repomd.xml.asc"));
    t.not(noSignature.status, 0, "a signature that was taken away");
    const swapped = await install("swapped", (it) => {
      it.set(lib, readFileSync(join(tree.dir, "unsigned", unsigned)));
    });
    t.not(swapped.status, 0, "another package");
  }
  // A package that nobody signed, in metadata that we did: the manifest had to say so, and dnf still asks.
  const dir = join(work, "unsigned-package");
  mkdirSync(dir);
  const rpms = [{ name: "loose", path: "../tree/unsigned", keys: ["../key.asc"], gpgcheck: false }];
  const carried = await carryAcross(t, dir, { stream: "unsigned", rpms }, "../k");
  t.equal(carried.packed.status, 0, carried.packed.stderr);
  t.match(carried.repos, /gpgcheck=0\nrepo_gpgcheck=1/);
  const forced = carried.repos.replace(/^gpgcheck=0/m, "gpgcheck=1");
  const refused = await dnf(dir, "root", forced, "install", "aft-unsigned");
  t.not(refused.status, 0);
  t.match(refused.out, /is not signed/);
  t.equal((await dnf(dir, "root2", carried.repos, "install", "aft-unsigned")).status, 0, "as the manifest said");
});

/** The base repository with other places for some packages; metadata in `codec`, its files by plain names. */
function moved(to: string, codec: "xz" | "bz2" | "zst", places: Record<string, string>): Map<string, UpstreamFile> {
  const served = new Map([...tree.served("base")].map(([path, bytes]) => [path.slice("/base/".length), bytes]));
  const text = (type: string) => {
    const path = [...served.keys()].find((it) => it.endsWith(`${type}.xml.gz`)) as string;
    return gunzipSync(served.get(path) as Buffer);
  };
  const pack = {
    xz: (open: Buffer) => execFileSync("xz", ["-c"], { input: open }),
    bz2: (open: Buffer) => execFileSync("bzip2", ["-c"], { input: open }),
    zst: (open: Buffer) => zstdCompressSync(open),
  }[codec];
  const files = new Map<string, UpstreamFile>();
  let primary = text("primary").toString();
  for (const [name, location] of Object.entries(places)) {
    const old = new RegExp(`<location href="(Packages/${name.replace(/\+/g, "\\+")}-[^"]*)"/>`).exec(primary);
    primary = primary.replace(old?.[0] as string, location);
    const href = /href="([^"]*)"/.exec(location)?.[1] as string;
    const base = /xml:base="[^"]*(\/[^/"]*\/)"/.exec(location)?.[1] ?? to;
    const { pathname } = new URL(href.replaceAll("+", "%2B"), `http://x${base}`);
    files.set(decodeURI(pathname), served.get(encodeURIComponent(old?.[1] as string).replaceAll("%2F", "/")) as Buffer);
  }
  for (const [path, bytes] of served) if (path.startsWith("Packages/")) files.set(`${to}${path}`, bytes);
  const records = ["primary", "filelists", "other"].map((type) => {
    const bytes = pack(type === "primary" ? Buffer.from(primary) : text(type));
    files.set(`${to}repodata/${type}.xml.${codec}`, bytes);
    return `<data type="${type}"><checksum type="sha256">${sha256Of(bytes)}</checksum><location href="repodata/${type}.xml.${codec}"/></data>`;
  });
  const xmlns = 'xmlns="http://linux.duke.edu/metadata/repo"';
  const repomd = `<repomd ${xmlns}><revision>1</revision>${records.join("")}</repomd>`;
  return files.set(`${to}repodata/repomd.xml`, Buffer.from(repomd));
}

t.test("odd names and places, a metalink with a dead mirror, xz, bzip2 and zstd: carried into dnf", async (t) => {
  if (tree === undefined || !needs(t, "xz", "bzip2")) return;
  const upstream = await startUpstream();
  t.teardown(() => upstream.close());
  const inside = {
    "aft-lib-1.1": '<location href="Packages/1:aft-lib++1.1~rc^2.rpm"/>',
    "aft-words": '<location href="aft words:3.rpm"/>',
  };
  const outside = {
    "aft-lib-1.1": '<location href="../../pool/aft-lib++.rpm"/>',
    "aft++": `<location xml:base="${upstream.url}/elsewhere/" href="aft%2b%2b.rpm"/>`,
    "aft-words": '<location href="Packages/aft%20words%2B.rpm"/>',
  };
  const repositories = [
    moved("/core:/stable:/rpm/", "xz", inside),
    moved("/a/b/rpm/", "bz2", outside),
    moved("/zstd/", "zst", {}),
  ];
  for (const files of repositories) for (const [path, bytes] of files) upstream.files.set(path, bytes);
  upstream.files.set("/key", tree.key);
  const closed = await startUpstream();
  await closed.close();
  const urls = [closed.url, upstream.url]
    .map((it, at) => `<url preference="${100 - at}">${it}/core:/stable:/rpm/repodata/repomd.xml</url>`)
    .join("");
  const hash = sha256Of(upstream.files.get("/core:/stable:/rpm/repodata/repomd.xml") as Buffer);
  const file = `<file name="repomd.xml"><verification><hash type="sha256">${hash}</hash></verification><resources>${urls}</resources></file>`;
  upstream.files.set(
    "/link",
    `<metalink version="3.0" xmlns="http://www.metalinker.org/"><files>${file}</files></metalink>`,
  );
  const dir = join(work, "odd");
  mkdirSync(dir);
  const keys = [`${upstream.url}/key`];
  const rpms = [
    { name: "inside", metalink: `${upstream.url}/link`, keys },
    { name: "outside", url: `${upstream.url}/a/b/rpm`, keys },
    { name: "zstd", url: `${upstream.url}/zstd/`, keys, packages: ["aft-lib", "aft-words", "aft++"] },
  ];
  const carried = await carryAcross(t, dir, { stream: "odd", rpms }, "../k");
  t.equal(carried.packed.status, 0, carried.packed.stderr);
  const { catalog } = JSON.parse(readFileSync(join(carried.bundle, "airferry.json"), "utf8")) as {
    catalog: { rpms: { mode: string }[] };
  };
  t.same(
    catalog.rpms.map((it) => it.mode),
    ["exact", "subset", "subset"],
  );
  for (const { name } of rpms) {
    const section = new RegExp(`\\[airferry-${name}\\][^[]*`).exec(carried.repos)?.[0] ?? "";
    const installed = await dnf(dir, name, section, "install", "aft-lib", "aft-words", "aft++");
    t.equal(installed.status, 0, `${name}: ${installed.out}`);
    const list = await run("rpm", ["--root", join(dir, name), "-qa"], dir);
    for (const it of ["aft-lib-1.1-1", "aft-words-3-1", "aft++-1.0^git1~rc-1"])
      t.ok(list.out.includes(it), `${name}: ${it}`);
  }
});

t.test("an image that is not what .treeinfo says fails the pack", async (t) => {
  if (tree === undefined) return;
  const files = distribution();
  files.set("/BaseOS/x86_64/os/images/install.img", Buffer.alloc(200_000, "other"));
  const { packed } = await carry(t, "wrong-image", () => ({}), files);
  t.equal(packed.status, 4, packed.stderr);
  t.match(packed.stderr, /images\/install\.img.*sha256:/s);
});
