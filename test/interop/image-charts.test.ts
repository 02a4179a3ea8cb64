/**
 * Charts by real helm on both sides: packaged, signed and indexed by it outside, their images by what it renders; pulled and
 * verified by it inside. See Helm, "The Chart Repository Guide", "Helm Provenance and Integrity", "Use OCI-based registries".
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { pickVersion } from "../../src/sources/image/chart-version.ts";
import { needs } from "../fixtures/clients.ts";
import { startFakeRegistry } from "../fixtures/fake-registry.ts";
import { Gnupg } from "../fixtures/gnupg.ts";
import { type ImageGap, imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry, TestImages } from "../fixtures/images.ts";
import { writeManifest } from "../fixtures/program.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

/** Writes a chart's folder. */
function chartFolder(dir: string, name: string, version: string, files: Record<string, string>): string {
  const folder = join(dir, name);
  mkdirSync(join(folder, "templates"), { recursive: true });
  writeFileSync(
    join(folder, "Chart.yaml"),
    `apiVersion: v2\nname: ${name}\nversion: ${version}\n${files["Chart.yaml"] ?? ""}`,
  );
  for (const [path, text] of Object.entries(files)) if (path !== "Chart.yaml") writeFileSync(join(folder, path), text);
  return folder;
}

const POD = (image: string) =>
  `apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec:\n  containers:\n  - name: a\n    image: ${image}\n`;

async function helmOk(t: Test, gap: ImageGap, ...args: string[]): Promise<string> {
  const ran = await gap.run("helm", ...args);
  t.equal(ran.status, 0, `helm ${args.join(" ")}: ${ran.out}`);
  return ran.out;
}

/** A registry with the images that charts of these tests name. */
async function imagesOf(t: Test) {
  const images = new TestImages();
  const tags = Object.fromEntries(
    ["1.0", "2.0", "3.0"].map((tag) => [tag, images.image("linux/amd64", [{ [tag]: tag }])]),
  );
  const fake = await startFakeRegistry({ images, tags });
  t.teardown(() => fake.close());
  return fake;
}

