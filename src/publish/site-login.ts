/**
 * Logs in at the site's own registry: basic authentication, or tokens for pushing, with what docker login and podman login
 * left. Secrets go to the registry and to the token service that it names over https. See the token specification of the
 * distribution project.
 */

import got, { type HttpsOptions } from "got";
import { AirferryError } from "../errors.ts";
import { answerable } from "../http/challenge.ts";
import { parseJson } from "../io/json.ts";
import { basicHeader, findLogin, type Login } from "../oci/docker-login.ts";

export interface SiteLoginOptions {
  /** `harbor.site:443`. */
  host: string;
  insecure: boolean;
  https: HttpsOptions;
  env?: NodeJS.ProcessEnv | undefined;
}

const TOKEN_TIMEOUT_MS = 60_000;

/** Authorization headers for one registry, kept by what they grant. */
export class SiteLogin {
  readonly #o: SiteLoginOptions;
  readonly #granted = new Map<string, string>();

  constructor(options: SiteLoginOptions) {
    this.#o = options;
  }

  /** The Authorization header for pushing to a repository, and for mounting out of another; undefined before a challenge. */
  header(repository: string, from?: string): string | undefined {
    return this.#granted.get(grantOf(repository, from));
  }

  /**
   * Answers a 401 to a request that was sent with `refused` as its Authorization.
   * @throws {AirferryError} ERR_PUBLISH when there is no login, or it is refused; ERR_USAGE
   */
  async answer(
    repository: string,
    from: string | undefined,
    wwwAuthenticate: string | string[] | undefined,
    refused: string | undefined,
  ): Promise<void> {
    const grant = grantOf(repository, from);
    // Requests run side by side: another one may have logged in since.
    const granted = this.#granted.get(grant);
    if (granted !== undefined && granted !== refused) return;
    const challenge = answerable(Array.isArray(wwwAuthenticate) ? wwwAuthenticate.join(", ") : wwwAuthenticate);
    const login = await findLogin(this.#o.host, repository, this.#o.env ?? process.env);
    if (challenge?.scheme === "bearer") {
      this.#granted.set(grant, `Bearer ${await this.#token(challenge.parameters, grant, login)}`);
      return;
    }
    const basic = login && basicHeader(login);
    if (challenge === undefined || basic === undefined) throw this.#refused("it wants a login and there is none");
    if (refused === basic) throw this.#refused("it refuses this login");
    this.#granted.set(grant, basic);
  }

  async #token(parameters: Record<string, string>, grant: string, login: Login | undefined): Promise<string> {
    const realm = URL.canParse(parameters.realm ?? "") ? new URL(parameters.realm as string) : undefined;
    if (realm === undefined || (realm.protocol !== "https:" && !this.#o.insecure)) {
      throw this.#refused(`its token service "${parameters.realm}" is not https`);
    }
    const response = await this.#askToken(realm, parameters.service, grant, login).catch((cause) => {
      throw this.#refused(`its token service at ${realm.host} cannot be reached: ${(cause as Error).message}`);
    });
    try {
      const { token, access_token } = parseJson(response.body) as { token?: unknown; access_token?: unknown };
      const value = token ?? access_token;
      if (response.statusCode === 200 && typeof value === "string") return value;
    } catch {
      // Told below.
    }
    throw this.#refused(`its token service at ${realm.host} answers ${response.statusCode}`);
  }

  #askToken(realm: URL, service: string | undefined, grant: string, login: Login | undefined) {
    const common = {
      throwHttpErrors: false,
      followRedirect: false,
      retry: { limit: 0 },
      timeout: { request: TOKEN_TIMEOUT_MS },
      https: this.#o.https,
    } as const;
    const named = service === undefined ? {} : { service };
    if (login?.identityToken !== undefined) {
      const refresh = { grant_type: "refresh_token", client_id: "airferry", refresh_token: login.identityToken };
      return got.post(realm, { ...common, form: { ...refresh, scope: grant, ...named } });
    }
    const url = new URL(realm);
    if (service !== undefined) url.searchParams.set("service", service);
    // One parameter for each scope here; a refresh takes them in one, separated by spaces.
    for (const scope of grant.split(" ")) url.searchParams.append("scope", scope);
    const authorization = login && basicHeader(login);
    return got(url, { ...common, headers: authorization === undefined ? {} : { authorization } });
  }

  #refused(fault: string): AirferryError {
    const { host } = this.#o;
    return new AirferryError("ERR_PUBLISH", `cannot log in at "${host}": ${fault}`, {
      hint: `run: docker login ${host}, or podman login ${host}`,
    });
  }
}

/** What a token has to allow, in the words of the token specification. */
function grantOf(repository: string, from?: string): string {
  return `repository:${repository}:pull,push${from === undefined ? "" : ` repository:${from}:pull`}`;
}
