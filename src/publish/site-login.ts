/**
 * The login at a repository manager: that of netrc (`$NETRC`, else `~/.netrc`), else that of `docker login` or `podman
 * login` for its host. Sent to its origin alone, and with the first request: an upload is not sent twice for a 401.
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import type { Authenticator } from "../http/authenticator.ts";
import { basicHeader, type Login } from "../http/basic-auth.ts";
import { readNetrc } from "../http/netrc.ts";
import { findLogin } from "../oci/docker-login.ts";

export class SiteLogin implements Authenticator {
  readonly #site: URL;
  readonly #env: NodeJS.ProcessEnv;
  #login: Promise<Login | undefined> | undefined;

  constructor(site: URL, env: NodeJS.ProcessEnv) {
    this.#site = site;
    this.#env = env;
  }

  /** @throws {AirferryError} ERR_USAGE for logins that are empty, or files that cannot be read */
  async headers(url: URL): Promise<Record<string, string>> {
    if (url.origin !== this.#site.origin) return {};
    this.#login ??= this.#find();
    const login = await this.#login;
    const header = login && basicHeader(login);
    return header === undefined ? {} : { authorization: header };
  }

  /** Whether there is a login at all. */
  async isKnown(): Promise<boolean> {
    return Object.keys(await this.headers(this.#site)).length > 0;
  }

  async #find(): Promise<Login | undefined> {
    const netrc = this.#env.NETRC ?? join(this.#env.HOME ?? homedir(), ".netrc");
    const entry = readNetrc(netrc).get(this.#site.hostname);
    if (entry?.lacks !== undefined) {
      const { hostname } = this.#site;
      throw new AirferryError("ERR_USAGE", `cannot log in at "${hostname}": its ${entry.lacks} in ${netrc} is empty`, {
        path: netrc,
        hint: `write both: machine ${hostname} login NAME password SECRET`,
      });
    }
    if (entry !== undefined) return { username: entry.login, password: entry.password };
    return findLogin(this.#site.host, "", this.#env);
  }
}
