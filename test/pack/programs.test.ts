/** Programs that a bundle brings: which ones, how they get there, and what readers say of them. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { inspect } from "../../src/inspect.ts";
import { formatStamp, readStamp, sourceDigest } from "../../src/pack/program-stamp.ts";
import { programsOfCheckout } from "../../src/pack/programs.ts";
import { openWorkspace } from "../../src/pack/workspace.ts";
import { pack } from "../../src/pack.ts";
import { readPrivateKey } from "../../src/sign/private-key.ts";
import { keySigner } from "../../src/sign/signer.ts";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { VERSION } from "../../src/version.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { scratch, seededBytes, writeManifest } from "../fixtures/program.ts";

const digest = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}` as const;

/** A program of these bytes, with a stamp. */
function stamped(bytes: Uint8Array, platform: string, source: `sha256:${string}`, version = VERSION): Buffer {
  return Buffer.concat([bytes, Buffer.from(formatStamp({ version, platform, source, content: digest(bytes) }))]);
}

/** A checkout with little source, and its programs. */
async function checkout(t: Test) {
  const root = scratch(t);
  mkdirSync(join(root, "src", "io"), { recursive: true });
  writeFileSync(join(root, "src", "bin.ts"), "one");
  writeFileSync(join(root, "src", "io", "a.ts"), "two");
  writeFileSync(join(root, "package-lock.json"), "{}");
  for (const name of ["manifests", "scripts/build-binary-parts", "scripts/lib"])
    mkdirSync(join(root, name), { recursive: true });
  writeFileSync(join(root, "scripts/lib/node.lock"), "version 1");
  mkdirSync(join(root, "dist"));
  const put = (name: string, bytes: Uint8Array) => writeFileSync(join(root, "dist", name), bytes);
  return { root, put, source: await sourceDigest(root) };
}

t.test("a stamp is read back, and nothing else is taken for one", async (t) => {
  const dir = scratch(t);
  const file = join(dir, "p");
  const bytes = seededBytes(1, 5000);
  const source = digest(Buffer.from("source"));
  writeFileSync(file, stamped(bytes, "linux-x64", source, "1.2.3-rc.1"));
  t.strictSame(await readStamp(file), {
    version: "1.2.3-rc.1",
    platform: "linux-x64",
    source,
    content: digest(bytes),
    size: statSync(file).size,
    at: bytes.length,
  });
  appendFileSync(file, "x");
  t.equal(await readStamp(file), undefined, "something behind it");
  writeFileSync(file, "short");
  t.equal(await readStamp(file), undefined);
  t.equal(await readStamp(dir), undefined, "a folder");
  t.equal(await readStamp(join(dir, "none")), undefined);
});

t.test("the digest of a checkout's source changes with every file that goes into the program", async (t) => {
  const { root, source } = await checkout(t);
  const touched = async (name: string, text: string) => {
    const before = existsSync(join(root, name)) ? readFileSync(join(root, name)) : undefined;
    writeFileSync(join(root, name), text);
    t.not(await sourceDigest(root), source, name);
    if (before === undefined) rmSync(join(root, name));
    else writeFileSync(join(root, name), before);
  };
  await touched("src/bin.ts", "onf");
  await touched("src/io/new.ts", "");
  await touched("manifests/x.yaml", "");
  await touched("package-lock.json", "{ }");
  await touched("scripts/lib/node.lock", "version 2");
  await touched("scripts/build-binary-parts/main.ts", "");
  t.equal(await sourceDigest(root), source, "as it was");
  writeFileSync(join(root, "README.md"), "other");
  t.equal(await sourceDigest(root), source, "what is not in it");
});

