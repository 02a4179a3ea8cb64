/** Tokens, realms and refusals of registries, towards one repository. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { RegistryAuth, type RegistryAuthOptions, tokenService } from "../../../src/http/registry-auth.ts";
import type { OciDigest } from "../../../src/oci/oci-digest.ts";
import { RegistryOrigin } from "../../../src/sources/image/registry.ts";
import { askBy } from "../../../src/sources/image/registry-access.ts";
import { type FakeRegistryOptions, indexOf, PASSWORD, startFakeRegistry, USER } from "../../fixtures/fake-registry.ts";
import { testFetcher } from "../../fixtures/fetching.ts";
import { digestOf, MANIFEST, TestImages } from "../../fixtures/images.ts";
import { scratch } from "../../fixtures/program.ts";

const auth = (text: string) => Buffer.from(text).toString("base64");

function writeAuths(t: Test, auths: object): string {
  const file = join(scratch(t), "auth.json");
  writeFileSync(file, JSON.stringify({ auths }));
  return file;
}

/** A repository with one image and one SBOM about it. `rewrite`: the host that it is asked in place of. */
async function registry(
  t: Test,
  options: Partial<FakeRegistryOptions>,
  { rewrite = "", insecure = true, netrc = "" } = {},
) {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "amd64" }]);
  images.referrer(image, "application/spdx+json", Buffer.from("SBOM"));
  const tags = { "1.0": image };
  const fake = await startFakeRegistry({ images, tags, referrersApi: true, ...options });
  t.teardown(() => fake.close());
  const to = fake.host.replace("127.0.0.1", "localhost");
  const fetcher = testFetcher({ rewrites: rewrite ? [{ from: rewrite, to }] : [], netrc: netrc || false });
  t.teardown(() => fetcher.close());
  const login = { auth: auth(`${USER}:${PASSWORD}`) };
  process.env.REGISTRY_AUTH_FILE = writeAuths(t, { [fake.host]: login });
  t.teardown(() => {
    delete process.env.REGISTRY_AUTH_FILE;
  });
  const place = { host: rewrite || fake.host, path: "lab/bb" };
  const origin = new RegistryOrigin({
    reference: { ...place, tag: "1.0" },
    insecure,
    fetcher,
    auth: new RegistryAuth({ ask: askBy(fetcher), ...place }),
    name: "x",
    report: () => {},
  });
  return { fake, origin, digest: image.digest as OciDigest };
}

t.test("a token is renewed when it is refused, however new it is, and shared by who is waiting", async (t) => {
  for (const expiresIn of [1, 300]) {
    const { fake, origin, digest } = await registry(t, { auth: "bearer", tokenUses: 1, expiresIn });
    for (let count = 1; count <= 4; count++) {
      t.ok(await origin.manifest({ tag: "1.0" }));
      t.equal(fake.tokens, count);
    }
    t.equal((await origin.referrers(digest)).length, 1);
  }
  const { fake, origin } = await registry(t, { auth: "bearer" });
  await Promise.all(Array.from({ length: 6 }, () => origin.manifest({ tag: "1.0" })));
  t.equal(fake.tokens, 1);
});

