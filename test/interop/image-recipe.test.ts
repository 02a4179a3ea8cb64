/**
 * A recipe of its own kind: a multi-arch image that buildah makes, signed, attested and with SBOMs in both of cosign's forms, through
 * lock, pack, unpack and serve, to every client over TLS.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { absent, CLIENTS_BIN, cosignPaths, needs } from "../fixtures/clients.ts";
import { runClient, startContainerd } from "../fixtures/container-clients.ts";
import { freePort } from "../fixtures/free-port.ts";
import { imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry } from "../fixtures/images.ts";

const RECIPE = join(import.meta.dirname, "../fixtures/data/image-recipe.sh");

t.test("the recipe's image crosses the gap", async (t) => {
  if (!needs(t, "docker-registry", "skopeo", "buildah", "podman", "runc", "crane", "oras", "cosign2", "cosign3"))
    return;
  const busybox = join(CLIENTS_BIN, "../unpacked/bin/busybox");
  if (!existsSync(busybox)) return absent(t, "busybox-static");
  const gap = await imageGap(t, "airferry-recipe");
  const work = join(gap.dir, "recipe");
  mkdirSync(work);
  const env = { W: work, P: String(await freePort()), AMD: busybox };
  const made = await runClient("bash", [RECIPE], env);
  t.equal(made.status, 0, made.out);
  for (const line of ["podman-run-ok", "verify-new-ok", "verify-att-ok", "verify-legacy-ok"]) t.match(made.out, line);

  // The registry that the recipe filled, again.
  const upstream = await startDockerRegistry(work);
  t.teardown(() => upstream.stop());
  const names = ["lab/bb:1.0", "lab/bb:1.0-docker", "lab/legacy:1.0"];
  const keys = ["recipe/cosign.pub"];
  const digests = new Map<string, string>();
  for (const name of names) {
    digests.set(name, (await gap.run("crane", "digest", `${upstream.host}/${name}`)).out.trim());
  }
  const lists = new Map<string, string[]>();
  for (const name of ["lab/bb", "lab/legacy"]) {
    lists.set(name, (await gap.run("crane", "ls", `${upstream.host}/${name}`)).out.trim().split("\n").sort());
  }
  const entry = (name: string) => ({ ref: `registry.example.com/${name}`, insecure: true });
  const bundle = await gap.carry(
    {
      images: names.map((name) => ({ ...entry(name), ...(name.endsWith("docker") ? {} : { signatures: { keys } }) })),
    },
    { args: ["--rewrite", `registry.example.com=${upstream.host}`] },
  );
  await upstream.stop();
  const shown = await gap.airferry("inspect", bundle);
  t.match(
    shown.stdout,
    /upstream-signed by [0-9a-f]{16} +3 +all +registry\.example\.com\/lab\/bb:1\.0 +its registry +sha256:/,
  );
  t.match(shown.stdout, /first-sight +0 +all +registry\.example\.com\/lab\/bb:1\.0-docker/);
  t.notMatch(shown.stdout, /images\/blobs/, "blobs are for --files");
  const { host, ca, certDir } = await gap.serve();
  const at = (name: string) => `${host}/registry.example.com/${name}`;
  const crane = (...args: string[]) => runClient("crane", args, { ...gap.home, SSL_CERT_FILE: ca });

  await t.test("crane: digests, all content, every tag that upstream had", async (t) => {
    for (const [name, digest] of digests) {
      t.equal((await crane("digest", at(name))).out.trim(), digest, name);
      const valid = await crane("validate", "--remote", at(name));
      t.equal(valid.status, 0, valid.out);
      const pulled = await crane("pull", "--format", "oci", at(name), join(gap.dir, "crane", name.replace(/\W/g, "-")));
      t.equal(pulled.status, 0, pulled.out);
    }
    for (const [name, tags] of lists) {
      // The fallback tag of referrers is made by the server, not packed.
      const served = (await crane("ls", at(name))).out.trim().split("\n");
      for (const tag of tags) {
        if (!/^sha256-[0-9a-f]{64}$/.test(tag)) t.ok(served.includes(tag), `${name}:${tag}`);
        t.equal((await crane("manifest", `${at(name)}:${tag}`)).status, 0, `${name}:${tag}`);
      }
    }
  });

  await t.test("skopeo and oras copy all platforms", async (t) => {
    for (const name of names) {
      const flags = ["copy", "-q", "--all", "--preserve-digests", "--src-cert-dir", certDir];
      const folder = `${gap.dir}/sk-${name.replace(/\W/g, "-")}`;
      const copied = await gap.run("skopeo", ...flags, `docker://${at(name)}`, `dir:${folder}`);
      t.equal(copied.status, 0, copied.out);
      const oras = await gap.run(
        "oras",
        "copy",
        "-r",
        "--from-ca-file",
        ca,
        at(name),
        "--to-oci-layout",
        `${folder}-o:1`,
      );
      t.equal(oras.status, 0, oras.out);
    }
    const pulled = await gap.run("oras", "pull", "--ca-file", ca, "--platform", "linux/amd64", at("lab/bb:1.0"));
    t.equal(pulled.status, 0, pulled.out);
    const tree = await gap.run("oras", "discover", "--ca-file", ca, at("lab/bb:1.0"));
    t.match(tree.out, "application/spdx+json");
  });

  await t.test("cosign verifies signatures and attestations", async (t) => {
    const common = ["--key", join(work, "cosign.pub"), "--insecure-ignore-tlog=true", "--registry-cacert", ca];
    for (const cosign of cosignPaths()) {
      const run = (...args: string[]) => runClient(cosign, args, gap.home);
      for (const name of ["lab/bb:1.0", "lab/legacy:1.0"]) {
        // cosign 2 does not look for the new form.
        if (name === "lab/bb:1.0" && !/cosign3/.test(cosign)) continue;
        const reference = `${at(name.split(":")[0] as string)}@${digests.get(name)}`;
        const good = await run("verify", ...common, reference);
        t.equal(good.status, 0, good.out);
        const attested = await run("verify-attestation", "--type", "spdxjson", ...common, reference);
        t.equal(attested.status, 0, attested.out);
      }
      const unsigned = await run("verify", ...common, at("lab/bb:1.0-docker"));
      t.not(unsigned.status, 0);
    }
  });

  await t.test("podman pulls and runs, and loads and runs the export", async (t) => {
    const storage = ["--storage-driver", "vfs", "--root", `${gap.dir}/p/s`, "--runroot", `${gap.dir}/p/r`];
    const podman = (...args: string[]) =>
      gap.run("podman", ...storage, "--cgroup-manager", "cgroupfs", "--runtime", "runc", ...args);
    const limits = ["--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none"];
    for (const name of names) {
      const pulled = await podman("pull", "-q", "--cert-dir", certDir, at(name));
      t.equal(pulled.status, 0, pulled.out);
      t.match((await podman("run", ...limits, at(name), "echo", "it-runs")).out, "it-runs", name);
    }
    await podman("rmi", "-a", "-f");
    const file = join(gap.dir, "bb.tar");
    const exported = await gap.airferry("export", "image", "lab/bb:1.0", "--store", "store", "--out", file);
    t.equal(exported.status, 0, exported.stderr);
    const loaded = await podman("load", "-i", file);
    t.equal(loaded.status, 0, loaded.out);
    const reference = "registry.example.com/lab/bb:1.0";
    t.match(
      (await podman("image", "inspect", "--format", "{{.RepoDigests}}", reference)).out,
      digests.get("lab/bb:1.0"),
    );
    t.match((await podman("run", ...limits, reference, "echo", "it-runs")).out, "it-runs");
    await podman("rmi", "-a", "-f");
  });

  await t.test("ctr pulls by mirror rule", async (t) => {
    if (!needs(t, "containerd", "ctr") || process.getuid?.() !== 0) return;
    const certs = join(gap.dir, "certs.d");
    mkdirSync(join(certs, "registry.example.com"), { recursive: true });
    const hosts = `server = "https://${host}"\nca = "${ca}"\n[host."https://${host}"]\n  capabilities = ["pull", "resolve"]\n  ca = "${ca}"\n`;
    writeFileSync(join(certs, "registry.example.com/hosts.toml"), hosts);
    const daemon = await startContainerd(join(gap.dir, "ctd"), certs);
    t.teardown(() => daemon.stop());
    for (const name of names) {
      const reference = `registry.example.com/${name}`;
      const pulled = await gap.run("ctr", "-a", daemon.socket, "images", "pull", "--hosts-dir", certs, reference);
      t.equal(pulled.status, 0, pulled.out);
      t.match((await gap.run("ctr", "-a", daemon.socket, "images", "ls")).out, digests.get(name));
    }
    await daemon.stop();
  });

  await t.test("the bundle, unpacked by tar, is a valid layout", async (t) => {
    const tree = join(gap.dir, "tree");
    mkdirSync(tree);
    t.equal((await gap.run("sh", "-c", 'cat "$0"/data.tar.* | tar -C "$1" -xf -', bundle, tree)).status, 0);
    const layout = `${tree}/images`;
    for (const name of names) {
      // skopeo reads layouts of the OCI types only.
      if (name.endsWith("docker")) continue;
      const to = `dir:${gap.dir}/layout-${name.replace(/\W/g, "-")}`;
      const copied = await gap.run("skopeo", "copy", "--all", `oci:${layout}:registry.example.com/${name}`, to);
      t.equal(copied.status, 0, copied.out);
    }
    for (const [name, digest] of digests) {
      const to = `${gap.dir}/layout-o-${name.replace(/\W/g, "-")}:1`;
      const copied = await gap.run("oras", "copy", "--from-oci-layout", `${layout}@${digest}`, "--to-oci-layout", to);
      t.equal(copied.status, 0, copied.out);
    }
    const valid = await gap.run("oras", "discover", "--oci-layout", `${layout}@${digests.get("lab/bb:1.0")}`);
    t.equal(valid.status, 0, valid.out);
    t.match(valid.out, "application/spdx+json", "with what is about the images");
  });
});
