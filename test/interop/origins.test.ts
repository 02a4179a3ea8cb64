/**
 * A build that knows nothing of airferry: upstream's own .repo file, image references and URLs, on a machine where only
 * the rendered names and the CA lead to `serve --origins`. Real dnf, podman, skopeo and curl.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { startFakeRegistry } from "../fixtures/fake-registry.ts";
import { imageGap } from "../fixtures/image-carry.ts";
import { TestImages } from "../fixtures/images.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { becomeOriginClient } from "../fixtures/origin-client.ts";
import { OWN_ADDRESS, onOwnMachine } from "../fixtures/own-machine.ts";
import { dnf } from "../fixtures/rpm-carry.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

/** As upstream publishes it. */
const REPO = `[base]
name=base
baseurl=https://repo.lab.example/base/
gpgcheck=1
repo_gpgcheck=1
gpgkey=https://repo.lab.example/key

[cut]
name=cut
baseurl=https://repo.lab.example/cut
gpgcheck=1
repo_gpgcheck=1
gpgkey=https://repo.lab.example/cut/key

[app]
name=app
mirrorlist=https://mirrors.lab.example/list?repo=app-$releasever&arch=$basearch
gpgcheck=1
gpgkey=https://repo.lab.example/key
`;
const IMAGE = "registry.lab.example/lab/bb:1";
const DISC = "no image that boots";
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
/** One list for several files, as Rocky and Fedora publish it. */
const LIST = `SHA256 (disc.iso) = ${sha256(DISC)}\nSHA256 (tool) = ${sha256("the tool")}\n`;

