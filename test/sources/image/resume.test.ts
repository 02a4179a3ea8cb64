/** A pack that was killed in the middle of a layer, and a lock whose manifests were tampered with. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { airferry } from "../../fixtures/host.ts";
import { layersOf, lockImages, packImages } from "../../fixtures/image-lock.ts";
import { MANIFEST, type TestDescriptor, TestImages } from "../../fixtures/images.ts";
import { writeKeyPair } from "../../fixtures/keys.ts";
import { scratch, seededBytes, start, writeManifest } from "../../fixtures/program.ts";
import { startUpstream } from "../../fixtures/upstream.ts";

const MIB = 1024 * 1024;

t.test("a pack that was killed in a large layer goes on where it was, at the registry again", async (t) => {
  const images = new TestImages();
  const layer = images.blob(seededBytes(5, 24 * MIB), "application/x-large");
  const config = images.blob(Buffer.from('{"x":1}'), "application/x-config");
  const image = images.manifest({ config, layers: [layer] }, MANIFEST);
  const storage = await startUpstream({
    files: new Map([["/signed", images.blobs.get(layer.digest) as Buffer]]),
    behaviour: { "/signed": [{ drip: { bytes: MIB, everyMs: 100 } }] },
  });
  t.teardown(() => storage.close());
  const path = new RegExp(`blobs/${layer.digest}`);
  const spoil = { path, status: 307, headers: { location: `${storage.url}/signed` } };
  const fake = await startFakeRegistry({ images, tags: { "1.0": image }, spoil });
  t.teardown(() => fake.close());
  const dir = scratch(t);
  const manifest = writeManifest(dir, { images: [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }] });
  const env = { HOME: dir };
  writeKeyPair(dir);
  const args = ["pack", manifest, "--key", "k.key"];
  const killed = start(dir, args, env);
  const journal = () => {
    const work = readdirSync(join(dir, "bundles")).find((it) => it.startsWith(".work"));
    return work === undefined ? "" : readFileSync(join(dir, "bundles", work, "journal"), "utf8");
  };
  // Until so much of the layer is on record that there is something to go on from.
  for (let waited = 0; waited < 400; waited++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    try {
      if (/"part":[0-9]{7,}/.test(journal())) break;
    } catch {
      // Not begun.
    }
  }
  killed.kill("SIGKILL");
  t.equal((await killed.done).signal, "SIGKILL");
  fake.log.length = 0;
  const again = await airferry(dir, args, env);
  t.equal(again.status, 0, again.stderr);
  const last = storage.requests.at(-1);
  t.match(last?.headers.range, /^bytes=[0-9]{7,}-/);
  t.same(
    fake.log.filter((line) => line.startsWith("GET")).map((line) => line.split(" ")[1]),
    [`/v2/lab/bb/blobs/${layer.digest}`],
    "asked at the registry, since signed URLs of storages expire; and nothing else is asked again",
  );
  const verified = await airferry(dir, ["verify", "bundles/test-000001", "--trust", "k.pub"]);
  t.equal(verified.status, 0, verified.stderr);
});

t.test("manifests and configs that the lock keeps are checked when they are packed", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const fake = await startFakeRegistry({ images, tags: { "1.0": image } });
  t.teardown(() => fake.close());
  const entries = [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }];
  const parsed = JSON.parse(images.manifests.get(image.digest)?.bytes.toString() ?? "");
  for (const { digest } of [image, parsed.config as TestDescriptor]) {
    const dir = scratch(t);
    t.equal((await lockImages(dir, entries)).error, undefined);
    const file = join(dir, "m.lock.d", digest.slice("sha256:".length));
    const bytes = readFileSync(file);
    // The same length, another content: a layer's digest, say.
    writeFileSync(file, bytes.toString("latin1").replace(/[0-9a-f]{64}/, "0".repeat(64)), "latin1");
    t.equal(readFileSync(file).length, bytes.length);
    const { error } = await packImages(dir, entries, { frozen: true });
    t.equal(error?.code, "ERR_LOCK_INVALID");
    t.match(error?.message, `of image "${fake.host}/lab/bb:1.0"`);
    t.match(error?.message, `expected ${digest}, got sha256:`);
  }
  t.equal(layersOf(images, image).length, 1);
});
