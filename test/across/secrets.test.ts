/**
 * Canaries in every place that a secret may stand in; upstreams that fail in many ways; then everything that was printed and written
 * is searched for them. Only what the user wrote may hold one.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const CANARY = /CANARY\w*/g;
const BODY = "the bytes";

/** Answers by path; remembers what it was asked with. */
async function upstream(): Promise<{ url: string; host: string; asked: string[]; close(): void }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization ?? ""} ${request.headers["proxy-authorization"] ?? ""}`);
    const path = (request.url ?? "").split("?")[0] as string;
    const port = (server.address() as AddressInfo).port;
    if (path === "/away")
      response.writeHead(302, { location: `http://localhost:${port}/gone?sig=CANARYLOCATION` }).end();
    else if (path === "/badway") response.writeHead(302, { location: "http://u:CANARYLOCATION/x@[bad" }).end();
    else if (path === "/echo") response.writeHead(500, `no ${request.headers.authorization ?? ""}`).end();
    else if (path === "/login") response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    else if (path === "/cut") {
      response.writeHead(200, { "content-length": "100", etag: '"1"' });
      response.write(BODY);
      setTimeout(() => response.destroy(), 50);
    } else if (path === "/encoded") response.writeHead(200, { "content-encoding": "gzip" }).end(BODY);
    else if (path.startsWith("/good")) response.writeHead(200, { etag: '"1"' }).end(BODY);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, host: `127.0.0.1:${port}`, asked, close: () => server.close() };
}

/** Every file below a folder that holds a canary, but those that the user wrote. */
function leaksIn(dir: string, own: readonly string[]): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true }).flatMap((it) => {
    if (!it.isFile() || own.includes(it.name)) return [];
    const found = readFileSync(join(it.parentPath, it.name)).toString("latin1").match(CANARY);
    return found ? [`${it.name}: ${found[0]}`] : [];
  });
}

const SECRETS = ["token=CANARY1", "t=CANARY2", "X-Amz-Signature=CANARY3&X-Amz-Date=1", "CANARY4==", "a=b#CANARY5"];
const OWN = ["m.yaml", "netrc", "config.json"];

t.test("no secret is printed or written, whatever goes wrong, and all are used", async (t) => {
  const up = await upstream();
  t.teardown(() => up.close());
  const dir = scratch(t);
  mkdirSync(join(dir, "docker"));
  writeFileSync(join(dir, "netrc"), "default login u password CANARYNETRC\n", { mode: 0o600 });
  const auth = Buffer.from("u:CANARYDOCKER").toString("base64");
  writeFileSync(join(dir, "docker/config.json"), JSON.stringify({ auths: { [up.host]: { auth } } }));
  const env = { NETRC: join(dir, "netrc"), DOCKER_CONFIG: join(dir, "docker"), T: "CANARYTOKEN", AIRFERRY_DEBUG: "1" };
  const clean = async (what: string, args: string[], more: NodeJS.ProcessEnv = {}) => {
    const ran = await airferry(dir, args, { ...env, ...more });
    t.strictSame((ran.stdout + ran.stderr).match(CANARY) ?? [], [], `${what}: printed`);
    t.strictSame(leaksIn(dir, OWN), [], `${what}: written`);
    return ran;
  };

  const good = SECRETS.map((it, index) => ({ url: `${up.url}/good${index}?${it}`, as: `f${index}` }));
  writeManifest(dir, { files: good, hosts: { [up.host]: { token_env: "T" } } });
  for (const args of [
    ["lock", "m.yaml"],
    ["plan", "m.yaml", "--json"],
    ["pack", "m.yaml", "--unsigned"],
  ]) {
    const { status, stderr } = await clean(args.join(" "), args);
    t.equal(status, 0, stderr);
  }
  for (const secret of ["CANARY1", "CANARY2", "CANARY3", "CANARY4", "Bearer CANARYTOKEN"])
    t.ok(
      up.asked.some((it) => it.includes(secret)),
      `${secret} was used`,
    );
  // Out of the lock alone, with the manifest beside it: the secrets are put in again.
  const cold = await clean("pack again", [
    "pack",
    "m.yaml",
    "--unsigned",
    "--frozen",
    "--out",
    "new",
    "--cache",
    "cold",
  ]);
  t.equal(cold.status, 0, cold.stderr);
  await clean("inspect", ["inspect", "bundles/test-000001", "--files"]);

  for (const path of ["away", "badway", "echo", "login", "encoded", "gone", "cut"]) {
    for (const form of ["plain", "json"]) {
      writeManifest(dir, { files: [{ url: `${up.url}/${path}?token=CANARY6`, sha256: "0".repeat(64) }] });
      const ran = await clean(`${path} ${form}`, ["pack", "m.yaml", "--unsigned", "--progress", form, "--out", path]);
      t.not(ran.status, 0, path);
      if (path !== "echo" && path !== "cut") continue;
      break;
    }
  }
  t.ok(
    up.asked.some((it) => it.includes(Buffer.from("u:CANARYNETRC").toString("base64"))),
    "netrc was used",
  );

  writeManifest(dir, { images: [{ ref: `${up.host}/a:1`, insecure: true }] });
  await clean("docker login", ["lock", "m.yaml"]);
  writeManifest(dir, { files: [{ url: "http://example.invalid/good?token=CANARY7" }] });
  for (const proxy of [
    "http://u:CANARY/8@127.0.0.1:1",
    "http://D\\u:CANARY8@127.0.0.1:1",
    "http://u:CANARY8@127.0.0.1:1",
  ])
    await clean(proxy.replace(CANARY, ""), ["plan", "m.yaml"], { http_proxy: proxy });
  const rewrite = `http://example.invalid/=${up.url.replace("//", "//u:CANARY9@")}/gone/`;
  await clean("rewrite", ["plan", "m.yaml", "--rewrite", rewrite]);
});
