/**
 * Registry logins as stored by `docker login` and `podman login`: config.json and auth.json, and the credential helpers
 * that they name. Reads files and runs helpers, opens no connection. See docker's `config.json` and
 * containers-auth.json(5).
 */

import { spawn } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import type { Login } from "../http/basic-auth.ts";
import { parseJson } from "../io/json.ts";

/** The content of a file, each member still of any type: people and programs edit these. */
interface AuthFile {
  file: string;
  config: Record<string, unknown>;
}

const MAX_AUTH_FILE_BYTES = 4 * 1024 * 1024;
const HELPER_TIMEOUT_MS = 30_000;
const HELPER_NAME = /^[A-Za-z0-9._-]+$/;
const DOCKER_HUB_KEYS = ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"];

/** Files in search order; the first one with the registry wins. */
function authFiles(env: NodeJS.ProcessEnv = process.env): string[] {
  if (env.REGISTRY_AUTH_FILE) return [env.REGISTRY_AUTH_FILE];
  const home = env.HOME ?? homedir();
  return [
    join(env.DOCKER_CONFIG ?? join(home, ".docker"), "config.json"),
    join(env.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid?.() ?? 0}`, "containers", "auth.json"),
    join(env.XDG_CONFIG_HOME ?? join(home, ".config"), "containers", "auth.json"),
    ...(process.getuid?.() === 0 && !env.XDG_RUNTIME_DIR ? ["/run/containers/0/auth.json"] : []),
  ];
}

/**
 * Finds the login for a repository; undefined: anonymous access.
 * @param host as in references: `docker.io`, `registry.example.com:5000`
 * @throws {AirferryError} ERR_USAGE when a file cannot be read, a login in it is empty, or a helper fails
 */
export async function findLogin(
  host: string,
  path: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Login | undefined> {
  for (const file of authFiles(env)) {
    const read = await readAuthFile(file, file === env.REGISTRY_AUTH_FILE);
    if (read === undefined) continue;
    const login = await loginIn(read, host, path, env);
    if (login !== undefined) return login;
  }
  return undefined;
}

async function loginIn(read: AuthFile, host: string, path: string, env: NodeJS.ProcessEnv): Promise<Login | undefined> {
  const stored = storedLogin(read, host, path);
  if (stored === undefined || "login" in stored) return stored?.login;
  for (const key of stored.keys) {
    const login = await runHelper(stored.helper, key, env);
    if (login !== undefined) return login;
  }
  return undefined;
}

/**
 * A file's entry for a repository: a login, or the helper that has it and the names to look up, in order.
 * @throws {AirferryError} ERR_USAGE for members of the wrong type
 */
export function storedLogin(
  { file, config }: AuthFile,
  host: string,
  path: string,
): { login: Login } | { helper: string; keys: readonly string[] } | undefined {
  const keys = keysOf(host, path);
  const helpers = mapIn(config.credHelpers, file, "credHelpers");
  for (const key of keys) {
    const helper = textIn(own(helpers, key), file, `credHelpers["${key}"]`);
    if (helper !== undefined) return { helper, keys: [key] };
  }
  const auths = mapIn(config.auths, file, "auths");
  for (const key of keys) {
    const where = `auths["${key}"]`;
    const entry = mapIn(own(auths, key), file, where);
    const login = entry && decodeAuth(entry, file, where);
    if (login !== undefined) return { login };
  }
  const helper = textIn(config.credsStore, file, "credsStore");
  if (helper === undefined) return undefined;
  return { helper, keys: host === "docker.io" ? DOCKER_HUB_KEYS.slice(0, 1) : [host, `https://${host}`] };
}

/** Keys to look up, most specific first: podman scopes logins by path, docker's old ones are URLs. */
function keysOf(host: string, path: string): string[] {
  const names = host === "docker.io" ? DOCKER_HUB_KEYS : [host];
  const segments = path.split("/");
  const scoped = names.flatMap((name) =>
    segments.map((_, index) => `${name}/${segments.slice(0, segments.length - index).join("/")}`),
  );
  const urls = names.flatMap((name) => [
    `https://${name}`,
    `https://${name}/`,
    `https://${name}/v1/`,
    `https://${name}/v2/`,
    `http://${name}`,
  ]);
  return [...scoped, ...names, ...urls];
}

function own(map: Record<string, unknown> | undefined, key: string): unknown {
  return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;
}

/** A map; null counts as empty, since some programs clear a file that way. */
function mapIn(value: unknown, file: string, where: string): Record<string, unknown> | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  throw wrongType(file, where, "an object", value);
}

function textIn(value: unknown, file: string, where: string): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value === "string") return value;
  throw wrongType(file, where, "text", value);
}

/** Names the place but never the value, which may be a secret. */
function wrongType(file: string, where: string, expected: string, value: unknown): AirferryError {
  const actual = Array.isArray(value) ? "a list" : typeof value === "object" ? "an object" : `a ${typeof value}`;
  return new AirferryError(
    "ERR_USAGE",
    `cannot read registry logins from "${file}": wrong type of ${where}: expected ${expected}, got ${actual}`,
    { path: file, expected, actual, hint: "correct the file, or log in again with docker login or podman login" },
  );
}