t.test("a signed chart of an HTTP repository goes across, and helm verifies it inside", async (t) => {
  if (!needs(t, "helm", "gpg")) return;
  const gap = await imageGap(t, "airferry-helm");
  const fake = await imagesOf(t);
  const gpg = new Gnupg();
  t.teardown(() => gpg.close());
  const fingerprint = gpg.generate("ann");
  const other = gpg.generate("bob");
  writeFileSync(join(gap.dir, "secring.gpg"), gpg.run(["--export-secret-keys", "ann@example.com"]));
  writeFileSync(join(gap.dir, "pubring.gpg"), gpg.publicKey("ann", false));
  for (const name of ["ann", "bob"]) writeFileSync(join(gap.dir, `${name}.asc`), gpg.publicKey(name));
  const folder = chartFolder(gap.dir, "app", "1.2.3+b1", {
    "Chart.yaml": 'kubeVersion: ">=1.99.0-0"\nappVersion: "1.10"\n',
    "values.yaml": `image: ${fake.host}/lab/bb:1.0\nextra: false\n`,
    "templates/a.yaml": POD("{{ .Values.image }}"),
    "templates/b.yaml": `{{ if .Values.extra }}\n${POD(`${fake.host}/lab/bb:2.0`)}{{ end }}\n`,
    // Kubernetes, and helm, take a key twice.
    "templates/c.yaml": `${POD(`"${fake.host}/lab/bb:3.0"`)}kind: Pod\n`,
  });
  const out = join(gap.dir, "repository");
  const sign = ["--sign", "--key", "ann", "--keyring", join(gap.dir, "secring.gpg")];
  await helmOk(t, gap, "package", folder, "--destination", out, ...sign);
  await helmOk(t, gap, "repo", "index", out);
  const served = ["index.yaml", "app-1.2.3+b1.tgz", "app-1.2.3+b1.tgz.prov"];
  // Behind a token, which goes with the repository's address to all that is below it.
  const upstream = await startUpstream({
    files: new Map(served.map((name): [string, UpstreamFile] => [`/charts/${name}`, readFileSync(join(out, name))])),
    behaviour: { "*": (request) => (/\?sig=SECRET$/.test(request.url ?? "") ? undefined : { status: 403 }) },
  });
  for (const name of served) {
    upstream.behaviour[`/charts/${name}`] = (request) =>
      /\?sig=SECRET$/.test(request.url ?? "") ? undefined : { status: 403 };
  }
  t.teardown(() => upstream.close());
  writeFileSync(join(gap.dir, "values.yaml"), "extra: true\n");
  const entry = {
    chart: "app",
    repo: `${upstream.url}/charts?sig=SECRET`,
    version: "~1.2, !=1.2.4",
    as: "charts.example/lab/app",
    keys: ["ann.asc"],
    fingerprints: [fingerprint],
    images: true,
    insecure: true,
  };
  const builder = { flavor: "spectro-capi", imageconfig: { k8s_version: "1.99.1" } };

  // Without the cluster's version helm refuses the chart, in its own words.
  const refused = await gap.airferry("lock", writeManifest(gap.dir, { images: [entry] }, "no-version.yaml"));
  t.equal(refused.status, 4, refused.stderr);
  t.match(refused.stderr, /helm says: .*requires kubeVersion: >=1\.99\.0-0/);
  // Signed by another than the manifest trusts; and not signed by a key that has this fingerprint.
  for (const keys of [
    { keys: ["bob.asc"], fingerprints: [other] },
    { keys: ["ann.asc"], fingerprints: [other] },
  ]) {
    const wrong = await gap.airferry("lock", writeManifest(gap.dir, { images: [{ ...entry, ...keys }] }, "wrong.yaml"));
    t.equal(wrong.status, 4, wrong.stderr);
    t.match(wrong.stderr, /cannot verify ".*\.tgz\.prov\?\*\*\*"|none has a pinned fingerprint/);
  }
  const lost = { ...entry, values: ["lost.yaml"] };
  const missing = await gap.airferry("lock", writeManifest(gap.dir, { images: [lost], builder }, "lost.m.yaml"));
  t.equal(missing.status, 2, missing.stderr);
  t.match(missing.stderr, /no such values file: "lost\.yaml"/);

  const args = ["--allow-findings"];
  const bundle = await gap.carry({ images: [{ ...entry, values: ["values.yaml"] }], builder }, { args });
  const inspected = await gap.airferry("inspect", bundle, "--json");
  t.notMatch(inspected.stdout + readFileSync(join(gap.dir, "store.lock.json"), "utf8"), /SECRET/);
  const { images } = JSON.parse(inspected.stdout).catalog;
  t.match(
    images.map((it: { reference: string; established: string }) => [it.reference, it.established]).sort(),
    [
      [`${fake.host}/lab/bb:1.0`, "first-sight"],
      [`${fake.host}/lab/bb:2.0`, "first-sight"],
      [`${fake.host}/lab/bb:3.0`, "first-sight"],
      ["charts.example/lab/app:1.2.3_b1", "upstream-signed"],
    ].sort(),
  );
  const { host } = await gap.serve({ tls: false });
  const place = join(gap.dir, "pulled");
  mkdirSync(place);
  await helmOk(
    t,
    gap,
    "pull",
    `oci://${host}/charts.example/lab/app`,
    "--version",
    "1.2.3+b1",
    "--plain-http",
    "--verify",
    "--keyring",
    join(gap.dir, "pubring.gpg"),
    "--destination",
    place,
  );
  t.ok(readFileSync(join(place, "app-1.2.3+b1.tgz")).equals(readFileSync(join(out, "app-1.2.3+b1.tgz"))));
  t.match(
    await helmOk(
      t,
      gap,
      "show",
      "chart",
      `oci://${host}/charts.example/lab/app`,
      "--version",
      "1.2.3+b1",
      "--plain-http",
    ),
    /version: 1\.2\.3\+b1/,
  );
  // A range too: helm asks for the tags.
  t.match(
    await helmOk(
      t,
      gap,
      "template",
      "x",
      `oci://${host}/charts.example/lab/app`,
      "--version",
      "~1.2",
      "--plain-http",
      "--kube-version",
      "1.99.0",
    ),
    /lab\/bb:1\.0/,
  );
});

