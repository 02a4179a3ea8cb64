/** Logins that docker and podman left behind: files in their order, and real credential helpers, up to a packed image. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import type { AirferryError } from "../../src/errors.ts";
import { findLogin } from "../../src/oci/docker-login.ts";
import { type FakeRegistryOptions, PASSWORD, startFakeRegistry, USER } from "../fixtures/fake-registry.ts";
import { airferry } from "../fixtures/host.ts";
import { TestImages } from "../fixtures/images.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const auth = (text: string) => Buffer.from(text).toString("base64");

/** Puts an executable `docker-credential-NAME` into DIR/bin; it notes what it was asked, then does what `script` says. */
function makeHelper(dir: string, name: string, script: string): void {
  const file = join(dir, "bin", `docker-credential-${name}`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(
    file,
    `#!/bin/sh\nread -r server\nprintf '%s %s %s\\n' '${name}' "$1" "$server" >> '${dir}/asked'\n${script}\n`,
  );
  chmodSync(file, 0o755);
}

const answer = (username: string, secret: string) =>
  `printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$server" '${username}' '${secret}'`;
const NOT_FOUND = "echo 'credentials not found in native keychain'; exit 1";

function writeJson(file: string, value: object): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify(value));
  return file;
}

function makeHome(t: Test): { dir: string; env: NodeJS.ProcessEnv; asked: () => string[] } {
  const dir = scratch(t);
  const env = { HOME: dir, XDG_RUNTIME_DIR: join(dir, "run"), PATH: `${dir}/bin:${process.env.PATH}` };
  const asked = () =>
    existsSync(join(dir, "asked")) ? readFileSync(join(dir, "asked"), "utf8").trim().split("\n") : [];
  return { dir, env, asked };
}

interface How {
  /** The reference instead of the registry's own, asked at the registry by a rewrite. */
  ref?: string;
  rewrite?: (host: string) => string;
  hosts?: (host: string) => object;
}

/** Locks and packs one image with the logins that `prepare` leaves in the user's home. */
async function pack(
  t: Test,
  options: Partial<FakeRegistryOptions>,
  prepare: (dir: string, host: string) => NodeJS.ProcessEnv,
  { ref, rewrite, hosts }: How = {},
) {
  const images = new TestImages();
  const index = images.index([images.image("linux/amd64", [{ a: "amd64" }])]);
  const fake = await startFakeRegistry({ images, tags: { "1.0": index }, redirectBlobs: true, ...options });
  t.teardown(() => fake.close());
  const { dir, env, asked } = makeHome(t);
  const manifest = writeManifest(dir, {
    images: [{ ref: ref ?? `${fake.host}/lab/bb:1.0`, insecure: true }],
    ...(hosts && { hosts: hosts(fake.host) }),
  });
  const rewritten = rewrite === undefined ? [] : ["--rewrite", rewrite(fake.host)];
  const ran = await airferry(dir, ["pack", manifest, "--unsigned", "--progress", "json", ...rewritten], {
    ...env,
    ...prepare(dir, fake.host),
  });
  return { fake, ran, dir, asked };
}

/** What must never be read by anybody: neither on the screen nor in what is kept. */
function holdsNoSecret(t: Test, { ran, dir }: Awaited<ReturnType<typeof pack>>): void {
  const secrets = [PASSWORD, auth(`${USER}:${PASSWORD}`)];
  const written = [ran.stdout, ran.stderr];
  for (const file of ["m.lock.json", "bundles/test-000001/airferry.json", "m.state.json"]) {
    if (existsSync(join(dir, file))) written.push(readFileSync(join(dir, file), "utf8"));
  }
  for (const secret of secrets)
    for (const text of written) t.notOk(text.includes(secret), "no secret is shown or kept");
}

for (const kind of ["bearer", "basic"] as const) {
  for (const way of ["credHelpers", "credsStore", "podman credHelpers"] as const) {
    t.test(`${kind} login from a helper by ${way}`, async (t) => {
      const packed = await pack(t, { auth: kind }, (dir, host) => {
        makeHelper(dir, "af", answer(USER, PASSWORD));
        if (way === "podman credHelpers") {
          writeJson(join(dir, "run/containers/auth.json"), { credHelpers: { [host]: "af" } });
          return {};
        }
        const config =
          way === "credsStore" ? { credsStore: "af", auths: { [host]: {} } } : { credHelpers: { [host]: "af" } };
        return { DOCKER_CONFIG: dirname(writeJson(join(dir, "docker/config.json"), config)) };
      });
      const { fake, ran, asked } = packed;
      t.equal(ran.status, 0, ran.stderr);
      t.ok(asked().length > 0 && asked().every((it) => it === `af get ${fake.host}`), "asked by get, with the host");
      t.same(
        fake.storageLog.filter((line) => !line.endsWith(" -")),
        [],
        "nothing goes to the origin that blobs are redirected to",
      );
      if (kind === "bearer") {
        t.same(
          fake.log.filter((line) => line.includes("Basic") && !line.includes("/token")),
          [],
          "the password goes to the token service alone",
        );
      }
      holdsNoSecret(t, packed);
    });
  }
}

