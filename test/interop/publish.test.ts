/**
 * `publish` on bad days: cut connections, a killed program, registries with a referrers API and without, immutable tags, a
 * damaged store. The registries are real: docker-registry behind a proxy that misbehaves, and crane's. See OCI
 * distribution-spec v1.1, "Push".
 */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { hashSync } from "bcryptjs";
import t, { type Test } from "tap";
import { clientEnv, clientPath, cosignPaths, needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { startFakeRegistry } from "../fixtures/fake-registry.ts";
import { freePort } from "../fixtures/free-port.ts";
import { imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry, TestImages } from "../fixtures/images.ts";
import { makePki } from "../fixtures/pki.ts";
import { seededBytes, start } from "../fixtures/program.ts";

/** Answers a request in place of the registry and returns true, or leaves it alone. */
type Misbehave = (req: IncomingMessage, res: ServerResponse) => boolean;

/** A proxy before a registry, with a log of methods and paths. */
async function startProxyBefore(t: Test, registry: string, misbehave: Misbehave = () => false) {
  const log: string[] = [];
  const server = createServer((req, res) => {
    log.push(`${req.method} ${req.url?.split("?")[0]}`);
    if (misbehave(req, res)) return;
    const [hostname, port] = registry.split(":");
    const headers = { ...req.headers, host: server.host };
    const onward = request({ hostname, port, method: req.method ?? "GET", path: req.url ?? "/", headers }, (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(res);
    });
    onward.on("error", () => res.destroy());
    req.pipe(onward);
  }) as ReturnType<typeof createServer> & { host: string };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: server.host, log };
}

/** An image of six layers, and something about it, in a store. */
async function packedImage(t: Test) {
  const gap = await imageGap(t, "airferry-publish");
  const images = new TestImages();
  const layers = Array.from({ length: 6 }, (_, n) => ({ [`f${n}`]: seededBytes(n + 1, 300_000) }));
  const image = images.image("linux/amd64", layers);
  const sbom = images.referrer(image, "application/spdx+json", Buffer.from("{}"));
  const aboutSbom = images.referrer(sbom, "application/vnd.acme.review", Buffer.from("good"));
  const fake = await startFakeRegistry({ images, tags: { "1.0": image }, referrersApi: true });
  t.teardown(() => fake.close());
  await gap.carry({ images: [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true, as: "example.com/lab/bb:1.0" }] });
  const publish = (host: string, ...more: string[]) =>
    gap.airferry("publish", host, "--store", "store", "--insecure", "--names", "bare", "--json", ...more);
  const blobs = (stdout: string) =>
    (JSON.parse(stdout) as { images: { pushedBlobs: number }[] }).images[0]?.pushedBlobs;
  return { gap, images, image, sbom, aboutSbom, publish, blobs };
}

t.test("an upload that is cut off or lost is started again", async (t) => {
  if (!needs(t, "docker-registry", "crane")) return;
  const { gap, image, publish, blobs } = await packedImage(t);
  const site = await startDockerRegistry(join(gap.dir, "site"));
  t.teardown(() => site.stop());
  let patches = 0;
  let manifests = 0;
  const proxy = await startProxyBefore(t, site.host, (req, res) => {
    if (req.method === "PATCH") {
      patches++;
      // In the middle of the bytes; then with an answer that comes early; then with a session that is not known any more.
      if (patches === 1) req.once("data", () => req.destroy());
      else if (patches === 2) res.writeHead(503, { "retry-after": "1", connection: "close" }).end("busy");
      else if (patches === 3) res.writeHead(404).end('{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}');
      return patches <= 3;
    }
    if (req.method === "PUT" && /manifests/.test(req.url ?? "") && manifests++ === 0) {
      res.writeHead(502).end();
      return true;
    }
    return false;
  });
  const ran = await publish(proxy.host);
  t.equal(ran.status, 0, ran.stderr);
  t.equal(blobs(ran.stdout), 9, "seven blobs of the image, two more of what is about it");
  t.equal((await gap.run("crane", "digest", `${site.host}/lab/bb:1.0`)).out.trim(), image.digest);
  t.equal((await gap.run("crane", "validate", "--remote", `${site.host}/lab/bb:1.0`)).status, 0);

  const before = proxy.log.length;
  const again = await publish(proxy.host);
  t.equal(again.status, 0, again.stderr);
  t.equal(blobs(again.stdout), 0);
  const sent = proxy.log.slice(before).filter((it) => !/^(HEAD|GET)/.test(it));
  t.same(
    sent.filter((it) => /1\.0|PATCH|POST/.test(it)),
    [],
    "the tag is not pushed again: it may be immutable",
  );
});

