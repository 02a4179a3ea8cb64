/**
 * One archive of several images, of one platform and of many, into every tool that loads archives: docker in both its stores,
 * podman old and new, containerd, skopeo, crane and oras. Digests stay wherever the tool keeps any.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { absent, needs } from "../fixtures/clients.ts";
import { startContainerd, startDockerd } from "../fixtures/container-clients.ts";
import { startFakeRegistry } from "../fixtures/fake-registry.ts";
import { airferry } from "../fixtures/host.ts";
import { imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry, staticBusybox, TestImages } from "../fixtures/images.ts";

const busybox = staticBusybox();
const LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

t.test("several images in one archive", async (t) => {
  if (!needs(t, "skopeo", "crane", "oras", "podman", "runc")) return;
  if (busybox === undefined) return absent(t, "busybox-static");
  const gap = await imageGap(t, "airferry-load");
  const images = new TestImages();
  const shared = { "bin/busybox": busybox };
  const of = (platform: string, motd: string, docker = false) =>
    images.image(platform, [shared, { "etc/motd": `${motd}\n` }], docker);
  // All platforms; one of two; an image without an index; docker's own types; and one that has no tag.
  const whole = images.index([of("linux/amd64", "whole amd64"), of("linux/arm64", "whole arm64")]);
  const sparse = images.index([of("linux/amd64", "sparse amd64"), of("linux/arm64", "sparse arm64")]);
  const single = of("linux/amd64", "single");
  const docker = of("linux/amd64", "docker", true);
  const nameless = of("linux/amd64", "nameless");
  const tags = { whole, sparse, single, docker };
  const fake = await startFakeRegistry({ images, tags });
  t.teardown(() => fake.close());
  const entry = (reference: string, name: string) => ({
    ref: `${fake.host}/lab/bb${reference}`,
    insecure: true,
    as: `example.com/lab/${name}`,
  });
  await gap.carry({
    images: [
      entry(":whole", "whole:1"),
      { ...entry(":sparse", "sparse:1"), platforms: ["linux/amd64"] },
      entry(":single", "single:1"),
      entry(":docker", "docker:1"),
      entry(`@${nameless.digest}`, `nameless@${nameless.digest}`),
    ],
  });
  const names = Object.keys(tags).map((it) => `example.com/lab/${it}:1`);
  const file = join(gap.dir, "all.tar");
  const args = [...names, "lab/nameless", "--store", "store"];
  const exported = await gap.airferry("export", "image", ...args, "--out", file, "--json");
  t.equal(exported.status, 0, exported.stderr);
  t.equal((JSON.parse(exported.stdout) as { images: object[] }).images.length, 5);
  const again = join(gap.dir, "again.tar");
  await gap.airferry("export", "image", ...args, "--out", again);
  t.equal((await gap.run("cmp", file, again)).status, 0, "the same images give the same bytes");
  const members = (await gap.run("tar", "-tf", file)).out.trim().split("\n");
  t.equal(new Set(members).size, members.length, "what they share is in it once");

  for (const podman of ["podman", "newer-podman"]) {
    await t.test(`${podman}, from a file and by --load`, async (t) => {
      if (!needs(t, podman)) return;
      const storage = [
        "--storage-driver",
        "vfs",
        "--root",
        `${gap.dir}/${podman}/s`,
        "--runroot",
        `${gap.dir}/${podman}/r`,
      ];
      const options = [...storage, "--cgroup-manager", "cgroupfs", "--runtime", "runc"];
      const run = (...more: string[]) => gap.run(podman, ...options, ...more);
      const check = async (how: string) => {
        for (const [name, { digest }] of Object.entries(tags)) {
          const reference = `example.com/lab/${name}:1`;
          const found = await run("image", "inspect", "--format", "{{.RepoDigests}}", reference);
          // Out of an archive with several images, podman takes the docker-archive in it, and makes manifests of its own.
          if (how === "--load") t.match(found.out, digest, `${how}: ${name} keeps its digest`);
          const ran = await run("run", "--rm", ...LIMITS, "--network=none", reference, "cat", "/etc/motd");
          t.match(ran.out, name === "whole" || name === "sparse" ? `${name} amd64` : name, how);
        }
      };
      const loaded = await run("load", "-i", file);
      t.equal(loaded.status, 0, loaded.out);
      await check("file");
      const removed = await run("rmi", "-a", "-f");
      t.equal(removed.status, 0, removed.out);
      // --load finds the tool on PATH; a wrapper gives it the storage of this test.
      const bin = join(gap.dir, `bin-${podman}`);
      await gap.run("mkdir", "-p", bin);
      const quoted = options.map((it) => `'${it}'`).join(" ");
      writeFileSync(join(bin, "podman"), `#!/bin/sh\nPATH=\${PATH#*:}\nexec ${podman} ${quoted} "$@"\n`, {
        mode: 0o755,
      });
      const load = await loadWith("podman", bin);
      t.equal(load.status, 0, load.stderr);
      t.match(load.stdout, /Loaded image/);
      await check("--load");
      // Layers belong to other users where they were unpacked.
      await run("rmi", "-a", "-f");
    });
  }

  function clientsPath(): string {
    return `${join(import.meta.dirname, "../../.cache/clients/bin")}:${process.env.PATH}:/usr/sbin`;
  }

  async function loadWith(tool: string, bin: string, env: Record<string, string> = {}) {
    const path = { PATH: `${bin}:${clientsPath()}` };
    return airferry(gap.dir, ["export", "image", ...args, "--load", tool], { ...gap.home, ...path, ...env });
  }

  for (const store of ["graphdriver", "containerd"] as const) {
    await t.test(`docker, ${store} store`, async (t) => {
      if (!needs(t, "docker", "dockerd", "containerd", "runc") || process.getuid?.() !== 0) return;
      const daemon = await startDockerd(join(gap.dir, `d-${store}`), store);
      t.teardown(() => daemon.stop());
      const DOCKER_HOST = `unix://${daemon.socket}`;
      const docker = (...more: string[]) => gap.run("docker", "-H", DOCKER_HOST, ...more);
      for (const how of ["file", "--load"]) {
        if (how === "file") {
          const loaded = await docker("load", "-i", file);
          t.equal(loaded.status, 0, loaded.out);
        } else {
          const loaded = await loadWith("docker", gap.dir, { DOCKER_HOST });
          t.equal(loaded.status, 0, loaded.stderr);
        }
        for (const [name, { digest }] of Object.entries(tags)) {
          const reference = `example.com/lab/${name}:1`;
          const ran = await docker(
            "run",
            "--rm",
            "--network",
            "none",
            ...LIMITS.slice(0, 2),
            reference,
            "cat",
            "/etc/motd",
          );
          t.match(ran.out, name === "whole" || name === "sparse" ? `${name} amd64` : name, how);
          // The old store keeps no digests of what was loaded, whatever the archive says.
          const found = await docker("image", "inspect", "--format", "{{.Id}} {{.RepoDigests}}", reference);
          if (store === "containerd") t.match(found.out, digest, `${how}: ${name} keeps its digest`);
        }
        const removed = await docker("rmi", "-f", ...names);
        t.equal(removed.status, 0, removed.out);
      }
      await daemon.stop();
    });
  }

  await t.test("containerd", async (t) => {
    if (!needs(t, "containerd", "ctr", "runc") || process.getuid?.() !== 0) return;
    const daemon = await startContainerd(join(gap.dir, "ctd"), join(gap.dir, "none"));
    t.teardown(() => daemon.stop());
    const ctr = (...more: string[]) => gap.run("ctr", "-a", daemon.socket, ...more);
    const imported = await ctr("images", "import", file);
    t.equal(imported.status, 0, imported.out);
    const list = (await ctr("images", "ls")).out.split("\n");
    for (const [name, { digest }] of Object.entries({ ...tags, nameless })) {
      const line = list.find((it) => it.startsWith(`example.com/lab/${name}`)) ?? "";
      t.match(line, digest, `${name} keeps its digest`);
    }
    const ran = await ctr(
      "run",
      "--rm",
      "--runc-binary",
      "/usr/sbin/runc",
      names[1] as string,
      "c1",
      "/bin/busybox",
      "cat",
      "/etc/motd",
    );
    t.match(ran.out, /sparse amd64/);
    await daemon.stop();
  });

  await t.test("skopeo, crane and oras", async (t) => {
    if (!needs(t, "docker-registry", "newer-skopeo")) return;
    for (const skopeo of ["skopeo", "newer-skopeo"]) {
      for (const [name, at] of Object.entries({ whole: 0, single: 2 })) {
        const from = [`docker-archive:${file}:example.com/lab/${name}:1`, `oci-archive:${file}:1`];
        const read = await gap.run(skopeo, "inspect", "--config", from[0] as string);
        t.equal(read.status, 0, read.out);
        t.match(read.out, /"architecture": *"amd64"/);
        const copied = await gap.run(skopeo, "copy", from[0] as string, `dir:${gap.dir}/${skopeo}-${at}`);
        t.equal(copied.status, 0, copied.out);
      }
    }
    const one = join(gap.dir, "one.tar");
    const exported = await gap.airferry("export", "image", "lab/whole", "--store", "store", "--out", one);
    t.equal(exported.status, 0, exported.stderr);
    const site = await startDockerRegistry(join(gap.dir, "site"));
    t.teardown(() => site.stop());
    const to = (name: string) => `${site.host}/lab/${name}:1`;
    const crane = await gap.run("crane", "push", one, to("crane"));
    t.equal(crane.status, 0, crane.out);
    const oras = await gap.run("oras", "copy", "--from-oci-layout", `${one}:1`, "--to-plain-http", to("oras"));
    t.equal(oras.status, 0, oras.out);
    const skopeo = ["copy", "--all", "--preserve-digests", "--dest-tls-verify=false"];
    const copied = await gap.run("newer-skopeo", ...skopeo, `oci-archive:${one}:1`, `docker://${to("skopeo")}`);
    t.equal(copied.status, 0, copied.out);
    for (const name of ["oras", "skopeo"]) {
      t.equal((await gap.run("crane", "digest", to(name))).out.trim(), whole.digest, `${name} keeps the digest`);
    }
  });

  await t.test("what cannot be loaded", async (t) => {
    const none = await gap.airferry("export", "image", "lab/none", "--store", "store", "--out", "n.tar");
    t.equal(none.status, 1);
    t.match(none.stderr, /it was not packed\n.*available images: .*lab\/whole:1/);
    const platform = ["--platform", "linux/arm64", "--out", "n.tar"];
    const missing = await gap.airferry("export", "image", "lab/sparse", "--store", "store", ...platform);
    t.equal(missing.status, 1);
    t.match(missing.stderr, /platform linux\/arm64 was not packed/);
    const nowhere = { ...gap.home, PATH: join(gap.dir, "nowhere") };
    const absent = await airferry(gap.dir, ["export", "image", ...args, "--load", "docker"], nowhere);
    t.equal(absent.status, 1);
    t.match(absent.stderr, /cannot run "docker load": no such program\n.*--out image\.tar/);
    writeFileSync(join(gap.dir, "docker-that-ends"), "#!/bin/sh\nexec >&2\necho no daemon here\nexit 7\n", {
      mode: 0o755,
    });
    await gap.run("sh", "-c", 'mkdir -p "$0/fail" && mv "$0/docker-that-ends" "$0/fail/docker"', gap.dir);
    const ended = await loadWith("docker", join(gap.dir, "fail"));
    t.equal(ended.status, 1);
    t.match(ended.stderr, /exit status 7: no daemon here/);
  });
});
