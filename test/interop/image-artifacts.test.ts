/**
 * What is in registries beside container images: Helm charts, artifacts of types that nobody here knows, with layers and
 * without, indexes of them, and what is attached to them. Pushed by oras, carried blindly, pulled by oras again. See OCI
 * image-spec v1.1, manifest.md, "Guidelines for Artifact Usage".
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry } from "../fixtures/images.ts";
import { seededBytes } from "../fixtures/program.ts";

const HELM = "application/vnd.cncf.helm";

t.test("artifacts go across as they are", async (t) => {
  if (!needs(t, "docker-registry", "oras", "crane")) return;
  const gap = await imageGap(t, "airferry-artifacts");
  const upstream = await startDockerRegistry(join(gap.dir, "upstream"));
  t.teardown(() => upstream.stop());
  const own = join(gap.dir, "own");
  mkdirSync(own);
  const contents = {
    "config.json": Buffer.from('{"name":"app","version":"1.2.3+b1","apiVersion":"v2"}'),
    "app-1.2.3+b1.tgz": seededBytes(1, 70_000),
    "app.prov": Buffer.from("-----BEGIN PGP SIGNED MESSAGE-----\n"),
    "rules.rego": Buffer.from("package rules\n"),
    "model.bin": seededBytes(2, 300_001),
    empty: Buffer.alloc(0),
  };
  for (const [name, bytes] of Object.entries(contents)) writeFileSync(join(own, name), bytes);
  // oras names files as they are given, so it runs where they are.
  const oras = (where: string, ...args: string[]) => gap.run("sh", "-c", 'cd "$0" && exec oras "$@"', where, ...args);
  const ok = async (where: string, ...args: string[]) => {
    const ran = await oras(where, ...args);
    t.equal(ran.status, 0, `oras ${args[0]}: ${ran.out}`);
    return ran.out;
  };
  const chart = `${upstream.host}/charts/app:1.2.3_b1`;
  const plain = "--plain-http";
  await ok(
    own,
    "push",
    plain,
    "--config",
    `config.json:${HELM}.config.v1+json`,
    chart,
    `app-1.2.3+b1.tgz:${HELM}.chart.content.v1.tar+gzip`,
    `app.prov:${HELM}.chart.provenance.v1.prov`,
  );
  const rules = `${upstream.host}/acme/rules:1`;
  await ok(
    own,
    "push",
    plain,
    "--artifact-type",
    "application/vnd.acme.rules",
    "--annotation",
    "level=7",
    rules,
    "rules.rego:text/x-rego",
    "model.bin:application/vnd.acme.model.v9",
    "empty:application/vnd.acme.nothing",
  );
  await ok(own, "push", plain, "--artifact-type", "application/vnd.acme.mark", `${upstream.host}/acme/mark:1`);
  await ok(own, "attach", plain, "--artifact-type", "application/vnd.acme.review", chart, "rules.rego:text/x-rego");
  await ok(own, "manifest", "index", "create", plain, `${upstream.host}/acme/rules:all`, "1");

  const names = ["charts/app:1.2.3_b1", "acme/rules:1", "acme/rules:all", "acme/mark:1"];
  await gap.carry(
    {
      images: names.map((name) => ({
        ref: `registry.example.com/${name}`,
        insecure: true,
        // Said for all of a site's images, it must not keep what has no platform from coming along.
        platforms: ["linux/amd64"],
      })),
    },
    { args: ["--rewrite", `registry.example.com=${upstream.host}`] },
  );
  const upstreamDigests = new Map<string, string>();
  for (const name of names) {
    upstreamDigests.set(name, (await gap.run("crane", "digest", `${upstream.host}/${name}`)).out.trim());
  }
  await upstream.stop();
  const { host, ca } = await gap.serve();
  const site = await startDockerRegistry(join(gap.dir, "site"));
  t.teardown(() => site.stop());
  const published = await gap.airferry("publish", site.host, "--store", "store", "--insecure");
  t.equal(published.status, 0, published.stderr);

  for (const [place, base, how] of [
    ["the server", `${host}/registry.example.com`, ["--ca-file", ca]],
    ["a registry that was published to", `${site.host}/registry.example.com`, [plain]],
  ] as const) {
    await t.test(place, async (t) => {
      for (const name of names) {
        const found = JSON.parse(await ok(own, "manifest", "fetch", "--descriptor", ...how, `${base}/${name}`));
        t.equal(found.digest, upstreamDigests.get(name), name);
      }
      const out = join(gap.dir, `out-${place.length}`);
      mkdirSync(out);
      await ok(out, "pull", ...how, "--config", "config.json", `${base}/charts/app:1.2.3_b1`);
      await ok(out, "pull", ...how, `${base}/acme/rules:1`);
      for (const [name, bytes] of Object.entries(contents)) t.ok(readFileSync(join(out, name)).equals(bytes), name);
      const about = await ok(own, "discover", ...how, "--format", "json", `${base}/charts/app:1.2.3_b1`);
      t.match(about, "application/vnd.acme.review");
      const typed = await ok(
        own,
        "discover",
        ...how,
        "--artifact-type",
        "application/vnd.acme.other",
        `${base}/charts/app:1.2.3_b1`,
      );
      t.notMatch(typed, "application/vnd.acme.review", "the filter filters");
    });
  }

  await t.test("an export", async (t) => {
    const exported = await gap.airferry("export", "image", "charts/app", "--store", "store", "--out", "chart.tar");
    t.equal(exported.status, 0, exported.stderr);
    const out = join(gap.dir, "from-export");
    mkdirSync(out);
    await ok(out, "pull", "--oci-layout", `${join(gap.dir, "chart.tar")}:1.2.3_b1`);
    t.ok(readFileSync(join(out, "app-1.2.3+b1.tgz")).equals(contents["app-1.2.3+b1.tgz"]));
  });
});
