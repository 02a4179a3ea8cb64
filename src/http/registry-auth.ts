/**
 * Answers the challenges of one repository's registry: bearer tokens and basic authentication, with the logins of
 * docker, podman and the manifest. Secrets go only to the requested registry and its token service; a registry that it
 * redirects to is accessed anonymously. See the token specification of the distribution project; CVE-2020-15157.
 */

import { AirferryError } from "../errors.ts";
import { parseJson } from "../io/json.ts";
import { redactUrl } from "../io/redact.ts";
import type { HostCredentials } from "../manifest/schema.ts";
import { findLogin } from "../oci/docker-login.ts";
import { apiHost, canonicalHost } from "../oci/reference.ts";
import type { Authenticator } from "./authenticator.ts";
import { basicHeader, type Login } from "./basic-auth.ts";
import { answerable, type Challenge, parseChallenges } from "./challenge.ts";
import { hostKeys, readVariable } from "./credentials.ts";
import { httpStatusOf } from "./failure.ts";
import { type Named, namerOf } from "./named.ts";
import { networkRank } from "./network-rank.ts";

const MAX_TOKEN_BYTES = 1024 * 1024;
/** The specification's default lifetime. */
const DEFAULT_TOKEN_S = 60;
/**
 * Shorter lifetimes are ignored: a token is good for the request that it was fetched for, however long that waits for
 * its turn.
 */
const MIN_TOKEN_S = 10;

/** Fetches a token. */
export interface TokenRequest {
  method: "GET" | "POST";
  url: string;
  named: Named;
  headers: Record<string, string>;
  body?: string;
  maxBytes: number;
}

export interface RegistryAuthOptions {
  /**
   * Returns the body of a good response. @throws {AirferryError} whose cause has any other status, see `httpStatusOf`
   */
  ask(request: TokenRequest): Promise<Buffer>;
  /** As in the reference. If a rewrite leads elsewhere, the login for that host is used. */
  host: string;
  path: string;
  /** `hosts:` of the manifest: checked before the logins of docker and podman. */
  hosts?: Record<string, HostCredentials> | undefined;
  /** Environment for finding the logins of docker and podman (default: process.env). */
  env?: NodeJS.ProcessEnv | undefined;
  /** The scope to request, instead of the challenge's. */
  scopes?: readonly string[] | undefined;
  /**
   * The site's own registry, by its URL. Its token service may be wherever redirects may lead, and there is no manifest
   * with a login.
   */
  site?: URL | undefined;
}

interface Token {
  /** The whole Authorization header. */
  header: string;
  /** Its scope, as in the challenge. */
  scope: string | undefined;
  expires: number;
}

/** Credentials of one repository. Keep it while fetching from the repository: it stores the tokens. */
export class RegistryAuth implements Authenticator {
  readonly #o: RegistryAuthOptions;
  readonly #tokens = new Map<string, Token>();
  readonly #asking = new Map<string, Promise<Token>>();
  #login: Promise<Login | undefined> | undefined;
  /** The first URL actually requested, after any rewrite: only its origin gets the login. */
  #home: URL | undefined;
  #basic: string | undefined;
  /** Schemes of the last challenge, if none can be answered. */
  #offered: string[] = [];

  #denied: string | undefined;

  constructor(options: RegistryAuthOptions) {
    this.#o = options;
    this.#home = options.site;
  }

  /** Why the last challenge of the registry itself could not be answered. */
  get denied(): string | undefined {
    return this.#denied;
  }

