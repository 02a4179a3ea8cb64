/**
 * A real docker-registry over TLS with a private CA that wants tokens, of a token service that grants exactly what is asked for:
 * `publish` to it, and `pack` from it. See the token authentication specification of the distribution project.
 */
import { createPrivateKey, randomUUID, sign, X509Certificate } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { needs } from "../fixtures/clients.ts";
import { PASSWORD, startFakeRegistry, USER } from "../fixtures/fake-registry.ts";
import { airferry } from "../fixtures/host.ts";
import { CONFIG, MANIFEST, startDockerRegistry, TestImages, tarOf } from "../fixtures/images.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { makePki, type Pki } from "../fixtures/pki.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const base64url = (value: string | Buffer) => Buffer.from(value).toString("base64url");

/** Grants the scopes that a login asks for, no more; signs with the server's certificate. */
async function startTokenService(t: Test, { server: { cert, key } }: Pki) {
  const asked: string[][] = [];
  const service = createServer({ cert, key }, (req, res) => {
    const url = new URL(req.url ?? "/", "https://127.0.0.1");
    if (req.headers.authorization !== `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString("base64")}`) {
      res.writeHead(401).end();
      return;
    }
    const scopes = url.searchParams.getAll("scope");
    asked.push(scopes);
    const now = Math.floor(Date.now() / 1000);
    const head = { typ: "JWT", alg: "ES256", x5c: [new X509Certificate(cert).raw.toString("base64")] };
    const access = scopes.map((it) => {
      const [type, name, actions] = it.split(":");
      return { type, name, actions: actions?.split(",") };
    });
    const claims = { iss: "test", sub: USER, aud: "site", exp: now + 300, nbf: now - 10, iat: now, jti: randomUUID() };
    const signed = `${base64url(JSON.stringify(head))}.${base64url(JSON.stringify({ ...claims, access }))}`;
    const signature = sign("sha256", Buffer.from(signed), { key: createPrivateKey(key), dsaEncoding: "ieee-p1363" });
    res.end(JSON.stringify({ token: `${signed}.${base64url(signature)}` }));
  });
  await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    service.closeAllConnections();
    service.close();
  });
  return { asked, url: `https://127.0.0.1:${(service.address() as AddressInfo).port}/token` };
}

const blobsOf = (stdout: string): number =>
  (JSON.parse(stdout) as { images: { pushedBlobs: number }[] }).images.reduce((sum, it) => sum + it.pushedBlobs, 0);

