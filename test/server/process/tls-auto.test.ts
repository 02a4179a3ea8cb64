/** TLS with an own CA: names, reuse, renewal, the plain listener; and the operator's own files. */
import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { createCa, createServerCertificate } from "../../../src/certs/certificates.ts";
import { serve } from "../../../src/serve.ts";
import { prepareTlsAuto, readTlsFiles } from "../../../src/server/process/tls-auto.ts";
import { clientEnv, needs } from "../../fixtures/clients.ts";
import { startServer } from "../../fixtures/serving.ts";
import { createTestStore } from "../../fixtures/store-reader.ts";

const run = promisify(execFile);
const CONTENT = { "files/x": "content of x", "keys/k.asc": "a key", "rpmrepo/repodata/repomd.xml": "<repomd/>" };

t.test("--tls auto serves by every name and address", async (t) => {
  if (!needs(t, "curl", "openssl")) return;
  const tlsDir = join(t.testdir(), "tls");
  const { url, port, serving } = await startServer(t, [{ stream: "a", content: CONTENT }], {
    tls: "auto",
    tlsDir,
    listen: "0.0.0.0:0",
    listenHttp: ["127.0.0.1:0"],
    url: "https://mirror.example.com:9443/",
  });
  const caFile = join(tlsDir, "ca.crt");
  const curl = async (...args: string[]) =>
    (await run("curl", ["-fsS", ...args], { env: clientEnv({ no_proxy: "*" }) })).stdout;
  t.equal(serving.urls[0], "https://mirror.example.com:9443");
  for (const host of ["localhost", "127.0.0.1", hostname(), "mirror.example.com"]) {
    const resolve = ["--resolve", `${host}:${port}:127.0.0.1`];
    t.equal(await curl("--cacert", caFile, ...resolve, `https://${host}:${port}/files/x`), "content of x", host);
  }
  await t.rejects(
    curl("--cacert", caFile, "--resolve", `evil.example.com:${port}:127.0.0.1`, `https://evil.example.com:${port}/`),
  );
  await t.rejects(curl(`${url}/files/x`), "nobody trusts it without its CA");

  const plain = serving.httpUrls[0]!;
  const ca = await readFile(caFile, "utf8");
  t.equal(await curl(`${plain}/ca.crt`), ca, "the CA in the clear");
  t.equal(await curl(`${plain}/rpmrepo/server.crt`), ca);
  t.equal(new X509Certificate(ca).fingerprint256, serving.caFingerprint);
  t.equal(await curl(`${plain}/keys/k.asc`), "a key");
  t.equal(await curl(`${plain}/rpmrepo/repodata/repomd.xml`), "<repomd/>");
  t.match(await curl(`${plain}/healthz`), /^ok/);
  for (const path of ["/files/x", "/", "/metrics", "/v2/", "/config/airferry.repo", "/keys/../files/x"]) {
    t.equal((await fetch(plain + path)).status, 404, `${path} is not on the plain listener`);
  }

  const { stdout } = await run("sh", [
    "-c",
    `openssl s_client -connect 127.0.0.1:${port} -CAfile ${caFile} -verify_return_error </dev/null 2>&1`,
  ]);
  t.match(stdout, "Verify return code: 0 (ok)");
  t.match(stdout, /TLSv1\.[23]/);
  for (const name of ["ca.key", "server.key"]) t.equal((await stat(join(tlsDir, name))).mode & 0o777, 0o600, name);
});

t.test("prepareTlsAuto() keeps the CA and makes the server's certificate anew when it must", async (t) => {
  const dir = join(t.testdir(), "tls");
  const first = await prepareTlsAuto(dir, ["a.example.com"]);
  const same = await prepareTlsAuto(dir, ["a.example.com", "0.0.0.0"]);
  t.equal(same.cert, first.cert, "nothing changed");
  const renamed = await prepareTlsAuto(dir, ["b.example.com", "10.11.12.13", "fd00::5"]);
  t.not(renamed.cert, first.cert);
  t.equal(renamed.ca, first.ca);
  const certificate = new X509Certificate(renamed.cert);
  t.equal(certificate.checkIP("10.11.12.13"), "10.11.12.13");
  t.ok(certificate.subjectAltName?.includes("FD00:0:0:0:0:0:0:5"));
  t.ok(certificate.verify(new X509Certificate(renamed.ca!).publicKey));
  await writeFile(join(dir, "server.crt"), "damaged");
  t.not((await prepareTlsAuto(dir, [])).cert, "damaged", "a damaged certificate is replaced");
  await writeFile(join(dir, "ca.key"), (await createCa("another")).key);
  await t.rejects(prepareTlsAuto(dir, []), { code: "ERR_KEY_INVALID", hint: /move .* away/ });
});

t.test("the CA is never inside the store", async (t) => {
  const store = t.testdir();
  const serving = serve({
    store,
    tls: "auto",
    tlsDir: join(store, "tls"),
    openStore: async () => createTestStore(store),
  });
  await t.rejects(serving, { code: "ERR_USAGE", message: /inside the store/ });
});

t.test("--tls CERT,KEY", async (t) => {
  const dir = t.testdir();
  const ca = await createCa("test CA");
  const server = await createServerCertificate(ca, ["localhost", "127.0.0.1"]);
  await mkdir(dir, { recursive: true });
  const file = async (name: string, text: string) => {
    await writeFile(join(dir, name), text, { mode: 0o600 });
    return join(dir, name);
  };
  const [cert, key, otherKey] = [
    await file("s.crt", server.cert),
    await file("s.key", server.key),
    await file("o.key", ca.key),
  ];
  t.equal((await readTlsFiles(cert, key)).ca, undefined);
  await t.rejects(readTlsFiles(cert, otherKey), { code: "ERR_KEY_INVALID", message: /belongs to another certificate/ });
  await t.rejects(readTlsFiles(key, cert), { code: "ERR_KEY_INVALID" });
  await t.rejects(readTlsFiles(join(dir, "none"), key), { code: "ERR_KEY_INVALID" });
  await t.rejects(startServer(t, [], { tls: "yes" }), { code: "ERR_USAGE" });
});