  async headers(url: URL): Promise<Record<string, string>> {
    this.#home ??= url;
    const token = this.#tokens.get(url.origin);
    if (token !== undefined && token.expires > Date.now()) return { authorization: token.header };
    if (url.origin === this.#home.origin && this.#basic !== undefined) return { authorization: this.#basic };
    return {};
  }

  /** @throws {AirferryError} ERR_UPSTREAM, ERR_UPSTREAM_INVALID, ERR_USAGE */
  async challenged(url: URL, wwwAuthenticate: string | undefined, sent: string | undefined): Promise<boolean> {
    const challenge = answerable(wwwAuthenticate);
    const isHome = url.origin === this.#home?.origin;
    if (isHome) {
      this.#offered = challenge === undefined ? parseChallenges(wwwAuthenticate ?? "").map((it) => it.scheme) : [];
    }
    if (isHome) this.#denied = undefined;
    if (challenge === undefined) {
      if (isHome) this.#denied = "it requires a kind of login that airferry does not support";
      return false;
    }
    if (isHome) this.#login ??= this.#findLogin(this.#home as URL);
    const login = isHome ? await this.#login : undefined;
    if (challenge.scheme === "basic") {
      const header = login && basicHeader(login);
      // A refused login is not sent again.
      if (header === undefined || header === sent) {
        if (isHome)
          this.#denied = header === undefined ? "it requires a login and there is none" : "it refuses this login";
        return false;
      }
      this.#basic = header;
      return true;
    }
    const scope = this.#o.scopes?.join(" ") ?? challenge.parameters.scope;
    if (login?.registryToken !== undefined) {
      const header = `Bearer ${login.registryToken}`;
      this.#tokens.set(url.origin, { header, scope, expires: Number.MAX_SAFE_INTEGER });
      return header !== sent;
    }
    const known = this.#tokens.get(url.origin);
    // Another request was faster: the refusal concerns the previous token.
    if (known !== undefined && known.header !== sent && known.scope === scope && known.expires > Date.now())
      return true;
    const key = `${url.origin} ${scope ?? ""}`;
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      asking = this.#askToken(url, challenge, scope, login).finally(() => this.#asking.delete(key));
      this.#asking.set(key, asking);
    }
    this.#tokens.set(url.origin, await asking);
    return true;
  }

  hint(url: URL): string | undefined {
    if (url.origin !== this.#home?.origin) return undefined;
    const { host } = this.#registry(url);
    if (this.#offered.length === 0) return this.#loginHint(host);
    const offered = this.#offered.slice(0, 8).map((it) => it.slice(0, 30));
    return `${host} offers only ${offered.join(", ")}: airferry answers bearer (with a realm) and basic; ask its operator for one of these`;
  }

  async #findLogin(home: URL): Promise<Login | undefined> {
    const { host, path } = this.#registry(home);
    return manifestLogin(home, this.#o.hosts) ?? (await findLogin(host, path, this.#o.env ?? process.env));
  }

  /** The registry and repository of a URL, by the names used for logins. */
  #registry(url: URL): { host: string; path: string } {
    const { host, path } = this.#o;
    const isAsWritten = new URL(`${url.protocol}//${apiHost(host)}`).host === url.host;
    return { host: isAsWritten ? host : canonicalHost(url.host), path: pathIn(url, path) };
  }

  async #askToken(
    registry: URL,
    { parameters }: Challenge,
    scope: string | undefined,
    login: Login | undefined,
  ): Promise<Token> {
    const realm = tokenService(registry, parameters.realm as string, this.#o.site !== undefined);
    const scopes = (scope ?? `repository:${this.#registry(registry).path}:pull`).split(" ").filter((it) => it !== "");
    const basic = login && basicHeader(login);
    const bytes = await this.#fetchToken(registry, realm, parameters.service, scopes, login, basic).catch((error) => {
      throw tokenFailure(registry, realm, login, error, this.#loginHint(canonicalHost(registry.host)));
    });
    const answer = jsonObject(bytes);
    // Both may be present, and one of them empty. @see the distribution project's token specification
    const value = [answer?.token, answer?.access_token].find((it) => typeof it === "string" && it !== "");
    if (typeof value !== "string" || /[^\x21-\x7e]/.test(value)) {
      throw new AirferryError(
        "ERR_UPSTREAM_INVALID",
        `cannot log in at "${registry.host}": ${realm.host} answers ${answer === undefined ? "without JSON" : "without a token"}`,
        {
          hint: `the registry names ${realm.origin}${realm.pathname} as its token service: check its response, which may be a proxy's page`,
        },
      );
    }
    const seconds =
      typeof answer?.expires_in === "number" && answer.expires_in > 0 ? answer.expires_in : DEFAULT_TOKEN_S;
    // Renewed early: clocks differ and requests take time.
    const life = Math.max(MIN_TOKEN_S, Math.min(seconds, 86_400));
    return { header: `Bearer ${value}`, scope, expires: Date.now() + life * 800 };
  }