t.test("what the token service answers is never taken for the registry's word", async (t) => {
  const bad = new Map<string, [ReturnType<NonNullable<FakeRegistryOptions["token"]>>, RegExp, RegExp]>([
    [
      "404",
      [
        { status: 404 },
        /its token service answers 404 Not Found \(from 127/,
        /as its token service: check its response/,
      ],
    ],
    ["400", [{ status: 400 }, /its token service answers 400/, /as its token service/]],
    ["405", [{ status: 405 }, /its token service answers 405/, /as its token service/]],
    ["403", [{ status: 403 }, /the token service refuses this login \(status 403/, /docker login 127/]],
    ["401", [{ status: 401 }, /the token service refuses this login \(status 401/, /docker login 127/]],
    ["no JSON", [{ status: 200, body: "<html>" }, /answers without JSON/, /may be a proxy's page/]],
    ["no token", [{ status: 200, body: "{}" }, /answers without a token/, /may be a proxy's page/]],
    ["null", [{ status: 200, body: "null" }, /answers without JSON/, /may be a proxy's page/]],
    ["no header", [{ status: 200, body: '{"token":"a b"}' }, /answers without a token/, /may be a proxy's page/]],
  ]);
  for (const [what, [answer, message, hint]] of bad) {
    // From the very first token on, and when the first is used up: then referrers would be lost in silence.
    for (const late of [false, true]) {
      const { origin, digest } = await registry(t, {
        auth: "bearer",
        tokenUses: 2,
        token: (n) => (late && n === 1 ? undefined : answer),
      });
      if (late) for (const _ of [1, 2]) t.ok(await origin.manifest({ tag: "1.0" }));
      const questions: Record<string, () => Promise<unknown>> = {
        manifest: () => origin.manifest({ tag: "1.0" }),
        referrers: () => origin.referrers(digest),
        hasTag: () => origin.hasTag("1.0"),
        digestOfTag: () => origin.digestOfTag("1.0"),
        hasBlob: () => origin.hasBlob({ mediaType: "", digest, size: 1 }),
      };
      for (const [name, ask] of Object.entries(questions)) {
        await t.rejects(ask(), { message, hint }, `${what}: ${name}`);
        await t.rejects(ask(), { message: /^cannot log in at "127/ }, `${what}: ${name}`);
      }
    }
  }
});

t.test("RegistryAuth: a token under either name counts, whatever stands under the other", async (t) => {
  for (const body of [
    '{"token":"","access_token":"T"}',
    '{"token":null,"access_token":"T"}',
    '{"token":7,"access_token":"T"}',
    '{"access_token":"","token":"T"}',
  ]) {
    const { fake, origin } = await registry(t, { auth: "bearer", token: () => ({ status: 200, body }) });
    await origin.manifest({ tag: "1.0" }).catch(() => {});
    t.ok(
      fake.log.some((it) => it.includes("/manifests/") && it.endsWith("Bearer T")),
      `${body}: ${fake.log.join("; ")}`,
    );
  }
});

t.test("RegistryAuth: Docker Hub is asked with its own login, also in place of another registry", async (t) => {
  const login = (text: string) => ({ auth: auth(text) });
  const file = writeAuths(t, {
    "https://index.docker.io/v1/": login("hub:h"),
    "registry.example.com:443": login("example:e"),
  });
  const env = { ...process.env };
  Object.assign(process.env, { REGISTRY_AUTH_FILE: file, U: "named", P: "p" });
  t.teardown(() => {
    process.env = env;
  });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sent = async (host: string, asked: string, hosts?: RegistryAuthOptions["hosts"]) => {
    const url = new URL(`https://${asked}/v2/lab/bb/manifests/1.0`);
    const it = new RegistryAuth({ ask: askBy(fetcher), host, path: "lab/bb", ...(hosts && { hosts }) });
    t.same(await it.headers(url), {}, "nothing unasked");
    await it.challenged(url, 'Basic realm="x"', undefined);
    const { authorization = "" } = await it.headers(url);
    return Buffer.from(authorization.slice(6), "base64").toString();
  };
  t.equal(await sent("docker.io", "registry-1.docker.io"), "hub:h");
  t.equal(await sent("registry.example.com", "registry-1.docker.io"), "hub:h");
  t.equal(await sent("docker.io", "registry.example.com:5000"), "");
  t.equal(await sent("registry.example.com:443", "registry.example.com"), "example:e", "as the reference writes it");
  const mine = { username_env: "U", password_env: "P" };
  t.equal(await sent("docker.io", "registry-1.docker.io", { "Docker.io": mine }), "named:p");
  t.equal(await sent("docker.io", "registry.example.com:5000", { "docker.io": mine }), "");
  t.equal(await sent("a.example:5000", "a.example:5000", { "A.example": mine }), "named:p");
  t.equal(await sent("a.example:5000", "a.example:5000", { "a.example:5001": mine }), "");
  await t.rejects(sent("docker.io", "registry-1.docker.io", { "docker.io": { ...mine, password_env: "NOT_SET" } }), {
    code: "ERR_USAGE",
    message: /NOT_SET is not set/,
  });
});

t.test("tokenService() takes no private address but the registry's own", (t) => {
  const good: [string, string][] = [
    ["https://registry.example.com", "https://auth.example.com/token"],
    ["https://registry.example.com:5000", "https://203.0.113.7/token"],
    ["https://10.0.0.5:5000", "https://10.0.0.5/token"],
    ["https://[fd00::5]", "https://[fd00::5]:8443/token"],
    ["http://127.0.0.1:5000", "http://127.0.0.1:5001/token"],
    ["http://127.0.0.1:5000", "http://localhost:5001/token"],
    ["http://localhost:5000", "https://[::1]/token"],
  ];
  for (const [registry, realm] of good) t.equal(tokenService(new URL(registry), realm).href, realm);
  const bad: [string, string, RegExp][] = [
    ["https://10.0.0.5", "https://10.0.0.9/token", /private network/],
    ["https://192.168.1.1", "https://10.0.0.9/token", /private network/],
    ["https://10.0.0.5", "https://127.0.0.1/token", /private network/],
    ["http://127.0.0.1:5000", "http://10.0.0.5/token", /private network/],
    ["http://127.0.0.1:5000", "http://169.254.169.254/latest", /private network/],
    ["http://localhost:5000", "http://[::ffff:169.254.169.254]/latest", /private network/],
    ["http://127.0.0.1:5000", "http://[fe80::1]/", /private network/],
    ["https://registry.example.com", "https://localhost/token", /private network/],
    ["https://registry.example.com", "https://100.64.0.1/token", /private network/],
    ["https://registry.example.com", "http://auth.example.com/token", /not reached over https/],
    ["http://registry.example.com", "ftp://auth.example.com/token", /not reached over https/],
    ["https://registry.example.com", "https://u:p@auth.example.com/token", /credentials in it/],
    ["https://registry.example.com", "", /not a URL/],
  ];
  for (const [registry, realm, message] of bad) {
    t.throws(() => tokenService(new URL(registry), realm), { code: "ERR_UPSTREAM_INVALID", message }, realm);
  }
  t.end();
});

t.test("a refusal says how to log in where it was really asked, or which schemes were offered", async (t) => {
  const cases = new Map<string | undefined, RegExp>([
    [undefined, /^log in first: docker login localhost:\d+, or podman login localhost:\d+; or give username_env/],
    ["Negotiate, NTLM", /^localhost:\d+ offers only negotiate, ntlm: airferry answers bearer/],
    ['Digest realm="x", qop="auth,auth-int"', /offers only digest:/],
    ["Bearer", /offers only bearer:/],
  ]);
  for (const [offer, hint] of cases) {
    for (const status of [401, 403]) {
      const headers: Record<string, string> = offer === undefined ? {} : { "www-authenticate": offer };
      const { origin } = await registry(
        t,
        { answer: () => ({ status, headers }) },
        { rewrite: "registry.example.com" },
      );
      await t.rejects(origin.manifest({ tag: "1.0" }), { code: "ERR_UPSTREAM", hint }, `${status} ${offer}`);
    }
  }
});

t.test("challenges in two header lines are one list", async (t) => {
  const { origin } = await registry(t, {
    answer: (_, __, req) =>
      req.headers.authorization === `Basic ${auth(`${USER}:${PASSWORD}`)}`
        ? undefined
        : { status: 401, headers: { "www-authenticate": ["Negotiate", 'Basic realm="x"'] } },
  });
  t.ok(await origin.manifest({ tag: "1.0" }));
});

t.test("a redirect's target that wants a login gets none, and costs the registry none", async (t) => {
  const wanted = { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } };
  const { fake, origin } = await registry(t, {
    auth: "basic",
    answer: (url, fake) => {
      if (url.host === fake.storage) return wanted;
      return url.pathname.endsWith("/away")
        ? { status: 307, headers: { location: `http://${fake.storage}/x` } }
        : undefined;
    },
  });
  t.ok(await origin.manifest({ tag: "1.0" }));
  await t.rejects(origin.manifest({ tag: "away" }), { code: "ERR_UPSTREAM" });
  t.same(fake.storageLog, ["GET /x -"]);
  const before = fake.log.length;
  t.ok(await origin.manifest({ tag: "1.0" }));
  t.equal(fake.log.length, before + 1, "without another challenge");
});

t.test("a token request that is redirected takes the login no further", async (t) => {
  const { fake, origin } = await registry(t, {
    auth: "bearer",
    token: (_, fake) => ({ status: 302, headers: { location: `http://${fake.storage}/token?to=elsewhere` } }),
  });
  await t.rejects(origin.manifest({ tag: "1.0" }), { code: "ERR_UPSTREAM" }, "this token is none of the registry's");
  t.same(fake.storageLog, ["GET /token?to=elsewhere -"]);
});

t.test("a registry over plain HTTP without insecure: is told by the hint", async (t) => {
  const { origin } = await registry(t, {}, { insecure: false });
  await t.rejects(origin.manifest({ tag: "1.0" }), { message: /EPROTO/, hint: /insecure: true/ });
});

t.test("netrc's default is for the registry that was asked, not for a token service that it names", async (t) => {
  const netrc = join(scratch(t), "netrc");
  writeFileSync(netrc, "default login d password e\n");
  // Asked as localhost; its token service is 127.0.0.1.
  const { fake, origin } = await registry(t, { auth: "bearer" }, { rewrite: "registry.example.com", netrc });
  await t.rejects(origin.manifest({ tag: "1.0" }), { message: /it gives no anonymous token/ });
  t.same(fake.log, [`GET /v2/lab/bb/manifests/1.0 Basic ${auth("d:e")}`, "GET /token -"]);
});

t.test("5,000 referrers come in 200 pages of 25", async (t) => {
  const { origin, digest } = await registry(t, {
    answer: (url) => {
      if (!url.pathname.includes("/referrers/")) return undefined;
      const page = Number(url.searchParams.get("page") ?? 0);
      const list = Array.from({ length: 25 }, (_, i) => ({
        mediaType: MANIFEST,
        digest: digestOf(Buffer.from(`${page} ${i}`)),
        size: 1,
      }));
      return indexOf(list, page < 199 ? { link: `<?page=${page + 1}>; rel="next"` } : {});
    },
  });
  const found = await origin.referrers(digest);
  t.equal(new Set(found.map((it) => it.digest)).size, 5000);
});
