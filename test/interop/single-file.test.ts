/**
 * A host that has nothing: the program out of the bundle itself, in an empty root with the C and C++ libraries of this host and
 * nothing else (no shell, no /proc, no /etc, no /tmp), verifies, unpacks, serves, renders, stages and looks; dnf and podman outside
 * use what it serves. And VERIFY.txt, followed to the letter with stock tools.
 */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import t from "tap";
import { clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { xorriso } from "../fixtures/el-dvd.ts";
import { builtFolder, programIn, putLibraries } from "../fixtures/executable.ts";
import { TestImages, tarFolder } from "../fixtures/images.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { OWN_ADDRESS, onOwnMachine } from "../fixtures/own-machine.ts";
import { scratch, start, writeManifest } from "../fixtures/program.ts";
import { addressesOf, dnf, run } from "../fixtures/rpm-carry.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";

const NAME = `airferry-linux-${process.arch}`;
const IMAGE = "registry.example.com/lab/tool:1.0";

const ELF = "\x7fELF";
const PACKED = gzipSync("packed");
const BUILDER = {
  flavor: "image-builder",
  version: "v0.1.47",
  kickstart: "ks.cfg",
  packer_vars: { kubernetes_semver: "v1.33.4", goss_skip_install: "true" },
};
/** What that builder looks for. */
const FOR_BUILDER: Record<string, string | Buffer> = {
  "ks.cfg": "cdrom\nuser --name=builder --password=builder --plaintext\n",
  ...Object.fromEntries(["kubeadm", "kubelet", "kubectl"].map((it) => [`release/v1.33.4/bin/linux/amd64/${it}`, ELF])),
  "cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz": PACKED,
  "containerd-2.3.2-linux-amd64.tar.gz": PACKED,
  "crictl-v1.33.0-linux-amd64.tar.gz": PACKED,
  "containerd.service": "unit",
  "runc.amd64": ELF,
};

/** The commands of VERIFY.txt in the passage that begins so: the indented lines up to the next empty one. */
function commandsAfter(text: string, beginning: string): string[] {
  const passage = text.slice(text.indexOf(beginning)).split("\n\n", 1)[0] as string;
  return passage.split("\n").flatMap((it) => (it.startsWith("  ") ? [it.trim()] : []));
}

// Built before: on the machine of its own there is no registry.
await builtFolder();
if (await onOwnMachine(t, import.meta.filename)) {
  t.test("from a bundle to dnf and podman with nothing else", async (t) => {
    if (!needs(t, "chroot", "ldd", "dnf", "podman", "xorriso", "openssl", "sha256sum", ...RPM_BUILDERS)) return;
    const dir = scratch(t, "airferry-single");
    const tree = await buildRpmTree(join(dir, "tree"));
    writeFileSync(join(dir, "key.asc"), tree.key);
    await writeKeyPairs(dir, "site");
    const images = new TestImages();
    images.writeLayout(join(dir, "layout"), { [IMAGE]: images.image("linux/amd64", [{ "etc/motd": "carried\n" }]) });
    tarFolder(join(dir, "layout"), join(dir, "tool.tar"));
    for (const [name, text] of Object.entries(FOR_BUILDER)) {
      mkdirSync(join(dir, "builder", dirname(name)), { recursive: true });
      writeFileSync(join(dir, "builder", name), text);
    }
    await xorriso(join(dir, "builder"), join(dir, "rocky.iso"));

    // Outside: the program packs, and brings itself. Its root is where the medium will be.
    const root = join(dir, "root");
    mkdirSync(root);
    const manifest = writeManifest(dir, {
      stream: "site",
      rpms: ["base", "loose"].map((name) => ({ name, path: `tree/${name}`, keys: ["key.asc"] })),
      isos: [{ name: "rocky-9", path: "rocky.iso" }],
      files: [...Object.keys(FOR_BUILDER)].map((as) => ({ path: `builder/${as}`, as })),
      builder: BUILDER,
      images: [{ archive: "tool.tar" }],
    });
    const outside = [programIn(await builtFolder())] as const;
    const packed = await start(
      dir,
      ["pack", manifest, "--key", "site.key", "--out", "root", "--allow-findings"],
      { AIRFERRY_NO_PROGRAM: undefined },
      outside,
    ).done;
    t.equal(packed.status, 0, packed.stderr);
    t.match(packed.stderr, new RegExp(`brought bin/${NAME}; VERIFY\\.txt says how to start it`));
    const bundle = join(dir, packed.stdout.trim());
    t.equal(statSync(join(bundle, "bin", NAME)).mode & 0o777, 0o755);
    t.strictSame(readdirSync(join(bundle, "bin")), [NAME], "what it is, without what it has no sibling of");

    await t.test("VERIFY.txt, to the letter", async (t) => {
      const text = readFileSync(join(bundle, "VERIFY.txt"), "utf8");
      cpSync(join(dir, "site.pub"), join(root, "airferry.pub"));
      const key = (readdirSync(join(bundle, "signatures")).find((it) => it.endsWith(".sig")) as string).slice(0, 16);
      const check = /openssl dgst .*/.exec(text)?.[0].replace("KEYID", key) as string;
      const [install, compare, ...begin] = commandsAfter(text, "airferry itself is in bin/");
      t.match(install, /^install -m 755 bin/);
      t.strictSame(
        begin.map((it) => it.split(" ").slice(0, 2).join(" ")),
        ["airferry verify", "airferry unpack", "airferry serve"],
      );
      // What is written outside the bundle goes to memory, and is gone afterwards.
      const over =
        "mount -t tmpfs tmpfs /usr/local/bin && mount -t tmpfs tmpfs /srv && export PATH=/usr/local/bin:/usr/bin:/bin";
      const lines = [over, "sha256sum -c SHA256SUMS", check, install, compare, ...begin.slice(0, 2)];
      const ran = spawnSync("unshare", ["--mount", "sh", "-ec", lines.join("\n")], { cwd: bundle, encoding: "utf8" });
      t.equal(ran.status, 0, ran.stderr);
      t.match(ran.stdout, /^Verified OK$/m);
      t.match(ran.stdout, /^\/usr\/local\/bin\/airferry: OK$/m);
      t.match(ran.stdout, /^good: stream site, serial 1/m);
      const changed = `sed -i '1s/^./x/' SHA256SUMS`;
      const wrong = spawnSync(
        "unshare",
        [
          "--mount",
          "sh",
          "-ec",
          [over, "cp -r . /srv/b", "cd /srv/b", install, "echo >>/usr/local/bin/airferry", compare, changed].join("\n"),
        ],
        { cwd: bundle, encoding: "utf8" },
      );
      t.not(wrong.status, 0, "a program that was changed on the way is not OK");
      t.match(wrong.stdout, /^\/usr\/local\/bin\/airferry: FAILED$/m);
    });

    // Inside: nothing but what came on the medium, the key, and the libraries.
    putLibraries(join(bundle, "bin", NAME), root);
    const at = `/${bundle.slice(root.length + 1)}`;
    const inside = (...args: string[]) => [clientPath("chroot") as string, root, `${at}/bin/${NAME}`, ...args] as const;
    const airferry = (...args: string[]) => {
      const [program, ...rest] = inside(...args);
      return spawnSync(program, rest, { encoding: "utf8", env: {} });
    };
    const works = (ran: ReturnType<typeof airferry>, what: string) =>
      t.equal(ran.status, 0, `${what}: ${ran.stderr}${ran.stdout}`);
    works(airferry("verify", at, "--trust", "/airferry.pub"), "verify");
    works(airferry("unpack", at, "--trust", "/airferry.pub", "--store", "/store"), "unpack");
    works(airferry("status", "--store", "/store", "--check"), "status");
    const [program, ...args] = inside(
      "serve",
      "--store",
      "/store",
      "--listen",
      `${OWN_ADDRESS}:0`,
      "--tls",
      "auto",
      "--tls-dir",
      "/tls",
      "--listen-http",
      `${OWN_ADDRESS}:0`,
    );
    const server = spawn(program, args, { env: {}, stdio: ["ignore", "pipe", "pipe"] });
    const ended = new Promise<number | null>((resolve) => server.on("exit", resolve));
    t.teardown(async () => {
      server.kill("SIGKILL");
      await ended;
    });
    const { https } = await addressesOf(server, OWN_ADDRESS);
    const where = ["--store", "/store", "--url", https];
    works(airferry("render", "repo", ...where, "--out", "/out/airferry.repo"), "render");
    works(airferry("stage", "/output", ...where, "--ca", "/tls/ca.crt"), "stage");
    t.ok(existsSync(join(root, "output", "rocky-9.iso")));
    works(airferry("doctor", "--url", https, "--ca", "/tls/ca.crt"), "doctor");
    works(airferry("export", "image", IMAGE, "--store", "/store", "--out", "/tool.tar"), "export");

    // Clients outside.
    const ca = join(root, "tls/ca.crt");
    const repos = readFileSync(join(root, "out", "airferry.repo"), "utf8").replace(
      /^sslcacert=.*/gm,
      `sslcacert=${ca}`,
    );
    const installed = await dnf(dir, "installed", repos, "install", "aft-loose");
    t.equal(installed.status, 0, installed.out);
    t.match((await run("rpm", ["--root", join(dir, "installed"), "-q", "aft-loose"], dir)).out, /^aft-loose-1-1/);
    mkdirSync(join(dir, "certs"));
    cpSync(ca, join(dir, "certs", "ca.crt"));
    const storage = ["--storage-driver", "vfs", "--root", join(dir, "p/s"), "--runroot", join(dir, "p/r")];
    const podman = spawnSync(
      "podman",
      [...storage, "pull", "-q", "--cert-dir", join(dir, "certs"), `${new URL(https).host}/${IMAGE}`],
      {
        encoding: "utf8",
        env: clientEnv({ HOME: dir, XDG_RUNTIME_DIR: dir }),
      },
    );
    t.equal(podman.status, 0, podman.stderr);
    server.kill("SIGTERM");
    t.equal(await ended, 0, "it ends when it is told to");
    rmSync(join(dir, "p"), { recursive: true, force: true });
  });
}