t.test("tokens for push and for mounting, a private CA, odd names, and a second run that sends nothing", async (t) => {
  if (!needs(t, "docker-registry")) return;
  const images = new TestImages();
  const shared = images.blob(
    tarOf([{ path: "a", bytes: Buffer.from("shared") }]),
    "application/vnd.oci.image.layer.v1.tar",
  );
  const rootfs = { type: "layers", diff_ids: [shared.digest] };
  const config = images.blob(Buffer.from(JSON.stringify({ os: "linux", architecture: "amd64", rootfs })), CONFIG);
  const image = images.manifest({ config, layers: [shared] }, MANIFEST);
  const fake = await startFakeRegistry({ images, tags: { "1.0": image } });
  t.teardown(() => fake.close());
  const dir = scratch(t, "airferry-publish");
  const names = ["lab/bb", "my_team/cc__dd.x-y"];
  const refs = names.map((it) => ({ ref: `${fake.host}/lab/bb:1.0`, insecure: true, as: `example.com/${it}:1.0` }));
  writeKeyPair(dir);
  const packed = await airferry(dir, ["pack", writeManifest(dir, { images: refs }), "--key", "k.key"]);
  t.equal(packed.status, 0, packed.stderr);
  const unpacked = await airferry(dir, ["unpack", packed.stdout.trim(), "--trust", "k.pub", "--store", "store"]);
  t.equal(unpacked.status, 0, unpacked.stderr);

  const pki = await makePki();
  const tokens = await startTokenService(t, pki);
  mkdirSync(join(dir, "tls"));
  for (const [name, pem] of Object.entries({ "s.crt": pki.server.cert, "s.key": pki.server.key, "ca.crt": pki.ca })) {
    writeFileSync(join(dir, "tls", name), pem);
  }
  const site = await startDockerRegistry(join(dir, "site"), {
    tls: { certificate: join(dir, "tls/s.crt"), key: join(dir, "tls/s.key") },
    sections: `auth: {token: {realm: "${tokens.url}", service: site, issuer: test, rootcertbundle: "${join(dir, "tls/ca.crt")}"}}`,
  });
  t.teardown(() => site.stop());

  const publish = ["publish", site.host, "--store", "store", "--names", "bare", "--json"];
  const unknown = await airferry(dir, publish, { HOME: dir });
  t.not(unknown.status, 0, "a private CA is not trusted by itself");
  t.match(unknown.stderr, /--ca FILE/);
  const nobody = await airferry(dir, [...publish, "--ca", "tls/ca.crt"], { HOME: dir });
  t.not(nobody.status, 0, "nobody gets no token");
  t.match(nobody.stderr, /cannot log in/);
  const auth = Buffer.from(`${USER}:${PASSWORD}`).toString("base64");
  writeFileSync(join(dir, "auth.json"), JSON.stringify({ auths: { [site.host]: { auth } } }));
  const login = { HOME: dir, REGISTRY_AUTH_FILE: join(dir, "auth.json") };
  const first = await airferry(dir, [...publish, "--ca", "tls/ca.crt"], login);
  t.equal(first.status, 0, first.stderr);
  t.notMatch(first.stdout + first.stderr, PASSWORD);
  for (const name of names) {
    const kept = join(site.data, "docker/registry/v2/repositories", name, "_manifests/revisions/sha256");
    t.same(readdirSync(kept), [image.digest.slice(7)], `${name} has the manifest as it was upstream`);
  }
  const mounting = tokens.asked.filter((it) => it.length === 2);
  t.ok(mounting.length > 0, "tokens for both repositories, so that the shared blobs are mounted");
  t.equal(blobsOf(first.stdout), 2, "each blob went out once");
  const again = await airferry(dir, [...publish, "--ca", "tls/ca.crt"], login);
  t.equal(again.status, 0, again.stderr);
  t.equal(blobsOf(again.stdout), 0);

  // And back: the same registry as an upstream, with tokens for pulling alone.
  const asked = tokens.asked.length;
  const trust = { ca: "tls/ca.crt" };
  const hosts = { [site.host]: trust, [new URL(tokens.url).host]: trust };
  const from = (more: object) =>
    writeManifest(
      dir,
      { stream: "back", images: names.map((it) => ({ ref: `${site.host}/${it}:1.0` })), ...more },
      "b.yaml",
    );
  const stranger = await airferry(dir, ["pack", from({ hosts }), "--key", "k.key"], { HOME: dir });
  t.equal(stranger.status, 4, "nobody gets no token");
  t.match(stranger.stderr, /cannot log in at .*\n.*docker login/);
  const untrusted = await airferry(dir, ["pack", from({}), "--key", "k.key"], login);
  t.equal(untrusted.status, 4);
  t.match(untrusted.stderr, /certificate/);
  const back = await airferry(dir, ["pack", from({ hosts }), "--key", "k.key"], login);
  t.equal(back.status, 0, back.stderr);
  t.notMatch(back.stdout + back.stderr + readFileSync(join(dir, "b.lock.json"), "utf8"), PASSWORD);
  t.match(readFileSync(join(dir, "b.lock.json"), "utf8"), image.digest);
  const scopes = new Set(tokens.asked.slice(asked).flat());
  t.same([...scopes].sort(), names.map((it) => `repository:${it}:pull`).sort());
});
