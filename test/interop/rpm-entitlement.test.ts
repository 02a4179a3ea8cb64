/**
 * A repository behind a client certificate, as RHEL's CDN has them: repomd.xml unsigned, packages signed. Locked, packed and
 * served, whole and subset, and installed from by real dnf with both checks on.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import t, { type Test as Tap } from "tap";
import { needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { makePki } from "../fixtures/pki.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { carryAcross, dnf, run } from "../fixtures/rpm-carry.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

interface Detail {
  mode: string;
  repomdSignedBy: string;
}

/** A CDN that shows nothing to those without a certificate: by 403, or already in the handshake. */
async function startCdn(t: Tap, files: Map<string, UpstreamFile>, demand: boolean) {
  const pki = await makePki();
  const upstream = await startUpstream({
    files,
    tls: { ...pki.server, clientCa: pki.ca, demand },
    handler: (request, response) => {
      if ((request.socket as TLSSocket).authorized) return false;
      response.writeHead(403, { "content-length": 0 }).end();
      return true;
    },
  });
  t.teardown(() => upstream.close());
  return { pki, upstream };
}

t.test("an entitlement certificate, exact and subset, signed by airferry over unchanged bytes", async (t) => {
  if (!needs(t, "dnf", "gpgv", ...RPM_BUILDERS)) return;
  const work = scratch(t, "airferry-entitlement");
  const tree = await buildRpmTree(join(work, "tree"));
  writeFileSync(join(work, "key.asc"), tree.key);
  await writeKeyPairs(work);
  const files = new Map<string, UpstreamFile>([...tree.served("base"), ...tree.served("app")]);
  files.delete("/base/repodata/repomd.xml.asc");
  const { pki, upstream } = await startCdn(t, files, false);
  for (const [name, pem] of Object.entries({
    "uep.pem": pki.ca,
    "id.pem": pki.client.cert,
    "id-key.pem": pki.client.key,
  }))
    writeFileSync(join(work, name), pem);
  const common = { keys: ["../key.asc"], fingerprints: [tree.fingerprint] };
  const rpms = [
    { name: "base", url: `${upstream.url}/base/`, ...common },
    { name: "app", url: `${upstream.url}/app/`, ...common, packages: ["aft-app"] },
  ];
  const trusted = { ca: "../uep.pem" };
  const entitled = { ...trusted, cert: "../id.pem", key: "../id-key.pem" };

  const dir = join(work, "good");
  mkdirSync(dir);
  const manifest = { stream: "cdn", rpms, hosts: { [upstream.host]: entitled } };
  const { packed, repos, url, plain, bundle } = await carryAcross(t, dir, manifest, "../k");
  t.equal(packed.status, 0, packed.stderr);
  t.ok(upstream.requests.length > 10);
  t.same([...new Set(upstream.requests.map((it) => it.clientCertificate))], ["client"], "every request is entitled");

  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as { entries: { detail: Detail }[] };
  t.match(
    lock.entries.map((it) => it.detail),
    [
      { mode: "exact", repomdSignedBy: "airferry" },
      { mode: "subset", repomdSignedBy: "airferry" },
    ],
  );
  const inventory = JSON.parse(readFileSync(join(bundle, "airferry.json"), "utf8")) as {
    catalog: { rpms: { name: string; mode: string; repomdSignedBy: string }[] };
  };
  t.match(inventory.catalog.rpms, [
    { name: "base", mode: "exact", repomdSignedBy: "airferry" },
    { name: "app", mode: "subset", repomdSignedBy: "airferry" },
  ]);
  for (const secret of ["id.pem", "id-key.pem", "PRIVATE KEY", upstream.requests[0]?.clientCertificate as string]) {
    const recorded = readFileSync(join(dir, "m.lock.json"), "utf8") + JSON.stringify(inventory);
    if (secret !== "client") t.notMatch(recorded, secret, "credentials are not recorded");
  }

  const fetch = (path: string) => {
    const to = join(dir, path.replaceAll("/", "_"));
    execFileSync("curl", ["-sSf", "--cacert", join(dir, "tls/ca.crt"), "-o", to, `${url}/${path}`]);
    return to;
  };
  const repomd = fetch("rpms/base/repodata/repomd.xml");
  t.ok(readFileSync(repomd).equals(readFileSync(join(tree.dir, "base/repodata/repomd.xml"))), "upstream's own bytes");
  const asc = fetch("rpms/base/repodata/repomd.xml.asc");
  execFileSync("gpg", ["--batch", "--yes", "--dearmor", "-o", join(dir, "own.gpg"), fetch("keys/airferry")], {
    stdio: "ignore",
  });
  const checked = await run("gpgv", ["--keyring", join(dir, "own.gpg"), asc, repomd], dir);
  t.equal(checked.status, 0, `a detached signature by the bundle's own key: ${checked.out}`);

  t.equal(repos.match(/gpgcheck=1\nrepo_gpgcheck=1/g)?.length, 2);
  const installed = await dnf(dir, "root", repos, "install", "aft-app");
  t.equal(installed.status, 0, installed.out);
  t.match((await run("rpm", ["--root", join(dir, "root"), "-qa"], dir)).out, /aft-app-2\.0-1/);
  const upstreamOnly = repos.replace(/^gpgkey=.*\n(\s+\S.*\n)*/gm, `gpgkey=${plain}/keys/base\n`);
  const refused = await dnf(dir, "vendor", upstreamOnly, "install", "aft-lib");
  t.not(refused.status, 0, "the vendor did not sign this metadata, and nobody may say so");
  t.match(refused.out, /GPG/);

  const refuse = async (name: string, hosts: object, at = upstream) => {
    const folder = join(work, name);
    mkdirSync(folder);
    const [entry] = rpms;
    writeManifest(folder, { rpms: [{ ...entry, url: `${at.url}/base/` }], hosts });
    return airferry(folder, ["lock", "m.yaml"]);
  };
  const without = await refuse("without", { [upstream.host]: trusted });
  t.equal(without.status, 4, without.stderr);
  t.match(without.stderr, /repomd\.xml": .*403/);
  t.match(without.stderr, /hosts: \{ "127\.0\.0\.1:\d+": … \} in the manifest \(cert and key/);
  const gone = await refuse("gone", { [upstream.host]: { ...entitled, cert: "../expired.pem" } });
  t.equal(gone.status, 1, gone.stderr);
  t.match(gone.stderr, /cannot read the client certificate of "127\.0\.0\.1:\d+" from ".*expired\.pem"/);

  const strict = await startCdn(t, files, true);
  writeFileSync(join(work, "uep2.pem"), strict.pki.ca);
  const handshake = await refuse("handshake", { [strict.upstream.host]: { ca: "../uep2.pem" } }, strict.upstream);
  t.equal(handshake.status, 4, handshake.stderr);
  t.match(handshake.stderr, /certificate required/);
  t.match(handshake.stderr, /accepts only clients with a known certificate: hosts: \{.*cert: client\.pem/);
});
