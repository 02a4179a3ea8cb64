/** `chart:` of an images entry: charts of HTTP repositories, what is checked of them, and the images that they need. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { imagesInYaml } from "../../../src/sources/image/chart-images.ts";
import { findChart } from "../../../src/sources/image/chart-index.ts";
import { chartIndex, chartPackage, sha256 } from "../../fixtures/charts.ts";
import { startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { airferry } from "../../fixtures/host.ts";
import { TestImages } from "../../fixtures/images.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";
import { startUpstream, type UpstreamFile } from "../../fixtures/upstream.ts";

const chartYaml = (more = "") =>
  `apiVersion: v2\nname: app\nversion: 1.2.0+b1\nappVersion: 1.10\ndescription: an app\n${more}`;
/** Without helm, whatever this machine has. */
const NO_HELM = { PATH: "/nowhere" };

async function repository(t: Test, files: Record<string, UpstreamFile>) {
  const upstream = await startUpstream({
    files: new Map(Object.entries(files).map(([path, content]) => [`/charts/${path}`, content])),
  });
  t.teardown(() => upstream.close());
  return { upstream, repo: `${upstream.url}/charts` };
}

const inspect = async (dir: string, serial = 1) =>
  JSON.parse((await airferry(dir, ["inspect", `bundles/test-00000${serial}`, "--json"])).stdout);

t.test("findChart() picks exact versions, ranges, and the newest that is not a pre-release", async (t) => {
  const versions = ["1.0.0", "1.2.0", "1.2.1", "2.0.0-rc.1", "v1.3.0"].map((version) => ({
    version,
    url: `app-${version}.tgz`,
  }));
  const index = chartIndex("app", versions);
  for (const [wanted, version] of [
    [undefined, "v1.3.0"],
    ["1.2.0", "1.2.0"],
    ["~1.2", "1.2.1"],
    ["^1", "v1.3.0"],
    [">=2.0.0-0", "2.0.0-rc.1"],
    ["2.0.0-rc.1", "2.0.0-rc.1"],
  ] as const) {
    t.strictSame(
      findChart(index, "app", wanted, "i"),
      { version, urls: [`app-${version}.tgz`] },
      wanted ?? "the newest",
    );
  }
  t.throws(() => findChart(index, "app", "3", "i"), {
    code: "ERR_MANIFEST_INVALID",
    hint: /available versions: 2\.0\.0-rc\.1, v1\.3\.0/,
  });
  t.throws(() => findChart(index, "ap", undefined, "i"), { message: /"i" does not list it/ });
  t.throws(() => findChart("<html>sign in</html>", "app", undefined, "i"), { message: /does not list it/ });
  t.throws(() => findChart("entries:\n  app: &a\n  - *a\n", "app", undefined, "i"), { code: /ERR_/ });
});

t.test("findChart() reads one chart out of a large index", async (t) => {
  const noise = Array.from(
    { length: 20_000 },
    (_, i) => `  chart-${i}:\n  - version: 1.0.0\n    urls:\n    - c-${i}.tgz\n`,
  ).join("");
  const index = `apiVersion: v1\nentries:\n${noise}  app:\n  - version: 1.0.0\n    digest: ${"A".repeat(64)}\n    urls: [app.tgz]\n`;
  t.strictSame(findChart(index, "app", undefined, "i"), {
    version: "1.0.0",
    urls: ["app.tgz"],
    digest: `sha256:${"a".repeat(64)}`,
  });
});

t.test("findChart() reads an index in JSON, quoted keys and a byte order mark, and keeps every URL", async (t) => {
  const of = (name: string) => ({
    [name]: [{ version: "1.0.0", urls: [`${name}.tgz`, "https://m.example/x.tgz", 5] }],
  });
  const json = JSON.stringify({ apiVersion: "v1", entries: { ...of("other"), ...of("app") } }, null, 2);
  const yaml =
    'apiVersion: v1\n"entries":\n  "app":\n  - version: 1.0.0\n    urls: [app.tgz, "https://m.example/x.tgz"]\n';
  for (const text of [json, `\uFEFF${json}`, yaml, `\uFEFF${yaml}`]) {
    const urls = ["app.tgz", "https://m.example/x.tgz"];
    t.strictSame(findChart(text, "app", undefined, "i"), { version: "1.0.0", urls });
  }
  for (const text of [json, "{", '{"entries":null}', '{"entries":[]}', "[]"])
    t.throws(() => findChart(text, "constructor", undefined, "i"), { message: /does not list it/ }, text.slice(0, 20));
  t.throws(() => findChart('{"entries":{"app":5}}', "app", undefined, "i"), { message: /not a list of versions/ });
});

