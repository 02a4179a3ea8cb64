import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { exportTree } from "../src/export.ts";
import { digestOf } from "../src/io/digest.ts";
import { takeLock } from "../src/io/process-lock.ts";
import { noise } from "./fixtures/bundle-maker.ts";
import { needs } from "./fixtures/clients.ts";
import { runClient } from "./fixtures/container-clients.ts";
import { airferry } from "./fixtures/host.ts";
import { TestImages } from "./fixtures/images.ts";
import { directory, dots, makeIso, NM, PX, SECTOR, SL } from "./fixtures/iso-maker.ts";
import { unpackPageStream } from "./fixtures/page-store.ts";
import { scratch } from "./fixtures/program.ts";
import { createTestStore, type TestRelease, type TestStore } from "./fixtures/store-reader.ts";

const BASE = "http://mirror.example.com";

interface Bench {
  dir: string;
  store: TestStore;
  tree: string;
  write(more?: Partial<Parameters<typeof exportTree>[0]>): ReturnType<typeof exportTree>;
  read(path: string): string;
}

async function bench(t: Test, ...releases: TestRelease[]): Promise<Bench> {
  const dir = scratch(t, "af-tree");
  const store = createTestStore(join(dir, "store"));
  mkdirSync(store.dir);
  for (const it of releases) await store.put(it);
  const tree = join(dir, "tree");
  return {
    dir,
    store,
    tree,
    write: (more = {}) =>
      exportTree({ dir: tree, store: store.dir, base: BASE, openStore: async () => store, ...more }),
    read: (path) => readFileSync(join(tree, "current", path), "utf8"),
  };
}

/** An image with a file, a folder, and links to them, to the root, and out. */
function linkIso(): Buffer {
  const link = (name: string, ...parts: [number, string][]) => ({
    id: name.toUpperCase().slice(0, 8),
    block: 0,
    size: 0,
    use: Buffer.concat([PX(0o120777), NM(name), SL(...parts)]),
  });
  const file = { id: "FILE.TXT", block: 22, size: 7, use: Buffer.concat([PX(0o100644), NM("file.txt")]) };
  return makeIso(
    [
      { id: "REAL", block: 21, size: SECTOR, flags: 2, use: Buffer.concat([PX(0o40755), NM("real")]) },
      link("absolute", [8, ""], [0, "etc"], [0, "passwd"]),
      link("alias.txt", [0, "real"], [0, "file.txt"]),
      link("dangling", [0, "nothing"]),
      link("folder", [0, "real"]),
      link("loop", [2, ""]),
      link("out", [4, ""], [4, ""], [0, "etc"], [0, "passwd"]),
    ],
    new Map([
      [21, directory([...dots(21, 20), file])],
      [22, Buffer.from("inside\n")],
    ]),
  );
}

/** A key and a certificate of its own in PEM files. */
async function makeCertificate(dir: string): Promise<{ key: string; cert: string }> {
  const [key, cert] = [join(dir, "server.key"), join(dir, "server.crt")];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"];
  const { status, out } = await runClient("openssl", [...made, "-keyout", key, "-out", cert]);
  if (status !== 0) throw new Error(out);
  return { key, cert };
}

const release = (serial: number, content: TestRelease["content"]): TestRelease => ({
  stream: "a",
  serial,
  content,
  catalog: { files: Object.keys(content).map((path) => ({ path })) },
});
const generations = (tree: string) => readdirSync(join(tree, "generations")).sort();

