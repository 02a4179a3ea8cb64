/** Real clients of servers on one bucket: through nginx while a server dies, and sent to the bucket itself. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { serve } from "../../src/serve.ts";
import { unpack } from "../../src/unpack.ts";
import { putStore } from "../fixtures/bucket-store.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { criPull, runClient, startContainerd } from "../fixtures/container-clients.ts";
import { freePort } from "../fixtures/free-port.ts";
import { TestImages } from "../fixtures/images.ts";
import { scratch, start } from "../fixtures/program.ts";
import { dnf } from "../fixtures/rpm-carry.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";
import { siteNginx } from "../fixtures/site-nginx.ts";

const MIB = 1024 * 1024;
const skip = !needs(t, "versitygw", "nginx", "dnf", "podman", "skopeo", "curl", "containerd", ...RPM_BUILDERS);
const dir = scratch(t, "af-bucket");
const images = new TestImages();
const image = images.image("linux/amd64", [{ "etc/motd": "hello\n" }, { "opt/blob": noise(6 * MIB, 1) }]);
const large = noise(9 * MIB + 5, 2);

const gateway = skip ? undefined : await startGateway(join(dir, "gateway"));
t.teardown(() => gateway?.stop());
Object.assign(process.env, gateway?.env);
const tree = skip ? undefined : await buildRpmTree(join(dir, "tree"));
const name = gateway?.name("site") ?? "";
if (tree !== undefined) {
  const key = makeKey();
  writeFileSync(join(dir, "key.pub"), key.pem);
  const rpms = [...tree.served("base")].map(([path, bytes]) => [`rpms${decodeURIComponent(path)}`, bytes as Buffer]);
  const content = Object.entries(images.content()).map(([path, bytes]) => [path, Buffer.from(bytes)]);
  makeBundle(join(dir, "bundle"), {
    files: Object.fromEntries([...rpms, ...content, ["keys/base.asc", Buffer.from(tree.key)], ["files/large", large]]),
    keys: [key],
    spoil: (inventory) => inventory.catalog.images.push(images.catalogImage("quay.io/t/a:1", image)),
  });
  await unpack([join(dir, "bundle")], { trust: [join(dir, "key.pub")], store: join(dir, "store") });
  await putStore(join(dir, "store"), name);
}
const reposOf = (url: string) =>
  `[base]\nname=base\nbaseurl=${url}/rpms/base/\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=${url}/keys/base.asc\n`;
const env = { HOME: dir, XDG_RUNTIME_DIR: dir };

function podman(root: string, reference: string) {
  const storage = ["--root", join(dir, root), "--runroot", join(dir, `${root}-run`), "--storage-driver", "vfs"];
  return runClient("podman", [...storage, "pull", "--tls-verify=false", reference], env);
}

t.test("dnf and podman through nginx, while one of two servers is killed under load", { skip }, async (t) => {
  const ports = [await freePort(), await freePort()];
  const run = async (at: number) => {
    const listen = `127.0.0.1:${ports[at]}`;
    const args = ["serve", "--store", name, "--listen", listen, "--workers", "1", "--cache", `cache-${at}`, "--json"];
    const child = start(dir, args, gateway?.env);
    while (
      !(await fetch(`http://${listen}/healthz`)
        .then((it) => it.ok)
        .catch(() => false))
    ) {
      if (child.exitCode !== null) throw new Error((await child.done).stderr);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return child;
  };
  const first = await run(0);
  const second = await run(1);
  t.teardown(async () => {
    second.kill("SIGKILL");
    await second.done;
  });
  const { url, port } = await siteNginx(
    t,
    join(dir, "nginx"),
    ports.map((it) => `127.0.0.1:${it}`),
  );
  let ended = false;
  const faults: string[] = [];
  let asked = 0;
  const load = Array.from({ length: 6 }, async (_, at) => {
    while (!ended) {
      const answer = await fetch(`${url}/files/large`, {
        headers: { range: `bytes=${(asked * 7919 * at) % MIB}-${2 * MIB}` },
      });
      const { length } = Buffer.from(await answer.arrayBuffer());
      if (answer.status !== 206 || length < MIB) faults.push(`${answer.status} ${length}`);
      asked++;
    }
  });
  const clients = [
    dnf(dir, "before", reposOf(url), "install", "aft-words"),
    podman("p1", `127.0.0.1:${port}/quay.io/t/a:1`),
  ];
  await new Promise((resolve) => setTimeout(resolve, 300));
  first.kill("SIGKILL");
  await first.done;
  clients.push(
    dnf(dir, "after", reposOf(url), "install", "aft-words"),
    podman("p2", `127.0.0.1:${port}/quay.io/t/a:1`),
  );
  for (const { status, out } of await Promise.all(clients)) t.equal(status, 0, out);
  ended = true;
  await Promise.all(load);
  t.same(faults, []);
  const again = await run(0);
  t.teardown(async () => {
    again.kill("SIGKILL");
    await again.done;
  });
  const whole = await fetch(`http://127.0.0.1:${ports[0]}/files/large`);
  t.ok(Buffer.from(await whole.arrayBuffer()).equals(large), "the cache of the one that was killed is good");
  t.ok(asked > 20, `${asked} requests`);
});

t.test("clients that are sent to the bucket follow", { skip }, async (t) => {
  const log = join(dir, "access.log");
  const serving = await serve({
    store: name,
    cache: join(dir, "cache-redirect"),
    listen: "127.0.0.1:0",
    redirect: "above=1KiB",
    accessLog: log,
    graceMs: 100,
  });
  t.teardown(() => serving.close());
  const url = serving.urls[0] ?? "";
  const { port } = new URL(url);
  const count = async (route: string) =>
    Number(
      new RegExp(`route="${route}",status="307"} (\\d+)`).exec(await (await fetch(`${url}/metrics`)).text())?.[1] ?? 0,
    );

  const answer = await fetch(`${url}/files/large`, { redirect: "manual" });
  t.equal(answer.status, 307);
  t.match(
    answer.headers.get("location"),
    /^http:\/\/127\.0\.0\.1:\d+\/airferry\/site\/blobs\/sha256\/.*X-Amz-Signature=/,
  );
  const again = await fetch(`${url}/files/large`, { redirect: "manual", headers: { range: "bytes=0-9" } });
  t.equal(again.headers.get("location"), answer.headers.get("location"), "the same for a while");
  const etag = answer.headers.get("etag") ?? "";
  t.equal((await fetch(`${url}/files/large`, { redirect: "manual", headers: { "if-none-match": etag } })).status, 304);
  const head = await fetch(`${url}/files/large`, { method: "HEAD", redirect: "manual" });
  t.match([head.status, head.headers.get("content-length")], [200, String(large.length)], "HEAD is answered here");
  const got = await runClient(
    "curl",
    ["-sSfL", "-r", "100-1048999", "-o", join(dir, "part"), `${url}/files/large`],
    env,
  );
  t.equal(got.status, 0, got.out);

  const installed = await dnf(dir, "redirected", reposOf(url), "install", "aft-words");
  t.equal(installed.status, 0, installed.out);
  t.ok((await count("rpms")) > 0, "dnf was sent there");
  const reference = `127.0.0.1:${port}/quay.io/t/a:1`;
  const clients: [string, () => ReturnType<typeof runClient>][] = [
    ["podman", () => podman("p3", reference)],
    [
      "skopeo",
      () =>
        runClient(
          "skopeo",
          ["copy", "--src-tls-verify=false", `docker://${reference}`, `dir:${join(dir, "copied")}`],
          env,
        ),
    ],
  ];
  for (const [client, pull] of clients) {
    const before = await count("v2");
    const { status, out } = await pull();
    t.equal(status, 0, `${client}: ${out}`);
    t.ok((await count("v2")) > before, `${client} was sent there`);
  }
  const certs = join(dir, "certs.d");
  mkdirSync(join(certs, `127.0.0.1:${port}`), { recursive: true });
  writeFileSync(join(certs, `127.0.0.1:${port}`, "hosts.toml"), `server = "http://127.0.0.1:${port}"\n`);
  const containerd = await startContainerd(join(dir, "containerd"), certs);
  const before = await count("v2");
  await criPull(containerd.socket, reference);
  await containerd.stop();
  t.ok((await count("v2")) > before, "containerd was sent there");
  await serving.close();
  t.notMatch(readFileSync(log, "utf8"), /X-Amz|airferrytestkey/, "the log has no signed URL");
});
