/**
 * Images from a real registry through lock, pack, unpack and serve to every container client that runs here, over TLS with a
 * private CA; digests stay those of upstream, signatures verify, containers run.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { absent, cosignPaths, needs } from "../fixtures/clients.ts";
import { criPull, runClient, startContainerd, startDockerd } from "../fixtures/container-clients.ts";
import { airferry } from "../fixtures/host.ts";
import { startDockerRegistry, staticBusybox, TestImages } from "../fixtures/images.ts";
import { scratch, start, writeManifest } from "../fixtures/program.ts";

const busybox = staticBusybox();

t.test("images from upstream to every client", async (t) => {
  if (!needs(t, "docker-registry", "skopeo", "crane", "oras", "cosign3", "cosign2")) return;
  if (busybox === undefined) return absent(t, "busybox-static");
  const dir = scratch(t, "airferry-images");
  const home = { HOME: dir, DOCKER_CONFIG: join(dir, "docker"), COSIGN_PASSWORD: "", XDG_RUNTIME_DIR: dir };
  mkdirSync(home.DOCKER_CONFIG);
  writeFileSync(join(home.DOCKER_CONFIG, "config.json"), "{}");
  const run = (name: string, ...args: string[]) => runClient(name, args, home);
  const upstream = await startDockerRegistry(join(dir, "upstream"));
  t.teardown(() => upstream.stop());

  const images = new TestImages();
  const shared = { "bin/busybox": busybox };
  const index = images.index([
    images.image("linux/amd64", [shared, { "etc/motd": "amd64\n" }]),
    images.image("linux/arm64", [{ "etc/motd": "arm64\n" }]),
  ]);
  await images.push(upstream.host, "lab/bb", { "1.0": index });
  const other = new TestImages();
  const dockerType = other.image("linux/amd64", [shared, { "etc/motd": "docker types\n" }], true);
  await other.push(upstream.host, "kube/coredns/coredns", { v1: dockerType });
  const source = `${upstream.host}/lab/bb@${index.digest}`;

  // Both forms of cosign's signature, an SBOM beside, and an artifact.
  await run("cosign3", "generate-key-pair", "--output-key-prefix", join(dir, "cosign"));
  const key = join(dir, "cosign.key");
  const config = join(dir, "signing.json");
  const none = ["--no-default-fulcio", "--no-default-oidc", "--no-default-rekor", "--no-default-tsa"];
  await run("cosign3", "signing-config", "create", ...none, "--out", config);
  const signed = await run("cosign3", "sign", "--yes", "--key", key, "--signing-config", config, source);
  t.equal(signed.status, 0, signed.out);
  const legacy = await run("cosign2", "sign", "--yes", "--key", key, "--tlog-upload=false", source);
  t.equal(legacy.status, 0, legacy.out);
  writeFileSync(join(dir, "sbom.json"), '{"spdxVersion":"SPDX-2.3"}');
  const sbom = ["attach", "--plain-http", "--disable-path-validation", "--artifact-type", "application/spdx+json"];
  t.equal((await run("oras", ...sbom, source, `${join(dir, "sbom.json")}:application/spdx+json`)).status, 0);

  const manifest = writeManifest(dir, {
    images: [
      {
        ref: "registry.example.com/lab/bb:1.0",
        insecure: true,
        platforms: ["linux/amd64"],
        signatures: { keys: ["cosign.pub"] },
      },
      { ref: "registry.k8s.io/kube/coredns/coredns:v1", as: "registry.k8s.io/coredns/coredns:v1", insecure: true },
    ],
  });
  const rewrites = ["registry.example.com", "registry.k8s.io"].flatMap((it) => ["--rewrite", `${it}=${upstream.host}`]);
  t.equal((await airferry(dir, ["keygen", "--out", "k"])).status, 0);
  const packed = await airferry(dir, ["pack", manifest, "--key", "k.key", ...rewrites]);
  t.equal(packed.status, 0, packed.stderr);
  const again = await airferry(dir, ["pack", manifest, "--key", "k.key", "--frozen"]);
  t.equal(again.stdout, packed.stdout, "a second pack, frozen and without upstream, finds the same bundle");
  const unpacked = await airferry(dir, ["unpack", packed.stdout.trim(), "--trust", "k.pub", "--store", "store"]);
  t.equal(unpacked.status, 0, unpacked.stderr);
  const program = start(dir, [
    "serve",
    "--store",
    "store",
    "--listen",
    "127.0.0.1:0",
    "--tls",
    "auto",
    "--tls-dir",
    "tls",
  ]);
  t.teardown(() => program.kill());
  const url = await new Promise<string>((resolve) => {
    program.stdout?.on("data", (text: string) => resolve(/https:\/\/[^\s]+/.exec(text)?.[0] ?? ""));
  });
  const host = new URL(url).host;
  const ca = join(dir, "tls/ca.crt");
  const certs = join(dir, "certs");
  mkdirSync(certs);
  cpSync(ca, join(certs, "ca.crt"));
  const name = `${host}/registry.example.com/lab/bb`;

  await t.test("a container runs from an image pulled by podman", async (t) => {
    if (!needs(t, "podman", "runc")) return;
    const base = ["--storage-driver", "vfs", "--root", join(dir, "p/s"), "--runroot", join(dir, "p/r")];
    const podman = (...args: string[]) =>
      run("podman", ...base, "--cgroup-manager", "cgroupfs", "--runtime", "runc", ...args);
    const pulled = await podman("pull", "-q", "--cert-dir", certs, `${host}/lab/bb:1.0`);
    t.equal(pulled.status, 0, pulled.out);
    const limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none"];
    const ran = await podman("run", "--rm", ...limits, `${host}/lab/bb:1.0`, "cat", "/etc/motd");
    t.match(ran.out, /amd64/);
    const file = join(dir, "both.tar");
    const refs = ["registry.example.com/lab/bb:1.0", "coredns/coredns:v1"];
    const exported = await airferry(dir, ["export", "image", ...refs, "--store", "store", "--out", file]);
    t.equal(exported.status, 0, exported.stderr);
    const loaded = await podman("load", "-i", file);
    t.equal(loaded.status, 0, loaded.out);
    t.match(loaded.out, /registry\.example\.com\/lab\/bb:1\.0/);
    t.match(loaded.out, /registry\.k8s\.io\/coredns\/coredns:v1/);
  });

  await t.test("skopeo copies and keeps digests, out of the server and out of an export", async (t) => {
    const raw = await run("skopeo", "inspect", "--raw", "--cert-dir", certs, `docker://${name}:1.0`);
    t.equal(raw.out, images.manifests.get(index.digest)?.bytes.toString(), "the index is upstream's, byte for byte");
    const from = ["--src-cert-dir", certs, "--preserve-digests"];
    const copied = await run("skopeo", "copy", ...from, `docker://${name}:1.0`, `oci:${dir}/sk:1`);
    t.equal(copied.status, 0, copied.out);
    const file = join(dir, "one.tar");
    await airferry(dir, ["export", "image", "lab/bb:1.0", "--store", "store", "--out", file]);
    for (const transport of ["oci-archive", "docker-archive"]) {
      const read = await run("skopeo", "copy", `${transport}:${file}`, `dir:${dir}/sk-${transport}`);
      t.equal(read.status, 0, read.out);
    }
  });

  await t.test("crane and oras pull; what was not packed is said", async (t) => {
    const crane = (...args: string[]) => runClient("crane", args, { ...home, SSL_CERT_FILE: ca });
    t.equal((await crane("digest", `${name}:1.0`)).out.trim(), index.digest);
    t.same((await crane("catalog", host)).out.trim().split("\n"), [
      "registry.example.com/lab/bb",
      "registry.k8s.io/coredns/coredns",
    ]);
    const pulled = await crane("pull", "--platform", "linux/amd64", `${name}:1.0`, join(dir, "crane.tar"));
    t.equal(pulled.status, 0, pulled.out);
    const missing = await crane("pull", "--platform", "linux/arm64", `${name}:1.0`, join(dir, "none.tar"));
    t.match(missing.out, /platform linux\/arm64 was not packed/);
    t.match((await crane("tag", `${name}:1.0`, "2.0")).out, /read-only registry/);
    t.equal(
      (await crane("digest", `${host}/coredns:v1`)).out.trim(),
      dockerType.digest,
      "kubeadm's other name of coredns",
    );
    const from = ["--from-ca-file", ca, "--platform", "linux/amd64"];
    const copied = await run("oras", "copy", ...from, `${name}:1.0`, "--to-oci-layout", `${join(dir, "oras")}:1`);
    t.equal(copied.status, 0, copied.out);
    const about = await run("oras", "discover", "--ca-file", ca, `${name}@${index.digest}`);
    t.match(about.out, /application\/spdx\+json/);
    t.match(about.out, /application\/vnd\.dev\.sigstore\.bundle\.v0\.3\+json/);
  });

  await t.test("cosign verifies both forms of the signature", async (t) => {
    for (const cosign of cosignPaths()) {
      const common = ["--key", join(dir, "cosign.pub"), "--insecure-ignore-tlog=true", "--registry-cacert", ca];
      const good = await runClient(cosign, ["verify", ...common, `${name}@${index.digest}`], home);
      t.equal(good.status, 0, good.out);
      const unsigned = await runClient(cosign, ["verify", ...common, `${host}/coredns/coredns:v1`], home);
      t.not(unsigned.status, 0, "an image without a signature does not verify");
    }
  });

  await t.test("containerd pulls by mirror rule: ctr, and CRI as kubeadm does", async (t) => {
    if (!needs(t, "containerd", "ctr") || process.getuid?.() !== 0) return;
    const rendered = await airferry(dir, ["render", "hosts-toml", "--store", "store", "--url", url, "--out", "etc/"]);
    t.equal(rendered.status, 0, rendered.stderr);
    const folder = join(dir, "etc/certs.d");
    for (const registry of ["registry.example.com", "registry.k8s.io"]) {
      const file = join(folder, registry, "hosts.toml");
      writeFileSync(file, readFileSync(file, "utf8").replace(/ca = ".*"/g, `ca = "${ca}"`));
    }
    const daemon = await startContainerd(join(dir, "ctd"), folder);
    t.teardown(() => daemon.stop());
    const ctr = (...args: string[]) => run("ctr", "-a", daemon.socket, ...args);
    const reference = "registry.example.com/lab/bb:1.0";
    const pulled = await ctr("images", "pull", "--hosts-dir", folder, reference);
    t.equal(pulled.status, 0, pulled.out);
    t.match((await ctr("images", "ls")).out, index.digest);
    t.match(await criPull(daemon.socket, "registry.k8s.io/coredns/coredns:v1"), /^sha256:[0-9a-f]{64}$/);
    await t.rejects(criPull(daemon.socket, "registry.example.com/lab/none:1"), /was not packed|not found/);
    await ctr("images", "rm", reference);
    const imported = await ctr("images", "import", join(dir, "one.tar"));
    t.equal(imported.status, 0, imported.out);
    t.match((await ctr("images", "ls")).out, index.digest, "an import keeps the digest");
    await daemon.stop();
  });

  for (const store of ["graphdriver", "containerd"] as const) {
    await t.test(`docker pulls, runs and loads, ${store} store`, async (t) => {
      if (!needs(t, "docker", "dockerd", "containerd", "runc") || process.getuid?.() !== 0) return;
      const trust = `/etc/docker/certs.d/${host}`;
      mkdirSync(trust, { recursive: true });
      t.teardown(() => rmSync(trust, { recursive: true, force: true }));
      cpSync(ca, join(trust, "ca.crt"));
      const daemon = await startDockerd(join(dir, `d-${store}`), store);
      t.teardown(() => daemon.stop());
      const docker = (...args: string[]) => run("docker", "-H", `unix://${daemon.socket}`, ...args);
      const pulled = await docker("pull", `${host}/lab/bb:1.0`);
      t.equal(pulled.status, 0, pulled.out);
      t.match(pulled.out, index.digest);
      const ran = await docker(
        "run",
        "--rm",
        "--network",
        "none",
        "--ulimit",
        "nofile=1024:1024",
        `${host}/lab/bb:1.0`,
        "cat",
        "/etc/motd",
      );
      t.match(ran.out, /amd64/);
      const environment = {
        ...home,
        DOCKER_HOST: `unix://${daemon.socket}`,
        PATH: `${join(import.meta.dirname, "../../.cache/clients/bin")}:${process.env.PATH}`,
      };
      const loaded = await airferry(
        dir,
        ["export", "image", "lab/bb:1.0", "--store", "store", "--load", "docker"],
        environment,
      );
      t.equal(loaded.status, 0, loaded.stderr);
      t.match(loaded.stdout, /Loaded image: registry\.example\.com\/lab\/bb:1\.0/);
      await daemon.stop();
    });
  }

  await t.test("publish copies images to a site's registry with equal digests, signatures included", async (t) => {
    const site = await startDockerRegistry(join(dir, "site"));
    t.teardown(() => site.stop());
    const refused = await airferry(dir, ["publish", `${site.host}/af`, "--store", "store", "--insecure"]);
    t.equal(refused.status, 1);
    t.match(refused.stderr, /--strip-indexes/);
    const one = await airferry(dir, [
      "publish",
      `${site.host}/af`,
      "--store",
      "store",
      "--insecure",
      "--image",
      "coredns:v1",
    ]);
    t.equal(one.status, 0, one.stderr);
    const target = `${site.host}/af/registry.k8s.io/coredns/coredns:v1`;
    t.equal((await run("crane", "digest", target)).out.trim(), dockerType.digest);
    const whole = writeManifest(
      dir,
      { stream: "whole", images: [{ ref: "registry.example.com/lab/bb:1.0", insecure: true }] },
      "whole.yaml",
    );
    const packed = await airferry(dir, ["pack", whole, "--key", "k.key", ...rewrites]);
    t.equal(packed.status, 0, packed.stderr);
    await airferry(dir, ["unpack", packed.stdout.trim(), "--trust", "k.pub", "--store", "store2"]);
    const published = await airferry(dir, ["publish", site.host, "--store", "store2", "--insecure"]);
    t.equal(published.status, 0, published.stderr);
    const copy = `${site.host}/registry.example.com/lab/bb`;
    t.equal((await run("crane", "digest", `${copy}:1.0`)).out.trim(), index.digest);
    t.equal((await run("crane", "validate", "--remote", `${copy}:1.0`)).status, 0);
    for (const cosign of cosignPaths()) {
      const common = ["--key", join(dir, "cosign.pub"), "--insecure-ignore-tlog=true"];
      const good = await runClient(cosign, ["verify", ...common, `${copy}:1.0`], home);
      t.equal(good.status, 0, good.out);
    }
    const repeated = await airferry(dir, ["publish", site.host, "--store", "store2", "--insecure", "--json"]);
    t.equal(JSON.parse(repeated.stdout).images[0].pushedBlobs, 0, "nothing is sent twice");
  });

  await t.test("a wrong key and a moved tag", async (t) => {
    await run("cosign3", "generate-key-pair", "--output-key-prefix", join(dir, "wrong"));
    const wrong = writeManifest(
      dir,
      {
        stream: "wrong",
        images: [{ ref: "registry.example.com/lab/bb:1.0", insecure: true, signatures: { keys: ["wrong.pub"] } }],
      },
      "wrong.yaml",
    );
    const refused = await airferry(dir, ["pack", wrong, "--key", "k.key", ...rewrites]);
    t.equal(refused.status, 4, refused.stderr);
    t.match(refused.stderr, /not signed by any of the keys/);
    t.notOk(existsSync(join(dir, "bundles/wrong-000001")));
    await images.push(upstream.host, "lab/bb", { "1.0": images.image("linux/amd64", [{ "etc/motd": "moved\n" }]) });
    const update = await airferry(dir, ["lock", manifest, "--update", "registry.example.com/lab/bb:1.0", ...rewrites]);
    t.equal(update.status, 4, "the moved tag is not signed");
  });
});
