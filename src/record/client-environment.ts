/**
 * The environment of a command that is recorded or rehearsed: what makes each kind of client use the proxy, if there is
 * one, and trust its CA, and empty caches, since what a warm cache answers is in no recording. docs/record.md has the
 * table.
 */
import { execFile } from "node:child_process";
import { access, chmod, constants, copyFile, mkdir, realpath, stat, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { writeShared } from "../io/shared-folder.ts";

interface ClientPlaces {
  /** `http://HOST:PORT`; without it clients connect to the hosts themselves. */
  proxy?: string;
  /** An empty folder for what is made here, which every user can read. */
  dir: string;
  /** PEM file of the system's certificates and the CA. */
  bundle: string;
  /** PEM file of the CA alone. */
  caFile: string;
  /** Leave the caches of clients as they are. */
  keepCaches: boolean;
}

/** Loopback is this machine, and nothing of it is upstream. */
const NO_PROXY = "localhost,127.0.0.1,::1";
/** Variables that name a file of certificates, and who reads them. */
const BUNDLE_VARIABLES = [
  "SSL_CERT_FILE",
  "CURL_CA_BUNDLE",
  "REQUESTS_CA_BUNDLE",
  "PIP_CERT",
  "npm_config_cafile",
  "NODE_EXTRA_CA_CERTS",
  "CARGO_HTTP_CAINFO",
  "GIT_SSL_CAINFO",
  "AWS_CA_BUNDLE",
  "NIX_SSL_CERT_FILE",
  "HTTPLIB2_CA_CERTS",
  "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
  "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
  "BUNDLE_SSL_CA_CERT",
  "PERL_LWP_SSL_CA_FILE",
  "DENO_CERT",
];
/** Would add to, or replace, what is said here. */
const PROXIES = [
  "http_proxy",
  "https_proxy",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "npm_config_proxy",
  "npm_config_https_proxy",
];
const REMOVED = [
  ...PROXIES,
  "no_proxy",
  "SSL_CERT_DIR",
  "NO_PROXY",
  "ALL_PROXY",
  "all_proxy",
  "npm_config_noproxy",
  "GIT_SSL_NO_VERIFY",
];

/** Returns `env` with all of it. Writes into `dir` only. */
export async function clientEnvironment(env: NodeJS.ProcessEnv, places: ClientPlaces): Promise<NodeJS.ProcessEnv> {
  const { proxy, bundle, dir } = places;
  const made: NodeJS.ProcessEnv = { ...env };
  for (const name of REMOVED) delete made[name];
  if (proxy !== undefined) {
    for (const name of PROXIES) made[name] = proxy;
    made["no_proxy"] = NO_PROXY;
  }
  for (const name of BUNDLE_VARIABLES) made[name] = bundle;
  if (env["APT_CONFIG"] === undefined) {
    const apt = join(dir, "apt.conf");
    const proxies = ["http", "https"].map((it) => `Acquire::${it}::Proxy "${proxy ?? "DIRECT"}";\n`);
    await writeShared(apt, `${proxies.join("")}Acquire::https::CAInfo "${bundle}";\n`);
    made["APT_CONFIG"] = apt;
  }
  const java = await javaOptions(env, places);
  if (java !== undefined) made["JAVA_TOOL_OPTIONS"] = [env["JAVA_TOOL_OPTIONS"], java].filter(Boolean).join(" ");
  return places.keepCaches ? made : { ...made, ...(await emptyCaches(env, dir)) };
}

/** Java reads no variable of the others: its own options, and a key store. */
async function javaOptions(env: NodeJS.ProcessEnv, places: ClientPlaces): Promise<string | undefined> {
  const isOwn = /-Djavax\.net\.ssl\.trustStore=/.test(env["JAVA_TOOL_OPTIONS"] ?? "");
  const keytool = isOwn ? undefined : await findProgram("keytool", env);
  if (keytool === undefined) return undefined;
  const home = env["JAVA_HOME"];
  const stores = [
    ...(home === undefined ? [] : [join(home, "lib/security/cacerts"), join(home, "jre/lib/security/cacerts")]),
    join(dirname(dirname(await realpath(keytool))), "lib/security/cacerts"),
    "/etc/pki/java/cacerts",
    "/etc/ssl/certs/java/cacerts",
  ];
  const store = join(places.dir, "cacerts");
  for (const it of stores) {
    const isCopied = await copyFile(it, store).then(
      () => true,
      () => false,
    );
    if (isCopied) {
      await chmod(store, 0o644);
      break;
    }
  }
  const { caFile: ca } = places;
  const args = [
    "-importcert",
    "-noprompt",
    "-alias",
    "airferry-recording",
    "-file",
    ca,
    "-keystore",
    store,
    "-storepass",
    "changeit",
  ];
  const isMade = await new Promise<boolean>((resolve) =>
    execFile(keytool, args, { timeout: 60_000 }, (error) => resolve(error === null)),
  );
  const trust = isMade ? [`-Djavax.net.ssl.trustStore=${store}`, "-Djavax.net.ssl.trustStorePassword=changeit"] : [];
  return [...trust, ...(places.proxy === undefined ? [] : javaProxies(new URL(places.proxy)))].join(" ");
}

function javaProxies({ hostname, port }: URL): string[] {
  return ["http", "https"].flatMap((it) => [`-D${it}.proxyHost=${hostname}`, `-D${it}.proxyPort=${port}`]);
}

/** Folders that are new, with the configuration of the real ones linked into them. */
async function emptyCaches(env: NodeJS.ProcessEnv, dir: string): Promise<NodeJS.ProcessEnv> {
  const at = (name: string) => join(dir, "caches", name);
  const gopath = (env["GOPATH"] || join(homedir(), "go")).split(delimiter)[0] ?? "";
  const cargo = env["CARGO_HOME"] || join(homedir(), ".cargo");
  // The folder is everybody's to read, and what is fetched into caches may be private.
  await mkdir(at("cargo"), { recursive: true, mode: 0o700 });
  for (const name of ["config.toml", "config", "credentials.toml", "credentials", "bin"]) {
    const isThere = await access(join(cargo, name)).then(
      () => true,
      () => false,
    );
    if (isThere) await symlink(join(cargo, name), join(at("cargo"), name));
  }
  return {
    GOPATH: at("go"),
    GOMODCACHE: at("go/pkg/mod"),
    // What is installed stays where it would be; read-only folders could not be removed.
    GOBIN: env["GOBIN"] || join(gopath, "bin"),
    GOFLAGS: [env["GOFLAGS"], "-modcacherw"].filter(Boolean).join(" "),
    CARGO_HOME: at("cargo"),
    npm_config_cache: at("npm"),
    YARN_CACHE_FOLDER: at("yarn"),
    PIP_NO_CACHE_DIR: "1",
    UV_CACHE_DIR: at("uv"),
    MAVEN_OPTS: [env["MAVEN_OPTS"], `-Dmaven.repo.local=${at("maven")}`].filter(Boolean).join(" "),
  };
}

/** The path of a program that a shell would find. */
export async function findProgram(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const folder of (env["PATH"] ?? "").split(delimiter)) {
    const file = join(folder, name);
    const isThere = await access(file, constants.X_OK).then(
      // Folders may be executed too, among them the one that "" and "." name.
      async () => (await stat(file)).isFile(),
      () => false,
    );
    if (folder !== "" && isThere) return file;
  }
  return undefined;
}