t.test("--dry-run says what publish then sends, image by image and blob by blob, and writes nothing", async (t) => {
  if (!needs(t, "docker-registry", "crane")) return;
  const gap = await imageGap(t, "airferry-dry");
  const images = new TestImages();
  const shared = { base: seededBytes(1, 200_000) };
  const of = (own: string) => images.image("linux/amd64", [shared, { added: "layer" }, { own }]);
  const [one, again, two] = [of("one"), of("again"), of("two")];
  const older = new TestImages();
  const moved = older.image("linux/amd64", [shared, { own: "moved" }]);
  const sbom = images.referrer(one, "application/spdx+json", Buffer.from("{}"));
  const fake = await startFakeRegistry({ images, tags: { "1": one, "2": again, "3": two }, referrersApi: true });
  t.teardown(() => fake.close());
  const entry = (tag: string, as: string) => ({ ref: `${fake.host}/lab/bb:${tag}`, insecure: true, as });
  const names = ["example.com/lab/bb:1", "example.com/lab/bb:2", "example.com/lab/other:3"];
  await gap.carry({ images: names.map((as, n) => entry(String(n + 1), as)) });
  const site = await startDockerRegistry(join(gap.dir, "site"));
  t.teardown(() => site.stop());
  await older.push(site.host, "af/lab/bb", { "2": moved });
  const proxy = await startProxyBefore(t, site.host);
  const args = ["publish", `${proxy.host}/af`, "--store", "store", "--insecure", "--names", "bare"];
  interface Plan {
    images: {
      target: string;
      tags: { done: string; was?: string }[];
      manifests: { digest: string; about?: string; done: string }[];
      blobs: { size: number; done: string; from?: string }[];
    }[];
    bytesToUpload: number;
    bytesToMount: number;
  }
  const dry = async () => {
    const ran = await gap.airferry(...args, "--dry-run", "--json");
    t.equal(ran.status, 0, ran.stderr);
    return JSON.parse(ran.stdout) as Plan;
  };
  const tree = () => readdirSync(join(gap.dir, "site"), { recursive: true }).sort();
  const before = tree();
  const plan = await dry();
  t.same(tree(), before, "nothing was written");
  t.same(
    proxy.log.filter((it) => !it.startsWith("HEAD ")),
    ["GET /v2/"],
  );
  const states = plan.images.map(({ blobs }) => blobs.map((it) => it.done).sort());
  // The shared layer is there with the image whose tag moves; the added one comes with the first of its repository.
  t.same(states, [
    ["present", "would upload", "would upload", "would upload", "would upload"],
    ["present", "would come", "would upload", "would upload"],
    ["would mount", "would mount", "would upload", "would upload"],
  ]);
  t.equal(plan.images[2]?.blobs.find((it) => it.done === "would mount")?.from, "af/lab/bb");
  t.match(plan.images[0]?.manifests, [
    { digest: one.digest, done: "would push" },
    { digest: sbom.digest, about: "application/spdx+json", done: "would push" },
  ]);
  t.same(
    plan.images.map((it) => it.tags.at(-1)),
    [
      { tag: "1", digest: one.digest, done: "would push" },
      { tag: "2", digest: again.digest, done: "would replace", was: moved.digest },
      { tag: "3", digest: two.digest, done: "would push" },
    ],
  );
  const text = await gap.airferry(...args, "--dry-run");
  t.match(text.stdout, `${proxy.host}/af/lab/bb:2  would publish ${again.digest}\n`);
  t.match(text.stdout, `  would replace  tag 2  was ${moved.digest}\n`);
  t.match(text.stdout, /^ {2}would mount from af\/lab\/bb {2}blob sha256:/m);
  t.match(text.stderr, /would publish 3 images: .* more where the registry cannot mount/);

  const ran = await gap.airferry(...args, "--json");
  t.equal(ran.status, 0, ran.stderr);
  const sent = JSON.parse(ran.stdout) as { images: { target: string; pushedBlobs: number }[]; pushedBytes: number };
  t.equal(sent.pushedBytes, plan.bytesToUpload, "as many bytes as it said");
  t.same(
    sent.images.map((it) => [it.target, it.pushedBlobs]),
    plan.images.map((it) => [it.target, it.blobs.filter((blob) => blob.done === "would upload").length]),
  );
  const after = await dry();
  const left = after.images.flatMap(({ tags, manifests, blobs }) => [...tags, ...manifests, ...blobs]);
  t.same([...new Set(left.map((it) => it.done))], ["present"]);
  t.same([after.bytesToUpload, after.bytesToMount], [0, 0]);
  const none = await gap.airferry(...args, "--dry-run");
  t.match(none.stdout, `${proxy.host}/af/lab/bb:1  present\n`);
  t.match(none.stderr, /would publish 0 images: .*\n.*\n.*3 images there already/);

  const refusing = await startProxyBefore(t, site.host, (req, res) => {
    if (req.url === "/v2/") return false;
    res.writeHead(403).end();
    return true;
  });
  const refused = await gap.airferry("publish", refusing.host, ...args.slice(2), "--dry-run");
  t.equal(refused.status, 1);
  t.match(refused.stderr, /cannot look for blob sha256:.* answers 403\n.*docker login/);
});

