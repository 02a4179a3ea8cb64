/**
 * The registry behind `serve --htpasswd` with real clients: no login, a wrong one, the right one; by mirror rules too. And what
 * people read who try to write to it. Over TLS with a private CA, on a machine of its own.
 */
import { appendFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hashSync } from "bcryptjs";
import t, { type Test } from "tap";
import { needs } from "../fixtures/clients.ts";
import { criPull, type Ran, runClient, startContainerd, startDockerd } from "../fixtures/container-clients.ts";
import { type ImageGap, imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry, TestImages } from "../fixtures/images.ts";
import { OWN_ADDRESS, onOwnMachine } from "../fixtures/own-machine.ts";

const USER = "robot";
const PASSWORD = "right:one";
const ORIGINAL = "docker.io/library/redis:7";
const READ_ONLY = /read-only registry: images come here with airferry unpack/;
const UNAUTHORIZED = /unauthorized|authentication required|no basic auth credentials/i;

/** How one client logs in, reads and writes; arguments alone. */
interface Client {
  login(password: string): string[];
  read: string[];
  /** The same by the original name, where rules lead it here. */
  byRule?: string[];
  write?: string[];
  /** What is said without a login, where the client has words of its own. */
  none?: RegExp;
  /** What is said after a wrong one: at the login, or at the first use of it. */
  wrong?: RegExp;
}

/** Runs a program with a home of its own, so that no login is another's. */
function withHome(gap: ImageGap, name: string, program: string, more: Record<string, string> = {}) {
  const home = join(gap.dir, `home-${name}`);
  mkdirSync(home);
  writeFileSync(join(home, "config.json"), "{}");
  const env = { ...gap.home, HOME: home, DOCKER_CONFIG: home, XDG_RUNTIME_DIR: home, ...more };
  return (...args: string[]): Promise<Ran> => runClient(program, args, env);
}

async function testClient(t: Test, run: (...args: string[]) => Promise<Ran>, client: Client): Promise<void> {
  const none = await run(...client.read);
  t.not(none.status, 0, "nothing without a login");
  t.match(none.out, client.none ?? UNAUTHORIZED);
  let wrong = await run(...client.login("wrong"));
  if (wrong.status === 0) wrong = await run(...client.read);
  t.not(wrong.status, 0, "nothing with a wrong login");
  t.match(wrong.out, client.wrong ?? UNAUTHORIZED);
  const right = await run(...client.login(PASSWORD));
  t.equal(right.status, 0, right.out);
  for (const args of [client.read, client.byRule]) {
    if (args === undefined) continue;
    const read = await run(...args);
    t.equal(read.status, 0, read.out);
  }
  if (client.write === undefined) return;
  const written = await run(...client.write);
  t.not(written.status, 0);
  t.match(written.out, READ_ONLY);
}

/** Writes the login into every hosts.toml, as docs/images.md says. */
function addLogin(certs: string, url: string): void {
  const header = `Authorization = "Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString("base64")}"\n`;
  for (const folder of readdirSync(certs)) {
    const file = join(certs, folder, "hosts.toml");
    if (existsSync(file)) appendFileSync(file, `[header]\n${header}[host."${url}".header]\n${header}`);
  }
}

