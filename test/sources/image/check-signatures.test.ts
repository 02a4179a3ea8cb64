/**
 * `signatures:` of the manifest: what cosign 2 and 3 sign counts, in both forms, and nothing else does: no signature, another
 * key's, one that was made over another image, one over a part of the image.
 */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { needs } from "../../fixtures/clients.ts";
import { runClient } from "../../fixtures/container-clients.ts";
import { startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { lockImages, packImages } from "../../fixtures/image-lock.ts";
import { INDEX, MANIFEST, startDockerRegistry, type TestDescriptor, TestImages } from "../../fixtures/images.ts";
import { scratch } from "../../fixtures/program.ts";

t.test("keys that are none are told before anything is asked", async (t) => {
  const images = new TestImages();
  const fake = await startFakeRegistry({ images, tags: { "1.0": images.image("linux/amd64", [{ a: "1" }]) } });
  t.teardown(() => fake.close());
  const ref = `${fake.host}/lab/bb:1.0`;
  const PRIVATE =
    "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
  for (const [name, text, message] of [
    ["missing.pub", undefined, /missing\.pub": no such file/],
    ["text.pub", "a key\n", /not a public key/],
    ["cosign.key", PRIVATE, /not a public key/],
  ] as const) {
    const dir = scratch(t);
    if (text !== undefined) writeFileSync(join(dir, name), text);
    const { error } = await lockImages(dir, [{ ref, insecure: true, signatures: { keys: [name] } }]);
    t.equal(error?.code, "ERR_MANIFEST_INVALID", name);
    t.match(error?.message, `cannot check signatures of image "${ref}"`, name);
    t.match(error?.message, message, name);
    t.match(error?.hint, "cosign public-key", name);
    t.notMatch(error?.hint, "airferry keygen", name);
  }
  t.same(fake.log, []);
});

t.test("what cosign signs, in both forms", async (t) => {
  if (!needs(t, "docker-registry", "cosign2", "cosign3")) return;
  const dir = scratch(t);
  const upstream = await startDockerRegistry(join(dir, "upstream"));
  t.teardown(() => upstream.stop());
  const home = { HOME: dir, DOCKER_CONFIG: join(dir, "docker"), COSIGN_PASSWORD: "" };
  mkdirSync(home.DOCKER_CONFIG);
  writeFileSync(join(home.DOCKER_CONFIG, "config.json"), "{}");
  const cosign = async (version: 2 | 3, ...args: string[]) => {
    const { status, out } = await runClient(`cosign${version}`, args, home);
    t.equal(status, 0, out);
  };
  for (const key of ["good", "other"]) await cosign(3, "generate-key-pair", "--output-key-prefix", join(dir, key));
  const none = ["--no-default-fulcio", "--no-default-oidc", "--no-default-rekor", "--no-default-tsa"];
  const config = join(dir, "signing.json");
  await cosign(3, "signing-config", "create", ...none, "--out", config);
  const sign = (version: 2 | 3, key: string, name: string, it: TestDescriptor) =>
    cosign(
      version,
      "sign",
      "--yes",
      "--key",
      join(dir, `${key}.key`),
      ...(version === 3 ? ["--signing-config", config] : ["--tlog-upload=false"]),
      `${upstream.host}/${name}@${it.digest}`,
    );

  const base = (name: string) => `http://${upstream.host}/v2/${name}`;
  const get = async (url: string) => {
    const found = await fetch(url, { headers: { accept: `${INDEX}, ${MANIFEST}` } });
    t.equal(found.status, 200, url);
    return (await found.json()) as Record<string, unknown> & { manifests: TestDescriptor[]; layers: TestDescriptor[] };
  };
  const tagOf = (it: TestDescriptor) => it.digest.replace(":", "-");
  /** Passes the signature of one image off as that of another, in the same repository. */
  const steal = async (version: 2 | 3, name: string, from: TestDescriptor, to: TestDescriptor) => {
    const images = new TestImages();
    if (version === 2) {
      const signature = images.manifest(await get(`${base(name)}/manifests/${tagOf(from)}.sig`), MANIFEST);
      return images.push(upstream.host, name, { [`${tagOf(to)}.sig`]: signature });
    }
    const list = await get(`${base(name)}/manifests/${tagOf(from)}`);
    const signature = await get(`${base(name)}/manifests/${list.manifests[0]?.digest}`);
    const { mediaType, digest, size } = to;
    const bundle = images.manifest({ ...signature, subject: { mediaType, digest, size } }, MANIFEST);
    return images.push(upstream.host, name, { [tagOf(to)]: images.index([bundle]) });
  };

  for (const version of [2, 3] as const) {
    await t.test(version === 2 ? "cosign 2: simple signing under a tag" : "cosign 3: a bundle", async (t) => {
      const name = `lab/v${version}`;
      const images = new TestImages();
      const image = (text: string) => images.image("linux/amd64", [{ text: `${text} ${version}` }]);
      const signed = image("signed");
      const part = image("part");
      const cases: Record<string, [TestDescriptor, RegExp | undefined]> = {
        signed: [signed, undefined],
        unsigned: [image("unsigned"), /it is not signed: expected a cosign signature by \S+good\.pub/],
        other: [image("other"), /1 signature found, none counts: not signed by any of the keys/],
        stolen: [image("stolen"), /1 signature found, none counts: it signs another image/],
        part: [images.index([part]), /it is not signed/],
        both: [image("both"), undefined],
      };
      const tags = Object.fromEntries(Object.entries(cases).map(([tag, [it]]) => [tag, it]));
      await images.push(upstream.host, name, tags);
      const of = (tag: string) => tags[tag] as TestDescriptor;
      await sign(version, "good", name, signed);
      await sign(version, "other", name, of("other"));
      await sign(version, "good", name, part);
      await sign(version, "other", name, of("both"));
      await sign(version, "good", name, of("both"));
      await steal(version, name, signed, of("stolen"));
      for (const [tag, [{ digest }, message]] of Object.entries(cases)) {
        const ref = `${upstream.host}/${name}:${tag}`;
        const entry = { ref, insecure: true, signatures: { keys: [join(dir, "good.pub")] } };
        const { error, lock } = await packImages(scratch(t), [entry]);
        if (message === undefined) {
          t.equal(error, undefined, `${tag}: ${error?.message}`);
          t.ok(
            lock?.entries[0]?.artifacts.every((it) => it.established === "upstream-signed"),
            tag,
          );
          if (tag !== "signed") continue;
          // The lock's word is not enough: the key under the same name is another one now.
          const later = scratch(t);
          const kept = { ...entry, signatures: { keys: ["k.pub"] } };
          copyFileSync(join(dir, "good.pub"), join(later, "k.pub"));
          t.equal((await lockImages(later, [kept])).error, undefined);
          copyFileSync(join(dir, "other.pub"), join(later, "k.pub"));
          const refused = await packImages(later, [kept], { frozen: true });
          t.equal(refused.error?.code, "ERR_UPSTREAM_SIGNATURE");
        } else {
          t.equal(error?.code, "ERR_UPSTREAM_SIGNATURE", tag);
          t.match(error?.message, `"${ref}" (${digest})`, tag);
          t.match(error?.message, message, tag);
        }
      }
    });
  }
});