t.test("a registry that refuses, and one that cannot be reached", async (t) => {
  if (!needs(t, "docker-registry")) return;
  const { gap, publish } = await packedImage(t);
  const site = await startDockerRegistry(join(gap.dir, "site"));
  t.teardown(() => site.stop());
  const refusals: [number, string, RegExp][] = [
    [
      403,
      '{"errors":[{"code":"DENIED","message":"project lab does not exist"}]}',
      /DENIED: project lab.*\n.*project to exist/,
    ],
    [413, "<html>too large</html>", /answers 413.*\n.*client_max_body_size/],
  ];
  for (const [status, body, expected] of refusals) {
    const proxy = await startProxyBefore(t, site.host, (req, res) => {
      if (req.method !== "PATCH") return false;
      req.resume().on("end", () => res.writeHead(status).end(body));
      return true;
    });
    const text = await gap.airferry("publish", proxy.host, "--store", "store", "--insecure");
    t.equal(text.status, 1);
    t.match(text.stderr, expected);
    t.equal(proxy.log.filter((it) => it.startsWith("PUT")).length, 0, "no manifest before its blobs");
  }
  await site.stop();
  const gone = await publish(site.host);
  t.equal(gone.status, 1);
  t.match(gone.stderr, /cannot reach registry .*ECONNREFUSED/);
});

t.test("a registry with a password: requests side by side log in once, a wrong one is told", async (t) => {
  if (!needs(t, "docker-registry", "crane")) return;
  const { gap, image, publish } = await packedImage(t);
  const htpasswd = join(gap.dir, "htpasswd");
  writeFileSync(htpasswd, `robot:${hashSync("pass:word", 4)}\n`);
  const site = await startDockerRegistry(join(gap.dir, "site"), {
    sections: `auth: {htpasswd: {realm: site, path: "${htpasswd}"}}`,
  });
  t.teardown(() => site.stop());
  const nobody = await publish(site.host);
  t.equal(nobody.status, 1);
  t.match(nobody.stderr, /it requires a login and there is none.*docker login/);
  const login = (text: string) => {
    const auth = Buffer.from(text).toString("base64");
    writeFileSync(
      join(gap.home.DOCKER_CONFIG as string, "config.json"),
      JSON.stringify({ auths: { [site.host]: { auth } } }),
    );
  };
  login("robot:wrong");
  const wrong = await publish(site.host);
  t.equal(wrong.status, 1);
  t.match(wrong.stderr, /it refuses this login/);
  login("robot:pass:word");
  const right = await publish(site.host);
  t.equal(right.status, 0, right.stderr);
  t.equal((await gap.run("crane", "digest", `${site.host}/lab/bb:1.0`)).out.trim(), image.digest);
});