  async #fetchToken(
    registry: URL,
    realm: URL,
    service: string | undefined,
    scopes: string[],
    login: Login | undefined,
    basic: string | undefined,
  ): Promise<Buffer> {
    const url = new URL(realm);
    const common = { maxBytes: MAX_TOKEN_BYTES, named: namerOf([realm.href], [registry.href]) };
    const accept = "application/json";
    if (login?.identityToken !== undefined) {
      const form = new URLSearchParams({
        grant_type: "refresh_token",
        client_id: "airferry",
        refresh_token: login.identityToken,
        scope: scopes.join(" "),
        ...(service !== undefined && { service }),
      });
      const headers = { "content-type": "application/x-www-form-urlencoded", accept };
      return this.#o.ask({ ...common, url: url.href, method: "POST", body: form.toString(), headers });
    }
    if (service !== undefined) url.searchParams.set("service", service);
    for (const scope of scopes) url.searchParams.append("scope", scope);
    const headers = { accept, ...(basic !== undefined && { authorization: basic }) };
    return this.#o.ask({ ...common, url: url.href, method: "GET", headers });
  }

  #loginHint(host: string): string {
    const client = `docker login ${host}, or podman login ${host}`;
    if (this.#o.site !== undefined) return `run: ${client}`;
    return `log in first: ${client}; or give username_env and password_env under hosts: { "${host}": … } in the manifest`;
  }
}

/**
 * Why there is no token. Never has a status as its cause: that is the token service's, and would be mistaken for the
 * registry's response about a manifest or a blob.
 */
function tokenFailure(registry: URL, realm: URL, login: Login | undefined, error: unknown, loginHint: string): unknown {
  if (!(error instanceof AirferryError)) return error;
  const status = httpStatusOf(error);
  const failure = (fault: string, hint = error.hint) =>
    new AirferryError(error.code, `cannot log in at "${registry.host}": ${fault}`, { cause: error, hint });
  if (status === undefined) return failure(error.message);
  if (status !== 401 && status !== 403) {
    return failure(
      `its token service answers ${error.actual ?? status} (from ${realm.host})`,
      `the registry names ${realm.origin}${realm.pathname} as its token service: check its response, or run the command again later`,
    );
  }
  return failure(
    `${login ? "the token service refuses this login" : "it gives no anonymous token"} (status ${status} from ${realm.host})`,
    loginHint,
  );
}

function jsonObject(bytes: Buffer): { token?: unknown; access_token?: unknown; expires_in?: unknown } | undefined {
  try {
    const value: unknown = parseJson(bytes.toString("utf8"));
    return value !== null && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The repository of an API URL: a mirror may serve it below another path. */
function pathIn({ pathname }: URL, otherwise: string): string {
  return /^\/v2\/(.+?)\/(?:manifests|blobs|referrers)\/[^/]+$/.exec(pathname)?.[1] ?? otherwise;
}

/**
 * The login that `hosts:` has for the registry at a URL, by the same names as in the fetch engine; Docker Hub by any of
 * its names.
 */
function manifestLogin(url: URL, hosts: Record<string, HostCredentials> = {}): Login | undefined {
  const entries = new Map(Object.entries(hosts).map(([name, it]) => [canonicalHost(name), it]));
  const name = hostKeys(url)
    .map(canonicalHost)
    .find((it) => entries.has(it));
  const { username_env: user, password_env: password } = (name !== undefined && entries.get(name)) || {};
  if (name === undefined || user === undefined || password === undefined) return undefined;
  return { username: readVariable(user, name, process.env), password: readVariable(password, name, process.env) };
}

/**
 * The URL of a registry's token service. A registry must not be able to direct requests, and passwords, to the site's
 * own network: an address there is accepted only if it is the registry's own. `isSite`: the registry is in that
 * network; how near its service may be is then checked as for redirects (named.ts).
 * @throws {AirferryError} ERR_UPSTREAM_INVALID
 */
export function tokenService(registry: URL, realm: string, isSite = false): URL {
  const refuse = (fault: string) =>
    new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot log in at "${registry.host}": its token service "${redactUrl(realm.slice(0, 200))}" ${fault}`,
      {
        hint: "the registry, or a proxy in front of it, is misconfigured or not trustworthy",
      },
    );
  if (!URL.canParse(realm)) throw refuse("is not a URL");
  const url = new URL(realm);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && registry.protocol === "http:")) {
    throw refuse("is not reached over https");
  }
  if (url.username !== "" || url.password !== "") throw refuse("has credentials in it");
  const rank = networkRank(url.hostname);
  // Any address of this host counts as this host.
  const isOwn = url.hostname === registry.hostname || (rank === 2 && networkRank(registry.hostname) === 2);
  if (rank > 0 && !isOwn && !isSite) throw refuse("is in a private network, and not the registry's own host");
  return url;
}
