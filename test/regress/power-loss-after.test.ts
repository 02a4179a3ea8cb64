/** A power loss after any system call of `sign` and `prune`: nothing is torn, no release loses what it needs, and a rerun finishes. */

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import t from "tap";
import { parseInventory } from "../../src/bundle/inventory.ts";
import { prune } from "../../src/prune.ts";
import { sealPrivateKey } from "../../src/sign/private-key.ts";
import { sign } from "../../src/sign.ts";
import { checkStore } from "../../src/store/check-store.ts";
import { blobPathIn } from "../../src/store/layout.ts";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { namesAfter } from "../fixtures/power-loss.ts";
import { ROOT, scratch } from "../fixtures/program.ts";
import { type Disk, disksAfter, record } from "../fixtures/syscall-trace.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const BIN = [process.execPath, "--disable-warning=ExperimentalWarning", join(ROOT, "src/bin.ts")];
/** So many of the states are made real and continued from. */
const RERUNS = 8;

t.test("sign: a signature is whole or not there, and a rerun finishes", async (t) => {
  if (!needs(t, "strace")) return;
  const dir = scratch(t);
  const [first, second] = [makeKey(), makeKey()];
  writeFileSync(join(dir, "both.pub"), first.pem + second.pem);
  const sealed = await sealPrivateKey(second.privateKey, "correct horse battery");
  writeFileSync(join(dir, "second.key"), sealed, { mode: 0o600 });
  const pristine = join(dir, "pristine");
  makeBundle(pristine, {
    files: { "files/a": noise(600_000, 4), "files/b": noise(600_000, 5) },
    keys: [first],
    volumeSize: 700_000,
    perMedium: 1,
  });
  const bundle = join(dir, "bundle");
  cpSync(pristine, bundle, { recursive: true });
  const env = { ...process.env, AIRFERRY_PASSWORD: "correct horse battery" };
  const ops = record([...BIN, "sign", "bundle", "--key", "second.key", "-q"], bundle, { cwd: dir, env });
  t.ok(ops.some((it) => it.kind === "sync") && ops.some((it) => it.kind === "rename"));
  const there = readdirSync(pristine).flatMap((it) => [join(bundle, it), join(bundle, it, "signatures")]);
  const disks = [...disksAfter(ops, bundle, there)];
  const trust = [join(dir, "both.pub")];
  // What was there before is there whatever happens: only what `sign` writes is laid over it.
  const lay = (disk: Disk) => {
    rmSync(bundle, { recursive: true });
    cpSync(pristine, bundle, { recursive: true });
    for (const [path, bytes] of disk.files) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, bytes);
    }
  };
  const states = new Set<string>();
  for (const disk of disks) {
    for (const [path, bytes] of disk.files) {
      if (basename(path).startsWith(".tmp-")) continue;
      states.add(`${basename(path)} ${sha256(bytes)}`);
    }
  }
  t.equal(states.size, 2, "each of the two files has one content under its name, on every disk");
  for (let index = 0; index < 6; index++) {
    const disk = disks[Math.floor((index * disks.length) / 6)] as Disk;
    lay(disk);
    // Half a pair is no signature, and takes nothing from the first signer.
    t.ok((await verify([bundle], { trust })).signers.includes(first.keyid), disk.what);
    const passphrase = async () => "correct horse battery";
    await sign(bundle, { key: join(dir, "second.key"), passphrase }).catch((error: Error) =>
      t.match(error.message, "has signed it already", disk.what),
    );
    t.match(await verify([bundle], { trust, threshold: 2 }), { ok: true }, disk.what);
    const left = readdirSync(bundle, { recursive: true }).filter((it) => String(it).includes(".tmp-"));
    t.same(left, [], disk.what);
  }
});

t.test("prune: no release loses a blob that it needs, and a rerun finishes", async (t) => {
  if (!needs(t, "strace")) return;
  const dir = scratch(t);
  const key = makeKey();
  const trust = [join(dir, "k.pub")];
  writeFileSync(join(dir, "k.pub"), key.pem);
  const store = join(dir, "store");
  const shared = noise(3000, 6);
  for (const serial of [1, 2, 3]) {
    const files = {
      "files/shared": shared,
      "files/own": noise(3000, 10 + serial),
      "files/too": noise(50, 20 + serial),
    };
    makeBundle(join(dir, `bundle-${serial}`), { files, keys: [key], serial });
    await unpack([join(dir, `bundle-${serial}`)], { trust, store });
  }
  const pristine = join(dir, "pristine");
  cpSync(store, pristine, { recursive: true });
  const before = pathsBelow(pristine);
  const ops = record([...BIN, "prune", "--store", "store", "--keep", "1", "-q"], store, { cwd: dir, env: process.env });
  t.ok(ops.filter((it) => it.kind === "rename").length >= 2 && ops.some((it) => it.kind === "sync"));
  let lost = 0;
  const seen = new Set<string>();
  const names = new Set(before.map((it) => join(store, it.slice(pristine.length))));
  for (const there of namesAfter(ops, names)) {
    const state = [...there].sort().join("\n");
    if (seen.has(state)) continue;
    seen.add(state);
    for (const name of ["000001", "000002", "000003"]) {
      const record = join(store, "releases/test", name);
      if (![...there].some((it) => it.startsWith(`${record}/`) || it === record)) continue;
      const { entries } = parseInventory(readFileSync(join(pristine, "releases/test", name, "airferry.json")));
      for (const it of entries) if (!there.has(blobPathIn(store, it.digest))) lost++;
    }
    t.ok(there.has(join(store, "releases/test/000003/airferry.json")), "the current release stays");
  }
  t.equal(lost, 0, `no release that has its record lacks a blob, in ${seen.size} states`);
  t.ok(seen.size > 8, `${seen.size} states`);
  const states = [...seen];
  for (let index = 0; index < RERUNS; index++) {
    const state = new Set((states[Math.floor((index * states.length) / RERUNS)] as string).split("\n"));
    rmSync(store, { recursive: true });
    cpSync(pristine, store, { recursive: true });
    for (const it of before) {
      const path = join(store, it.slice(pristine.length));
      if (!state.has(path)) rmSync(path, { recursive: true, force: true });
    }
    for (const it of state) if (it.includes("/.gone-")) mkdirSync(it, { recursive: true });
    await prune(store, { keep: 1 });
    t.same(readdirSync(join(store, "releases/test")).sort(), ["000003", "current", "floor.json"]);
    t.match(await checkStore(store), { ok: true, releases: 1, blobs: { count: 3 } });
    t.equal(pathsBelow(join(store, "blobs")).filter((it) => /\/[0-9a-f]{64}$/.test(it)).length, 3);
  }
});

function pathsBelow(root: string): string[] {
  return readdirSync(root, { recursive: true }).map((it) => join(root, String(it)));
}