t.test("a checkout brings what was built from exactly its source", async (t) => {
  const { root, put, source } = await checkout(t);
  t.match(
    (await programsOfCheckout(root)).note,
    /^the bundle brings no program; .*run .*\/scripts\/build-binary first$/,
  );
  put("airferry-linux-arm64", stamped(seededBytes(1, 3000), "linux-arm64", source));
  put("airferry-linux-x64", stamped(seededBytes(2, 3000), "linux-x64", source));
  put("airferry-linux-x64.old", seededBytes(3, 3000));
  put("airferry.cdx.json", Buffer.from("{}"));
  execFileSync("mkfifo", [join(root, "dist", "airferry-pipe")]);
  const { programs, note } = await programsOfCheckout(root);
  t.equal(note, undefined);
  t.strictSame(
    programs.map(({ name, stampAt }) => [name, stampAt]),
    [
      ["airferry-linux-arm64", 3000],
      ["airferry-linux-x64", 3000],
    ],
  );
  put("airferry-linux-x64", stamped(seededBytes(2, 3000), "linux-x64", source, "0.0.1"));
  t.strictSame(
    (await programsOfCheckout(root)).programs.map((it) => it.name),
    ["airferry-linux-arm64"],
    "of another version",
  );
  writeFileSync(join(root, "src", "bin.ts"), "changed");
  const stale = await programsOfCheckout(root);
  t.strictSame(stale.programs, []);
  t.match(stale.note, /dist\/ was built from other source; .*scripts\/build-binary first$/);
});

/** Packs 3 MB with these programs, in volumes of 1 MB. */
async function packWith(dir: string, programs: readonly object[], options: object = {}) {
  writeKeyPair(dir);
  mkdirSync(join(dir, "in"), { recursive: true });
  writeFileSync(join(dir, "in", "a.bin"), seededBytes(4, 3_000_000));
  const manifest = writeManifest(dir, { files: [{ path: "in/a.bin" }] });
  await using workspace = await openWorkspace(manifest, { cacheDir: join(dir, ".cache") });
  const signer = keySigner(await readPrivateKey(join(dir, "k.key"), async () => ""), "k.key");
  return pack(workspace, {
    out: join(dir, "out"),
    signers: [signer],
    programs: programs as never,
    volumeSize: 999_936,
    frozen: false,
    concurrency: 1,
    ...options,
  });
}

t.test("programs are in bin/, can be executed, are signed, shown, checked and not imported", async (t) => {
  const { root, put, source } = await checkout(t);
  const bytes = stamped(seededBytes(5, 2_500_000), "linux-x64", source);
  put("airferry-linux-x64", bytes);
  chmodSync(join(root, "dist", "airferry-linux-x64"), 0o600);
  const dir = scratch(t);
  const { bundle } = await packWith(dir, (await programsOfCheckout(root)).programs);
  const program = join(bundle, "bin", "airferry-linux-x64");
  t.ok(readFileSync(program).equals(bytes));
  t.equal(statSync(program).mode & 0o777, 0o755);
  t.match(readFileSync(join(bundle, "SHA256SUMS"), "utf8"), `${digest(bytes).slice(7)}  bin/airferry-linux-x64\n`);
  t.strictSame((await inspect([bundle])).programs, [
    { name: "bin/airferry-linux-x64", digest: digest(bytes), size: bytes.length },
  ]);
  const trust = [join(dir, "k.pub")];
  t.match(await verify([bundle], { trust }), { ok: true });
  t.match(await unpack([bundle], { trust, store: join(dir, "store") }), { complete: true });
  t.notOk(readdirSync(join(dir, "store"), { recursive: true }).some((it) => `${it}`.includes("airferry-linux")));
  t.equal((await packWith(dir, [])).packed, false, "a complete bundle stays as it is, whatever is at hand");

  const changed = Buffer.from(bytes);
  changed[2_400_000]! ^= 1;
  writeFileSync(program, changed);
  t.match(await verify([bundle], { trust }), {
    ok: false,
    problems: [{ code: "ERR_DIGEST_MISMATCH", path: "bin/airferry-linux-x64" }],
  });
  await t.rejects(unpack([bundle], { trust, store: join(dir, "other") }), { code: "ERR_DIGEST_MISMATCH" });
  rmSync(program);
  t.match(await verify([bundle], { trust }), {
    ok: false,
    problems: [{ code: "ERR_BUNDLE_INCOMPLETE", path: "bin/airferry-linux-x64" }],
  });
  await t.rejects(unpack([bundle], { trust, store: join(dir, "other") }), { code: "ERR_BUNDLE_INCOMPLETE" });
  t.strictSame(
    (await inspect([bundle])).programs.map((it) => it.size),
    [null],
  );
});