t.test("a chart of a registry goes across with its signature, which keys: asks for, and with its images", async (t) => {
  if (!needs(t, "helm", "gpg", "docker-registry")) return;
  const gap = await imageGap(t, "airferry-helm-oci");
  const fake = await imagesOf(t);
  const registry = await startDockerRegistry(join(gap.dir, "upstream"));
  t.teardown(() => registry.stop());
  const gpg = new Gnupg();
  t.teardown(() => gpg.close());
  for (const name of ["ann", "bob"]) gpg.generate(name);
  writeFileSync(join(gap.dir, "secring.gpg"), gpg.run(["--export-secret-keys", "ann@example.com"]));
  writeFileSync(join(gap.dir, "pubring.gpg"), gpg.publicKey("ann", false));
  for (const name of ["ann", "bob"]) writeFileSync(join(gap.dir, `${name}.asc`), gpg.publicKey(name));
  const sign = ["--sign", "--key", "ann", "--keyring", join(gap.dir, "secring.gpg")];
  for (const [name, signed] of [
    ["app", sign],
    ["bare", []],
  ] as const) {
    const folder = chartFolder(gap.dir, name, "2.0.0", { "templates/a.yaml": POD(`${fake.host}/lab/bb:2.0`) });
    await helmOk(t, gap, "package", folder, "--destination", gap.dir, ...signed);
    await helmOk(t, gap, "push", join(gap.dir, `${name}-2.0.0.tgz`), `oci://${registry.host}/charts`, "--plain-http");
  }
  const entry = { ref: `${registry.host}/charts/app:2.0.0`, insecure: true, images: true, keys: ["ann.asc"] };
  for (const [wrong, status, message] of [
    [{ ...entry, keys: ["bob.asc"] }, 4, /cannot verify .*app:2\.0\.0/],
    [{ ...entry, ref: `${registry.host}/charts/bare:2.0.0` }, 4, /keys are given, but its provenance file is missing/],
    [{ ...entry, ref: `${fake.host}/lab/bb:1.0`, images: undefined }, 2, /keys: are for charts, and it is not one/],
    [{ ...entry, ref: `${fake.host}/lab/bb:1.0`, keys: undefined }, 2, /images: true is for charts, and it is not one/],
  ] as const) {
    const refused = await gap.airferry("lock", writeManifest(gap.dir, { images: [wrong] }, "wrong.yaml"));
    t.equal(refused.status, status, refused.stderr);
    t.match(refused.stderr, message);
  }
  const bundle = await gap.carry({ images: [entry, { ref: `${registry.host}/charts/bare:2.0.0`, insecure: true }] });
  const { images } = JSON.parse((await gap.airferry("inspect", bundle, "--json")).stdout).catalog;
  t.match(
    images.map((it: { reference: string; established: string }) => [it.reference, it.established]).sort(),
    [
      [`${fake.host}/lab/bb:2.0`, "first-sight"],
      [`${registry.host}/charts/app:2.0.0`, "upstream-signed"],
      [`${registry.host}/charts/bare:2.0.0`, "first-sight"],
    ].sort(),
  );
  const { host } = await gap.serve({ tls: false });
  const from = `oci://${host}/${registry.host.replace(":", "_")}/charts/app`;
  const verify = ["--verify", "--keyring", join(gap.dir, "pubring.gpg"), "--destination", gap.dir];
  renameSync(join(gap.dir, "app-2.0.0.tgz"), join(gap.dir, "pushed.tgz"));
  await helmOk(t, gap, "pull", from, "--version", "2.0.0", "--plain-http", ...verify);
  t.ok(readFileSync(join(gap.dir, "app-2.0.0.tgz")).equals(readFileSync(join(gap.dir, "pushed.tgz"))));
});

t.test("versions are picked as helm picks them", async (t) => {
  if (!needs(t, "helm")) return;
  const gap = await imageGap(t, "airferry-helm-versions");
  const versions = [
    "1.2.0",
    "1.2.1",
    "1.10.0",
    "v1.11.0",
    "2.0.0-rc.1",
    "2.0.0-rc.2",
    "1.3",
    "3.0.0+b1",
    "0.9.9",
    "3.1.0-alpha",
  ];
  const entries = versions.map(
    (version) => `  - {apiVersion: v2, name: app, version: "${version}", urls: ["app.tgz"]}`,
  );
  const upstream = await startUpstream({
    files: new Map([["/index.yaml", `apiVersion: v1\nentries:\n  app:\n${entries.join("\n")}\n`]]),
  });
  t.teardown(() => upstream.close());
  await helmOk(t, gap, "repo", "add", "r", upstream.url);
  const ranges = [
    "1.2.0",
    "1.2.1",
    "v1.11.0",
    "1.11.0",
    "1.2",
    "~1.2",
    "~1.2.0",
    "^1.2",
    "^1",
    "1.x",
    "1.10.x",
    ">=1.2, <1.10",
    ">=1.2 <1.10",
    ">= 1.2.0",
    "=>1.2.0",
    "=<1.2.1",
    "!=3.0.0",
    "!=3.0.0, <3",
    "!=3.0",
    "!=2.0.0-rc.1",
    "!=3.0.0, ~1.2",
    "1.2 - 1.10",
    "1.2.0 - 1.2.1",
    "*",
    ">0",
    ">=2.0.0-0",
    ">=2.0.0-rc.1, <2.0.0",
    "2.0.0-rc.1",
    "~2.0.0-0",
    "^2.0.0-rc",
    ">=1.0.0-0 <3.0.0-0",
    "<1",
    "3",
    "3.0.0",
    "4",
    "=1.2.0",
    "1.2.0 || 1.10.0",
    "~1.2 || ^2.0.0-0",
    ">3.0.0-0",
  ];
  for (const range of ["", ...ranges]) {
    // Its search speaks of the newest that fits.
    const args = range === "" ? [] : ["--version", range];
    const found = JSON.parse(await helmOk(t, gap, "search", "repo", "r/app", "-o", "json", ...args)) as {
      version: string;
    }[];
    t.equal(pickVersion(versions, range === "" ? undefined : range), found[0]?.version, JSON.stringify(range));
  }
});
