/**
 * Credentials by origin: the manifest's `hosts:`, user:password@ in URLs, netrc. Each credential is bound to its host;
 * a URL at another origin that upstream led to gets only what is configured for exactly that origin.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { AirferryError } from "../errors.ts";
import { systemFault } from "../io/atomic.ts";
import type { HostCredentials } from "../manifest/schema.ts";
import { type Netrc, readNetrc } from "./netrc.ts";

interface CredentialOptions {
  /** By host or host:port. */
  hosts?: Record<string, HostCredentials>;
  /** Folder that `ca`, `cert` and `key` are relative to. */
  baseDir?: string;
  /** Path of the netrc file; undefined: none. */
  netrc?: string;
  env: NodeJS.ProcessEnv;
}

/** PEM texts of one host. */
export interface TlsIdentity {
  /** Identifies it among the identities of one fetcher. */
  name: string;
  ca?: string;
  cert?: string;
  key?: string;
}

export class Credentials {
  readonly #hosts: Map<string, HostCredentials>;
  readonly #options: CredentialOptions;
  readonly #identities = new Map<string, TlsIdentity>();
  #netrc: Netrc | undefined;

  constructor(options: CredentialOptions) {
    this.#options = options;
    this.#hosts = new Map(Object.entries(options.hosts ?? {}).map(([host, it]) => [host.toLowerCase(), it]));
  }

  /**
   * The Authorization header for a request, or undefined. `asked` is false if upstream led to an origin that the user
   * did not name: then only a host:port entry or a host on its scheme's default port counts, and no netrc default.
   * @throws {AirferryError} ERR_USAGE when the environment lacks a variable that the manifest names, or netrc has an
   *   empty value
   */
  authorization(url: URL, asked: boolean): string | undefined {
    if (asked && (url.username !== "" || url.password !== "")) {
      return basic(decode(url.username), decode(url.password));
    }
    const [name, entry] = this.#entry(url, asked) ?? [];
    if (entry?.token_env !== undefined)
      return `Bearer ${readVariable(entry.token_env, name as string, this.#options.env)}`;
    if (entry?.username_env !== undefined || entry?.password_env !== undefined) {
      const user =
        entry.username_env === undefined ? "" : readVariable(entry.username_env, name as string, this.#options.env);
      const password =
        entry.password_env === undefined ? "" : readVariable(entry.password_env, name as string, this.#options.env);
      return basic(user, password);
    }
    if (this.#options.netrc === undefined || (!asked && (url.port !== "" || url.protocol !== "https:")))
      return undefined;
    this.#netrc ??= readNetrc(this.#options.netrc);
    const login = this.#netrc.get(url.hostname) ?? (asked ? this.#netrc.get("") : undefined);
    if (login?.lacks !== undefined) throw emptyNetrc(url.hostname, login.lacks, this.#options.netrc);
    return login && basic(login.login, login.password);
  }

  /** The CA and client certificate for a host, or undefined. Files are read once. @throws {AirferryError} ERR_IO */
  tls(url: URL, asked: boolean): TlsIdentity | undefined {
    const [name, entry] = this.#entry(url, asked) ?? this.#caOnly(url) ?? [];
    if (name === undefined || entry === undefined || !(entry.ca ?? entry.cert ?? entry.key)) return undefined;
    let identity = this.#identities.get(name);
    if (identity === undefined) {
      identity = {
        name,
        ...(entry.ca !== undefined && { ca: this.#pem(entry.ca, name, "CA") }),
        ...(entry.cert !== undefined && { cert: this.#pem(entry.cert, name, "client certificate") }),
        // An entitlement file may contain both.
        ...(entry.cert !== undefined && { key: this.#pem(entry.key ?? entry.cert, name, "client key") }),
      };
      this.#identities.set(name, identity);
    }
    return identity;
  }

  #entry(url: URL, asked: boolean): [string, HostCredentials] | undefined {
    const [exact, host] = hostKeys(url);
    const names = asked || url.port === "" ? [exact, host] : [exact];
    for (const name of names) {
      const entry = this.#hosts.get(name);
      // After a redirect, a name without a port means https.
      if (entry && (asked || name === exact || url.protocol === "https:")) return [name, entry];
    }
    return undefined;
  }

  /** A host's CA is not a secret: it applies to all of its ports, whoever named them. */
  #caOnly(url: URL): [string, HostCredentials] | undefined {
    const ca = this.#hosts.get(url.hostname)?.ca;
    return ca === undefined ? undefined : [`${url.hostname} (ca)`, { ca }];
  }

  #pem(file: string, host: string, what: string): string {
    const path = resolve(this.#options.baseDir ?? ".", file);
    try {
      const text = readFileSync(path, "utf8");
      if (text.includes("-----BEGIN ")) return text;
    } catch (cause) {
      throw new AirferryError("ERR_IO", `cannot read the ${what} of "${host}" from "${path}": ${systemFault(cause)}`, {
        path,
        cause,
        hint: `check hosts.${host} in the manifest`,
      });
    }
    throw new AirferryError("ERR_IO", `cannot read the ${what} of "${host}" from "${path}": it is not PEM`, {
      path,
      expected: "PEM text",
      hint: `check hosts.${host} in the manifest`,
    });
  }
}

/** Keys under which `hosts:` may have a URL's host, most specific first: `host:port`, `host`. Lower case. */
export function hostKeys(url: URL): [string, string] {
  return [`${url.hostname}:${url.port || (url.protocol === "https:" ? "443" : "80")}`, url.hostname];
}

/**
 * The value of a variable that `hosts:` names for a host.
 * @throws {AirferryError} ERR_USAGE when it is not set, is blank, or is not valid in a header
 */
export function readVariable(name: string, host: string, env: NodeJS.ProcessEnv): string {
  const value = env[name] ?? "";
  const isBlank = value.trim() === "";
  // Secrets read from files often end with a line feed, which is never part of a password.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is searched for
  if (!isBlank && !/[\0-\x1f\x7f]/.test(value)) return value;
  const fault = isBlank ? "is not set" : "has a control character, such as a line feed at its end";
  throw new AirferryError("ERR_USAGE", `cannot log in at "${host}": the environment variable ${name} ${fault}`, {
    path: `hosts.${host}`,
    hint: `set ${name} and run the command again`,
  });
}

function emptyNetrc(host: string, what: string, file: string | undefined): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot log in at "${host}": its ${what} in "${file}" is empty`, {
    path: file,
    hint: "is the variable that it comes from set? give the value, or remove the entry for anonymous access",
  });
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`, "utf8").toString("base64")}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