t.test("a program that was built since is brought by the next pack; another build is told", async (t) => {
  const { root, put, source } = await checkout(t);
  const dir = scratch(t);
  const notes: string[] = [];
  const packNow = async () => {
    notes.length = 0;
    const { programs } = await programsOfCheckout(root);
    return packWith(dir, programs, { report: (line: string) => notes.push(line) });
  };
  t.match(await packNow(), { packed: true, serial: 1 });
  t.match(await packNow(), { packed: false, serial: 1 });
  put("airferry-linux-x64", stamped(seededBytes(5, 2000), "linux-x64", source));
  const second = await packNow();
  t.match(second, { packed: true, serial: 2 });
  t.ok(
    notes.some((it) => /packing again: .*test-000001 brings no bin\/airferry-linux-x64$/.test(it)),
    notes.join("\n"),
  );
  t.ok(existsSync(join(second.bundle, "bin/airferry-linux-x64")));
  t.match(await packNow(), { packed: false, serial: 2 });
  put("airferry-linux-x64", stamped(seededBytes(6, 2000), "linux-x64", source));
  t.match(await packNow(), { packed: false, serial: 2 });
  t.ok(
    notes.some((it) => /test-000002 brings bin\/airferry-linux-x64 of another build/.test(it)),
    notes.join("\n"),
  );
  rmSync(join(second.bundle, "bin/airferry-linux-x64"));
  await t.rejects(packNow(), { code: "ERR_BUNDLE_INVALID" }, "one that was removed is damage");
});

t.test("of a set of media the first has the programs, and each can be checked and unpacked alone", async (t) => {
  const { root, put, source } = await checkout(t);
  put("airferry-linux-x64", stamped(seededBytes(5, 2000), "linux-x64", source));
  const dir = scratch(t);
  const { bundle } = await packWith(dir, (await programsOfCheckout(root)).programs, { volumesPerMedium: 2 });
  const media = readdirSync(bundle).sort();
  t.strictSame(media, ["medium-1-of-2", "medium-2-of-2"]);
  t.strictSame(
    media.map((it) => existsSync(join(bundle, it, "bin"))),
    [true, false],
  );
  const trust = [join(dir, "k.pub")];
  t.match(await verify([bundle], { trust }), { ok: true });
  for (const it of media) t.match(await verify([join(bundle, it)], { trust, partial: true }), { ok: true }, it);
  const second = await unpack([join(bundle, "medium-2-of-2")], { trust, store: join(dir, "store") });
  t.equal(second.complete, false);
  t.match(await unpack([join(bundle, "medium-1-of-2")], { trust, store: join(dir, "store") }), { complete: true });
});

t.test("a damaged program is not signed, and the next run goes on", async (t) => {
  const { root, put, source } = await checkout(t);
  const bytes = stamped(seededBytes(5, 2_500_000), "linux-x64", source);
  bytes[7]! ^= 1;
  put("airferry-linux-x64", bytes);
  const dir = scratch(t);
  const { programs } = await programsOfCheckout(root);
  await t.rejects(packWith(dir, programs), { code: "ERR_DIGEST_MISMATCH", hint: /--no-program/ });
  t.notOk(existsSync(join(dir, "out", "test-000001")));
  const { bundle } = await packWith(dir, []);
  t.notOk(existsSync(join(bundle, "bin")), "nothing is left of it");
});