t.test("killed in the middle, it goes on where it was", async (t) => {
  if (!needs(t, "docker-registry", "crane")) return;
  const { gap, image, publish, blobs } = await packedImage(t);
  const site = await startDockerRegistry(join(gap.dir, "site"));
  t.teardown(() => site.stop());
  let closed = 0;
  let stuck = () => {};
  const isStuck = new Promise<void>((resolve) => {
    stuck = resolve;
  });
  const proxy = await startProxyBefore(t, site.host, (req) => {
    if (req.method === "PUT" && /blobs/.test(req.url ?? "")) closed++;
    if (closed < 4) return false;
    // The fourth blob's end never gets an answer.
    stuck();
    return true;
  });
  const args = ["publish", proxy.host, "--store", "store", "--insecure", "--names", "bare", "--json"];
  const first = start(gap.dir, args);
  await isStuck;
  first.kill("SIGKILL");
  await first.done;
  t.not((await gap.run("crane", "digest", `${site.host}/lab/bb:1.0`)).status, 0, "there is no name for a part");
  const second = await publish(site.host);
  t.equal(second.status, 0, second.stderr);
  t.equal(blobs(second.stdout), 6, "three blobs were there");
  t.equal((await gap.run("crane", "digest", `${site.host}/lab/bb:1.0`)).out.trim(), image.digest);
});

t.test("referrers are found at registries with the API and without, beside those of the site", async (t) => {
  if (!needs(t, "docker-registry", "crane", "oras")) return;
  const { gap, image, sbom, aboutSbom, publish } = await packedImage(t);
  const without = await startDockerRegistry(join(gap.dir, "site"));
  t.teardown(() => without.stop());
  const port = await freePort();
  const other = spawn(clientPath("crane") as string, ["registry", "serve", "--address", `127.0.0.1:${port}`], {
    env: clientEnv(gap.home),
    stdio: "ignore",
  });
  t.teardown(() => other.kill());
  const with_ = `127.0.0.1:${port}`;
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await fetch(`http://${with_}/v2/`).catch(() => undefined)) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const host of [without.host, with_]) {
    const ran = await publish(host);
    t.equal(ran.status, 0, ran.stderr);
    writeFileSync(join(gap.dir, "note.txt"), "ours");
    const attach = [
      "attach",
      "--plain-http",
      "--disable-path-validation",
      "--artifact-type",
      "application/vnd.site.note",
    ];
    const attached = await gap.run("oras", ...attach, `${host}/lab/bb@${image.digest}`, join(gap.dir, "note.txt"));
    t.equal(attached.status, 0, attached.out);
    const again = await publish(host);
    t.equal(again.status, 0, again.stderr);
    const found = await gap.run("oras", "discover", "--plain-http", "--format", "json", `${host}/lab/bb:1.0`);
    t.match(found.out, sbom.digest, host);
    t.match(found.out, aboutSbom.digest, "and what is about that");
    t.match(found.out, "application/vnd.site.note", "what the site itself attached stays");
  }
});

t.test("skopeo copies between registries around it with equal digests", async (t) => {
  if (!needs(t, "docker-registry", "skopeo", "crane", "cosign2", "cosign3")) return;
  const gap = await imageGap(t, "airferry-around");
  const registry = async (name: string) => {
    const it = await startDockerRegistry(join(gap.dir, name));
    t.teardown(() => it.stop());
    return it.host;
  };
  const [upstream, site, onward] = [await registry("a"), await registry("b"), await registry("c")];
  const images = new TestImages();
  const index = images.index([
    images.image("linux/amd64", [{ a: "amd64" }]),
    images.image("linux/arm64", [{ a: "arm64" }]),
  ]);
  await images.push(upstream, "lab/bb", { "1.0": index });
  await gap.run("cosign3", "generate-key-pair", "--output-key-prefix", join(gap.dir, "cosign"));
  const key = ["--yes", "--key", join(gap.dir, "cosign.key"), "--tlog-upload=false", "--recursive"];
  t.equal((await gap.run("cosign2", "sign", ...key, `${upstream}/lab/bb@${index.digest}`)).status, 0);
  const manifest = { images: [{ ref: `registry.example.com/lab/bb:1.0`, insecure: true }] };
  await gap.carry(manifest, { args: ["--rewrite", `registry.example.com=${upstream}`] });
  const published = await gap.airferry("publish", `${site}/af`, "--store", "store", "--insecure", "--names", "bare");
  t.equal(published.status, 0, published.stderr);
  const tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
  const copy = (from: string, to: string) =>
    gap.run("skopeo", "copy", "--all", "--preserve-digests", ...tls, `docker://${from}`, `docker://${to}`);
  const copied = await copy(`${site}/af/lab/bb:1.0`, `${onward}/published/bb:1.0`);
  t.equal(copied.status, 0, copied.out);
  t.equal((await copy(`${upstream}/lab/bb:1.0`, `${onward}/direct/bb:1.0`)).status, 0);
  for (const name of [`${site}/af/lab/bb`, `${onward}/published/bb`, `${onward}/direct/bb`]) {
    t.equal((await gap.run("crane", "digest", `${name}:1.0`)).out.trim(), index.digest, name);
  }
  for (const cosign of cosignPaths()) {
    const verify = ["verify", "--key", join(gap.dir, "cosign.pub"), "--insecure-ignore-tlog=true"];
    const good = await runClient(cosign, [...verify, `${site}/af/lab/bb:1.0`], gap.home);
    t.equal(good.status, 0, good.out);
  }
});

