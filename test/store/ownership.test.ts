/** Who may have put something into a store, and what of it is believed. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { prune } from "../../src/prune.ts";
import { status } from "../../src/status.ts";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey, noise, sha256 } from "../fixtures/bundle-maker.ts";
import { ROOT } from "../fixtures/program.ts";

const root = t.testdir();
const key = makeKey();
const trust = [join(root, "key.pub")];
writeFileSync(join(root, "key.pub"), key.pem);
const big = noise(3_000_000, 1);
const files = { "files/a": Buffer.from("a"), "files/big": big };
const bundle = join(root, "bundle");
makeBundle(bundle, { files, keys: [key] });
let count = 0;
async function filled(): Promise<string> {
  const store = join(root, `store-${count++}`);
  await unpack([bundle], { trust, store });
  return store;
}
const blobOf = (store: string, bytes: Buffer) => join(store, "blobs/sha256", sha256(bytes).slice(0, 2), sha256(bytes));

t.test("a blob that no release covers for is hashed, and taken anew when it is something else", async (t) => {
  const store = join(root, "planted");
  mkdirSync(join(store, "blobs/sha256"), { recursive: true, mode: 0o755 });
  for (const [bytes, planted] of [
    [big, Buffer.alloc(big.length)],
    [Buffer.from("a"), Buffer.from("a")],
  ] as const) {
    mkdirSync(dirname(blobOf(store, bytes)), { mode: 0o755 });
    writeFileSync(blobOf(store, bytes), planted);
  }
  const notices: string[] = [];
  const report = await unpack([bundle], { trust, store, notice: (line) => notices.push(line) });
  t.match(report, { complete: true, written: big.length });
  t.ok(readFileSync(blobOf(store, big)).equals(big));
  t.match(notices, [/no release covers/]);
});

t.test("what a release vouches for, or an earlier medium of this import brought, is not read again", async (t) => {
  const store = await filled();
  const again = join(root, "again");
  makeBundle(again, { files: { ...files, "files/b": Buffer.from("b") }, keys: [key], serial: 2 });
  t.match(await unpack([again], { trust, store }), { written: 1 });
  const set = join(root, "set");
  const { folders } = makeBundle(set, { files, keys: [key], stream: "set", volumeSize: 1_000_000, perMedium: 2 });
  const other = join(root, "by-media");
  t.match(await unpack([folders[0]!], { trust, store: other }), {
    complete: false,
    missingMedia: ["medium-2-of-2"],
    missing: ["data.tar.0002", "data.tar.0003"],
  });
  const made = readdirSync(join(other, "incoming"))[0]!;
  t.match(readFileSync(join(other, "incoming", made, "blobs"), "utf8"), sha256(Buffer.from("a")));
  t.match(await unpack([folders[1]!], { trust, store: other }), { complete: true });
});

t.test("a store that others may write to is refused, with what to do", async (t) => {
  const refusals: [string, (store: string) => void, RegExp][] = [
    ["the store", (it) => chmodSync(it, 0o777), /chmod -R o-w/],
    ["its blobs", (it) => chmodSync(join(it, "blobs/sha256"), 0o1777), /chmod -R o-w/],
    ["one folder of blobs", (it) => chmodSync(dirname(blobOf(it, big)), 0o757), /chmod -R o-w/],
    ["a stream", (it) => chmodSync(join(it, "releases/test"), 0o777), /chmod -R o-w/],
    [
      "a link in place of a folder of blobs",
      (it) => {
        renameSync(dirname(blobOf(it, big)), join(it, "elsewhere"));
        symlinkSync(join(it, "elsewhere"), dirname(blobOf(it, big)));
      },
      /ls -ld/,
    ],
    [
      "a link in place of a stream",
      (it) => {
        renameSync(join(it, "releases/test"), join(it, "elsewhere"));
        symlinkSync(join(it, "elsewhere"), join(it, "releases/test"));
      },
      /ls -ld/,
    ],
  ];
  if (process.getuid?.() === 0) {
    refusals.push(["another user's", (it) => chownSync(it, 65534, 65534), /chown -R 0/]);
    refusals.push(["another user's release", (it) => chownSync(join(it, "releases/test"), 65534, 0), /chown -R 0/]);
  }
  for (const [what, spoil, hint] of refusals) {
    const store = await filled();
    spoil(store);
    const refusal = { code: "ERR_STORE_INVALID", hint };
    await t.rejects(unpack([bundle], { trust, store }), refusal, what);
    await t.rejects(prune(store, { keep: 1 }), refusal, what);
    t.ok(existsSync(join(store, "airferry-store.json")));
    rmSync(store, { recursive: true });
  }
});

t.test("prune() removes blobs and nothing else", async (t) => {
  const store = await filled();
  const strangers = ["zz", "ab.txt", "ab"].map((it) => join(store, "blobs/sha256", it));
  mkdirSync(strangers[0]!, { mode: 0o755 });
  writeFileSync(join(strangers[0]!, "f".repeat(64)), "not in a folder of blobs");
  writeFileSync(strangers[1]!, "a file");
  const folder = join(store, "blobs/sha256/00");
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  writeFileSync(join(folder, "note"), "no blob's name");
  writeFileSync(join(folder, `00${"0".repeat(62)}`), "orphan");
  symlinkSync("/etc/passwd", join(folder, `00${"1".repeat(62)}`));
  const report = await prune(store, { keep: 1 });
  t.match(report, { blobs: 1, size: 6 });
  t.same(readdirSync(folder).sort(), [`00${"1".repeat(62)}`, "note"]);
  t.ok(existsSync(join(strangers[0]!, "f".repeat(64))));
  t.match(await status(store), { blobs: { count: 2 } });
});

t.test("a stream whose record is damaged costs only itself", async (t) => {
  const store = await filled();
  const other = join(root, "other");
  makeBundle(other, { files: { "files/o": Buffer.from("o") }, keys: [key], stream: "other" });
  await unpack([other], { trust, store });
  const open = await openStore(store);
  t.same(
    (await open.releases()).map((it) => it.stream),
    ["other", "test"],
  );
  const record = join(store, "releases/other/000001/airferry.json");
  chmodSync(record, 0o644);
  writeFileSync(record, "{}");
  const reopened = await openStore(store);
  t.same(
    (await reopened.releases()).map((it) => it.stream),
    ["test"],
  );
  t.match(reopened.faults, [{ stream: "other", error: { code: "ERR_STORE_INVALID" } }]);
  t.same((await open.releases()).length, 2, "who has read it before keeps it");
});

t.test("modes are airferry's own, whatever the umask", async (t) => {
  for (const umask of ["000", "077", "027"]) {
    const dir = join(root, `umask-${umask}`);
    mkdirSync(dir);
    writeFileSync(join(dir, "a"), "a");
    writeFileSync(join(dir, "m.yaml"), "apiVersion: airferry/v1\nstream: u\nfiles: [{ path: a }]\n");
    const run = (...args: string[]) =>
      execFileSync(
        "sh",
        ["-c", `umask ${umask}; exec "$@"`, "sh", process.execPath, join(ROOT, "src/bin.ts"), ...args],
        {
          cwd: dir,
          env: { ...process.env, AIRFERRY_PASSWORD: "x", AIRFERRY_CACHE: join(dir, "cache") },
          stdio: "pipe",
        },
      );
    run("keygen", "--out", "k");
    run("pack", "m.yaml", "--key", "k.key", "--out", "out");
    run("unpack", "out/u-000001", "--trust", "k.pub", "--store", "store");
    const found = readdirSync(dir, { recursive: true, withFileTypes: true })
      .map((it) => join(it.parentPath, it.name))
      .filter((it) => !it.endsWith("/a") && !it.endsWith("/m.yaml"));
    const modeOf = (file: string) => lstatSync(file).mode & 0o777;
    const writable = found.filter((it) => (modeOf(it) & 0o022) !== 0);
    t.same(writable, [], `${umask}: nobody else can write`);
    const closed = found.filter((it) => (modeOf(it) & 0o044) !== 0o044).map((it) => it.slice(dir.length + 1));
    t.same(
      closed.filter((it) => !/\.key$|^store\/incoming|^cache/.test(it)),
      [],
      `${umask}: all but keys can be read`,
    );
    t.equal(modeOf(join(dir, "k.key")), 0o600);
    t.equal(modeOf(join(dir, "store/incoming")), 0o700);
  }
});

t.test("other users see what a store has; to change it they are told to be its owner", async (t) => {
  const store = await filled();
  if (process.seteuid === undefined || process.geteuid?.() !== 0) return t.comment("needs root");
  process.seteuid(65534);
  try {
    t.match(await status(store), { streams: [{ stream: "test" }], incoming: null, problems: [] });
    await t.rejects(prune(store, { keep: 1 }), {
      code: "ERR_IO",
      message: /^cannot change store ".*": it belongs to another user: expected uid 0$/,
      hint: /^run the same command as its owner: sudo -u '#0' /,
    });
  } finally {
    process.seteuid(0);
  }
});
