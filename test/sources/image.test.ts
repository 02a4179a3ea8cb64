/** Locking and packing images from registries: logins, redirects, limits, selection of platforms, referrers, and lies. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type AirferryError, exitStatusOf } from "../../src/errors.ts";
import { resolveManifest } from "../../src/pack/resolve.ts";
import { openWorkspace } from "../../src/pack/workspace.ts";
import { type FakeRegistryOptions, PASSWORD, startFakeRegistry, USER } from "../fixtures/fake-registry.ts";
import { airferry } from "../fixtures/host.ts";
import { digestOf, INDEX, MANIFEST, type TestDescriptor, TestImages } from "../fixtures/images.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

interface Made {
  images: TestImages;
  index: TestDescriptor;
  amd64: TestDescriptor;
  arm64: TestDescriptor;
}

function make(): Made {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "shared" }, { b: "amd64" }]);
  const arm64 = images.image("linux/arm64", [{ a: "shared" }, { b: "arm64" }]);
  return { images, amd64, arm64, index: images.index([amd64, arm64]) };
}

/** Starts an upstream, locks and packs `entry` from it; the docker configuration has the login. */
async function pack(
  t: Test,
  made: Made,
  upstream: Partial<FakeRegistryOptions>,
  entry: object = {},
  login: object = {},
) {
  const fake = await startFakeRegistry({ images: made.images, tags: { "1.0": made.index }, ...upstream });
  t.teardown(() => fake.close());
  const dir = scratch(t);
  const docker = join(dir, "docker");
  mkdirSync(docker);
  writeFileSync(join(docker, "config.json"), JSON.stringify({ auths: { [fake.host]: login } }));
  const manifest = writeManifest(dir, { images: [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true, ...entry }] });
  const env = { DOCKER_CONFIG: docker, HOME: dir, XDG_RUNTIME_DIR: dir };
  const run = (...args: string[]) => airferry(dir, ["pack", manifest, "--unsigned", ...args], env);
  const ran = await run();
  const entries = async () =>
    JSON.parse((await airferry(dir, ["inspect", "bundles/test-000001", "--json"])).stdout).entries;
  return { fake, dir, ran, run, env, manifest, entries };
}

const paths = (entries: { path: string }[]) => entries.map((it) => it.path);
const pathOf = ({ digest }: { digest: string }) => `images/blobs/${digest.replace(":", "/")}`;
const auth = Buffer.from(`${USER}:${PASSWORD}`).toString("base64");

t.test("a token registry: one challenge, one token, the password for nobody else", async (t) => {
  const { fake, ran } = await pack(t, make(), { auth: "bearer", redirectBlobs: true }, {}, { auth });
  t.equal(ran.status, 0, ran.stderr);
  t.ok(fake.tokens <= 3, `${fake.tokens} tokens for lock and pack`);
  t.ok(fake.storageLog.length > 0);
  t.same(
    fake.storageLog.filter((line) => !line.endsWith(" -")),
    [],
    "no credentials go to the origin that blobs are redirected to",
  );
  t.same(
    fake.log.filter((line) => line.includes("Basic") && !line.includes("/token")),
    [],
    "the password goes to the token service alone",
  );
  t.notMatch(ran.stderr, /signature=secret|pass:with/, "no secret is shown");
});

t.test("tokens that expire are renewed, and a storage that wants its own gets one as nobody", async (t) => {
  const { fake, ran } = await pack(
    t,
    make(),
    { auth: "bearer", expiresIn: 1, redirectBlobs: true, storageAuth: true },
    {},
    { auth },
  );
  t.equal(ran.status, 0, ran.stderr);
  t.ok(fake.tokens >= 1);
  t.same(
    fake.storageLog.filter((line) => line.includes("Basic")),
    [],
  );
});

