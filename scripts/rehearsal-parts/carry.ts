/** Carries packed builds across: unpacks them, and serves one at a time in the gap. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseImageconfig } from "../../src/render/imageconfig.ts";
import type { Build } from "./builds.ts";
import { type Gap, SERVER_ADDRESS } from "./network.ts";
import { AIRFERRY, airferry } from "./pack-ready.ts";
import { inside, type Stage } from "./row.ts";

/** Verifies a build's bundle and unpacks it into a new store; returns the store. */
export async function unpackBuild(dir: string, build: Build, bundle: string): Promise<string> {
  const store = join(dir, "store", build.stream);
  await airferry(dir, "verify", bundle, "--trust", "site.pub");
  await airferry(dir, "unpack", bundle, "--trust", "site.pub", "--store", store);
  return store;
}

/** Writes a store as a tree; returns the command that serves it: stock nginx, whose log is like the server's. */
async function nginxOver(dir: string, build: Build, store: string, url: string, log: string): Promise<string[]> {
  const tree = join(dir, "tree", build.stream);
  await airferry(dir, "export", "tree", tree, "--store", store, "--base", url);
  const own = join(dir, "nginx", build.stream);
  mkdirSync(own, { recursive: true });
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((it) => `${it}_temp_path ${own}/${it};`);
  const fields =
    '{"method":"$request_method","path":"$request_uri","status":$status,"bytes":$body_bytes_sent,"range":"$http_range"}';
  writeFileSync(
    join(own, "nginx.conf"),
    `user www-data; daemon off; pid ${own}/pid; error_log ${own}/error warn;
events { worker_connections 768; }
http {
  include /etc/nginx/mime.types; sendfile on; tcp_nopush on; gzip on; ${temporary.join(" ")}
  log_format rehearsal escape=json '${fields}'; access_log ${log} rehearsal;
  include ${tree}/current/nginx/airferry.conf;
}
`,
  );
  return ["nginx", "-p", own, "-c", join(own, "nginx.conf")];
}

/** A server in the gap, and data for its rows. */
export interface Served {
  stage: Stage;
  close(): Promise<void>;
}

/** Serves a store at `http` or, with its own CA, `https`, and waits until the build host reaches it. */
export async function serveBuild(
  gap: Gap,
  dir: string,
  build: Build,
  store: string,
  scheme: "http" | "https" = "http",
  isStatic = false,
): Promise<Served> {
  const tls = scheme === "https";
  const listen = `${SERVER_ADDRESS}:${tls ? 9443 : 9000}`;
  const url = `${scheme}://${listen}`;
  const log = join(dir, `access-${build.stream}-${scheme}.log`);
  const ca = join(dir, "ca.crt");
  const command = [AIRFERRY, "serve", "--store", store, "--listen", listen, "--access-log", log];
  if (tls) command.push("--tls", "auto", "--tls-dir", join(dir, "tls"));
  const server = gap.spawn("server", isStatic ? await nginxOver(dir, build, store, url, log) : command, {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  server.stderr!.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const close = async () => {
    const ended = new Promise((resolve) => server.once("close", resolve));
    if (server.exitCode === null && server.kill()) await ended;
  };
  const stage: Stage = {
    gap,
    url,
    dir,
    store,
    log,
    config: new Map(),
    manifest: build.manifest,
    flags: tls ? ["--ca", ca] : [],
  };
  const probe = async () => {
    const ask = gap.spawn("builder", ["curl", "-sfk", "-o", "/dev/null", `${url}/healthz`], { stdio: "ignore" });
    return (await new Promise((resolve) => ask.on("close", resolve))) === 0;
  };
  for (let i = 0; !(await probe()); i++) {
    if (i === 150 || server.exitCode !== null) throw new Error(`${url} does not answer: ${said.trim().slice(-400)}`);
    await sleep(200);
  }
  // An operator compares the fingerprint that the server printed; here both ends are under our control.
  if (tls) await inside(stage, ["curl", "-sfk", "-o", ca, `${url}/ca.crt`]);
  if (build.flavor === "spectro-capi") {
    const flags = ["--store", store, "--url", url];
    stage.config = parseImageconfig(await airferry(dir, "render", "imageconfig", ...flags));
  }
  return { stage, close };
}