t.test("a rerun writes what changed, switches in one step, and keeps one generation", async (t) => {
  const { store, tree, write, read } = await bench(t, release(1, { "files/same": "same", "files/tool": "one" }));
  const first = await write();
  t.equal(first.generation, "1");
  t.equal(readlinkSync(join(tree, "current")), "generations/1");
  t.equal(read("tree/files/tool"), "one");
  t.equal(read("tree/s/a/files/tool"), "one");
  t.match(read("tree/files/tool.sha256sum"), /^[0-9a-f]{64} {2}tool\n$/);
  t.match(read("tree/files/PULP_MANIFEST"), /^tool,[0-9a-f]{64},\d+$/m);
  t.match(read("tree/config/check.json"), /findings/);
  const kept = statSync(join(tree, "current/tree/files/same")).ino;

  const again = await write();
  t.notOk(again.changed);
  t.strictSame(again.written, { files: 0, bytes: 0, sharedBytes: 0 });
  t.strictSame(generations(tree), ["1"]);

  for (const serial of [2, 3, 4]) {
    await store.put(release(serial, { "files/same": "same", "files/tool": `serial ${serial}` }));
    const next = await write();
    t.ok(next.changed);
    t.equal(read("tree/files/tool"), `serial ${serial}`);
  }
  t.strictSame(generations(tree), ["3", "4"], "the one before stays");
  t.equal(statSync(join(tree, "current/tree/files/same")).ino, kept, "unchanged files are the same files");
  t.equal(readFileSync(join(tree, "generations/3/tree/files/tool"), "utf8"), "serial 3");
  const pool = readdirSync(join(tree, "pool"), { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
  const texts = pool.map((it) => readFileSync(join(it.parentPath, it.name), "utf8"));
  t.notOk(texts.includes("one"), "what no generation has is gone");
  t.ok(texts.includes("serial 3"));
  t.match(await write({ base: undefined }), { changed: true, base: null });
  t.notOk(existsSync(join(tree, "current/tree/config")), "without a base nothing is rendered");
  t.match(read("tree/.airferry.html"), /SERVER/);
  t.notMatch(read("tree/.airferry.html"), /href="\/(?:config|packages|metrics)/);
});

t.test("modes are for web servers, whatever the umask", async (t) => {
  const { tree, write } = await bench(t, release(1, { "files/a/b/c": "c" }));
  const before = process.umask(0o077);
  t.teardown(() => process.umask(before));
  await write();
  process.umask(before);
  for (const it of readdirSync(tree, { recursive: true, withFileTypes: true })) {
    const file = join(it.parentPath, it.name);
    const { mode } = lstatSync(file);
    if (it.isSymbolicLink()) continue;
    if (it.isDirectory()) t.equal(mode & 0o777, 0o755, file);
    else t.equal(mode & 0o022, 0, `${file} is for nobody else to write`);
    if (it.isFile() && /generations|pool/.test(file)) t.equal(mode & 0o444, 0o444, file);
  }
});

t.test("a damaged blob stops it, and what was served is served on", async (t) => {
  const { store, tree, write, read } = await bench(t, release(1, { "files/tool": "one" }));
  await write();
  await store.put(release(2, { "files/tool": "two", "files/big": noise(2_000_000, 3) }));
  const file = store.blobPath(digestOf(noise(2_000_000, 3)));
  chmodSync(file, 0o644);
  writeFileSync(file, noise(2_000_000, 4));
  for (const link of [false, true]) await t.rejects(write({ link }), { code: "ERR_STORE_INVALID" });
  t.equal(read("tree/files/tool"), "one");
  t.strictSame(generations(tree), ["1"]);
  writeFileSync(file, noise(2_000_000, 3));
  t.ok((await write({ link: true })).changed);
  t.equal(statSync(join(tree, "current/tree/files/big")).ino, statSync(file).ino, "--link");
  t.ok((await write()).written.bytes >= 2_000_000, "and back to a copy");
  t.not(statSync(join(tree, "current/tree/files/big")).ino, statSync(file).ino);
});

t.test("names and values of bundles stay what they are", async (t) => {
  const images = new TestImages();
  const [one, two] = [images.image("linux/amd64", [{ a: "1" }]), images.image("linux/amd64", [{ a: "2" }])];
  const { tree, write, read } = await bench(
    t,
    {
      stream: "a",
      content: {
        ...images.content(),
        "files/a b;c{d}$e\"f'g#h%i&j": "odd",
        "files/.airferry.html": "not a page",
        "config/airferry.repo": "not rendered",
        "v2/_catalog": "not a registry",
        "s/b/files/x": "not a stream",
        "index.json": "not an index",
        "files/x": "a file",
      },
      catalog: {
        images: [
          images.catalogImage("quay.io/a/manifests/b:Tag", one, { tags: { tag: two.digest, TAG: one.digest } }),
          images.catalogImage("quay.io/a:manifests", two),
        ],
      },
    },
    { stream: "b", content: { "files/x/y": "in a folder", "files/x.sha256/z": "in another" } },
  );
  const written = await write();
  t.equal(read("tree/files/a b;c{d}$e\"f'g#h%i&j"), "odd");
  t.not(read("tree/config/airferry.repo"), "not rendered");
  t.notOk(existsSync(join(tree, "current/tree/v2")));
  t.not(read("tree/index.json"), "not an index");
  t.notOk(existsSync(join(tree, "current/tree/s/b/files/x/x")));
  t.equal(read("tree/files/x"), "a file");
  t.equal(read("tree/s/b/files/x/y"), "in a folder", "its own stream has it");
  t.match(written.notes.join("\n"), /tree\/files\/x\/y: tree\/files\/x is a file/);
  t.match(written.notes.join("\n"), /\.airferry\.html: its name is that of the pages/);
  const tags = read("nginx/tags.map");
  t.match(tags, /^"1\/@\/q\/quay\.io\/a:manifests" /m);
  t.match(tags, /^"~\^1\/@\/q\/quay\\\.io\/a\/manifests\/b:Tag\$" /m, "names that differ in case only are expressions");
  t.ok(existsSync(join(tree, "current/registry/@/q/quay.io/a/@m/manifests.om")));
  t.ok(existsSync(join(tree, "current/registry/@/q/quay.io/a/manifests/b/@m/Tag.om")));
  t.ok(existsSync(join(tree, "current/registry/@/b/a/manifests/b/@m/TAG.om")), "links lead somewhere");
});

t.test("ISOs: extracted, mounted, left out; links inside stay inside", async (t) => {
  const iso = linkIso();
  const { tree, write, read } = await bench(t, {
    stream: "a",
    content: { "isos/d.iso": iso, "isos/broken.iso": "no image" },
    catalog: {
      isos: [
        { name: "d", path: "isos/d.iso" },
        { name: "broken", path: "isos/broken.iso" },
      ],
    },
  });
  const written = await write();
  t.equal(read("tree/isos/d/real/file.txt"), "inside\n");
  t.equal(read("tree/isos/d/alias.txt"), "inside\n", "a link to a file is the file");
  t.equal(read("tree/isos/d/folder/file.txt"), "inside\n", "a link to a folder is a link");
  t.ok(lstatSync(join(tree, "current/tree/isos/d/folder")).isSymbolicLink());
  t.equal(read("tree/isos/d/loop/loop/real/file.txt"), "inside\n", "even to itself");
  for (const it of ["out", "absolute", "dangling"]) t.notOk(existsSync(join(tree, "current/tree/isos/d", it)), it);
  t.match(written.notes.join("\n"), /isos\/d\/out: it is a link that leads nowhere in the image/);
  t.match(written.notes.join("\n"), /isos\/broken\/: cannot read ISO/);
  const notes = readdirSync(join(tree, "isos"));
  t.equal(notes.length, 1);
  rmSync(join(tree, "isos", notes[0] as string));
  t.notOk((await write()).changed, "without its note an image is read again");

  const mounted = await write({ isos: "mount" });
  t.equal(mounted.fstab, join(tree, "current/fstab"));
  const [, source, target, type, options] = /^(\S+) (\S+) (iso9660) (\S+) 0 0$/m.exec(read("fstab")) ?? [];
  t.equal(type, "iso9660");
  t.ok(readFileSync(source as string).equals(iso));
  t.match(options, /\bro\b.*\bnosuid\b.*\bnosymfollow\b/);
  t.ok(lstatSync(target as string).isDirectory());
  t.equal(
    statSync(join(tree, "current/tree/isos/d")).ino,
    statSync(target as string).ino,
    "the link leads to where it is mounted",
  );
  await write({ isos: "none" });
  t.strictSame(
    readdirSync(join(tree, "current/tree/isos"))
      .filter((it) => !it.includes(".sha256"))
      .sort(),
    [".airferry.html", "PULP_MANIFEST", "broken.iso", "d.iso"],
  );
});

t.test("what is refused before anything is written", async (t) => {
  const { dir, store, write } = await bench(t, release(1, { "files/x": "x" }));
  writeFileSync(join(dir, "file"), "");
  mkdirSync(join(dir, "other"));
  writeFileSync(join(dir, "other/mine"), "");
  symlinkSync(store.dir, join(dir, "link"));
  const usage: [Parameters<typeof write>[0], RegExp][] = [
    [{ dir: "gs://bucket/prefix" }, /only to a folder, or to s3/],
    [{ dir: join(dir, "file") }, /not a folder/],
    [{ dir: join(dir, "other") }, /it has other files/],
    [{ dir: store.dir }, /one is inside the other/],
    [{ dir: join(store.dir, "tree") }, /one is inside the other/],
    [{ dir: join(dir, "link/tree") }, /one is inside the other/],
    [{ dir }, /one is inside the other/],
    [{ dir: join(dir, "a$b") }, /characters that web servers interpret/],
    [{ dir: join(dir, 'a"b') }, /characters that web servers interpret/],
    [{ dir: join(dir, "a\nb") }, /characters that web servers interpret/],
    [{ base: "mirror" }, /not the URL of a site/],
    [{ base: "http://h/path" }, /not the URL of a site/],
    [{ base: "http://*" }, /not the URL of a site/],
    [{ base: "http://u:p@h" }, /not the URL of a site/],
    [{ base: "http://h\n" }, /not the URL of a site/],
    [{ base: "ftp://h" }, /not the URL of a site/],
    [{ ca: join(dir, "file") }, /no certificate/],
  ];
  for (const [options, message] of usage)
    await t.rejects(write(options), { code: "ERR_USAGE", message }, JSON.stringify(options));
  await t.rejects(write({ ca: join(dir, "gone") }), { code: "ERR_NOT_FOUND" });
  await t.rejects(write({ stream: "z" }), { code: "ERR_NOT_FOUND" });
  t.strictSame(readdirSync(dir).sort(), ["file", "link", "other", "store"], "nothing was made");
});

t.test("configuration for any address, and a folder with spaces, is one that both servers take", async (t) => {
  if (!needs(t, "nginx", "apache2")) return;
  const { dir, write } = await bench(t, release(1, { "files/x": "x" }));
  const { key, cert } = await makeCertificate(dir);
  for (const base of ["http://[::1]:58080", "https://mirror.example.com:58443", "http://a-b.example"]) {
    const tree = join(dir, "a tree");
    await write({ dir: tree, base, ca: cert });
    const own = (server: string) => {
      const file = join(dir, `${server}.conf`);
      const text = readFileSync(join(tree, `current/${server}/airferry.conf`), "utf8");
      // Ports that anybody may open, and the certificate that a site puts there.
      const ported = text.replace(/(listen (?:\[::\]:)?|Listen |\*:)80\b/g, "$158081");
      writeFileSync(file, ported.replace(/"[^"]*server\.crt"/, `"${cert}"`).replace(/"[^"]*server\.key"/, `"${key}"`));
      return file;
    };
    const nginx = join(dir, "main.conf");
    writeFileSync(
      nginx,
      `pid ${dir}/pid; error_log stderr; events {}\nhttp { access_log off; include ${own("nginx")}; }\n`,
    );
    const apache = join(dir, "httpd.conf");
    const modules = ["mpm_event", "authz_core", "mime", "rewrite", "headers", "dir", "env", "socache_shmcb", "ssl"];
    const load = modules.map((it) => `LoadModule ${it}_module /usr/lib/apache2/modules/mod_${it}.so\n`).join("");
    const paths = `ServerRoot ${dir}\nPidFile ${dir}/pid\nDefaultRuntimeDir ${dir}\nErrorLog /dev/stderr\n`;
    writeFileSync(apache, `${paths}${load}TypesConfig /dev/null\nInclude ${own("apache")}\n`);
    for (const [name, args] of [
      ["nginx", ["-t", "-p", dir, "-c", nginx]],
      ["apache2", ["-t", "-f", apache]],
    ] as const) {
      const { status, out } = await runClient(name, args);
      t.equal(status, 0, `${name}, ${base}: ${out}`);
    }
  }
});

t.test("one at a time", async (t) => {
  const { tree, write } = await bench(t, release(1, { "files/x": "x" }));
  await write();
  const lock = await takeLock(join(tree, "lock"), tree);
  await t.rejects(write(), { code: "ERR_BUSY" });
  await lock.release();
  await write();
});

t.test("after a power loss nothing in the pool is taken for granted", async (t) => {
  const { tree, write, read } = await bench(t, release(1, { "files/x": noise(3000, 1) }));
  await write();
  t.notOk(existsSync(join(tree, "unsynced")));
  const file = join(tree, "current/tree/files/x");
  const { mtime } = statSync(file);
  chmodSync(file, 0o644);
  writeFileSync(file, Buffer.alloc(3000));
  utimesSync(file, mtime, mtime);
  writeFileSync(join(tree, "unsynced"), "another-boot");
  t.ok((await write()).changed);
  t.equal(read("tree/files/x"), noise(3000, 1).toString("utf8"));
});

t.test("as a command", async (t) => {
  const dir = scratch(t, "af-tree-cli");
  const store = await unpackPageStream(dir, { stream: "a", packages: [] });
  const run = (...args: string[]) => airferry(dir, ["export", ...args, "--store", store]);
  const { status, stdout, stderr } = await run("tree", "out", "--base", BASE, "--json");
  t.equal(status, 0, stderr);
  const document = JSON.parse(stdout);
  t.match(document, {
    changed: true,
    generation: "1",
    base: BASE,
    nginx: join(dir, "out/current/nginx/airferry.conf"),
  });
  const again = await run("tree", "out", "--base", BASE);
  t.equal(again.stdout, `${join(dir, "out/current")}\n`);
  t.match(again.stderr, /generation 1 as before: nothing changed/);
  t.match(again.stderr, /cannot enter .*af-tree-cli/, "a folder that web servers cannot enter");
  for (const [args, message] of [
    [["tree", "out", "--out", "x.tar"], /cannot use --out with "export tree"/],
    [["image", "x", "--base", BASE], /cannot use --base with "export image"/],
    [["tree", "out", "more"], /cannot write one tree into 2 folders/],
    [["tree", "gs://b/p"], /only to a folder/],
    [["tree"], /missing required argument/],
    [["tree", "out", "--isos", "all"], /expected one of extract, mount, none/],
  ] as const) {
    const refused = await run(...args);
    t.equal(refused.status, 2, args.join(" "));
    t.match(refused.stderr, message);
  }
});
