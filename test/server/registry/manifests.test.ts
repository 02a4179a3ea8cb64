/** The registry: exact headers, names, paging, referrers, refusals. See OCI distribution-spec v1.1. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hashSync } from "bcryptjs";
import t, { type Test } from "tap";
import type { CatalogImage } from "../../../src/bundle/inventory-types.ts";
import type { Digest } from "../../../src/io/digest.ts";
import { formatBytes } from "../../../src/io/format.ts";
import { digestOf, INDEX, MANIFEST, type TestDescriptor, TestImages } from "../../fixtures/images.ts";
import { startServer, temporaryDir } from "../../fixtures/serving.ts";

function make() {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "amd64" }]);
  const arm64 = images.image("linux/arm64", [{ a: "arm64" }]);
  const index = images.index([amd64, arm64]);
  const sbom = images.referrer(index, "application/spdx+json", Buffer.from("{}"));
  return { images, amd64, arm64, index, sbom };
}

type Made = ReturnType<typeof make>;

function catalogImage({ images }: Made, reference: string, root: TestDescriptor, more: Partial<CatalogImage> = {}) {
  return images.catalogImage(reference, root, more);
}

async function serveImages(t: Test, made: Made, list: CatalogImage[], leaveOut: string[] = [], options = {}) {
  const server = await startServer(
    t,
    [{ stream: "s", content: made.images.content(leaveOut), catalog: { images: list } }],
    options,
  );
  const get = (path: string, init: RequestInit = {}) => fetch(`${server.url}${path}`, init);
  return Object.assign(get, { server });
}

/** The error that a client would print. */
async function errorOf(answer: Response): Promise<{ code: string; message: string }> {
  t.equal(answer.headers.get("content-type"), "application/json");
  const { errors } = (await answer.json()) as { errors: { code: string; message: string }[] };
  return errors[0] as { code: string; message: string };
}

