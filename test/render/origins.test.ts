/** Names and CA of the origins: read by the programs that they are for. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Catalog } from "../../src/bundle/inventory-types.ts";
import { createConstrainedCa } from "../../src/certs/constrained-ca.ts";
import { originFiles } from "../../src/render/origins.ts";
import type { RenderInput } from "../../src/render/types.ts";
import { makeRelease } from "../fixtures/store-reader.ts";

const catalog: Partial<Catalog> = {
  provenance: [
    { path: "files/x", kind: "file", source: "https://dl.example.com/x", established: "first-sight" },
    { path: "files/y", kind: "file", source: "http://192.0.2.7:8080/y", established: "first-sight" },
  ],
};

function inputFor(baseUrl: string, origins: RenderInput["origins"]): RenderInput {
  return { releases: [makeRelease("a", 1, [], catalog)], baseUrl, trees: new Map(), privateCa: false, origins };
}

async function textOf(input: RenderInput, path: string): Promise<string | undefined> {
  return await originFiles(input)
    .find((it) => it.path === `origins/${path}`)
    ?.make();
}

t.test("names lead to the server's address", async (t) => {
  const input = inputFor("http://192.0.2.10:9000", { proxyUrl: "http://192.0.2.10:3128" });
  const lines = async (path: string) =>
    (await textOf(input, path))?.split("\n").filter((it) => it.includes("dl.example"));
  t.strictSame(await lines("hosts"), ["192.0.2.10 dl.example.com"]);
  t.strictSame(await lines("dnsmasq.conf"), ["host-record=dl.example.com,192.0.2.10,300"]);
  t.strictSame(await lines("rpz.zone"), ["dl.example.com IN A 192.0.2.10"]);
  t.strictSame(await lines("Corefile"), ["        192.0.2.10 dl.example.com"]);
  const heading =
    "# airferry: names of upstream's servers that http://192.0.2.10:9000 answers for\n# TCP ports of their clients: http 8080; https 443\n";
  t.equal(await textOf(input, "origins.txt"), `${heading}http://192.0.2.7:8080\nhttps://dl.example.com\n`);
  const ports = { http: [80, 8080], https: [] };
  const lacking = await textOf(inputFor("http://192.0.2.10:9000", { ports }), "origins.txt");
  t.match(
    lacking,
    "\nhttp://192.0.2.7:8080\nhttps://dl.example.com  # nobody listens there: serve needs --listen-https 0.0.0.0:443 too\n",
  );
  t.match(await textOf(input, "proxy.env"), /^https_proxy=http:\/\/192.0.2.10:3128$/m);
  t.equal(await textOf(inputFor("http://192.0.2.10:9000", {}), "proxy.env"), undefined);
  t.match(
    await textOf(inputFor("https://mirror.site", { address: async () => "2001:db8::1" }), "rpz.zone"),
    "IN AAAA 2001:db8::1",
  );
  await t.rejects(textOf(inputFor("https://mirror.site", {}), "hosts"), {
    code: "ERR_RENDER",
    message: /the address of "mirror.site" is not known/,
  });
  t.strictSame(originFiles(inputFor("http://192.0.2.10:9000", undefined)), [], "not without origins");
});

t.test("the script installs the CA, once, and no other than the expected one", async (t) => {
  const dir = t.testdir({ bin: {}, root: {} });
  const root = join(dir, "root");
  const bundle = join(root, "etc/ssl/certs/ca-certificates.crt");
  mkdirSync(join(root, "etc/ssl/certs"), { recursive: true });
  mkdirSync(join(root, "etc/containers"));
  writeFileSync(bundle, "the system's\n");
  const { cert } = await createConstrainedCa("test", ["dl.example.com"]);
  writeFileSync(join(dir, "ca.crt"), cert);
  const script = (await textOf(inputFor("http://192.0.2.10:9000", {}), "trust-origins.sh")) ?? "";
  // Below another root, for which the tools of this host are not.
  writeFileSync(
    join(dir, "trust.sh"),
    script.replaceAll("/etc/", `${root}/etc/`).replaceAll("/usr/", `${root}/usr/`).replaceAll("/opt/", `${root}/opt/`),
  );
  const path = join(dir, "bin");
  const tools = ["cp", "rm", "mktemp", "grep", "sed", "cat", "mkdir", "chmod", "dirname", "openssl"];
  for (const it of tools) execFileSync("sh", ["-c", `ln -s "$(command -v ${it})" "${path}/${it}"`]);
  const run = (env: object) =>
    execFileSync("/bin/sh", ["trust.sh", "ca.crt"], {
      cwd: dir,
      env: { PATH: path, ...env },
      encoding: "utf8",
      stdio: "pipe",
    });
  t.throws(() => run({ AIRFERRY_CA_FINGERPRINT: "00:11" }));
  t.equal(readFileSync(bundle, "utf8"), "the system's\n");
  const [, print] = /\(SHA-256\): ([0-9A-F:]{95})\n/.exec(run({})) ?? [];
  // Whoever is between may add a certificate of his own behind the expected one.
  const { cert: other } = await createConstrainedCa("other", ["dl.example.com"]);
  writeFileSync(join(dir, "ca.crt"), `${cert}${other}`);
  run({ AIRFERRY_CA_FINGERPRINT: print });
  writeFileSync(join(dir, "ca.crt"), `${other}${cert}`);
  t.throws(() => run({ AIRFERRY_CA_FINGERPRINT: print }), "the other one first");
  t.equal(readFileSync(bundle, "utf8"), `the system's\n${cert}`);
});