if (await onOwnMachine(t, import.meta.filename)) {
  t.test("logins and writes of every client", async (t) => {
    if (!needs(t, "docker-registry", "cosign2", "curl")) return;
    const gap = await imageGap(t, "af-login");
    const { dir } = gap;
    const upstream = await startDockerRegistry(join(dir, "upstream"));
    const images = new TestImages();
    const index = images.index([images.image("linux/amd64", [{ "etc/motd": "redis\n" }])]);
    await images.push(upstream.host, "library/redis", { "7": index });
    await gap.run("cosign2", "generate-key-pair", "--output-key-prefix", join(dir, "images"));
    const signing = ["--yes", "--key", join(dir, "images.key"), "--tlog-upload=false"];
    const signed = await gap.run("cosign2", "sign", ...signing, `${upstream.host}/library/redis@${index.digest}`);
    t.equal(signed.status, 0, signed.out);
    const rewrite = ["--rewrite", `docker.io=${upstream.host}`];
    await gap.carry({ images: [{ ref: ORIGINAL, insecure: true }] }, { args: rewrite });
    await upstream.stop();

    writeFileSync(join(dir, "htpasswd"), `${USER}:${hashSync(PASSWORD, 4)}\n`);
    const login = ["--htpasswd", join(dir, "htpasswd")];
    const { url, host, ca } = await gap.serve({ listen: `${OWN_ADDRESS}:9443`, args: login });
    await gap.place("hosts-toml", url, "/etc/containerd/");
    await gap.place("registries-conf", url, "/etc/containers/registries.conf.d/airferry.conf");
    await gap.trust(url);
    const here = `${host}/${ORIGINAL}`;
    const elsewhere = `${host}/lab/new:1`;
    const asUser = (password: string) => ["-u", USER, "-p", password, host];

    for (const name of ["podman", "newer-podman", "buildah"]) {
      await t.test(name, async (t) => {
        if (!needs(t, name)) return;
        const run = withHome(gap, name, name);
        const places = ["--root", join(dir, name, "s"), "--runroot", join(dir, name, "r")];
        await testClient(t, (...args) => run("--storage-driver", "vfs", ...places, ...args), {
          login: (password) => ["login", ...asUser(password)],
          read: ["pull", "-q", here],
          byRule: ["pull", "-q", ORIGINAL],
          write: ["push", here, elsewhere],
          wrong: /invalid username\/password/,
        });
      });
    }

    for (const name of ["skopeo", "newer-skopeo"]) {
      await t.test(name, async (t) => {
        if (!needs(t, name)) return;
        const copy = `oci:${join(dir, name)}:1`;
        const run = withHome(gap, name, name);
        await testClient(t, run, {
          login: (password) => ["login", ...asUser(password)],
          read: ["copy", `docker://${here}`, copy],
          byRule: ["copy", `docker://${ORIGINAL}`, copy],
          write: ["copy", copy, `docker://${elsewhere}`],
          wrong: /invalid username\/password/,
        });
        t.match((await run("list-tags", `docker://${host}/docker.io/library/redis`)).out, /"7"/);
        t.match((await run("delete", `docker://${here}`)).out, READ_ONLY);
      });
    }

    await t.test("crane", async (t) => {
      if (!needs(t, "crane")) return;
      const file = join(dir, "crane.tar");
      await testClient(t, withHome(gap, "crane", "crane", { SSL_CERT_FILE: ca }), {
        login: (password) => ["auth", "login", ...asUser(password)],
        read: ["pull", "--platform", "linux/amd64", here, file],
        write: ["push", file, elsewhere],
      });
    });

    await t.test("oras", async (t) => {
      if (!needs(t, "oras")) return;
      const trust = ["--ca-file", ca];
      await testClient(t, withHome(gap, "oras", "oras"), {
        login: (password) => ["login", ...trust, ...asUser(password)],
        read: ["copy", "--from-ca-file", ca, here, "--to-oci-layout", `${join(dir, "oras")}:1`],
        write: ["push", ...trust, "--disable-path-validation", elsewhere, join(dir, "htpasswd")],
        none: /basic credential not found/,
      });
    });

    for (const name of ["cosign2", "cosign3"]) {
      await t.test(`${name} verify`, async (t) => {
        if (!needs(t, name)) return;
        const trust = ["--registry-cacert", ca];
        const key = ["--key", join(dir, "images.pub"), "--insecure-ignore-tlog=true"];
        await testClient(t, withHome(gap, name, name), {
          login: (password) => ["login", ...asUser(password)],
          read: ["verify", ...key, ...trust, here],
        });
      });
    }

    for (const store of ["graphdriver", "containerd"] as const) {
      await t.test(`docker, ${store} store`, async (t) => {
        if (!needs(t, "docker", "dockerd", "containerd")) return;
        const daemon = await startDockerd(join(dir, `docker-${store}`), store);
        t.teardown(() => daemon.stop());
        const docker = withHome(gap, store, "docker");
        const run = (...args: string[]) => docker("-H", `unix://${daemon.socket}`, ...args);
        await testClient(t, run, {
          login: (password) => ["login", ...asUser(password)],
          read: ["pull", here],
          wrong: /401 Unauthorized/,
        });
        await run("tag", here, elsewhere);
        t.match((await run("push", elsewhere)).out, READ_ONLY);
        if (store === "graphdriver") return;
        await gap.place("hosts-toml", url, "/etc/docker/");
        t.match((await run("pull", ORIGINAL)).out, UNAUTHORIZED);
        addLogin("/etc/docker/certs.d", url);
        const pulled = await run("pull", ORIGINAL);
        t.equal(pulled.status, 0, pulled.out);
      });
    }

    // Last, since it writes the login into the files.
    await t.test("containerd: ctr --user, and the login in hosts.toml for CRI", async (t) => {
      const certs = "/etc/containerd/certs.d";
      const started = [];
      for (const program of ["containerd", "containerd-1"] as const) {
        const client = program.replace("containerd", "ctr");
        if (!needs(t, program, client)) continue;
        const table = program === "containerd" ? "io.containerd.cri.v1.images" : "io.containerd.grpc.v1.cri";
        const config = `[plugins."${table}".registry]\n  config_path = "${certs}"\n`;
        const daemon = await startContainerd(join(dir, program), certs, { program, config });
        t.teardown(() => daemon.stop());
        const pull = (reference: string, ...more: string[]) =>
          gap.run(client, "-a", daemon.socket, "images", "pull", "--hosts-dir", certs, ...more, reference);
        started.push({ daemon, pull });
        for (const reference of [ORIGINAL, here]) {
          for (const login of [[], ["--user", `${USER}:wrong`]]) {
            const refused = await pull(reference, ...login);
            t.not(refused.status, 0);
            t.match(refused.out, UNAUTHORIZED);
          }
          const pulled = await pull(reference, "--user", `${USER}:${PASSWORD}`);
          t.equal(pulled.status, 0, pulled.out);
        }
        await t.rejects(criPull(daemon.socket, ORIGINAL), UNAUTHORIZED);
      }
      addLogin(certs, url);
      for (const { daemon, pull } of started) {
        t.match(await criPull(daemon.socket, ORIGINAL), /^sha256:/);
        t.equal((await pull(ORIGINAL)).status, 0);
        await t.rejects(criPull(daemon.socket, "docker.io/library/none:1"), /not found/);
      }
    });
  });
}