function decodeAuth(entry: Record<string, unknown>, file: string, where: string): Login | undefined {
  const member = (name: string) => textIn(own(entry, name), file, `${where}.${name}`);
  const registryToken = member("registrytoken");
  if (registryToken !== undefined) {
    if (!/[^\x21-\x7e]/.test(registryToken)) return { registryToken };
    throw wrongType(file, `${where}.registrytoken`, "a token of printable characters", registryToken);
  }
  const text = Buffer.from(member("auth") ?? "", "base64").toString("utf8");
  // The password may contain colons, the user name may not.
  const colon = text.indexOf(":");
  const username = member("username") ?? (colon > 0 ? text.slice(0, colon) : undefined);
  const password = member("password") ?? (colon > 0 ? text.slice(colon + 1).replace(/\0+$/, "") : undefined);
  const identityToken = member("identitytoken");
  if (identityToken !== undefined) return { ...(username !== undefined && { username }), identityToken };
  if (username && password) return { username, password };
  const given = ["auth", "username", "password", "identitytoken", "registrytoken"].filter((it) =>
    isGiven(own(entry, it)),
  );
  if (given.length === 0) return undefined;
  throw emptyLogin(file, `"${file}"`, `${where}.${given[0]}`, username ? "password" : "user");
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** An empty secret usually means an unset variable: anonymous access must be chosen explicitly. */
function emptyLogin(path: string | undefined, source: string, where: string, what: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot read registry logins from ${source}: ${where} has an empty ${what}`, {
    path,
    hint: "log in again with docker login or podman login, or log out for anonymous access: docker logout, podman logout",
  });
}

async function readAuthFile(file: string, isNamed: boolean): Promise<AuthFile | undefined> {
  try {
    if ((await stat(file)).size > MAX_AUTH_FILE_BYTES) throw new Error("it is too large");
    return parseAuthFile(await readFile(file, "utf8"), file);
  } catch (cause) {
    if (cause instanceof AirferryError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" && isNamed) {
      throw new AirferryError("ERR_USAGE", `cannot read registry logins from "${file}": no such file`, {
        path: file,
        hint: "correct or unset REGISTRY_AUTH_FILE",
      });
    }
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES") return undefined;
    throw unreadable(file, (cause as Error).message);
  }
}

/** Parses the text of a login file; an empty one counts as `{}`. @throws {AirferryError} ERR_USAGE */
export function parseAuthFile(text: string, file: string): AuthFile {
  let value: unknown;
  try {
    value = parseJson(text || "{}");
  } catch {
    // The parser's own message would quote a secret.
    throw unreadable(file, "it is not JSON");
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw unreadable(file, "it is not a JSON object");
  }
  return { file, config: value as AuthFile["config"] };
}

function unreadable(file: string, reason: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot read registry logins from "${file}": ${reason}`, {
    path: file,
    hint: "log in again with docker login or podman login",
  });
}

/** Runs `docker-credential-NAME get`. @see docker-credential-helpers */
async function runHelper(name: string, server: string, env: NodeJS.ProcessEnv): Promise<Login | undefined> {
  const failed = (fault: string) =>
    new AirferryError("ERR_USAGE", `cannot get the login for "${server}" from docker-credential-${name}: ${fault}`, {
      hint: "install the helper, or remove it from the docker configuration",
    });
  if (!HELPER_NAME.test(name)) throw failed("invalid helper name");
  const { status, signal, output } = await new Promise<{
    status: number | null;
    signal: string | null;
    output: string;
  }>((resolve, reject) => {
    const child = spawn(`docker-credential-${name}`, ["get"], {
      env,
      stdio: ["pipe", "pipe", "ignore"],
    });
    // Not spawn's timeout: its timer outlives a program that cannot be started, and keeps the process alive.
    const timer = setTimeout(() => child.kill(), HELPER_TIMEOUT_MS);
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
      if (output.length > MAX_AUTH_FILE_BYTES) child.kill();
    });
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(failed((error as NodeJS.ErrnoException).code === "ENOENT" ? "no such program" : error.message));
    });
    child.on("close", (status, signal) => {
      clearTimeout(timer);
      resolve({ status, signal, output });
    });
    child.stdin.on("error", () => {});
    child.stdin.end(`${server}\n`);
  });
  if (signal !== null) throw failed(`it was ended by ${signal}, after at most ${HELPER_TIMEOUT_MS / 1000} s`);
  if (status !== 0) {
    if (/not found|no credentials/i.test(output)) return undefined;
    // Helpers report failures on stdout; anything that looks like their answer would contain the secret.
    const words = output.includes("{") ? "" : output.trim().split("\n", 1)[0]?.slice(0, 200);
    throw failed(`exit status ${status}${words ? `: ${words}` : ""}`);
  }
  let answer: { Username?: unknown; Secret?: unknown };
  try {
    answer = parseJson(output) as typeof answer;
  } catch {
    throw failed("its answer is not JSON");
  }
  const { Username, Secret } = answer;
  if (Secret === "" && typeof Username === "string" && Username !== "")
    throw emptyLogin(undefined, `docker-credential-${name}`, `the login for "${server}"`, "password");
  if (typeof Secret !== "string" || Secret === "") return undefined;
  if (Username === "<token>") return { identityToken: Secret };
  return { username: typeof Username === "string" ? Username : "", password: Secret };
}