t.test("stripped indexes: only by choice, without signatures of what is missing", async (t) => {
  if (!needs(t, "docker-registry", "crane")) return;
  const gap = await imageGap(t, "airferry-strip");
  const images = new TestImages();
  const [amd64, arm64] = ["linux/amd64", "linux/arm64"].map((it) => images.image(it, [{ it }]));
  const index = images.index([amd64, arm64] as never);
  const onIndex = images.referrer(index, "application/vnd.acme.sig", Buffer.from("index"));
  const onChild = images.referrer(amd64 as never, "application/vnd.acme.sig", Buffer.from("child"));
  const fake = await startFakeRegistry({ images, tags: { "1.0": index }, referrersApi: true });
  t.teardown(() => fake.close());
  const entry = { ref: `${fake.host}/lab/bb:1.0`, insecure: true, as: "example.com/lab/bb:1.0" };
  await gap.carry({ images: [{ ...entry, platforms: ["linux/amd64"] }] });
  const site = await startDockerRegistry(join(gap.dir, "site"));
  t.teardown(() => site.stop());
  const refused = await gap.airferry("publish", site.host, "--store", "store", "--insecure");
  t.equal(refused.status, 1);
  t.match(refused.stderr, /example\.com\/lab\/bb:1\.0 \(linux\/amd64\).*\n.*--strip-indexes/);
  const ran = await gap.airferry("publish", site.host, "--store", "store", "--insecure", "--strip-indexes");
  t.equal(ran.status, 0, ran.stderr);
  t.match(ran.stderr, /stripped index/);
  const target = `${site.host}/example.com/lab/bb`;
  const raw = JSON.parse((await gap.run("crane", "manifest", `${target}:1.0`)).out) as {
    manifests: { digest: string }[];
  };
  t.same(
    raw.manifests.map((it) => it.digest),
    [amd64?.digest],
  );
  t.equal((await gap.run("crane", "validate", "--remote", `${target}:1.0`)).status, 0);
  t.equal(
    (await gap.run("crane", "manifest", `${target}@${onChild.digest}`)).status,
    0,
    "signatures of whole children",
  );
  t.not((await gap.run("crane", "manifest", `${target}@${onIndex.digest}`)).status, 0);
});

