/** Faults that pack once had: digests that were not checked, downloads that met in one file, volumes dealt out twice. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { LockFolder } from "../../src/manifest/lock-folder.ts";
import { prepareTlsAuto } from "../../src/server/process/tls-auto.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, seededBytes, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

t.test("a SHA-224 checksum is checked like any other", async (t) => {
  const bytes = seededBytes(3, 50_000);
  const sums = `${createHash("sha224").update(bytes).digest("hex")}  a.bin\n`;
  const upstream = await startUpstream({
    files: new Map<string, Uint8Array | string>([
      ["/a.bin", bytes],
      ["/SUMS", sums],
    ]),
  });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const file = writeManifest(dir, {
    files: [{ url: `${upstream.url}/a.bin`, checksums: { url: `${upstream.url}/SUMS` } }],
  });
  t.equal((await airferry(dir, ["lock", file])).status, 0);
  const other = Buffer.from(bytes);
  other[100] = (other[100] as number) ^ 1;
  upstream.files.set("/a.bin", other);
  const ran = await airferry(dir, ["pack", file, "--unsigned"]);
  t.equal(ran.status, 4, ran.stderr);
  t.match(ran.stderr, /expected sha224:.*got sha224:/);
  t.notOk(existsSync(join(dir, "bundles", "test-000001")));
  upstream.files.set("/a.bin", bytes);
  t.equal((await airferry(dir, ["pack", file, "--unsigned"])).status, 0);
});

t.test("entries that name one URL share its download", async (t) => {
  const bytes = seededBytes(4, 400_000);
  const upstream = await startUpstream({ files: new Map([["/a.bin", bytes]]) });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const files = ["one", "two", "three"].map((as) => ({ url: `${upstream.url}/a.bin`, as: `${as}/a.bin` }));
  const file = writeManifest(dir, { files });
  const ran = await airferry(dir, ["lock", file]);
  t.equal(ran.status, 0, ran.stderr);
  t.equal(upstream.of("/a.bin", "GET").length, 1);
  // Two processes at once do not spoil each other's bytes either.
  const again = await Promise.all(
    ["x", "y"].map((name) => airferry(dir, ["lock", writeManifest(dir, { files }, `${name}.yaml`)])),
  );
  for (const it of again) t.equal(it.status, 0, it.stderr);
});

t.test("killed while it dealt volumes out to media, a rerun brings them back", async (t) => {
  const upstream = await startUpstream({ files: new Map([["/a.bin", seededBytes(5, 6 << 20)]]) });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  // An interrupted one, as a kill leaves it: everything journaled, the first volume moved already.
  upstream.behaviour["/a.bin"] = { cutEvery: 5 << 20 };
  const stopped = writeManifest(
    dir,
    { stream: "late", files: [{ url: `${upstream.url}/a.bin` }, { path: "gone" }] },
    "l.yaml",
  );
  writeFileSync(join(dir, "gone"), "here when it is locked");
  t.equal((await airferry(dir, ["lock", stopped])).status, 0);
  writeFileSync(join(dir, "gone"), "here when it is lockeD");
  const fail = await airferry(dir, ["pack", stopped, "--unsigned", "--out", "late", "--volume-size", "2MiB"]);
  t.equal(fail.status, 4, fail.stderr);
  const work = join(dir, "late", readdirSync(join(dir, "late")).find((it) => it.startsWith(".work-")) as string);
  mkdirSync(join(work, "medium-1-of-2"));
  renameSync(join(work, "data.tar.0000"), join(work, "medium-1-of-2", "data.tar.0000"));
  writeFileSync(join(dir, "gone"), "here when it is locked");
  const ran = await airferry(dir, ["pack", stopped, "--unsigned", "--out", "late", "--volume-size", "2MiB"]);
  t.equal(ran.status, 0, ran.stderr);
  t.equal((await airferry(dir, ["keygen", "--out", "k"])).status, 0);
  t.equal((await airferry(dir, ["sign", join("late", "late-000001"), "--key", "k.key"])).status, 0);
  const verified = await airferry(dir, ["verify", join("late", "late-000001"), "--trust", "k.pub"]);
  t.equal(verified.status, 0, verified.stderr);
});

t.test("a folder that cannot be made is said, not tried for ever", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "a"), "a");
  const ran = await airferry(dir, [
    "pack",
    writeManifest(dir, { files: [{ path: "a" }] }),
    "--unsigned",
    "--out",
    "/proc/none/x",
  ]);
  t.equal(ran.status, 1);
  t.match(ran.stderr, /cannot create folder "\/proc\/none"/);
});

t.test("a read-only or a full file system is said by its name, with what helps", async (t) => {
  const dir = scratch(t);
  const mount = join(dir, "mount");
  mkdirSync(mount);
  writeFileSync(join(dir, "a"), "a");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], { stdio: "ignore" });
  } catch {
    return t.pass("tmpfs", { skip: "mounting is not allowed here" });
  }
  t.teardown(() => execFileSync("umount", [mount]));
  const local = writeManifest(dir, { files: [{ path: "a" }] });
  writeFileSync(join(mount, "filler"), Buffer.alloc(40_000));
  const key = join(mount, "site");
  writeFileSync(join(mount, "more"), Buffer.alloc(64 * 1024 - 40_960));
  const full = await airferry(dir, ["keygen", "--out", key]);
  t.equal(full.status, 1);
  t.match(full.stderr, /no space left\nairferry: hint: free some space and run the same command again\n$/);
  execFileSync("mount", ["-o", "remount,ro", mount]);
  const hint =
    /its file system is read-only\nairferry: hint: choose another folder, or mount its file system read-write\n$/;
  const out = await airferry(dir, ["pack", local, "--unsigned", "--out", join(mount, "out")]);
  t.equal(out.status, 1);
  t.match(out.stderr, /cannot create folder ".*\/mount\/out": /);
  t.match(out.stderr, hint);
  const tls = await prepareTlsAuto(join(mount, "tls"), []).catch((it) => it);
  t.match(tls, {
    code: "ERR_IO",
    message: /^cannot store certificates in ".*tls": .*its file system is read-only/,
    hint: /--tls-dir/,
  });
  const kept = await new LockFolder(join(mount, "x.lock.d")).put(Buffer.from("a")).catch((it) => it);
  t.match(kept, {
    code: "ERR_IO",
    message: /^cannot create folder ".*x\.lock\.d": its file system is read-only/,
    hint: /read-write/,
  });
});
