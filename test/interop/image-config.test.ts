/**
 * The rendered files at the very paths that docs/images.md gives, unchanged: every client then pulls by the names that images
 * have outside, over TLS with a private CA and over plain HTTP. On a machine of its own, from which nobody else can be reached.
 */
import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { needs } from "../fixtures/clients.ts";
import { criPull, startContainerd, startDockerd } from "../fixtures/container-clients.ts";
import { type ImageGap, imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry, TestImages } from "../fixtures/images.ts";
import { OWN_ADDRESS, onOwnMachine } from "../fixtures/own-machine.ts";

const SIGNED = "registry.k8s.io/coredns/coredns:v1.11.3";
/** Docker Hub and another registry have a repository of one name; one registry has a port. */
const HUB = ["docker.io/library/redis:7", "docker.io/bitnami/redis:7"];
const OTHERS = ["quay.io/bitnami/redis:7", "registry.example.com:5000/lab/app:1.0", SIGNED];
const ORIGINALS = [...HUB, ...OTHERS];
/** containers/image knows no such registry: no rule can name it, and it must not spoil the rules for the others. */
const IPV6 = "[2001:db8::1]:5000/lab/six:1.0";
/** What hides the real reason: that the image is missing. */
const ELSEWHERE = /x509|certificate|dial tcp|lookup/;

const nameOf = (reference: string) => reference.slice(0, reference.lastIndexOf(":"));
const hostOf = (reference: string) => reference.slice(0, reference.indexOf("/"));
const pathOf = (reference: string) => nameOf(reference).slice(reference.indexOf("/") + 1);
const tagOf = (reference: string) => reference.slice(reference.lastIndexOf(":") + 1);
const servedName = (host: string, reference: string) => `${host}/${reference.replace(":5000/", "_5000/")}`;

interface Machine {
  gap: ImageGap;
  /** Digests of the indexes upstream. */
  digests: ReadonlyMap<string, string>;
  /** A registry that is the site's own. */
  site: string;
  storage(name: string): string[];
}

async function makeMachine(t: Test): Promise<Machine> {
  const gap = await imageGap(t, "af-config");
  const { dir, run } = gap;
  const [hub, others] = await Promise.all(["hub", "others"].map((it) => startDockerRegistry(join(dir, it))));
  if (hub === undefined || others === undefined) throw new Error("no upstream");
  t.teardown(() => others.stop());
  const digests = new Map<string, string>();
  for (const reference of [...ORIGINALS, IPV6]) {
    const images = new TestImages();
    const of = (platform: string) => images.image(platform, [{ "etc/motd": `${reference} ${platform}\n` }]);
    const index = images.index([of("linux/amd64"), of("linux/arm64")]);
    const { host } = HUB.includes(reference) ? hub : others;
    await images.push(host, pathOf(reference), { [tagOf(reference)]: index });
    if (reference !== IPV6) digests.set(reference, index.digest);
  }
  await run("cosign2", "generate-key-pair", "--output-key-prefix", join(dir, "images"));
  const options = ["--yes", "--key", join(dir, "images.key"), "--tlog-upload=false", "--recursive"];
  const target = `${others.host}/${pathOf(SIGNED)}@${digests.get(SIGNED)}`;
  const signed = await run("cosign2", "sign", ...options, "--sign-container-identity", SIGNED, target);
  t.equal(signed.status, 0, signed.out);
  const hosts = new Set([...OTHERS, IPV6].map(hostOf));
  const rewrites = [`docker.io=${hub.host}`, ...[...hosts].map((it) => `${it}=${others.host}`)];
  const images = [...ORIGINALS, IPV6].map((ref) => ({ ref, insecure: true, platforms: ["linux/amd64"] }));
  await gap.carry({ images }, { args: rewrites.flatMap((it) => ["--rewrite", it]) });
  await hub.stop();
  return {
    gap,
    digests,
    site: others.host,
    storage: (name) => ["--storage-driver", "vfs", "--root", join(dir, name, "s"), "--runroot", join(dir, name, "r")],
  };
}