if ((await onOwnMachine(t, import.meta.filename)) && needs(t, "dnf", "curl", "skopeo", "openssl", ...RPM_BUILDERS)) {
  t.test("a build that knows nothing of airferry", async (t) => {
    const gap = await imageGap(t, "airferry-origins");
    const { dir } = gap;

    await writeKeyPairs(dir);
    const tree = await buildRpmTree(join(dir, "tree"));
    const files = new Map<string, UpstreamFile>([
      ...tree.served("base"),
      ...tree.served("app"),
      ["/key", tree.key],
      ...[...tree.served("base")].map(([path, file]): [string, UpstreamFile] => [path.replace("/base", "/cut"), file]),
      ["/cut/key", tree.key],
      ["/list", "https://repo.lab.example/app/\n"],
      ["/v1/tool", "the tool"],
      ["/v1/disc.iso", DISC],
      ["/v1/CHECKSUM", LIST],
    ]);
    const upstream = await startUpstream({ files });
    const images = new TestImages();
    const registry = await startFakeRegistry({
      images,
      tags: { 1: images.image("linux/amd64", [{ "etc/lab": "lab" }]) },
      redirectBlobs: true,
    });
    const keys = ["https://repo.lab.example/key"];
    const checksums = { url: "https://dl.lab.example/v1/CHECKSUM" };
    const manifest = {
      stream: "lab",
      rpms: [
        { name: "base", url: "https://repo.lab.example/base/", keys, repo_gpgcheck: true },
        {
          name: "cut",
          url: "https://repo.lab.example/cut",
          keys: ["https://repo.lab.example/cut/key"],
          packages: ["aft-words"],
        },
        {
          name: "app",
          mirrorlist: "https://mirrors.lab.example/list?repo=app-9&arch=x86_64",
          keys,
          gpgcheck: false,
        },
      ],
      files: [{ url: "https://dl.lab.example/v1/tool", checksums }],
      isos: [{ name: "disc", url: "https://dl.lab.example/v1/disc.iso", checksums }],
      images: [{ ref: IMAGE, platforms: ["linux/amd64"], insecure: true }],
    };
    const hosts = ["repo", "mirrors", "dl"].map((it) => `https://${it}.lab.example/=${upstream.url}/`);
    const rewrites = [...hosts, `registry.lab.example=${registry.host}`].flatMap((it) => ["--rewrite", it]);
    await gap.carry(manifest, { args: rewrites });
    await upstream.close();
    await registry.close();

    await becomeOriginClient(t, dir, ["--store", "store"]);

    await t.test("curl", async (t) => {
      const tool = await gap.run("curl", "-fsS", "https://dl.lab.example/v1/tool");
      t.same(tool, { status: 0, out: "the tool" });
      const sum = await gap.run("curl", "-fsS", "https://dl.lab.example/v1/tool.sha256");
      t.match(sum.out, /^[0-9a-f]{64}\n$/);
      const other = await gap.run(
        "curl",
        "-sS",
        "--resolve",
        `evil.example.org:443:${OWN_ADDRESS}`,
        "https://evil.example.org/",
      );
      t.equal(other.status, 35, other.out);
      const proxied = ["--proxy", `http://${OWN_ADDRESS}:3128`];
      t.equal((await gap.run("curl", "-fsS", ...proxied, "https://dl.lab.example/v1/tool")).out, "the tool");
      const refused = await gap.run("curl", "-sS", ...proxied, "https://evil.example.org/");
      t.match(refused, { status: 56, out: "CONNECT tunnel failed, response 421" });
    });

    await t.test("a list of checksums of several files: curl with sha256sum, and packer", async (t) => {
      for (const name of ["CHECKSUM", "tool", "disc.iso"]) {
        const got = await gap.run("curl", "-fsS", "-o", join(dir, name), `https://dl.lab.example/v1/${name}`);
        t.equal(got.status, 0, got.out);
      }
      t.equal(readFileSync(join(dir, "CHECKSUM"), "utf8"), LIST, "byte for byte");
      const checked = await gap.run("sh", "-c", `cd '${dir}' && sha256sum -c CHECKSUM`);
      t.same(checked, { status: 0, out: "disc.iso: OK\ntool: OK\n" });
      if (!needs(t, "packer", "qemu-system-x86_64", "qemu-img")) return;
      const builder = {
        type: "qemu",
        iso_url: "https://dl.lab.example/v1/disc.iso",
        iso_checksum: "file:https://dl.lab.example/v1/CHECKSUM",
        output_directory: join(dir, "vm"),
        accelerator: "none",
        headless: true,
        communicator: "none",
        boot_wait: "-1s",
        shutdown_timeout: "1ms",
        disk_size: "1M",
        memory: 32,
      };
      writeFileSync(join(dir, "build.json"), JSON.stringify({ builders: [builder] }));
      const cache = `PACKER_CACHE_DIR=${join(dir, "packer-cache")}`;
      const { out } = await gap.run("env", cache, "packer", "build", "-color=false", join(dir, "build.json"));
      // It boots nothing, and so fails later: what counts is that its own downloader took the digest from the list.
      t.match(out, `/disc.iso?checksum=sha256%3A${sha256(DISC)} => `, out);
    });

    await t.test("dnf with upstream's .repo file, its signatures checked", async (t) => {
      const words = await dnf(dir, "cut", REPO, "--repo=cut", "install", "aft-words");
      t.equal(words.status, 0, words.out);
      const { status, out } = await dnf(dir, "root", REPO, "install", "aft-app", "aft++");
      t.equal(status, 0, out);
      t.match(out, "Complete!");
      t.ok(existsSync(join(dir, "root/usr/share/aft/plus plus")));
    });

    await t.test("skopeo and podman with upstream's reference", async (t) => {
      const copied = await gap.run("skopeo", "copy", `docker://${IMAGE}`, `dir:${join(dir, "copied")}`);
      t.equal(copied.status, 0, copied.out);
      t.match(readFileSync(join(dir, "copied/manifest.json"), "utf8"), "layers");
      if (!needs(t, "podman")) return;
      const storage = ["--root", join(dir, "p"), "--runroot", join(dir, "r"), "--storage-driver", "vfs"];
      const pulled = await gap.run("podman", ...storage, "pull", "-q", IMAGE);
      t.equal(pulled.status, 0, pulled.out);
    });
  });
}
