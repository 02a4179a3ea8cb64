/**
 * Answers the challenges of one repository's registry: bearer tokens and basic authentication, with the logins of docker,
 * podman and the manifest. Secrets go to the registry that was asked and to its token service, nowhere else; a registry that
 * it redirects to is met as nobody. See the token specification of the distribution project; CVE-2020-15157.
 */

import { AirferryError } from "../../errors.ts";
import { httpStatusOf } from "../../fetch/fetcher.ts";
import type { Fetcher } from "../../fetch/types.ts";
import type { Authenticator } from "../../http/authenticator.ts";
import { answerable, type Challenge, parseChallenges } from "../../http/challenge.ts";
import { hostNames, readVariable } from "../../http/credentials.ts";
import { namerOf } from "../../http/named.ts";
import { networkRank } from "../../http/network-rank.ts";
import { parseJson } from "../../io/json.ts";
import { redactUrl } from "../../io/redact.ts";
import type { Manifest } from "../../manifest/schema.ts";
import { basicHeader, findLogin, type Login } from "../../oci/docker-login.ts";
import { apiHost, canonicalHost } from "../../oci/reference.ts";

const MAX_TOKEN_BYTES = 1024 * 1024;
/** What the specification has for a token that does not say. */
const DEFAULT_TOKEN_S = 60;
/** A shorter life is not counted: a token is good for the request that it was asked for, however long that waits for its turn. */
const MIN_TOKEN_S = 10;

export interface RegistryAuthOptions {
  fetcher: Fetcher;
  /** As the reference names them. Where a rewrite leads elsewhere, the login is the one for there. */
  host: string;
  path: string;
  /** `hosts:` of the manifest: looked at before what docker and podman keep. */
  hosts?: Manifest["hosts"];
  /** Failures in a row before a token request is given up; default: the engine's own number. */
  retries?: number | undefined;
}

interface Token {
  /** The whole Authorization header. */
  header: string;
  /** What it was asked for, in the challenge's words. */
  scope: string | undefined;
  expires: number;
}

/** Credentials of one repository. Keep it as long as the repository is being fetched from: it keeps the tokens. */
export class RegistryAuth implements Authenticator {
  readonly #o: RegistryAuthOptions;
  readonly #tokens = new Map<string, Token>();
  readonly #asking = new Map<string, Promise<Token>>();
  #login: Promise<Login | undefined> | undefined;
  /** The first URL that was really asked, after any rewrite: its origin is the only one that gets our login. */
  #home: URL | undefined;
  #basic: string | undefined;
  /** Schemes of the last challenge, when it had none that can be answered. */
  #offered: string[] = [];

  constructor(options: RegistryAuthOptions) {
    this.#o = options;
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
    if (challenge === undefined) return false;
    if (isHome) this.#login ??= this.#findLogin(this.#home as URL);
    const login = isHome ? await this.#login : undefined;
    if (challenge.scheme === "basic") {
      const header = login && basicHeader(login);
      // What was refused once is not worth sending again.
      if (header === undefined || header === sent) return false;
      this.#basic = header;
      return true;
    }
    const { scope } = challenge.parameters;
    if (login?.registryToken !== undefined) {
      const header = `Bearer ${login.registryToken}`;
      this.#tokens.set(url.origin, { header, scope, expires: Number.MAX_SAFE_INTEGER });
      return header !== sent;
    }
    const known = this.#tokens.get(url.origin);
    // Somebody else was faster: the refusal is about the token before this one.
    if (known !== undefined && known.header !== sent && known.scope === scope && known.expires > Date.now())
      return true;
    const key = `${url.origin} ${scope ?? ""}`;
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      asking = this.#askToken(url, challenge, login).finally(() => this.#asking.delete(key));
      this.#asking.set(key, asking);
    }
    this.#tokens.set(url.origin, await asking);
    return true;
  }

  hint(url: URL): string | undefined {
    if (url.origin !== this.#home?.origin) return undefined;
    const { host } = this.#registry(url);
    if (this.#offered.length === 0) return loginHint(host);
    const offered = this.#offered.slice(0, 8).map((it) => it.slice(0, 30));
    return `${host} offers only ${offered.join(", ")}: airferry answers bearer (with a realm) and basic; ask its operator for one of these`;
  }

  async #findLogin(home: URL): Promise<Login | undefined> {
    const { host, path } = this.#registry(home);
    return manifestLogin(home, this.#o.hosts) ?? (await findLogin(host, path));
  }

  /** The registry at a URL, and the repository there, by the names that logins have. */
  #registry(url: URL): { host: string; path: string } {
    const { host, path } = this.#o;
    const isAsWritten = new URL(`${url.protocol}//${apiHost(host)}`).host === url.host;
    return { host: isAsWritten ? host : canonicalHost(url.host), path: pathIn(url, path) };
  }

  async #askToken(registry: URL, { parameters }: Challenge, login: Login | undefined): Promise<Token> {
    const realm = tokenService(registry, parameters.realm as string);
    const scopes = (parameters.scope ?? `repository:${this.#registry(registry).path}:pull`)
      .split(" ")
      .filter((it) => it !== "");
    const basic = login && basicHeader(login);
    const bytes = await this.#fetchToken(registry, realm, parameters.service, scopes, login, basic).catch((error) => {
      throw tokenFailure(registry, realm, login, error);
    });
    const answer = jsonObject(bytes);
    // Both may be there, and one of them empty. @see the distribution project's token specification
    const value = [answer?.token, answer?.access_token].find((it) => typeof it === "string" && it !== "");
    if (typeof value !== "string" || /[^\x21-\x7e]/.test(value)) {
      throw new AirferryError(
        "ERR_UPSTREAM_INVALID",
        `cannot log in at "${registry.host}": ${realm.host} answers ${answer === undefined ? "without JSON" : "without a token"}`,
        {
          hint: `the registry names ${realm.origin}${realm.pathname} as its token service: see what answers there, for example the page of a proxy`,
        },
      );
    }
    const seconds =
      typeof answer?.expires_in === "number" && answer.expires_in > 0 ? answer.expires_in : DEFAULT_TOKEN_S;
    // Renewed early: clocks differ and requests take time.
    const life = Math.max(MIN_TOKEN_S, Math.min(seconds, 86_400));
    return { header: `Bearer ${value}`, scope: parameters.scope, expires: Date.now() + life * 800 };
  }

  async #fetchToken(
    registry: URL,
    realm: URL,
    service: string | undefined,
    scopes: string[],
    login: Login | undefined,
    basic: string | undefined,
  ): Promise<Buffer> {
    const { fetcher, retries } = this.#o;
    const url = new URL(realm);
    const common = { maxBytes: MAX_TOKEN_BYTES, retries, named: namerOf([realm.href], [registry.href]) };
    let request: Parameters<Fetcher["fetchBytes"]>[0];
    if (login?.identityToken !== undefined) {
      const form = new URLSearchParams({
        grant_type: "refresh_token",
        client_id: "airferry",
        refresh_token: login.identityToken,
        scope: scopes.join(" "),
        ...(service !== undefined && { service }),
      });
      request = {
        ...common,
        urls: [url.href],
        method: "POST",
        body: form.toString(),
        headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
      };
    } else {
      if (service !== undefined) url.searchParams.set("service", service);
      for (const scope of scopes) url.searchParams.append("scope", scope);
      request = {
        ...common,
        urls: [url.href],
        headers: { accept: "application/json", ...(basic !== undefined && { authorization: basic }) },
      };
    }
    return (await fetcher.fetchBytes(request)).bytes;
  }
}