async function testPodman(t: Test, { gap, digests, storage }: Machine, podman: string, host: string): Promise<void> {
  const run = (...args: string[]) => gap.run(podman, ...storage(`${podman}-${new URL(`x://${host}`).port}`), ...args);
  // First of all: later podman would take it from what is there.
  const short = await run("pull", "-q", "library/redis:7");
  t.equal(short.status, 0, short.out);
  for (const [reference, digest] of digests) {
    const pulled = await run("pull", "-q", reference);
    t.equal(pulled.status, 0, pulled.out);
    const found = await run("image", "inspect", "--format", "{{.RepoDigests}}", reference);
    t.match(found.out, `${nameOf(reference)}@${digest}`);
  }
  const six = await run("pull", "-q", `${host}/2001_db8__1_5000/lab/six:1.0`);
  t.equal(six.status, 0, six.out);
  t.match((await run("pull", "registry.k8s.io/none:1")).out, /"registry\.k8s\.io\/none" was not packed/);
  t.match((await run("pull", "docker.io/library/redis:9")).out, /has no tag "9"; packed: 7/);
}

async function testDocker(
  t: Test,
  { gap, digests }: Machine,
  store: "graphdriver" | "containerd",
  { url, host }: { url: string; host: string },
): Promise<void> {
  const daemon = await startDockerd(join(gap.dir, `${store}-${host}`), store);
  try {
    const pull = (reference: string) => gap.run("docker", "-H", `unix://${daemon.socket}`, "pull", reference);
    const check = async (reference: string, name = reference) => {
      const pulled = await pull(name);
      t.equal(pulled.status, 0, `${name}: ${pulled.out}`);
      t.match(pulled.out, digests.get(reference) as string, name);
    };
    for (const reference of HUB) await check(reference);
    for (const reference of OTHERS) await check(reference, servedName(host, reference));
    const missing = await pull(`${host}/registry.k8s.io/none:1`);
    t.match(missing.out, store === "graphdriver" ? /"registry\.k8s\.io\/none" was not packed/ : /none:1: not found/);
    if (store === "graphdriver") return;
    t.match((await pull("docker.io/library/redis:9")).out, /redis:9: not found/);
    // The same hosts.toml as containerd's gives this store the names of all registries; it is read at each pull.
    await gap.place("hosts-toml", url, "/etc/docker/");
    for (const reference of OTHERS) await check(reference);
    const other = await pull("registry.k8s.io/none:1");
    t.match(other.out, /none:1: not found/);
    t.notMatch(other.out, ELSEWHERE);
    rmSync("/etc/docker/certs.d", { recursive: true });
  } finally {
    await daemon.stop();
  }
}

/** The configuration that the rendered file shows in its comments, for containerd 2 and for containerd 1. */
function shownConfig(file: string): { [program: string]: string } {
  const lines = readFileSync(file, "utf8").match(/(?<=^#) {3}.*\n/gm) ?? [];
  return { containerd: lines.slice(0, 2).join(""), "containerd-1": lines.slice(2).join("") };
}

async function testContainerd(t: Test, machine: Machine, program: "containerd" | "containerd-1"): Promise<void> {
  const { gap, digests, site } = machine;
  const certs = "/etc/containerd/certs.d";
  const config = shownConfig(`${certs}/registry.k8s.io/hosts.toml`)[program] as string;
  const daemon = await startContainerd(join(gap.dir, program), certs, { program, config });
  try {
    const client = program === "containerd" ? "ctr" : "ctr-1";
    const ctr = (...args: string[]) => gap.run(client, "-a", daemon.socket, ...args);
    const pull = (reference: string, ...more: string[]) =>
      ctr("images", "pull", "--hosts-dir", certs, ...more, reference);
    for (const reference of ORIGINALS) {
      const pulled = await pull(reference);
      t.equal(pulled.status, 0, pulled.out);
      t.match(await criPull(daemon.socket, reference), /^sha256:[0-9a-f]{64}$/);
    }
    for (const namespace of ["default", "k8s.io"]) {
      const { out } = await ctr("-n", namespace, "images", "ls");
      for (const [reference, digest] of digests) t.match(out, new RegExp(`^${reference} .*${digest}`, "m"), namespace);
    }
    // Nothing of ghcr.io was packed: _default answers for it.
    for (const reference of ["registry.k8s.io/none:1", "docker.io/library/redis:9", "ghcr.io/lab/none:1"]) {
      const missing = await pull(reference);
      t.match(missing.out, /not found/);
      t.notMatch(missing.out, ELSEWHERE);
      const said = await criPull(daemon.socket, reference).catch((error: Error) => error.message);
      t.match(said, /not found/);
      t.notMatch(said, ELSEWHERE);
    }
    const own = `${site}/lab/app:1.0`;
    t.match((await pull(own, "--plain-http")).out, /not found/, "_default keeps the site's own registry away");
    mkdirSync(join(certs, site));
    const pulled = await pull(own, "--plain-http");
    t.equal(pulled.status, 0, pulled.out);
    rmSync(join(certs, site), { recursive: true });
    if (program === "containerd") {
      const pushed = await ctr("images", "push", "--hosts-dir", certs, SIGNED);
      t.match(pushed.out, /read-only registry/);
    }
  } finally {
    await daemon.stop();
  }
}

if (await onOwnMachine(t, import.meta.filename)) {
  t.test("every client by the names that images have outside", async (t) => {
    if (!needs(t, "docker-registry", "cosign2", "curl")) return;
    const machine = await makeMachine(t);
    const { gap, digests, storage } = machine;
    const configure = async (url: string) => {
      await gap.place("hosts-toml", url, "/etc/containerd/");
      await gap.place("registries-conf", url, "/etc/containers/registries.conf.d/airferry.conf");
      await gap.place("docker-daemon-25", url, "/etc/docker/daemon.json");
    };

    await t.test("over plain HTTP, by a name without a dot, at the default port", async (t) => {
      appendFileSync("/etc/hosts", `${OWN_ADDRESS} mirror\n`);
      await gap.serve({ listen: `${OWN_ADDRESS}:80`, tls: false });
      const server = { url: "http://mirror", host: "mirror:80" };
      await configure(server.url);
      await t.test("podman", async (t) => {
        if (needs(t, "podman")) await testPodman(t, machine, "podman", server.host);
      });
      for (const store of ["graphdriver", "containerd"] as const) {
        await t.test(`docker, ${store} store`, async (t) => {
          if (needs(t, "docker", "dockerd", "containerd")) await testDocker(t, machine, store, server);
        });
      }
    });

    await t.test("docker 20, which takes no path in a mirror's URL", async (t) => {
      if (!needs(t, "docker", "dockerd-20", "containerd")) return;
      const { url, host } = await gap.serve({ listen: `${OWN_ADDRESS}:9001`, tls: false });
      const pullAll = async (server: string, references: readonly string[]) => {
        await gap.place("docker-daemon", server, "/etc/docker/daemon.json");
        const daemon = await startDockerd(join(gap.dir, `old-${new URL(server).port}`), "graphdriver", "dockerd-20");
        try {
          for (const reference of references) {
            const pulled = await gap.run("docker", "-H", `unix://${daemon.socket}`, "pull", reference);
            t.equal(pulled.status, 0, `${reference}: ${pulled.out}`);
          }
        } finally {
          await daemon.stop();
        }
      };
      // Other registries are here too: all by the names that they have here, and no mirror that could be mistaken.
      await pullAll(
        url,
        ORIGINALS.map((it) => servedName(host, it)),
      );
    });

    await t.test("over TLS, by an address", async (t) => {
      const server = await gap.serve({ listen: `${OWN_ADDRESS}:9443` });
      const { url, host } = server;
      await configure(url);
      await gap.trust(url);

      for (const podman of ["podman", "newer-podman"]) {
        await t.test(podman, async (t) => {
          if (needs(t, podman)) await testPodman(t, machine, podman, host);
        });
      }

      for (const skopeo of ["skopeo", "newer-skopeo"]) {
        await t.test(skopeo, async (t) => {
          if (!needs(t, skopeo)) return;
          for (const [reference, digest] of digests) {
            const source = `docker://${reference}`;
            // The list of tags is the one thing that skopeo asks of the original, whatever the rules say.
            const inspected = await gap.run(skopeo, "inspect", "--no-tags", "--format", "{{.Digest}}", source);
            t.equal(inspected.out.trim(), digest);
            const copied = await gap.run(skopeo, "copy", "--preserve-digests", source, `dir:${gap.dir}/${skopeo}`);
            t.equal(copied.status, 0, copied.out);
          }
          t.match((await gap.run(skopeo, "inspect", `docker://${SIGNED}`)).out, /registry\.k8s\.io\/v2\/.*lookup/);
          const missing = await gap.run(skopeo, "inspect", "--no-tags", "docker://registry.k8s.io/none:1");
          t.match(missing.out, /was not packed/);
        });
      }

      await t.test("buildah", async (t) => {
        if (!needs(t, "buildah")) return;
        const run = (...args: string[]) => gap.run("buildah", ...storage("buildah"), ...args);
        for (const reference of ORIGINALS) {
          const pulled = await run("pull", "-q", reference);
          t.equal(pulled.status, 0, pulled.out);
        }
        const { out } = await run("images", "--digests");
        for (const digest of digests.values()) t.match(out, digest);
        t.match((await run("pull", "registry.k8s.io/none:1")).out, /was not packed/);
      });

      for (const program of ["containerd", "containerd-1"] as const) {
        await t.test(`${program}: ctr and CRI`, async (t) => {
          if (needs(t, program, program.replace("containerd", "ctr"))) await testContainerd(t, machine, program);
        });
      }

      for (const store of ["graphdriver", "containerd"] as const) {
        await t.test(`docker, ${store} store`, async (t) => {
          if (needs(t, "docker", "dockerd", "containerd")) await testDocker(t, machine, store, server);
        });
      }

      await t.test("policy.json: only signed images come in, and what is here can be handed on", async (t) => {
        if (!needs(t, "newer-podman", "newer-skopeo")) return;
        await gap.place("image-policy", url, "/etc/containers/");
        cpSync(join(gap.dir, "images.pub"), "/etc/containers/airferry-images.pub");
        const run = (...args: string[]) => gap.run("newer-podman", ...storage("policy"), ...args);
        const pulled = await run("pull", "-q", SIGNED);
        t.equal(pulled.status, 0, pulled.out);
        t.match((await run("pull", HUB[0] as string)).out, /signature was required/);
        t.match(
          (await run("pull", "ghcr.io/lab/none:1")).out,
          /rejected by policy|network is unreachable|failure in name resolution/,
        );
        const at = (name: string) => join(gap.dir, name);
        for (const [format, file] of [
          ["docker-archive", "p-docker.tar"],
          ["oci-archive", "p-oci.tar"],
          ["oci-dir", "p-oci"],
          ["docker-dir", "p-dir"],
        ] as const) {
          const saved = await run("save", "-q", "--format", format, "-o", at(file), SIGNED);
          t.equal(saved.status, 0, `${format}: ${saved.out}`);
          const loaded = await run("load", "-q", "-i", at(file));
          t.equal(loaded.status, 0, `${format}: ${loaded.out}`);
        }
        const pushed = await run("push", "-q", "--tls-verify=false", SIGNED, `${machine.site}/from/podman:1`);
        t.equal(pushed.status, 0, pushed.out);
        const imported = await run("import", "-q", at("p-docker.tar"), "localhost/imported:1");
        t.equal(imported.status, 0, imported.out);
        const copied = await gap.run("newer-skopeo", "copy", `dir:${at("p-dir")}`, `oci:${at("p-copy")}:1`);
        t.equal(copied.status, 0, copied.out);
        const other = await gap.run(
          "newer-skopeo",
          "copy",
          "--src-tls-verify=false",
          `docker://${machine.site}/from/podman:1`,
          `dir:${at("p-other")}`,
        );
        t.match(other.out, /rejected by policy/, "other registries stay out");
      });
    });
  });
}
