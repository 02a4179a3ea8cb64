/**
 * The OCI distribution conformance suite, pull and content discovery, over what `airferry serve` has after lock, pack and unpack:
 * images, nested and empty indexes, artifacts, referrers, SHA-512. scripts/conformance builds the suite; without it: a skip.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { digestOf, MANIFEST, type TestDescriptor, TestImages } from "../fixtures/images.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { ROOT, scratch, start, writeManifest } from "../fixtures/program.ts";

const FOLDER = join(ROOT, ".cache/conformance");
const suite = existsSync(FOLDER) ? readdirSync(FOLDER).find((it) => it.startsWith("v")) : undefined;
const EMPTY = "application/vnd.oci.empty.v1+json";

/** The kinds of content that the suite itself pushes where it may. */
function makeContent(): { images: TestImages; named: Record<string, TestDescriptor> } {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "1" }, { "etc/motd": "hi" }]);
  const arm64 = images.image("linux/arm64", [{ a: "2" }]);
  const index = images.index([amd64, arm64]);
  const docker = images.index([images.image("linux/amd64", [{ a: "docker" }], true)], true);
  const empty = images.blob(Buffer.from("{}"), EMPTY, { data: Buffer.from("{}").toString("base64") });
  const artifact = images.manifest(
    { artifactType: "application/x-thing", config: empty, layers: [empty], custom: { field: 1 } },
    MANIFEST,
  );
  const bytes = Buffer.from("a layer by sha512");
  const digest = digestOf(bytes, "sha512");
  images.blobs.set(digest, bytes);
  const sha512 = images.manifest(
    { config: empty, layers: [{ mediaType: "application/x-thing", digest, size: bytes.length }] },
    MANIFEST,
  );
  const bare = images.manifest({ config: empty, layers: [], annotations: { kind: "no layers" } }, MANIFEST);
  const zero = images.manifest(
    { config: empty, layers: [images.blob(Buffer.alloc(0), "application/x-none")] },
    MANIFEST,
  );
  const large = images.manifest(
    { config: empty, layers: [empty], annotations: { padding: "x".repeat(4 * 1024 * 1024 - 1024) } },
    MANIFEST,
  );
  const about = [
    images.referrer(index, "application/spdx+json", Buffer.from("{}")),
    images.referrer(index, "application/x-signature", Buffer.from("signed")),
    images.referrer(amd64, "application/x-about-a-child", Buffer.from("child")),
  ];
  const roots = {
    index,
    docker,
    nested: images.index([index]),
    none: images.index([]),
    artifact,
    sha512,
    bare,
    zero,
    large,
  };
  const named = Object.fromEntries(Object.entries(roots).map(([tag, it]) => [`conformance.example/lab/bb:${tag}`, it]));
  // What has a subject is not taken for an image, whatever it is called.
  for (const [number, it] of about.entries()) named[`about-${number}`] = it;
  return { images, named };
}

t.test("the suite passes", async (t) => {
  if (suite === undefined) return t.pass("suite", { skip: "the suite is not built: scripts/conformance" });
  const dir = scratch(t, "airferry-conformance");
  const { images, named } = makeContent();
  mkdirSync(join(dir, "layout"));
  images.writeLayout(join(dir, "layout"), named);
  const manifest = writeManifest(dir, { images: [{ archive: "layout" }] });
  writeKeyPair(dir);
  const packed = await airferry(dir, ["pack", manifest, "--key", "k.key"]);
  t.equal(packed.status, 0, packed.stderr);
  const unpacked = await airferry(dir, ["unpack", packed.stdout.trim(), "--trust", "k.pub", "--store", "store"]);
  t.equal(unpacked.status, 0, unpacked.stderr);
  const server = start(dir, ["serve", "--store", "store", "--listen", "127.0.0.1:0"]);
  t.teardown(() => server.kill());
  const host = await new Promise<string>((resolve) => {
    server.stdout?.on("data", (text: string) => resolve(/http:\/\/([^\s/]+)/.exec(text)?.[1] ?? ""));
  });

  const child = spawn(join(FOLDER, suite), [], {
    cwd: dir,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env.PATH,
      HOME: dir,
      OCI_REGISTRY: host,
      OCI_TLS: "disabled",
      OCI_VERSION: "1.1",
      OCI_REPO1: "conformance.example/lab/bb",
      OCI_REPO2: "conformance.example/lab/bb",
      OCI_API_PUSH: "false",
      OCI_API_BLOBS_DELETE: "false",
      OCI_API_MANIFESTS_DELETE: "false",
      OCI_API_TAGS_DELETE: "false",
      OCI_API_BLOBS_DIGEST_HEADER: "true",
      OCI_RO_DATA_TAGS: "index docker nested none artifact sha512 bare zero large",
      OCI_RO_DATA_MANIFESTS: [...images.manifests.keys()].join(" "),
      OCI_RO_DATA_BLOBS: [...images.blobs.keys()].join(" "),
      OCI_RO_DATA_REFERRERS: (named["conformance.example/lab/bb:index"] as TestDescriptor).digest,
      OCI_RESULTS_DIR: join(dir, "results"),
    },
  });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
  }
  await new Promise((resolve) => child.on("close", resolve));
  // Its exit status says nothing: without pushes, the suite's own report in YAML panics after the tests.
  const count = (word: string) => Number(new RegExp(`^ *${word}\\.+: *(\\d+)`, "m").exec(out)?.[1] ?? Number.NaN);
  const counts = { passed: count("Pass"), failed: count("FAIL"), errors: count("Error"), skipped: count("Skip") };
  t.match(counts, { failed: 0, errors: 0, skipped: 0 }, out.slice(-4000));
  t.ok(counts.passed >= 80, `${counts.passed} passed`);
  t.ok(/^OCI Conformance Result: Pass$/m.test(out));
});