t.test("a chart is asked for at each of its places", async (t) => {
  const dir = scratch(t);
  const tgz = chartPackage("app", { "Chart.yaml": chartYaml() });
  const { repo } = await repository(t, {
    "index.yaml": chartIndex("app", [{ version: "1.2.0+b1", url: "gone.tgz\n    - app.tgz" }]),
    "app.tgz": tgz,
  });
  const manifest = writeManifest(dir, { images: [{ chart: "app", repo, as: "c.example/app" }] });
  const locked = await airferry(dir, ["lock", manifest]);
  t.equal(locked.status, 0, locked.stderr);
});

t.test("a chart becomes the artifact that helm would push, by the digest of the index", async (t) => {
  const dir = scratch(t);
  const tgz = chartPackage("app", {
    "Chart.yaml": chartYaml(),
    "charts/sub/Chart.yaml": "name: sub\nversion: 9.0.0\n",
  });
  const { repo, upstream } = await repository(t, {
    "index.yaml": chartIndex("app", [{ version: "1.2.0+b1", url: "app-1.2.0+b1.tgz", digest: sha256(tgz) }]),
    "app-1.2.0+b1.tgz": tgz,
  });
  const manifest = writeManifest(dir, {
    images: [{ chart: "app", repo, version: "~1.2", as: "charts.example/lab/app" }],
  });
  const packed = await airferry(dir, ["pack", manifest, "--unsigned"]);
  t.equal(packed.status, 0, packed.stderr);
  const {
    catalog: { images },
    entries,
  } = await inspect(dir);
  t.match(images, [
    { reference: "charts.example/lab/app:1.2.0_b1", established: "upstream-checksum", source: `${repo}/app` },
  ]);
  t.ok(entries.some((it: { digest: string }) => it.digest === `sha256:${sha256(tgz)}`));
  await upstream.close();
  const frozen = await airferry(dir, ["pack", manifest, "--unsigned", "--frozen", "--out", "again"]);
  t.equal(frozen.status, 0, "the lock keeps the chart: pack needs no upstream");
});

t.test("what is wrong with a repository or a chart is refused", async (t) => {
  const tgz = chartPackage("app", { "Chart.yaml": chartYaml() });
  const good = { version: "1.2.0+b1", url: "app.tgz", digest: sha256(tgz) };
  for (const [files, status, message] of [
    [{ "index.yaml": chartIndex("app", [{ ...good, digest: "0".repeat(64) }]), "app.tgz": tgz }, 4, /digest/],
    [
      { "index.yaml": chartIndex("app", [{ ...good, version: "1.3.0" }]), "app.tgz": tgz },
      4,
      /is another chart: expected app 1\.3\.0, got app 1\.2\.0\+b1/,
    ],
    [
      { "index.yaml": chartIndex("app", [{ version: "1.2.0", url: "app.tgz" }]), "app.tgz": "<html></html>" },
      4,
      /cannot read chart/,
    ],
    [
      {
        "index.yaml": chartIndex("app", [{ version: "1.2.0", url: "app.tgz" }]),
        "app.tgz": chartPackage("app", { x: "y" }),
      },
      4,
      /no Chart\.yaml/,
    ],
    [{ "index.yaml": chartIndex("app", [{ ...good, url: "file:///etc/passwd" }]) }, 4, /names an invalid URL/],
    [
      {
        "index.yaml": chartIndex("app", [good]),
        "app.tgz": tgz,
        "app.tgz.prov":
          "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nname: app\nfiles:\n  app.tgz: sha256:" +
          "0".repeat(64) +
          "\n-----BEGIN PGP SIGNATURE-----\n\nwnUEARYKAB0\n-----END PGP SIGNATURE-----\n",
      },
      4,
      /provenance|clear-signed/,
    ],
  ] as [Record<string, UpstreamFile>, number, RegExp][]) {
    const dir = scratch(t);
    const { repo } = await repository(t, files);
    const refused = await airferry(dir, [
      "lock",
      writeManifest(dir, { images: [{ chart: "app", repo, as: "c.example/app" }] }),
    ]);
    t.equal(refused.status, status, refused.stderr);
    t.match(refused.stderr, message);
  }
});

/** A chart whose annotations list an image of a registry on loopback. */
async function chartWithImage(t: Test, reference: (host: string) => string) {
  const dir = scratch(t);
  const images = new TestImages();
  const fake = await startFakeRegistry({ images, tags: { "1.0": images.image("linux/amd64", [{ a: "1" }]) } });
  t.teardown(() => fake.close());
  const listed = `annotations:\n  artifacthub.io/images: |\n    - name: app\n      image: ${reference(fake.host)}\n`;
  const tgz = chartPackage("app", { "Chart.yaml": chartYaml(listed) });
  const { repo } = await repository(t, {
    "index.yaml": chartIndex("app", [{ version: "1.2.0+b1", url: "app.tgz" }]),
    "app.tgz": tgz,
  });
  const entry = { chart: "app", repo, as: "c.example/app", insecure: true, images: true };
  return { dir, fake, manifest: writeManifest(dir, { images: [entry] }) };
}

