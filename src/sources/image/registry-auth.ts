/**
 * Answers the challenges of one repository's registry: bearer tokens and basic authentication, with the logins of docker,
 * podman and the manifest. Secrets go to the registry that was asked and to its token service, nowhere else; a registry that
 * it redirects to is met as nobody. See the token specification of the distribution project; CVE-2020-15157.
 */
import { AirferryError } from "../../errors.ts";
import { hostNames, readVariable } from "../../fetch/credentials.ts";
import { httpStatusOf } from "../../fetch/fetcher.ts";
import { networkRank } from "../../fetch/network-rank.ts";
import type { Authenticator, Fetcher } from "../../fetch/types.ts";
import type { Manifest } from "../../manifest/schema.ts";
import { answerable, type Challenge } from "../../oci/challenge.ts";
import { basicHeader, findLogin, type Login } from "../../oci/docker-login.ts";
import { apiHost, canonicalHost } from "../../oci/reference.ts";

const MAX_TOKEN_BYTES = 1024 * 1024;
/** What the specification has for a token that does not say. */
const DEFAULT_TOKEN_S = 60;
/** A challenge within this time after a token came belongs to a request that was already under way. */
const FRESH_TOKEN_MS = 2000;

export interface RegistryAuthOptions {
  fetcher: Fetcher;
  /** As the reference names them. Where a rewrite leads elsewhere, the login is the one for there. */
  host: string;
  path: string;
  /** `hosts:` of the manifest: looked at before what docker and podman keep. */
  hosts?: Manifest["hosts"];
}

interface Token {
  value: string;
  obtained: number;
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
  #basicSince = 0;

  constructor(options: RegistryAuthOptions) {
    this.#o = options;
  }

  async headers(url: URL): Promise<Record<string, string>> {
    this.#home ??= url;
    const token = this.#tokens.get(url.origin);
    if (token !== undefined && token.expires > Date.now()) return { authorization: `Bearer ${token.value}` };
    if (url.origin === this.#home.origin && this.#basic !== undefined) return { authorization: this.#basic };
    return {};
  }

  /** @throws {AirferryError} ERR_UPSTREAM, ERR_UPSTREAM_INVALID, ERR_USAGE */
  async challenged(url: URL, wwwAuthenticate: string | undefined): Promise<boolean> {
    const challenge = answerable(wwwAuthenticate);
    if (challenge === undefined) return false;
    if (url.origin === this.#home?.origin) this.#login ??= this.#findLogin(this.#home);
    const login = url.origin === this.#home?.origin ? await this.#login : undefined;
    if (challenge.scheme === "basic") {
      const header = login && basicHeader(login);
      if (header === undefined) return false;
      // Refused once it was sent for a while: not worth sending again.
      if (this.#basic === header) return Date.now() - this.#basicSince < FRESH_TOKEN_MS;
      this.#basic = header;
      this.#basicSince = Date.now();
      return true;
    }
    if (login?.registryToken !== undefined) {
      const sent = this.#tokens.get(url.origin);
      if (sent !== undefined) return Date.now() - sent.obtained < FRESH_TOKEN_MS;
      this.#tokens.set(url.origin, {
        value: login.registryToken,
        obtained: Date.now(),
        expires: Number.MAX_SAFE_INTEGER,
      });
      return true;
    }
    const known = this.#tokens.get(url.origin);
    if (known !== undefined && Date.now() - known.obtained < FRESH_TOKEN_MS && !challenge.parameters.error) return true;
    const key = `${url.origin} ${challenge.parameters.scope ?? ""}`;
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      asking = this.#askToken(url, challenge, login).finally(() => this.#asking.delete(key));
      this.#asking.set(key, asking);
    }
    this.#tokens.set(url.origin, await asking);
    return true;
  }

  async #findLogin(home: URL): Promise<Login | undefined> {
    const { host, path, hosts } = this.#o;
    const isAsWritten = new URL(`${home.protocol}//${apiHost(host)}`).host === home.host;
    return (
      manifestLogin(home, hosts) ?? (await findLogin(isAsWritten ? host : canonicalHost(home.host), pathIn(home, path)))
    );
  }

  async #askToken(registry: URL, { parameters }: Challenge, login: Login | undefined): Promise<Token> {
    const realm = realmOf(registry, parameters.realm as string);
    const scopes = (parameters.scope ?? `repository:${pathIn(registry, this.#o.path)}:pull`)
      .split(" ")
      .filter((it) => it !== "");
    const basic = login && basicHeader(login);
    const obtained = Date.now();
    const answer = await this.#fetchToken(realm, parameters.service, scopes, login, basic).catch((error) => {
      const status = httpStatusOf(error);
      if (status !== 401 && status !== 403) throw error;
      throw new AirferryError(
        "ERR_UPSTREAM",
        `cannot log in at "${registry.host}": ${login ? "the token service refuses this login" : "it gives no token to nobody"} (status ${status} from ${realm.host})`,
        {
          cause: (error as Error).cause,
          hint: `log in first: docker login ${registry.host}, or podman login ${registry.host}`,
        },
      );
    });
    const value = answer.token ?? answer.access_token;
    if (typeof value !== "string" || value === "" || /[^\x21-\x7e]/.test(value)) {
      throw new AirferryError(
        "ERR_UPSTREAM_INVALID",
        `cannot log in at "${registry.host}": ${realm.host} answers without a token`,
      );
    }
    const seconds =
      typeof answer.expires_in === "number" && answer.expires_in > 0 ? answer.expires_in : DEFAULT_TOKEN_S;
    // Renewed early: clocks differ and requests take time.
    return { value, obtained: Date.now(), expires: obtained + Math.min(seconds, 86_400) * 800 };
  }

  async #fetchToken(
    realm: URL,
    service: string | undefined,
    scopes: string[],
    login: Login | undefined,
    basic: string | undefined,
  ): Promise<{ token?: unknown; access_token?: unknown; expires_in?: unknown }> {
    const { fetcher } = this.#o;
    const url = new URL(realm);
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
        urls: [url.href],
        maxBytes: MAX_TOKEN_BYTES,
        method: "POST",
        body: form.toString(),
        headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
      };
    } else {
      if (service !== undefined) url.searchParams.set("service", service);
      for (const scope of scopes) url.searchParams.append("scope", scope);
      request = {
        urls: [url.href],
        maxBytes: MAX_TOKEN_BYTES,
        headers: { accept: "application/json", ...(basic !== undefined && { authorization: basic }) },
      };
    }
    const { bytes } = await fetcher.fetchBytes(request);
    try {
      const answer: unknown = JSON.parse(bytes.toString("utf8"));
      if (answer !== null && typeof answer === "object") return answer;
    } catch {
      // Told below.
    }
    throw new AirferryError("ERR_UPSTREAM_INVALID", `cannot log in: the answer of "${realm.host}" is not JSON`);
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

/** The token service; a registry must not be able to point us, and our password, at the site's own network. */
function realmOf(registry: URL, realm: string): URL {
  const refuse = (fault: string) =>
    new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot log in at "${registry.host}": its token service "${realm.slice(0, 200)}" ${fault}`,
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
  if (url.hostname !== registry.hostname && networkRank(url.hostname) > networkRank(registry.hostname)) {
    throw refuse("is in a private network");
  }
  return url;
}
