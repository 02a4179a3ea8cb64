/** src/publish/site-registry.ts: how each answer of a registry is taken. Real registries are in test/interop. */
import { writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import t, { type Test } from "tap";
import { SiteRegistry } from "../../src/publish/site-registry.ts";
import { digestOf } from "../fixtures/images.ts";
import { scratch, seededBytes } from "../fixtures/program.ts";

type Answer = { status: number; headers?: Record<string, string>; body?: string };
type Handle = (call: string, req: IncomingMessage, body: Buffer) => Answer;

async function registry(t: Test, handle: Handle, env: NodeJS.ProcessEnv = {}) {
  const calls: string[] = [];
  const server = createServer(async (req: IncomingMessage, res: ServerResponse) => {
    const body = await buffer(req);
    const call = `${req.method} ${req.url}`;
    calls.push(call);
    const { status, headers, body: text } = handle(call, req, body);
    res.writeHead(status, headers).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const site = new SiteRegistry({ host, insecure: true, env: { HOME: "/nonexistent", ...env } });
  return { site, calls, host };
}

function blobIn(t: Test, size = 300_000) {
  const bytes = seededBytes(5, size);
  const file = join(scratch(t), "blob");
  writeFileSync(file, bytes);
  return { bytes, blob: { digest: digestOf(bytes) as `sha256:${string}`, file, size } };
}

t.test("pushBlob(): POST, one PATCH, PUT with the digest, at the places that the answers name", async (t) => {
  const { blob, bytes } = blobIn(t);
  let received: Buffer | undefined;
  const { site, calls } = await registry(t, (call, _, body) => {
    if (call.startsWith("HEAD")) return { status: 404 };
    if (call.startsWith("POST")) return { status: 202, headers: { location: "/v2/lab/bb/blobs/uploads/1?state=a" } };
    if (call.startsWith("PATCH")) {
      received = body;
      return { status: 202, headers: { location: "/elsewhere/2?state=b" } };
    }
    return { status: 201 };
  });
  const seen: number[] = [];
  t.equal(await site.pushBlob("lab/bb", blob, (it) => seen.push(it)), true);
  t.ok(received?.equals(bytes));
  t.equal(seen.at(-1), bytes.length);
  const closing = `PUT /elsewhere/2?state=b&digest=${encodeURIComponent(blob.digest)}`;
  t.same(calls, [
    `HEAD /v2/lab/bb/blobs/${blob.digest}`,
    "POST /v2/lab/bb/blobs/uploads/",
    "PATCH /v2/lab/bb/blobs/uploads/1?state=a",
    closing,
  ]);
});

t.test("pushBlob() sends nothing that is there, or that another repository can hand over", async (t) => {
  const { blob } = blobIn(t);
  const { site, calls } = await registry(t, (call) => {
    if (call.startsWith("HEAD")) return { status: call.includes("/one/") ? 200 : 404 };
    return { status: 201 };
  });
  t.equal(await site.pushBlob("one", blob, () => {}), false);
  t.equal(await site.pushBlob("two", blob, () => {}), false);
  t.equal(calls.at(-1), `POST /v2/two/blobs/uploads/?mount=${encodeURIComponent(blob.digest)}&from=one`);
});

t.test("pushBlob() never sends damaged bytes for good", async (t) => {
  const { blob } = blobIn(t);
  writeFileSync(blob.file, Buffer.alloc(blob.size));
  const { site, calls } = await registry(t, (call) =>
    call.startsWith("HEAD") ? { status: 404 } : { status: 202, headers: { location: "/v2/up/1" } },
  );
  await t.rejects(
    site.pushBlob("lab/bb", blob, () => {}),
    { code: "ERR_STORE_INVALID", expected: blob.digest },
  );
  t.notOk(
    calls.some((it) => it.startsWith("PUT")),
    "the upload is not closed",
  );
});

const REFUSALS: readonly (readonly [status: number, body: string, message: RegExp, hint: RegExp])[] = [
  [
    403,
    '{"errors":[{"code":"DENIED","message":"no project"}]}',
    /answers 403: DENIED: no project/,
    /a project to exist first/,
  ],
  [413, "<html>\n too   large</html>", /answers 413: <html> too large<\/html>/, /client_max_body_size/],
  [400, "", /answers 400$/, /see the registry's log/],
];
t.test("what a registry refuses is told in its own words, with what helps", async (t) => {
  for (const [status, body, message, hint] of REFUSALS) {
    const { site } = await registry(t, (call) => (call.startsWith("HEAD") ? { status: 404 } : { status, body }));
    const pushed = { manifest: { mediaType: "application/vnd.oci.image.manifest.v1+json" }, bytes: Buffer.from("{}") };
    await t.rejects(site.pushManifest("lab/bb", "1", pushed), { code: "ERR_PUBLISH", message, hint }, String(status));
  }
});

t.test("pushManifest() leaves a tag alone that has these bytes, and hears whether a referrer is listed", async (t) => {
  const bytes = Buffer.from('{"schemaVersion":2}');
  const manifest = { mediaType: "application/vnd.oci.image.manifest.v1+json" };
  const there = await registry(t, () => ({ status: 200, headers: { "docker-content-digest": digestOf(bytes) } }));
  t.same(await there.site.pushManifest("lab/bb", "1", { manifest, bytes }), { isListed: false });
  t.same(there.calls, ["HEAD /v2/lab/bb/manifests/1"]);
  const subject = digestOf(bytes);
  const lists = await registry(t, () => ({ status: 201, headers: { "oci-subject": subject } }));
  const about = { manifest: { ...manifest, subject: { digest: subject } }, bytes };
  t.same(await lists.site.pushManifest("lab/bb", "1", about), { isListed: true });
  t.same(lists.calls, ["PUT /v2/lab/bb/manifests/1"]);
});

t.test("hasBlob() and digestAt() ask only, and take nothing but yes and no for an answer", async (t) => {
  const bytes = Buffer.from('{"schemaVersion":2}');
  const digest = digestOf(bytes) as `sha256:${string}`;
  const there = await registry(t, (call) => ({
    status: 200,
    ...(call.includes("/manifests/told") && { headers: { "docker-content-digest": digest } }),
    ...(call.startsWith("GET") && { body: bytes.toString() }),
  }));
  t.equal(await there.site.hasBlob("lab/bb", digest), true);
  t.equal(await there.site.digestAt("lab/bb", "told"), digest);
  t.equal(
    await there.site.digestAt("lab/bb", "untold"),
    digest,
    "a registry that does not tell it is asked for the bytes",
  );
  t.same(there.calls, [
    `HEAD /v2/lab/bb/blobs/${digest}`,
    "HEAD /v2/lab/bb/manifests/told",
    "HEAD /v2/lab/bb/manifests/untold",
    "GET /v2/lab/bb/manifests/untold",
  ]);
  const empty = await registry(t, (call) => ({ status: call === "GET /v2/" ? 200 : 404 }));
  await empty.site.check("lab/bb");
  const other = await registry(t, () => ({ status: 404 }));
  await t.rejects(other.site.check("lab/bb"), { code: "ERR_PUBLISH", message: /it is no registry/ });
  t.equal(await empty.site.hasBlob("lab/bb", digest), false);
  t.equal(await empty.site.digestAt("lab/bb", "1"), undefined);
  for (const status of [400, 403, 405]) {
    const { site } = await registry(t, () => ({ status }));
    await t.rejects(site.hasBlob("lab/bb", digest), {
      code: "ERR_PUBLISH",
      message: /cannot look for blob .* answers 4/,
    });
    await t.rejects(site.digestAt("lab/bb", "1"), {
      code: "ERR_PUBLISH",
      message: /cannot look for manifest 1 in lab\/bb/,
    });
  }
});

t.test(
  "an upload's place over plain HTTP is refused where the registry is not, and none at all anywhere",
  async (t) => {
    const { blob } = blobIn(t);
    const none = await registry(t, (call) => ({ status: call.startsWith("HEAD") ? 404 : 202 }));
    await t.rejects(
      none.site.pushBlob("lab/bb", blob, () => {}),
      { message: /sends no upload location/ },
    );
  },
);

t.test("a login is sent to the registry only, and a 401 without one says how to log in", async (t) => {
  const { blob } = blobIn(t);
  const dir = scratch(t);
  let sentElsewhere: string | undefined = "";
  const elsewhere = createServer((req, res) => {
    sentElsewhere = req.headers.authorization;
    req.resume().on("end", () => res.writeHead(201).end());
  });
  await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
  t.teardown(() => elsewhere.close());
  const place = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/up`;
  const basic = `Basic ${Buffer.from("robot:pass").toString("base64")}`;
  const guarded: Handle = (call, req) => {
    if (req.headers.authorization !== basic) return { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } };
    return call.startsWith("HEAD") ? { status: 404 } : { status: 202, headers: { location: place } };
  };
  const nobody = await registry(t, guarded, { DOCKER_CONFIG: dir });
  await t.rejects(
    nobody.site.pushBlob("lab/bb", blob, () => {}),
    { code: "ERR_PUBLISH", hint: /docker login/ },
  );
  const robot = await registry(t, guarded, { DOCKER_CONFIG: dir });
  const auths = { [robot.host]: { auth: Buffer.from("robot:pass").toString("base64") } };
  writeFileSync(join(dir, "config.json"), JSON.stringify({ auths }), { mode: 0o600 });
  t.equal(await robot.site.pushBlob("lab/bb", blob, () => {}), true);
  t.equal(sentElsewhere, undefined);
});

t.test("an upload, or a redirect, is led to no nearer network than the registry's", async (t) => {
  const { blob } = blobIn(t);
  const location = "http://169.254.169.254/latest/";
  const upload = await registry(t, (call) =>
    call.startsWith("HEAD") ? { status: 404 } : { status: 202, headers: { location } },
  );
  const refused = { code: "ERR_PUBLISH", message: /cannot push to ".*": upstream leads into a private network/ };
  await t.rejects(
    upload.site.pushBlob("lab/bb", blob, () => {}),
    refused,
  );
  const redirect = await registry(t, () => ({ status: 307, headers: { location } }));
  await t.rejects(redirect.site.manifest("lab/bb", "1"), { ...refused, message: /redirects into a private network/ });
  t.equal(redirect.calls.length, 1);
});

t.test("a token is asked for what is pushed and mounted, at https or beside a registry in the clear", async (t) => {
  const { blob } = blobIn(t);
  const asked: string[] = [];
  const { site, host } = await registry(t, (call, req) => {
    if (call.startsWith("GET /token")) {
      asked.push(new URL(req.url ?? "", `http://${host}`).searchParams.getAll("scope").join(" "));
      return { status: 200, body: '{"token":"good"}' };
    }
    if (req.headers.authorization !== "Bearer good") {
      const challenge = `Bearer realm="http://${host}/token",service="site",scope="registry:catalog:*"`;
      return { status: 401, headers: { "www-authenticate": challenge } };
    }
    return { status: call.startsWith("HEAD") ? 404 : 201, headers: { location: "/v2/up/1" } };
  });
  t.equal(await site.pushBlob("one", blob, () => {}), true);
  t.equal(await site.pushBlob("two", blob, () => {}), false);
  t.same(asked, [
    "repository:one:pull,push",
    "repository:two:pull,push",
    "repository:two:pull,push repository:one:pull",
  ]);
});