t.test("a helper's identity token is exchanged for a bearer token", async (t) => {
  const { ran } = await pack(t, { auth: "identity" }, (dir, host) => {
    makeHelper(dir, "af", answer("<token>", "identity"));
    return { REGISTRY_AUTH_FILE: writeJson(join(dir, "auth.json"), { credHelpers: { [host]: "af" } }) };
  });
  t.equal(ran.status, 0, ran.stderr);
});

t.test("podman's auth.json, named by REGISTRY_AUTH_FILE or where podman login leaves it", async (t) => {
  const login = { auth: auth(`${USER}:${PASSWORD}`) };
  const wrong = { auth: auth(`${USER}:wrong`) };
  const named = await pack(t, { auth: "basic" }, (dir, host) => {
    writeJson(join(dir, ".docker/config.json"), { auths: { [host]: wrong } });
    return { REGISTRY_AUTH_FILE: writeJson(join(dir, "mine.json"), { auths: { [host]: login } }) };
  });
  t.equal(named.ran.status, 0, named.ran.stderr);
  const left = await pack(t, { auth: "basic" }, (dir, host) => {
    // Scoped by path, the most special first.
    writeJson(join(dir, "run/containers/auth.json"), { auths: { [host]: wrong, [`${host}/lab`]: login } });
    return {};
  });
  t.equal(left.ran.status, 0, left.ran.stderr);
  holdsNoSecret(t, left);
});

t.test("a helper that fails is named with its own words, and the image with it", async (t) => {
  const bad = new Map<string, [string | undefined, RegExp]>([
    [
      "locked",
      ["echo 'the keyring is locked'; exit 3", /docker-credential-locked: exit status 3: the keyring is locked/],
    ],
    ["absent", [undefined, /docker-credential-absent: no such program/]],
    ["chatty", ["echo hello", /docker-credential-chatty: its answer is not JSON/]],
    ["leaky", [`echo '{"Secret":"${PASSWORD}"}'; exit 1`, /docker-credential-leaky: exit status 1$/m]],
    ["dying", ["kill -TERM $$", /docker-credential-dying: it was ended by SIGTERM/]],
    ["a/b", [undefined, /invalid helper name/]],
  ]);
  for (const [name, [script, message]] of bad) {
    const since = Date.now();
    const packed = await pack(t, { auth: "basic" }, (dir, host) => {
      if (script !== undefined) makeHelper(dir, name, script);
      return { REGISTRY_AUTH_FILE: writeJson(join(dir, "auth.json"), { credHelpers: { [host]: name } }) };
    });
    t.equal(packed.ran.status, 2, name);
    t.ok(Date.now() - since < 20_000, "says so at once");
    const error = JSON.parse(packed.ran.stderr.trim().split("\n").at(-1) as string) as object;
    t.match(
      JSON.stringify(error).replaceAll('\\"', '"'),
      message.source.endsWith("$") ? /exit status 1"/ : message,
      name,
    );
    t.match(packed.ran.stderr, `${packed.fake.host}/lab/bb:1.0`, "says which image");
    t.notOk(packed.ran.stderr.includes(PASSWORD));
  }
});

t.test("a helper that knows no login leaves us nobody; a file that is named must be there", async (t) => {
  const nobody = await pack(t, {}, (dir, host) => {
    makeHelper(dir, "af", NOT_FOUND);
    return { REGISTRY_AUTH_FILE: writeJson(join(dir, "auth.json"), { credHelpers: { [host]: "af" } }) };
  });
  t.equal(nobody.ran.status, 0, nobody.ran.stderr);
  t.same(nobody.asked(), [], "a registry that asks for no login costs no question");
  const refused = await pack(t, { auth: "bearer" }, (dir, host) => {
    makeHelper(dir, "af", NOT_FOUND);
    return { REGISTRY_AUTH_FILE: writeJson(join(dir, "auth.json"), { credHelpers: { [host]: "af" } }) };
  });
  t.equal(refused.ran.status, 4);
  t.match(refused.ran.stderr, /it gives no anonymous token/);
  const missing = await pack(t, { auth: "bearer" }, (dir) => ({ REGISTRY_AUTH_FILE: join(dir, "none.json") }));
  t.equal(missing.ran.status, 2, missing.ran.stderr);
  t.match(missing.ran.stderr, /none\.json.*no such file/);
});