t.test("a damaged store is noticed, named and healed", async (t) => {
  if (!needs(t, "docker-registry")) return;
  const { gap, images, image, publish } = await packedImage(t);
  const site = await startDockerRegistry(join(gap.dir, "site"));
  t.teardown(() => site.stop());
  const layer = (
    JSON.parse(images.manifests.get(image.digest)?.bytes.toString() ?? "") as { layers: { digest: string }[] }
  ).layers[2]?.digest as string;
  const hex = layer.slice(7);
  const file = join(gap.dir, "store/blobs/sha256", hex.slice(0, 2), hex);
  const good = readFileSync(file);
  const bad = Buffer.from(good);
  bad[1000] = (bad[1000] as number) ^ 1;
  for (const bytes of [bad, good.subarray(0, -1), Buffer.concat([good, Buffer.from("x")])]) {
    rmSync(file);
    writeFileSync(file, bytes);
    const exported = await gap.airferry("export", "image", "lab/bb:1.0", "--store", "store", "--out", "e.tar");
    t.equal(exported.status, 1);
    t.match(exported.stderr, `cannot read blob ${layer} of the store: it is damaged`);
    t.throws(() => readFileSync(join(gap.dir, "e.tar")), "nothing under the final name");
    const ran = await publish(site.host);
    t.equal(ran.status, 1);
    t.match(ran.stderr, /ERR_STORE_INVALID/);
    t.match(ran.stderr, layer);
  }
  // As the hint says.
  rmSync(file);
  const again = await gap.airferry("unpack", "bundles/test-000001", "--trust", "k.pub", "--store", "store");
  t.equal(again.status, 0, again.stderr);
  t.equal((await publish(site.host)).status, 0);
  const root = join(gap.dir, "store/blobs/sha256", image.digest.slice(7, 9), image.digest.slice(7));
  const manifest = readFileSync(root);
  rmSync(root);
  writeFileSync(root, manifest.toString().replace('"schemaVersion":2', '"schemaVersion": 2'));
  const damaged = await gap.airferry("export", "image", "lab/bb:1.0", "--store", "store", "--out", "e.tar");
  t.match(damaged.stderr, `cannot read blob ${image.digest} of the store: it is damaged`);
});

t.test("two exports to one file, and one that is interrupted", async (t) => {
  const { gap } = await packedImage(t);
  const args = (out: string) => ["export", "image", "lab/bb:1.0", "--store", "store", "--out", out];
  const alone = await gap.airferry(...args("alone.tar"));
  t.equal(alone.status, 0, alone.stderr);
  const both = await Promise.all([gap.airferry(...args("e.tar")), gap.airferry(...args("e.tar"))]);
  t.same(
    both.map((it) => it.status),
    [0, 0],
  );
  t.ok(readFileSync(join(gap.dir, "e.tar")).equals(readFileSync(join(gap.dir, "alone.tar"))));
  // A pipe that nobody reads on holds the archive up.
  const bin = join(gap.dir, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "docker"), "#!/bin/sh\necho started >&2\nexec sleep 60\n", { mode: 0o755 });
  const env = { ...gap.home, PATH: `${bin}:${process.env.PATH}` };
  const load = start(gap.dir, ["export", "image", "lab/bb:1.0", "--store", "store", "--load", "docker"], env);
  setTimeout(() => load.kill("SIGINT"), 1500);
  const ended = await load.done;
  t.equal(ended.status, 130, ended.stderr);
  t.match(ended.stderr, /interrupted/);
  const left = readdirSync(gap.dir).filter((it) => it.endsWith(".part"));
  t.same(left, [], "nothing is left of any of them");
});

t.test("two images of one name, and a registry that wants uploads in the clear", async (t) => {
  const gap = await imageGap(t, "airferry-names");
  const images = new TestImages();
  const [one, two] = ["1", "2"].map((it) => images.image("linux/amd64", [{ it }]));
  const fake = await startFakeRegistry({ images, tags: { one: one as never, two: two as never } });
  t.teardown(() => fake.close());
  const entry = (tag: string, as: string) => ({ ref: `${fake.host}/lab/bb:${tag}`, insecure: true, as });
  await gap.carry({ stream: "a", images: [entry("one", "a.example/lab/bb:1"), entry("two", "b.example/lab/bb:1")] });
  const bare = await gap.airferry("publish", "127.0.0.1:1", "--store", "store", "--insecure", "--names", "bare");
  t.equal(bare.status, 1);
  t.match(bare.stderr, /two images have this name: a\.example.* and b\.example/);
  const packed = await gap.airferry("export", "image", "lab/bb:1", "--store", "store", "--out", "e.tar");
  t.match(packed.stderr, /several have this name/);

  const pki = await makePki();
  const log: string[] = [];
  const server = createTlsServer({ cert: pki.server.cert, key: pki.server.key }, (req, res) => {
    log.push(`${req.method}`);
    if (req.method === "POST") res.writeHead(202, { location: "http://127.0.0.1:9/v2/upload" }).end();
    else res.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  writeFileSync(join(gap.dir, "ca.pem"), pki.ca);
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const plain = await gap.airferry("publish", host, "--store", "store", "--ca", "ca.pem");
  t.equal(plain.status, 1);
  t.match(plain.stderr, /it requests the upload over plain HTTP, at 127\.0\.0\.1:9/);
  t.notMatch(log.join(), "PATCH");
});