t.test("without helm the images of the annotations are taken, under their own names", async (t) => {
  const { dir, fake, manifest } = await chartWithImage(t, (host) => `${host}/lab/bb:1.0`);
  const packed = await airferry(dir, ["pack", manifest, "--unsigned"], NO_HELM);
  t.equal(packed.status, 0, packed.stderr);
  t.match(packed.stderr, `chart app 1.2.0+b1: its annotations list ${fake.host}/lab/bb:1.0`);
  const { images } = (await inspect(dir)).catalog;
  t.match(
    images.map((it: { reference: string; source: string }) => [it.reference, it.source]).sort(),
    [
      [`${fake.host}/lab/bb:1.0`, "chart app 1.2.0+b1"],
      ["c.example/app:1.2.0_b1", /\/charts\/app$/],
    ].sort(),
  );
  const plan = await airferry(dir, ["plan", manifest], NO_HELM);
  t.match(plan.stdout, /chart app 1\.2\.0\+b1/);
});

t.test("with helm those that it renders to; values are given to it, and its words are told", async (t) => {
  const { dir, fake, manifest } = await chartWithImage(t, () => "unused.example/x:1");
  const bin = join(dir, "bin");
  mkdirSync(bin);
  // A program named helm that answers as helm does; the real one is tried in test/interop/image-charts.test.ts.
  const helm = (body: string) => {
    writeFileSync(join(bin, "helm"), `#!/bin/sh\necho "$@" > ${dir}/asked\n${body}\n`);
    chmodSync(join(bin, "helm"), 0o755);
  };
  helm(`printf 'kind: Pod\\nspec:\\n  containers:\\n  - image: ${fake.host}/lab/bb:1.0\\n'`);
  const env = { PATH: `${bin}:${process.env.PATH}` };
  const packed = await airferry(dir, ["pack", manifest, "--unsigned"], env);
  t.equal(packed.status, 0, packed.stderr);
  t.match(packed.stderr, `it renders to ${fake.host}/lab/bb:1.0`);
  t.match(readFileSync(join(dir, "asked"), "utf8"), /^template airferry .*\/chart\.tgz\n$/);
  helm("echo 'Error: values are missing: host' >&2; exit 1");
  const refused = await airferry(dir, ["lock", manifest, "--update"], env);
  t.equal(refused.status, 4);
  t.match(refused.stderr, /helm says: Error: values are missing: host/);
  t.match(refused.stderr, /hint: give the values that it needs/);
});

t.test("an image that a chart needs and nobody has names the chart", async (t) => {
  const { dir, manifest } = await chartWithImage(t, (host) => `${host}/lab/bb:9`);
  const refused = await airferry(dir, ["lock", manifest], NO_HELM);
  t.equal(refused.status, 4);
  t.match(refused.stderr, /has no 9.*\(chart app 1\.2\.0\+b1 needs it\)/);
});

t.test("imagesInYaml() finds images wherever they stand, and nothing else", async (t) => {
  const text = `
spec:
  template:
    spec:
      initContainers: [{ image: "quay.io/a/init:1" }]
      containers:
      - image: nginx
        args: ["--reloader-image=quay.io/b/reload:v1", "--url=https://quay.io/x:1", "quay.io/no/tag", "a/b:1"]
        env: [{ name: X, value: "ghcr.io/c/d@sha256:${"0".repeat(64)}" }, { name: Y, value: "example.com/path" }]
---
not: [yaml
---
kind: Prometheus
spec: { image: quay.io/e/f:2, sidecarImage: quay.io/g/h:3, imageName: "quay.io/i/j:4", pullImage: never }
---
kind: Tigera
spec:
  image: { registry: quay.io, repository: k/l, tag: "5.0", pullPolicy: Always }
  initImage: { repository: quay.io/m/n, tag: "6" }
  other: { repository: quay.io/no/image, tag: "7" }
---
# Source: app/templates/twice.yaml
kind: Pod
spec:
  containers:
  - image: "quay.io/o/p:8" # a key twice
    name: a
    name: b
  - { image: quay.io/q/r:9, name: c }
`;
  const told: string[] = [];
  const found = imagesInYaml(text, (line) => told.push(line)).sort();
  t.match(told, [
    /^an object is read line by line: /,
    /^app\/templates\/twice\.yaml is read line by line: Map keys must be/,
  ]);
  t.strictSame(found, [
    `ghcr.io/c/d@sha256:${"0".repeat(64)}`,
    "nginx",
    "quay.io/a/init:1",
    "quay.io/b/reload:v1",
    "quay.io/e/f:2",
    "quay.io/g/h:3",
    "quay.io/i/j:4",
    "quay.io/k/l:5.0",
    "quay.io/m/n:6",
    "quay.io/o/p:8",
    "quay.io/q/r:9",
  ]);
});