for (const kind of ["bearer", "basic"] as const) {
  const login = { auth: auth(`${USER}:${PASSWORD}`) };
  const mine = { username_env: "U", password_env: "P" };
  const behind = (
    t: Test,
    auths: (host: string) => object,
    { to = "", hosts, ...options }: { to?: string; hosts?: How["hosts"] } & Partial<FakeRegistryOptions> = {},
  ) =>
    pack(
      t,
      { auth: kind, ...options },
      (dir, host) => ({
        REGISTRY_AUTH_FILE: writeJson(join(dir, "auth.json"), { auths: auths(host) }),
        U: USER,
        P: PASSWORD,
      }),
      { ref: "lab/bb:1.0", rewrite: (host) => `docker.io=${host}${to}`, ...(hosts && { hosts }) },
    );

  t.test(`${kind}: behind --rewrite the login is the one for the host that is really asked`, async (t) => {
    for (const key of ["https://index.docker.io/v1/", "docker.io"]) {
      const { fake, ran } = await behind(t, () => ({ [key]: login }));
      t.equal(ran.status, 4, "the login of the original is no good elsewhere");
      t.ok(fake.log.length > 0);
      t.same(
        fake.log.filter((line) => line.includes("Basic")),
        [],
        "and is sent to nobody else",
      );
    }
    const stranger = await behind(t, () => ({}), {
      hosts: () => ({ "docker.io": mine, "registry-1.docker.io": mine }),
    });
    t.equal(stranger.ran.status, 4);
    t.same(
      stranger.fake.log.filter((line) => line.includes("Basic")),
      [],
      "what hosts: has for the original is sent to nobody else",
    );
    const mirrored = await behind(t, (host) => ({ [host]: login, "docker.io": { auth: auth("hub:wrong") } }));
    t.equal(mirrored.ran.status, 0, mirrored.ran.stderr);
    const hosts = await behind(t, () => ({}), { hosts: (host) => ({ [host]: mine, "docker.io": { token_env: "P" } }) });
    t.equal(hosts.ran.status, 0, hosts.ran.stderr);
    const below = await behind(t, (host) => ({ [`${host}/hub`]: login, [`${host}/lab`]: { auth: auth("x:wrong") } }), {
      to: "/hub",
      name: "hub/lab/bb",
    });
    t.equal(below.ran.status, 0, `by the path that is really asked: ${below.ran.stderr}`);
    holdsNoSecret(t, below);
  });

  t.test(`${kind}: hosts: without a port, and in capitals, is for a registry with one`, async (t) => {
    const localhost = (host: string) => host.replace("127.0.0.1", "localhost");
    const { ran } = await pack(
      t,
      { auth: kind, redirectBlobs: true },
      (dir) => ({ REGISTRY_AUTH_FILE: writeJson(join(dir, "auth.json"), {}), U: USER, P: PASSWORD }),
      {
        ref: "registry.example.com/lab/bb:1.0",
        rewrite: (host) => `registry.example.com=${localhost(host)}`,
        hosts: () => ({ LocalHost: mine }),
      },
    );
    t.equal(ran.status, 0, ran.stderr);
  });
}

t.test("findLogin(): order of files and of what is in them", async (t) => {
  const { dir, env, asked } = makeHome(t);
  const find = (host: string, path = "a/b") => findLogin(host, path, env);
  t.equal(await find("x.example"), undefined);
  const config = (value: object) => writeJson(join(dir, ".docker/config.json"), value);
  const podman = (value: object) => writeJson(join(dir, "run/containers/auth.json"), value);
  const entry = (text: string) => ({ auth: auth(text) });

  config({ auths: { "https://x.example/v1/": entry("old:url"), "y.example:5000": entry("u:p:with:colons\0\0") } });
  t.same(await find("x.example"), { username: "old", password: "url" });
  t.same(await find("y.example:5000"), { username: "u", password: "p:with:colons" });
  t.equal(await find("y.example"), undefined, "another port is another registry");
  podman({ auths: { "x.example": entry("podman:p"), "z.example": entry("only:podman") } });
  t.same(await find("x.example"), { username: "old", password: "url" }, "docker's file comes first");
  t.same(await find("z.example"), { username: "only", password: "podman" });

  for (const key of ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"]) {
    config({ auths: { [key]: entry(`${key.length}:hub`) } });
    t.same(await find("docker.io", "library/busybox"), { username: String(key.length), password: "hub" }, key);
  }
  config({ auths: { "q.io/org/app": entry("app:1"), "q.io/org": entry("org:1"), "q.io": entry("all:1") } });
  for (const [path, username] of [
    ["org/app", "app"],
    ["org/app/sub", "app"],
    ["org/other", "org"],
    ["organ", "all"],
  ]) {
    t.equal((await find("q.io", path))?.username, username, `the login for ${path}`);
  }
  config({ auths: { "t.example": { identitytoken: "refresh", auth: auth("00000000:") } } });
  t.match(await find("t.example"), { identityToken: "refresh" });
  config({ auths: { "t.example": { registrytoken: "bearer" } } });
  t.same(await find("t.example"), { registryToken: "bearer" });
  t.equal(await find("__proto__"), undefined);

  makeHelper(dir, "one", answer("helper", "1"));
  makeHelper(dir, "store", answer("store", "2"));
  config({ credHelpers: { "x.example": "one" }, credsStore: "store", auths: { "x.example": entry("file:0") } });
  t.equal((await find("x.example"))?.username, "helper", "the registry's own helper before everything");
  t.equal((await find("v.example"))?.username, "store");
  t.same(asked(), ["one get x.example", "store get v.example"]);
  t.equal((await find("docker.io", "library/x"))?.username, "store");
  t.equal(asked().at(-1), "store get https://index.docker.io/v1/", "Docker Hub has a key of its own");
});

