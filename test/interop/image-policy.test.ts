/**
 * The rendered policy.json and registries.d with real podman and skopeo: images that the right key signed come from `serve`, by
 * their name there and by mirror rule; unsigned ones, wrongly signed ones and moved signatures are refused. Nothing of this
 * machine is changed: the tools read the rendered files from a home of their own. See containers-policy.json(5).
 */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { airferry } from "../fixtures/host.ts";
import { startDockerRegistry, TestImages } from "../fixtures/images.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { scratch, start, writeManifest } from "../fixtures/program.ts";

t.test("podman and skopeo under the rendered policy", async (t) => {
  if (!needs(t, "docker-registry", "newer-podman", "newer-skopeo", "cosign2")) return;
  const dir = scratch(t, "airferry-policy");
  const home = { HOME: dir, DOCKER_CONFIG: join(dir, "docker"), COSIGN_PASSWORD: "", XDG_RUNTIME_DIR: dir };
  mkdirSync(home.DOCKER_CONFIG);
  writeFileSync(join(home.DOCKER_CONFIG, "config.json"), "{}");
  const run = (name: string, args: string[], more: Record<string, string> = {}) =>
    runClient(name, args, { ...home, ...more });
  const upstream = await startDockerRegistry(join(dir, "upstream"));
  t.teardown(() => upstream.stop());

  const names = ["signed", "unsigned", "stranger", "moved", "indexonly"];
  for (const key of ["good", "wrong"]) {
    await run("cosign2", ["generate-key-pair", "--output-key-prefix", join(dir, key)]);
  }
  for (const name of names) {
    const images = new TestImages();
    const root = images.index([
      images.image("linux/amd64", [{ [name]: name }]),
      images.image("linux/arm64", [{ x: name }]),
    ]);
    await images.push(upstream.host, `lab/${name}`, { "1.0": root });
    if (name === "unsigned") continue;
    const key = join(dir, name === "stranger" ? "wrong.key" : "good.key");
    // podman judges the platform's own manifest, not the index: every one is signed, as cosign sign --recursive does.
    const which = name === "indexonly" ? [] : ["--recursive"];
    const identity = `registry.example.com/lab/${name === "moved" ? "signed" : name}:1.0`;
    const options = ["--yes", "--key", key, "--tlog-upload=false", "--sign-container-identity", identity, ...which];
    const signed = await run("cosign2", ["sign", ...options, `${upstream.host}/lab/${name}@${root.digest}`]);
    t.equal(signed.status, 0, signed.out);
  }
  const manifest = writeManifest(dir, {
    images: names.map((name) => ({
      ref: `registry.example.com/lab/${name}:1.0`,
      insecure: true,
      platforms: ["linux/amd64"],
    })),
  });
  writeKeyPair(dir);
  const rewrite = ["--rewrite", `registry.example.com=${upstream.host}`];
  const packed = await airferry(dir, ["pack", manifest, "--key", "k.key", ...rewrite]);
  t.equal(packed.status, 0, packed.stderr);
  const unpacked = await airferry(dir, ["unpack", packed.stdout.trim(), "--trust", "k.pub", "--store", "store"]);
  t.equal(unpacked.status, 0, unpacked.stderr);
  await upstream.stop();
  const tls = ["--tls", "auto", "--tls-dir", "tls"];
  const server = start(dir, ["serve", "--store", "store", "--listen", "127.0.0.1:0", ...tls]);
  t.teardown(() => server.kill());
  const url = await new Promise<string>((resolve) => {
    server.stdout?.on("data", (text: string) => resolve(/https:\/\/[^\s/]+/.exec(text)?.[0] ?? ""));
  });
  const host = new URL(url).host;
  const certs = join(dir, "certs");
  mkdirSync(certs);
  cpSync(join(dir, "tls/ca.crt"), join(certs, "ca.crt"));

  // The site's administrator: renders, puts the signer's key where the policy looks for it.
  for (const what of ["image-policy", "registries-conf"]) {
    const rendered = await airferry(dir, ["render", what, "--store", "store", "--url", url, "--out", "etc/"]);
    t.equal(rendered.status, 0, rendered.stderr);
  }
  const containers = join(dir, ".config/containers");
  mkdirSync(containers, { recursive: true });
  const policy = readFileSync(join(dir, "etc/policy.json"), "utf8");
  t.match(policy, "/etc/containers/airferry-images.pub");
  const here = policy.replaceAll("/etc/containers/airferry-images.pub", join(dir, "good.pub"));
  writeFileSync(join(containers, "policy.json"), here);
  cpSync(join(dir, "etc/registries.d"), join(containers, "registries.d"), { recursive: true });
  const registries = { CONTAINERS_REGISTRIES_CONF: join(dir, "etc/registries.conf") };

  const storage = ["--storage-driver", "vfs", "--root", join(dir, "p/s"), "--runroot", join(dir, "p/r")];
  const podman = (reference: string) =>
    run("newer-podman", [...storage, "pull", "-q", "--cert-dir", certs, reference], registries);
  const skopeo = (reference: string) =>
    run("newer-skopeo", [
      "--policy",
      join(containers, "policy.json"),
      "--registries-conf",
      registries.CONTAINERS_REGISTRIES_CONF,
      "--registries.d",
      join(containers, "registries.d"),
      "copy",
      "--src-cert-dir",
      certs,
      `docker://${reference}`,
      `dir:${dir}/sk`,
    ]);
  for (const [tool, pull] of Object.entries({ podman, skopeo })) {
    await t.test(tool, async (t) => {
      for (const prefix of [`${host}/registry.example.com`, "registry.example.com"]) {
        const good = await pull(`${prefix}/lab/signed:1.0`);
        t.equal(good.status, 0, good.out);
        for (const [name, why] of [
          ["unsigned", /signature was required, but no signature exists/],
          ["stranger", /cryptographic signature verification failed|invalid signature/],
          ["moved", /Signature for identity .*lab\/signed:1\.0.* is not accepted/],
          ["indexonly", /signature was required, but no signature exists/],
        ] as const) {
          const refused = await pull(`${prefix}/lab/${name}:1.0`);
          t.not(refused.status, 0, `${name} is refused`);
          t.match(refused.out, why);
        }
      }
      const other = await pull(`${host}/lab/signed:1.0`);
      t.not(other.status, 0, "names that the policy does not list are refused");
      t.match(other.out, /is rejected by policy/);
    });
  }
});