t.test("basic login, identity token, wrong password", async (t) => {
  const basic = await pack(t, make(), { auth: "basic" }, {}, { auth });
  t.equal(basic.ran.status, 0, basic.ran.stderr);
  const identity = await pack(t, make(), { auth: "identity" }, {}, { identitytoken: "identity" });
  t.equal(identity.ran.status, 0, identity.ran.stderr);
  const wrong = await pack(t, make(), { auth: "bearer" }, {}, { auth: Buffer.from("robot:wrong").toString("base64") });
  t.equal(wrong.ran.status, 4);
  t.match(wrong.ran.stderr, /refuses this login/);
  t.match(wrong.ran.stderr, /docker login/);
  t.notMatch(wrong.ran.stderr, /wrong"/);
});

t.test("a token service in a private network or over plain HTTP is refused", async (t) => {
  const { ran } = await pack(t, make(), { auth: "bearer", realm: "ftp://127.0.0.1/token" }, {}, { auth });
  t.equal(ran.status, 4);
  t.match(ran.stderr, /token service/);
});

t.test("429 is waited for", async (t) => {
  const { ran, fake } = await pack(t, make(), { limitFirst: 2 });
  t.equal(ran.status, 0, ran.stderr);
  t.ok(fake.log.length > 3);
});

t.test("platforms: leaves out only layers; each blob is fetched once; a rerun fetches nothing", async (t) => {
  const made = make();
  const { fake, ran, run, entries } = await pack(t, made, {}, { platforms: ["linux/arm64"] });
  t.equal(ran.status, 0, ran.stderr);
  const all = paths(await entries());
  const layers = (it: TestDescriptor) =>
    JSON.parse(made.images.manifests.get(it.digest)?.bytes.toString() ?? "").layers as TestDescriptor[];
  for (const it of [made.index, made.amd64, made.arm64]) t.ok(all.includes(pathOf(it)), "every manifest is there");
  t.ok(layers(made.arm64).every((it) => all.includes(pathOf(it))));
  t.notOk(all.includes(pathOf(layers(made.amd64)[1] as TestDescriptor)));
  t.ok(all.includes("images/oci-layout") && all.includes("images/index.json"));
  const blobs = fake.log.filter((line) => line.startsWith("GET") && line.includes("/blobs/"));
  t.equal(new Set(blobs).size, blobs.length, "each blob once");
  const before = fake.log.length;
  t.equal((await run()).status, 0);
  t.equal(fake.log.length, before, "nothing is asked again");
  const missing = await pack(t, made, {}, { platforms: ["linux/s390x"] });
  t.equal(missing.ran.status, 2, "the manifest asks for what is missing");
  t.match(missing.ran.stderr, /has no linux\/s390x: expected one of linux\/amd64, linux\/arm64/);
});

for (const referrersApi of [true, false]) {
  t.test(`referrers, recursively, ${referrersApi ? "by the API" : "by fallback tags"}`, async (t) => {
    const made = make();
    const sbom = made.images.referrer(made.index, "application/spdx+json", Buffer.from('{"sbom":1}'));
    const signature = made.images.referrer(sbom, "application/x-signature", Buffer.from("signed"));
    const stranger = made.images.referrer(made.amd64, "application/x-other", Buffer.from("about the child"));
    const tags: Record<string, TestDescriptor> = { "1.0": made.index };
    const tagOf = (it: TestDescriptor) => it.digest.replace(":", "-");
    tags[tagOf(made.index)] = made.images.index([sbom, stranger]);
    tags[tagOf(sbom)] = made.images.index([signature]);
    const legacy = made.images.image("linux/amd64", [{ sig: "legacy" }]);
    tags[`${tagOf(made.index)}.sig`] = legacy;
    const { ran, entries, dir } = await pack(t, made, { referrersApi, tags });
    t.equal(ran.status, 0, ran.stderr);
    const all = paths(await entries());
    for (const it of [sbom, signature, legacy]) t.ok(all.includes(pathOf(it)), it.digest);
    t.equal(
      all.includes(pathOf(stranger)),
      referrersApi,
      "a fallback tag cannot pass off what is about something else",
    );
    const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8"));
    t.equal(lock.entries[0].detail.images[0].tags[`${tagOf(made.index)}.sig`], legacy.digest);
  });
}

t.test("what a registry must not get away with", async (t) => {
  const made = make();
  const bytes = (digest: string) => made.images.manifests.get(digest)?.bytes as Buffer;
  const json = (value: object) => Buffer.from(JSON.stringify(value));
  const schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
  const large = json({ schemaVersion: 2, mediaType: INDEX, manifests: [], x: "x".repeat(5_000_000) });
  const both = json({ schemaVersion: 2, mediaType: MANIFEST, layers: [], manifests: [] });
  const tag = /manifests\/1\.0$/;
  const type = (mediaType: string, body: Buffer) => ({
    headers: { "content-type": mediaType, "docker-content-digest": digestOf(body) },
    body,
  });
  const config = JSON.parse(bytes(made.amd64.digest).toString()).config as TestDescriptor;
  const bad = new Map<string, [NonNullable<FakeRegistryOptions["spoil"]>, RegExp]>([
    [
      "another digest in the header",
      [{ path: tag, headers: { "docker-content-digest": made.amd64.digest } }, /does not match its own header/],
    ],
    [
      "another media type in the header",
      [{ path: tag, headers: { "content-type": MANIFEST } }, /media types disagree/],
    ],
    ["schema 1", [{ path: tag, ...type(schema1, json({ schemaVersion: 1 })) }, /schema 1/]],
    ["a manifest over 4 MiB", [{ path: tag, ...type(INDEX, large) }, /4194304/]],
    [
      "a manifest that is an index too",
      [{ path: tag, ...type(MANIFEST, both) }, /fields of an index and of a manifest/],
    ],
    [
      "other bytes under a child's digest",
      [{ path: new RegExp(made.amd64.digest), body: bytes(made.arm64.digest) }, /wrong (digest|size)/],
    ],
    [
      "other bytes in a blob",
      [{ path: new RegExp(config.digest), body: Buffer.alloc(config.size, 1) }, /wrong digest/],
    ],
  ]);
  for (const [name, [spoil, message]] of bad) {
    await t.test(name, async (t) => {
      const fake = await startFakeRegistry({ images: made.images, tags: { "1.0": made.index }, spoil });
      t.teardown(() => fake.close());
      const ref = `${fake.host}/lab/bb:1.0`;
      const file = writeManifest(scratch(t), { images: [{ ref, insecure: true }] });
      await using workspace = await openWorkspace(file);
      const error = await resolveManifest(workspace, { pinFirstSight: false }).then(
        () => undefined,
        (error: AirferryError) => error,
      );
      t.ok([3, 4].includes(exitStatusOf(error)), error?.code ?? "it was taken");
      t.match(error?.message, message);
      t.match(error?.message, ref, "says which image");
    });
  }
});

t.test("sha512 digests, and a tag that moves under a lock", async (t) => {
  const made = make();
  const layer = Buffer.from("a layer by sha512");
  const digest = digestOf(layer, "sha512");
  made.images.blobs.set(digest, layer);
  const root = made.images.manifest(
    {
      config: made.images.blob(Buffer.from("{}"), "application/x-config"),
      layers: [{ mediaType: "application/x-thing", digest, size: layer.length }],
    },
    MANIFEST,
  );
  const { fake, dir, manifest, ran, run, entries } = await pack(t, made, { tags: { "1.0": root } });
  t.equal(ran.status, 0, ran.stderr);
  t.ok(paths(await entries()).includes(`images/blobs/sha512/${digest.slice(7)}`));
  fake.tags["1.0"] = made.index;
  const same = await run();
  t.equal(same.status, 0, "what is packed stays what it is");
  for (const more of [[], ["--serial", "7"]]) {
    const frozen = await run("--frozen", ...more);
    t.equal(frozen.status, 2, "a frozen pack of a moved tag is refused, also where its bundle is there");
    t.match(frozen.stderr, "moved upstream");
  }
  const drift = await airferry(dir, ["lock", manifest]);
  t.match(drift.stderr, `moved upstream: locked ${root.digest}, now ${made.index.digest}`);
  t.match(drift.stderr, `airferry lock ${manifest} --update ${fake.host}/lab/bb:1.0`);
  const updated = await airferry(dir, ["lock", manifest, "--update", `${fake.host}/lab/bb:1.0`]);
  t.equal(updated.status, 0, updated.stderr);
  t.match(updated.stderr, `changed image ${fake.host}/lab/bb:1.0: ${root.digest} → ${made.index.digest}`);
  t.notMatch(updated.stderr, "images/blobs", "blobs say nothing to a person");
});

t.test("what is recorded of an image is its own, whoever shares its bytes, and where it came from", async (t) => {
  const made = make();
  made.images.referrer(made.index, "application/spdx+json", Buffer.from("{}"));
  const dir = scratch(t);
  made.images.writeLayout(join(dir, "vendor"), { "vendor.example/tool:1": made.index });
  const fake = await startFakeRegistry({ images: made.images, tags: { "1.0": made.index }, referrersApi: true });
  t.teardown(() => fake.close());
  const ref = `${fake.host}/lab/bb`;
  const entries = [
    { ref: `${ref}:1.0`, insecure: true },
    { ref: `${ref}@${made.index.digest}`, insecure: true },
    { ref: `${ref}:1.0`, insecure: true, as: "apps.example/b:1.0.0" },
    { archive: "vendor", as: "docker.io/library/nginx:1.27" },
  ];
  for (const images of [entries, entries.toReversed()]) {
    rmSync(join(dir, "m.lock.json"), { force: true });
    const packed = await airferry(dir, ["pack", writeManifest(dir, { images }), "--unsigned"]);
    t.equal(packed.status, 0, packed.stderr);
    const { catalog } = JSON.parse((await airferry(dir, ["inspect", packed.stdout.trim(), "--json"])).stdout);
    const found = catalog.images.map(
      ({ reference, source, established, attached, insecure }: Record<string, unknown>) => ({
        [reference as string]: [source, established, attached, insecure],
      }),
    );
    t.same(Object.assign({}, ...found), {
      [`${ref}:1.0`]: [`${ref}:1.0`, "first-sight", 1, true],
      [`${ref}@${made.index.digest}`]: [`${ref}@${made.index.digest}`, "manifest", 1, true],
      "apps.example/b:1.0.0": [`${ref}:1.0`, "first-sight", 1, undefined],
      "docker.io/library/nginx:1.27": ["vendor", "first-sight", 0, undefined],
    });
    const table = (await airferry(dir, ["inspect", packed.stdout.trim()])).stdout;
    t.match(table, /docker\.io\/library\/nginx:1\.27 +vendor +sha256:/);
  }
  // By the name it is served under, or the one it has upstream.
  for (const name of ["apps.example/b:1.0.0", `${ref}:1.0`, "vendor"]) {
    t.equal((await airferry(dir, ["lock", "m.yaml", "--update", name])).status, 0, name);
  }
  const unknown = await airferry(dir, ["lock", "m.yaml", "--update", "none"]);
  t.equal(unknown.status, 2);
});

t.test("a tag that is gone, and registries that are gone, are said at once and change nothing", async (t) => {
  const made = make();
  const tags = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`${i}.0`, made.index]));
  const fakes = await Promise.all([1, 2].map(() => startFakeRegistry({ images: made.images, tags: { ...tags } })));
  const [one, two] = fakes as [(typeof fakes)[0], (typeof fakes)[0]];
  const dir = scratch(t);
  const images = fakes.flatMap(({ host }) =>
    Object.keys(tags).map((tag) => ({ ref: `${host}/lab/bb:${tag}`, insecure: true })),
  );
  const manifest = writeManifest(dir, { images });
  const env = { DOCKER_CONFIG: dir, HOME: dir, XDG_RUNTIME_DIR: dir };
  const packed = await airferry(dir, ["pack", manifest, "--unsigned"], env);
  t.equal(packed.status, 0, packed.stderr);
  one.tags["3.0"] = made.amd64;
  delete one.tags["4.0"];
  const before = [one.log.length, two.log.length] as const;
  await two.close();
  const since = Date.now();
  const drift = await airferry(dir, ["lock", manifest], env);
  t.equal(drift.status, 0, drift.stderr);
  t.ok(Date.now() - since < 15_000, `${Date.now() - since} ms`);
  t.match(drift.stderr, `${one.host}/lab/bb:3.0 moved upstream: locked ${made.index.digest}`);
  t.match(drift.stderr, `the tag ${one.host}/lab/bb:4.0 no longer exists upstream; still locked: ${made.index.digest}`);
  t.match(drift.stderr, new RegExp(`could not ask ${two.host} whether \\S+ and 11 more moved: .*connection refused`));
  t.equal(drift.stderr.split("could not ask").length, 2, "one line for each host");
  t.ok(one.log.length - before[0] <= 24, "one question for each tag");
  one.tags["3.0"] = made.index;
  const frozen = await airferry(dir, ["pack", manifest, "--unsigned", "--frozen", "--serial", "7"], env);
  t.equal(frozen.status, 0, frozen.stderr);
  t.match(frozen.stderr, `could not ask ${two.host} whether`, "pack --frozen says it, too");
  await one.close();
});