t.test("findLogin(): files that were edited badly are named with the place, and never quoted", async (t) => {
  const { dir, env } = makeHome(t);
  const file = join(dir, "auth.json");
  const find = (text: string) => {
    writeFileSync(file, text);
    return findLogin("x.example", "a/b", { ...env, REGISTRY_AUTH_FILE: file });
  };
  const login = auth("u:p");
  const known = { username: "u", password: "p" };
  const good = new Map<string, object | undefined>([
    ["", undefined],
    ["{}", undefined],
    ['{"auths":null,"credHelpers":null,"credsStore":null}', undefined],
    ['{"auths":{"x.example":null}}', undefined],
    ['{"auths":{"x.example":{}}}', undefined],
    ['{"auths":{"x.example":{"auth":null}}}', undefined],
    [`{"auths":{"x.example":{"auth":"${login}","identitytoken":null}},"credHelpers":null,"credsStore":""}`, known],
    [`{"auths":{"x.example":{"auth":"${login}"},"other.example":7},"credHelpers":{"x.example":null}}`, known],
    [`{"auths":{"__proto__":5,"x.example":{"auth":"${login}"}}}`, known],
    ['{"auths":{"x.example":{"username":"u","password":"p"}}}', known],
  ]);
  for (const [text, expected] of good) t.same(await find(text), expected, text);
  const bad = new Map<string, RegExp>([
    ['{"auths":{"x.example":{"auth":"%%%"}}}', /auths\["x.example"\].auth has an empty user$/],
    ["[]", /it is not a JSON object$/],
    ['"SECRET"', /it is not a JSON object$/],
    ['{"auths": {SECRET', /it is not JSON$/],
    ['{"auths":[]}', /wrong type of auths: expected an object, got a list$/],
    ['{"auths":"SECRET"}', /wrong type of auths: expected an object, got a string$/],
    ['{"auths":{"x.example":"SECRET"}}', /wrong type of auths\["x.example"\]: expected an object, got a string$/],
    [
      '{"auths":{"x.example/a":{"auth":123}}}',
      /wrong type of auths\["x.example\/a"\].auth: expected text, got a number$/,
    ],
    ['{"auths":{"x.example":{"auth":{"a":"SECRET"}}}}', /\.auth: expected text, got an object$/],
    ['{"auths":{"x.example":{"username":5,"password":"SECRET"}}}', /\.username: expected text, got a number$/],
    ['{"auths":{"x.example":{"username":"u","password":["SECRET"]}}}', /\.password: expected text, got a list$/],
    ['{"auths":{"x.example":{"identitytoken":["SECRET"]}}}', /\.identitytoken: expected text, got a list$/],
    ['{"auths":{"x.example":{"registrytoken":7}}}', /\.registrytoken: expected text, got a number$/],
    ['{"auths":{"x.example":{"registrytoken":"SEC\\nRET"}}}', /\.registrytoken: expected a token of printable/],
    ['{"credHelpers":{"x.example":5}}', /wrong type of credHelpers\["x.example"\]: expected text, got a number$/],
    ['{"credsStore":["SECRET"]}', /wrong type of credsStore: expected text, got a list$/],
    ['{"credsStore":true}', /wrong type of credsStore: expected text, got a boolean$/],
  ]);
  for (const [text, message] of bad) {
    const error = await find(text).catch((error: AirferryError) => error);
    t.match(error, { code: "ERR_USAGE", path: file, message, hint: /docker login/ }, text);
    t.notMatch(JSON.stringify([(error as Error).message, error]), /SEC.{0,3}RET/);
  }
});
