/**
 * A bundle in small volumes on a read-only medium, served without a store, to dnf, skopeo, podman and curl. The server runs under strace,
 * with a home that nobody can write to: it creates nothing, and writes to no file.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { absent, clientPath, needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { airferry } from "../fixtures/host.ts";
import { startDockerRegistry, staticBusybox, TestImages } from "../fixtures/images.ts";
import { CHECKOUT, scratch, seededBytes, start, writeManifest } from "../fixtures/program.ts";
import { dnf, requireClosed, rpmBench, run } from "../fixtures/rpm-carry.ts";
import { startUpstream } from "../fixtures/upstream.ts";

/** Calls that change a file system, those that open files among them. */
const CALLS =
  "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,truncate,ftruncate,fallocate,chmod,fchmod,fchmodat,chown,fchown,fchownat,utimensat,mknod,mknodat,setxattr,fsetxattr,copy_file_range";

t.test("from a read-only medium to every kind of client", { timeout: 180_000 }, async (t) => {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return absent(t, "root on Linux (mount)");
  if (!needs(t, "skopeo", "podman", "docker-registry", "strace", "mount")) return;
  const busybox = staticBusybox();
  if (busybox === undefined) return absent(t, "busybox-static");
  const bench = await rpmBench(t);
  if (bench === undefined) return;
  const dir = scratch(t, "airferry-medium");
  const { tree, work } = bench;
  const upstream = await startUpstream({ files: new Map([...tree.served("base"), ["/key", tree.key]]) });
  t.teardown(() => upstream.close());
  const registry = await startDockerRegistry(join(dir, "upstream"));
  t.teardown(() => registry.stop());
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ "bin/busybox": busybox }, { "etc/motd": "from the medium\n" }]);
  await images.push(registry.host, "lab/bb", { "1.0": image });
  const big = seededBytes(5, 1_300_000);
  writeFileSync(join(dir, "big.bin"), big);
  writeManifest(dir, {
    files: [{ path: "big.bin" }],
    rpms: [
      { name: "base", url: `${upstream.url}/base/`, keys: [`${upstream.url}/key`], fingerprints: [tree.fingerprint] },
    ],
    images: [{ ref: "registry.example.com/lab/bb:1.0", insecure: true }],
  });
  const rewrite = ["--rewrite", `registry.example.com=${registry.host}`];
  const packed = await airferry(dir, [
    "pack",
    "m.yaml",
    "--key",
    join(work, "k.key"),
    "--volume-size",
    "100KiB",
    ...rewrite,
  ]);
  t.equal(packed.status, 0, packed.stderr);
  const bundle = join(dir, packed.stdout.trim().split("\n").at(-1)!);

  const medium = join(dir, "medium");
  mkdirSync(medium);
  mountReadOnly(bundle, medium, join(dir, "medium.squashfs"));
  t.teardown(() => execFileSync("umount", ["-l", medium]));
  const home = join(dir, "home");
  mkdirSync(home, { mode: 0o555 });
  const trace = join(dir, "trace");
  // scripts/airferry caches compiled code; a released program does not.
  const env = {
    HOME: home,
    NODE_COMPILE_CACHE: "",
    NODE_DISABLE_COMPILE_CACHE: "1",
    TMPDIR: home,
    AIRFERRY_CACHE: home,
  };
  const server = start(
    dir,
    ["serve", medium, "--trust", join(work, "k.pub"), "--listen", "127.0.0.1:0", "--workers", "2", "--json"],
    env,
    [clientPath("strace")!, "-f", "-y", "-o", trace, "-e", `trace=${CALLS}`, "--seccomp-bpf", ...CHECKOUT],
  );
  const { urls, pid } = await new Promise<{ urls: string[]; pid: number }>((resolve, reject) => {
    let text = "";
    server.stdout?.on("data", (more: string) => {
      text += more;
      if (text.endsWith("}\n")) resolve(JSON.parse(text));
    });
    server.done.then((ran) => reject(new Error(`serve ended: ${ran.stderr}`)));
  });
  const url = urls[0]!;
  const host = new URL(url).host;

  const repos = (await run("curl", ["-sS", `${url}/config/airferry.repo`], dir)).out;
  t.match(repos, /gpgcheck=1\nrepo_gpgcheck=1/);
  await requireClosed(t, dir, repos);
  const installed = await dnf(dir, "root", repos, "install", "aft-lib");
  t.equal(installed.status, 0, installed.out);
  t.match((await run("rpm", ["--root", join(dir, "root"), "-qa"], dir)).out, "aft-lib-1.1-1");

  const copied = await runClient("skopeo", [
    "copy",
    "--src-tls-verify=false",
    `docker://${host}/lab/bb:1.0`,
    `oci:${join(dir, "oci")}:1`,
  ]);
  t.equal(copied.status, 0, copied.out);
  t.ok(existsSync(join(dir, "oci/blobs/sha256", image.digest.slice(7))), "the same digest");
  const storage = ["--root", join(dir, "podman"), "--runroot", join(dir, "podman-run"), "--storage-driver", "vfs"];
  const pulled = await runClient("podman", [...storage, "pull", "--tls-verify=false", `${host}/lab/bb:1.0`]);
  t.equal(pulled.status, 0, pulled.out);

  const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  const got = join(dir, "got");
  for (const range of ["102300-102500", "0-", "-300000", "95000-1299999"]) {
    const [from, to] = range.split("-");
    await run("curl", ["-fsS", "-r", range, "-o", got, `${url}/files/big.bin`], dir);
    const expected =
      from === "" ? big.subarray(-Number(to)) : big.subarray(Number(from), to === "" ? undefined : Number(to) + 1);
    t.equal(sha256(readFileSync(got)), sha256(expected), `bytes ${range}, over the edges of volumes`);
  }
  writeFileSync(got, big.subarray(0, 250_001));
  await run("curl", ["-fsS", "-C", "-", "-o", got, `${url}/files/big.bin`], dir);
  t.ok(big.equals(readFileSync(got)), "resumes");

  process.kill(pid, "SIGTERM");
  const { stderr } = await server.done;
  t.match(stderr, /verified stream test, serial 1: \d+ files, signed by [0-9a-f]{64}/);
  t.notMatch(stderr, "cannot answer");
  const lines = readFileSync(trace, "utf8")
    .split("\n")
    .filter((it) => /^\d+ +\w+\(/.test(it));
  t.ok(
    lines.some((it) => it.includes(`${medium}/data.tar.0000`)),
    "the trace has what was opened",
  );
  const changing = lines.filter(
    (it) => !/ = -1 E/.test(it) && (!/^\d+ +open(?:at)?\(/.test(it) || /O_CREAT|O_TRUNC|O_WRONLY|O_RDWR/.test(it)),
  );
  t.strictSame(
    changing.filter((it) => !/\/dev\/(?:null|tty|pts\/\d+)"/.test(it)),
    [],
    "nothing else is created, opened for writing or changed",
  );
});

/** As a file system of its own where the kernel has loop devices and squashfs; else the folder itself, read-only. */
function mountReadOnly(from: string, to: string, image: string): void {
  try {
    execFileSync("mksquashfs", [from, image, "-quiet", "-no-progress", "-no-compression"], { stdio: "ignore" });
    execFileSync("mount", ["-o", "loop,ro", image, to], { stdio: "ignore" });
  } catch {
    execFileSync("mount", ["--bind", from, to]);
    execFileSync("mount", ["-o", "remount,bind,ro", to]);
  }
}