t.test("manifests and blobs come byte for byte, with exact headers", async (t) => {
  const made = make();
  const get = await serveImages(t, made, [catalogImage(made, "registry.example.com:5000/lab/bb:1.0", made.index)]);
  for (const path of ["/v2", "/v2/"]) t.same(await (await get(path)).json(), {});
  const name = "/v2/registry.example.com_5000/lab/bb";
  for (const reference of ["1.0", made.index.digest]) {
    const answer = await get(`${name}/manifests/${reference}`);
    t.equal(answer.status, 200);
    t.equal(answer.headers.get("content-type"), INDEX);
    t.equal(answer.headers.get("docker-content-digest"), made.index.digest);
    t.equal(answer.headers.get("etag"), `"${made.index.digest}"`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    t.ok(bytes.equals(made.images.manifests.get(made.index.digest)?.bytes as Buffer));
  }
  const head = await get(`${name}/manifests/1.0`, { method: "HEAD" });
  t.equal(head.headers.get("content-length"), String(made.index.size));
  const unchanged = await get(`${name}/manifests/1.0`, { headers: { "if-none-match": `"${made.index.digest}"` } });
  t.equal(unchanged.status, 304);
  const [digest, bytes] = [...made.images.blobs][0] as [string, Buffer];
  const blob = await get(`${name}/blobs/${digest}`);
  t.equal(blob.headers.get("content-type"), "application/octet-stream");
  t.equal(blob.headers.get("accept-ranges"), "bytes");
  t.ok(Buffer.from(await blob.arrayBuffer()).equals(bytes));
  const part = await get(`${name}/blobs/${digest}`, { headers: { range: "bytes=5-9" } });
  t.equal(part.status, 206);
  t.equal(part.headers.get("content-range"), `bytes 5-9/${bytes.length}`);
  const beyond = await get(`${name}/blobs/${digest}`, { headers: { range: `bytes=${bytes.length}-` } });
  t.equal(beyond.status, 416);
  const byBlob = await get(`${name}/blobs/${made.index.digest}`);
  t.equal(byBlob.status, 200, "manifests can be had as blobs too");
});

t.test("names", async (t) => {
  const made = make();
  const images = [
    "docker.io/library/busybox:latest",
    "registry.k8s.io/coredns/coredns:v1",
    "registry.k8s.io/pause:3.10",
    "quay.io/x/same:1",
    "ghcr.io/x/same:1",
    "harbor.example/library/busybox:latest",
    "[::1]:5000/lab/six:1",
    "[2001:db8::]/lab/seven:1",
  ].map((reference) => catalogImage(made, reference, made.index));
  const get = await serveImages(t, made, images);
  const good = [
    "/v2/docker.io/library/busybox/manifests/latest",
    "/v2/docker.io/busybox/manifests/latest",
    "/v2/index.docker.io/library/busybox/manifests/latest",
    "/v2/library/busybox/manifests/latest",
    "/v2/busybox/manifests/latest",
    "/v2/library/busybox/manifests/latest?ns=docker.io",
    "/v2/library/busybox/manifests/latest?ns=registry-1.docker.io",
    "/v2/docker.io/library/busybox/manifests/latest?ns=docker.io",
    "/v2/pause/manifests/3.10?ns=REGISTRY.k8s.io",
    "/v2/pause/manifests/3.10",
    "/v2/coredns/coredns/manifests/v1",
    "/v2/coredns/manifests/v1",
    "/v2/registry.k8s.io/coredns/manifests/v1",
    "/v2/x/same/manifests/1?ns=quay.io",
    "/s/s/v2/pause/manifests/3.10",
    "/v2/0__1_5000/lab/six/manifests/1",
    "/v2/lab/six/manifests/1?ns=[::1]:5000",
    "/v2/lab/six/manifests/1?ns=%5B%3A%3A1%5D%3A5000",
    "/v2/2001_db8__0/lab/seven/manifests/1",
  ];
  for (const path of good) t.equal((await get(path)).status, 200, path);
  const { repositories } = (await (await get("/v2/_catalog")).json()) as { repositories: string[] };
  for (const it of repositories)
    t.equal((await get(`/v2/${it}/tags/list`)).status, 200, "every listed name can be asked");
  const bad = new Map<string, [number, string, RegExp]>([
    ["/v2/x/same/manifests/1", [404, "NAME_UNKNOWN", /several registries.*ghcr\.io\/x\/same or quay\.io\/x\/same/]],
    ["/v2/pause/manifests/3.10?ns=quay.io", [404, "NAME_UNKNOWN", /of quay\.io was not packed/]],
    ["/v2/pause/manifests/3.9", [404, "MANIFEST_UNKNOWN", /packed: 3\.10/]],
    ["/v2/none/manifests/1", [404, "NAME_UNKNOWN", /_catalog/]],
    ["/v2/NONE/manifests/1", [404, "NAME_INVALID", /not a repository name/]],
    ["/v2/pause/manifests/sha256:bad", [400, "DIGEST_INVALID", /not a digest/]],
    ["/v2/pause/blobs/sha256:bad", [400, "DIGEST_INVALID", /not a digest/]],
    [`/v2/pause/blobs/sha256:${"0".repeat(64)}`, [404, "BLOB_UNKNOWN", /no blob/]],
  ]);
  for (const [path, [status, code, message]] of bad) {
    const answer = await get(path);
    t.equal(answer.status, status, path);
    t.equal(answer.headers.get("content-type"), "application/json");
    const { errors } = (await answer.json()) as { errors: { code: string; message: string }[] };
    t.equal(errors[0]?.code, code);
    t.match(errors[0]?.message, message);
  }
});

t.test("paging of tags and of the catalog", async (t) => {
  const made = make();
  const images = ["b", "a", "C", "1"].map((tag) => catalogImage(made, `x.example/y:${tag}`, made.index));
  const get = await serveImages(t, made, [...images, catalogImage(made, "x.example/z:1", made.index)]);
  t.same(await (await get("/v2/x.example/y/tags/list")).json(), { name: "x.example/y", tags: ["1", "C", "a", "b"] });
  const first = await get("/v2/x.example/y/tags/list?n=2");
  t.same(((await first.json()) as { tags: string[] }).tags, ["1", "C"]);
  const next = /^<([^>]+)>; rel="next"$/.exec(first.headers.get("link") ?? "")?.[1] as string;
  const second = await get(next);
  t.same(((await second.json()) as { tags: string[] }).tags, ["a", "b"]);
  t.equal(second.headers.get("link"), null);
  const none = await get("/v2/x.example/y/tags/list?n=0");
  t.same(((await none.json()) as { tags: string[] }).tags, []);
  t.equal(none.headers.get("link"), null);
  t.equal((await get("/v2/x.example/y/tags/list?n=x")).status, 400);
  t.equal((await get("/v2/x.example/none/tags/list")).status, 404);
  t.same(await (await get("/v2/_catalog?n=1")).json(), { repositories: ["x.example/y"] });
  for (const all of ["n=99999999999999999999", "n=", "last=0", "n=4"]) {
    const answer = await get(`/v2/x.example/y/tags/list?${all}`);
    t.same(((await answer.json()) as { tags: string[] }).tags, ["1", "C", "a", "b"], all);
    t.equal(answer.headers.get("link"), null, all);
  }
  const beyond = await get("/v2/x.example/y/tags/list?last=zz&n=2");
  t.same(((await beyond.json()) as { tags: string[] }).tags, []);
  t.equal((await get("/v2/x.example/y/tags/list?n=-1")).status, 400);
});

t.test("pages lead on where they were asked for: by ns, by stream, below /ns", async (t) => {
  const made = make();
  const tags = ["a", "b", "c"];
  const images = ["quay.io", "ghcr.io"].flatMap((host) =>
    tags.map((tag) => catalogImage(made, `${host}/x/y:${tag}`, made.index)),
  );
  const get = await serveImages(t, made, images);
  for (const start of [
    "/v2/x/y/tags/list?n=1&ns=quay.io",
    "/ns/quay.io/v2/x/y/tags/list?n=1",
    "/s/s/v2/quay.io/x/y/tags/list?n=1",
    "/s/s/ns/quay.io/v2/x/y/tags/list?n=1",
  ]) {
    const found: string[] = [];
    for (let next: string | undefined = start; next !== undefined; ) {
      const answer: Response = await get(next);
      t.equal(answer.status, 200, next);
      found.push(...((await answer.json()) as { tags: string[] }).tags);
      next = /^<([^>]+)>; rel="next"$/.exec(answer.headers.get("link") ?? "")?.[1];
    }
    t.same(found, tags, start);
  }
  t.match(await errorOf(await get("/v2/x/y/manifests/a")), { code: "NAME_UNKNOWN", message: /several registries/ });
  t.equal((await get("/ns/quay.io/v2/x/y/manifests/a")).status, 200);
  t.equal((await get("/ns/docker.io/v2/x/y/manifests/a")).status, 404);
  t.equal((await get("/ns/quay.io/v2/")).status, 200);
  t.equal((await get("/ns/quay.io/files/a")).status, 404);
  t.equal((await get("/ns/quay.io/v2/x/y/manifests/a", { method: "PUT", body: "{}" })).status, 405);
});

t.test("a server that is asked under its own name as ns takes that for none", async (t) => {
  const made = make();
  const list = [catalogImage(made, "registry.k8s.io/pause:3.10", made.index)];
  const get = await serveImages(t, made, list, [], { url: "https://mirror.site:9443" });
  for (const ns of ["mirror.site:9443", "Mirror.Site:9443", "", new URL(get.server.url).host]) {
    t.equal((await get(`/v2/pause/manifests/3.10?ns=${ns}`)).status, 200, ns);
  }
  t.equal((await get("/v2/pause/manifests/3.10?ns=mirror.other:9443")).status, 404);
});

t.test("a damaged manifest fails alone, and in the registry's words", async (t) => {
  const made = make();
  const { sbom, index, images } = made;
  const get = await serveImages(t, made, [catalogImage(made, "x.example/y:1", index)]);
  const { store } = get.server;
  const fileOf = (digest: string) => store.blobPath(digest as Digest);
  const bytes = images.manifests.get(sbom.digest)?.bytes as Buffer;
  const name = "/v2/x.example/y";
  for (const damage of [
    () => writeFileSync(fileOf(sbom.digest), bytes.toString().replace("spdx", "spdy")),
    () => writeFileSync(fileOf(sbom.digest), bytes.subarray(1)),
    () => rmSync(fileOf(sbom.digest)),
  ]) {
    damage();
    // A release more makes a new view, as a restart would.
    await store.put({ stream: `other${Math.random()}`.replace("0.", ""), content: {} });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    for (const method of ["GET", "HEAD"]) {
      const answer = await get(`${name}/manifests/${sbom.digest}`, { method });
      t.equal(answer.status, 500, method);
      if (method === "GET") t.match(await errorOf(answer), { code: "UNKNOWN", message: /server's log/ });
    }
    t.equal((await get(`${name}/manifests/1`)).status, 200, "the image itself is as it was");
  }
  const [digest, blob] = [...images.blobs].find(([, it]) => it.length > 100) as [string, Buffer];
  const flipped = Buffer.from(blob);
  flipped[50] = (flipped[50] as number) ^ 1;
  writeFileSync(fileOf(digest), flipped);
  for (const path of [`${name}/blobs/${digest}`, `/images/blobs/${digest.replace(":", "/")}`]) {
    t.equal((await get(path)).status, 500, path);
    t.equal((await get(path, { headers: { range: "bytes=0-9" } })).status, 500, path);
  }
  const [unread] = [...images.blobs].find(([it, { length }]) => it !== digest && length > 100) as [string, Buffer];
  rmSync(fileOf(unread));
  t.equal((await get(`${name}/blobs/${unread}`, { method: "HEAD" })).status, 500, "HEAD promises nothing that is gone");
});

t.test("referrers: always an index, filtered, and by the fallback tag", async (t) => {
  const made = make();
  const get = await serveImages(t, made, [catalogImage(made, "x.example/y:1", made.index)]);
  const all = await get(`/v2/x.example/y/referrers/${made.index.digest}`);
  t.equal(all.headers.get("content-type"), INDEX);
  const { digest, size } = made.sbom;
  const expected = [{ mediaType: MANIFEST, digest, size, artifactType: "application/spdx+json" }];
  t.same(((await all.json()) as { manifests: object[] }).manifests, expected);
  const other = await get(`/v2/x.example/y/referrers/${made.index.digest}?artifactType=application/none`);
  t.equal(other.headers.get("oci-filters-applied"), "artifactType");
  t.same(((await other.json()) as { manifests: object[] }).manifests, []);
  const unknown = await get(`/v2/x.example/none/referrers/sha256:${"0".repeat(64)}`);
  t.equal(unknown.status, 200);
  t.equal((await get("/v2/x.example/y/referrers/sha256:bad")).status, 400);
  const tag = await get(`/v2/x.example/y/manifests/${made.index.digest.replace(":", "-")}`);
  t.equal(tag.headers.get("content-type"), INDEX);
  const list = Buffer.from(await tag.arrayBuffer());
  t.same(JSON.parse(list.toString()).manifests, expected);
  t.equal(tag.headers.get("docker-content-digest"), digestOf(list), "the list is a manifest like others");
  t.equal(tag.headers.get("etag"), `"${digestOf(list)}"`);
  const byDigest = await get(`/v2/x.example/y/manifests/${digestOf(list)}`);
  t.ok(Buffer.from(await byDigest.arrayBuffer()).equals(list), "and can be had by its digest");
});

t.test(
  "tags of signatures are not offered to a person; attestations are of the platform that they attest",
  async (t) => {
    const made = make();
    const { images, amd64, arm64 } = made;
    const attestation = images.manifest(
      {
        config: images.blob(Buffer.from("{}"), "application/vnd.oci.image.config.v1+json"),
        layers: [images.blob(Buffer.from("in-toto"), "application/vnd.in-toto+json")],
      },
      MANIFEST,
      {
        platform: { os: "unknown", architecture: "unknown" },
        annotations: {
          "vnd.docker.reference.type": "attestation-manifest",
          "vnd.docker.reference.digest": arm64.digest,
        },
      },
    );
    const index = images.index([attestation, amd64, arm64]);
    const tags = Object.fromEntries(
      Array.from({ length: 30 }, (_, n) => [`sha256-${String(n).padStart(64, "0")}.sig`, made.sbom.digest]),
    );
    const layer = digestOf(Buffer.from("in-toto"));
    const get = await serveImages(t, made, [catalogImage(made, "x.example/y:v1", index, { tags } as never)], [layer]);
    t.match((await errorOf(await get("/v2/y/manifests/v2"))).message, /has no tag "v2"; packed: v1$/);
    t.match((await errorOf(await get(`/v2/y/blobs/${layer}`))).message, /platform linux\/arm64 was not packed/);
  },
);

t.test("what was left out is said, and a digest without a tag is served", async (t) => {
  const made = make();
  const layer = JSON.parse(made.images.manifests.get(made.arm64.digest)?.bytes.toString() as string).layers[0].digest;
  const reference = `x.example/y@${made.index.digest}`;
  const get = await serveImages(
    t,
    made,
    [catalogImage(made, reference, made.index, { platforms: ["linux/amd64"] })],
    [layer],
  );
  t.equal((await get(`/v2/y/manifests/${made.index.digest}`)).status, 200);
  t.same(
    await (await get("/v2/y/tags/list")).json(),
    { name: "y", tags: [`${made.index.digest.replace(":", "-")}-packed`] },
    "only that of what is here",
  );
  const answer = await get(`/v2/y/blobs/${layer}`);
  t.equal(answer.status, 404);
  t.match(await answer.text(), /platform linux\/arm64 was not packed/);
});

t.test("writes are refused in words that clients show", async (t) => {
  const made = make();
  const get = await serveImages(t, made, [catalogImage(made, "x.example/y:1", made.index)]);
  const writes = [
    ["POST", "/v2/x.example/y/blobs/uploads/"],
    ["PUT", "/v2/x.example/y/manifests/1"],
    ["PATCH", "/v2/x.example/y/blobs/uploads/1"],
    ["DELETE", `/v2/x.example/y/manifests/${made.index.digest}`],
  ] as const;
  for (const [method, path] of writes) {
    const answer = await get(path, { method });
    t.equal(answer.status, 405, method);
    t.equal(answer.headers.get("allow"), "GET, HEAD");
    t.match(await answer.json(), { errors: [{ code: "UNSUPPORTED", message: /read-only registry/ }] });
  }
});

t.test("the front page has each image's digest whole, and sizes as the commands print them", async (t) => {
  const made = make();
  const image = catalogImage(made, "registry.example.com/lab/bb:1.0", made.index, { size: 31_457_280 });
  const get = await serveImages(t, made, [image]);
  const page = await (await get("/")).text();
  t.match(page, `registry.example.com/lab/bb:1.0</span><br><span class="digest soft">${made.index.digest}</span>`);
  t.match(page, `>${formatBytes(31_457_280)}<`);
  t.equal(formatBytes(31_457_280), "30.0 MiB");
});

t.test("users come and go while the server runs", async (t) => {
  const made = make();
  const htpasswd = join(await temporaryDir(t), "htpasswd");
  const line = (user: string) => `${user}:${hashSync("secret", 4)}\n`;
  writeFileSync(htpasswd, line("old"));
  const get = await serveImages(t, made, [catalogImage(made, "x.example/y:1", made.index)], [], { htpasswd });
  const { messages, url } = get.server;
  const status = async (user: string) => {
    const authorization = `Basic ${Buffer.from(`${user}:secret`).toString("base64")}`;
    return (await get("/v2/x.example/y/manifests/1", { headers: { authorization } })).status;
  };
  const nextLook = () => new Promise((resolve) => setTimeout(resolve, 1050));
  t.same([await status("old"), await status("new")], [200, 401]);

  writeFileSync(htpasswd, line("new"));
  await nextLook();
  t.same([await status("old"), await status("new")], [401, 200], "logins are not remembered from before");

  for (const [fault, damage] of [
    [/line 2 is not user:bcrypt; the previous users stay valid$/, () => writeFileSync(htpasswd, "#\nnew:x\n")],
    [/htpasswd": it has no user; /, () => writeFileSync(htpasswd, "")],
    [/htpasswd": no such file or folder; /, () => rmSync(htpasswd)],
  ] as const) {
    damage();
    await nextLook();
    t.same([await status("old"), await status("new")], [401, 200]);
    t.match(messages.at(-1), fault);
  }
  await nextLook();
  t.equal(await status("new"), 200);
  t.equal(messages.length, 3, "each is told once");
  t.match(await (await fetch(`${url}/metrics`)).text(), /airferry_faults_total 3/);

  writeFileSync(htpasswd, line("old"));
  await nextLook();
  t.same([await status("old"), await status("new")], [200, 401], "and a good file counts again");
});

t.test("a login, where an htpasswd file asks for one", async (t) => {
  const made = make();
  const htpasswd = join(await temporaryDir(t), "htpasswd");
  writeFileSync(htpasswd, `# users\nrobot:${hashSync("secret", 4)}\n`);
  const get = await serveImages(t, made, [catalogImage(made, "x.example/y:1", made.index)], [], { htpasswd });
  const login = (text: string) => ({ headers: { authorization: `Basic ${Buffer.from(text).toString("base64")}` } });
  for (const path of ["/v2/", "/v2/x.example/y/manifests/1"]) {
    const answer = await get(path);
    t.equal(answer.status, 401);
    t.match(answer.headers.get("www-authenticate"), /^Basic realm=/);
    t.equal((await get(path, login("robot:wrong"))).status, 401);
    t.equal((await get(path, login("nobody:secret"))).status, 401);
    t.equal((await get(path, login("robot:secret"))).status, 200);
    t.equal((await get(path)).status, 401, "a good answer is not remembered for everybody");
  }
  t.equal((await get("/healthz")).status, 200, "only images ask");
  const blob = `/images/blobs/${made.index.digest.replace(":", "/")}`;
  for (const path of [blob, `/s/s${blob}`, "/images/", "/ns/x.example/v2/y/manifests/1"]) {
    t.equal((await get(path, login("robot:secret"))).status, 200, path);
    t.equal((await get(path)).status, 401, `${path} is no way around it`);
  }
  const many = await Promise.all(
    Array.from({ length: 80 }, async (_, n) => (await get("/v2/", login(`robot:wrong${n}`))).status),
  );
  t.ok(many.includes(429), "whoever tries many passwords at once is told to wait");
  t.notOk(many.includes(200));
  t.equal((await get("/v2/", login("robot:secret"))).status, 200, "who is known goes on meanwhile");
  writeFileSync(htpasswd, "robot:{SHA}notbcrypt\n");
  await t.rejects(serveImages(t, made, [], [], { htpasswd }), { code: "ERR_USAGE" });
});