/**
 * Why there is no token. Never with a status as its cause: it is the token service's, and would be taken for what the registry
 * says about a manifest or a blob.
 */
function tokenFailure(registry: URL, realm: URL, login: Login | undefined, error: unknown): unknown {
  if (!(error instanceof AirferryError)) return error;
  const status = httpStatusOf(error);
  const failure = (fault: string, hint = error.hint) =>
    new AirferryError(error.code, `cannot log in at "${registry.host}": ${fault}`, { cause: error, hint });
  if (status === undefined) return failure(error.message);
  if (status !== 401 && status !== 403) {
    return failure(
      `its token service answers ${error.actual ?? status} (from ${realm.host})`,
      `the registry names ${realm.origin}${realm.pathname} as its token service: see what answers there, or run the command again later`,
    );
  }
  return failure(
    `${login ? "the token service refuses this login" : "it gives no token to nobody"} (status ${status} from ${realm.host})`,
    loginHint(canonicalHost(registry.host)),
  );
}

function loginHint(host: string): string {
  return `log in first: docker login ${host}, or podman login ${host}; or give username_env and password_env under hosts: { "${host}": … } in the manifest`;
}

function jsonObject(bytes: Buffer): { token?: unknown; access_token?: unknown; expires_in?: unknown } | undefined {
  try {
    const value: unknown = parseJson(bytes.toString("utf8"));
    return value !== null && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The repository that a URL of the API asks for: a mirror may keep it below a path of its own. */
function pathIn({ pathname }: URL, otherwise: string): string {
  return /^\/v2\/(.+?)\/(?:manifests|blobs|referrers)\/[^/]+$/.exec(pathname)?.[1] ?? otherwise;
}

/** The login that `hosts:` has for the registry at a URL, by the same names as the fetch engine; Docker Hub by any of its own. */
function manifestLogin(url: URL, hosts: Manifest["hosts"] = {}): Login | undefined {
  const entries = new Map(Object.entries(hosts).map(([name, it]) => [canonicalHost(name), it]));
  const name = hostNames(url)
    .map(canonicalHost)
    .find((it) => entries.has(it));
  const { username_env: user, password_env: password } = (name !== undefined && entries.get(name)) || {};
  if (name === undefined || user === undefined || password === undefined) return undefined;
  return { username: readVariable(user, name, process.env), password: readVariable(password, name, process.env) };
}

/**
 * The URL of a registry's token service. A registry must not be able to point us, and our password, at the site's own network:
 * an address in one is taken only as the registry's own.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID
 */
export function tokenService(registry: URL, realm: string): URL {
  const refuse = (fault: string) =>
    new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot log in at "${registry.host}": its token service "${redactUrl(realm.slice(0, 200))}" ${fault}`,
      {
        hint: "the registry, or a proxy before it, is configured wrongly or not to be trusted",
      },
    );
  if (!URL.canParse(realm)) throw refuse("is not a URL");
  const url = new URL(realm);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && registry.protocol === "http:")) {
    throw refuse("is not reached over https");
  }
  if (url.username !== "" || url.password !== "") throw refuse("has credentials in it");
  const rank = networkRank(url.hostname);
  // This host is this host by any of its addresses.
  const isOwn = url.hostname === registry.hostname || (rank === 2 && networkRank(registry.hostname) === 2);
  if (rank > 0 && !isOwn) throw refuse("is in a private network, and not the registry's own host");
  return url;
}
