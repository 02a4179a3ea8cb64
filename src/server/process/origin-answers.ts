/**
 * What a site has besides its own address when it answers under the names of the origins: listeners with TLS, the plain
 * one, and a proxy. docs/origins.md.
 */
import { hasAuthority, isPlainAt } from "../../origins/known-origins.ts";
import { GitAnswers } from "../git/git-handler.ts";
import type { ListenAddress } from "../http/address.ts";
import type { Mount, ServeContext, TreeView } from "../http/context.ts";
import { type Answers, createEndpoint, type Endpoint, type HostTls } from "../http/endpoint.ts";
import type { FastPathOptions } from "../http/fast-path.ts";
import { authorityOf } from "../http/host-header.ts";
import type { Router, RouterOptions } from "../http/router.ts";
import { sendText } from "../http/text-responses.ts";
import type { Tunnels } from "../http/tunnels.ts";
import { admitsHost, originMount, originTarget, unknownHost } from "../origins/origin-mount.ts";
import { OriginTls } from "../origins/origin-tls.ts";
import { WebAnswers } from "../origins/web-answers.ts";
import type { OriginSettings } from "./origin-ca.ts";

/** What the rest of a site gives. */
interface OriginAnswersOptions {
  settings: OriginSettings;
  context: ServeContext;
  routed(mounts: readonly Mount[], parse?: RouterOptions["parse"]): Router;
  answersOf(router: Router, admits?: FastPathOptions["admits"]): Answers;
  /** What a client needs before it trusts the CA, at the server's own names. */
  plainMounts: readonly Mount[];
  registry: readonly Mount[];
}

/** Opens a listener of the site. */
type Open = (
  address: ListenAddress,
  tls: HostTls | undefined,
  answers: Answers,
  more?: { tunnels: Tunnels },
) => Promise<void>;

const anybody = (): boolean => true;

export class OriginAnswers {
  /** For the plain listener. */
  readonly plain: Answers;
  readonly #options: OriginAnswersOptions;
  readonly #tls: OriginTls;
  readonly #https: Answers;
  readonly #http: Router;
  readonly #own: Router;
  readonly #proxy: Router;
  #endpoints: Endpoint[] = [];

  constructor(options: OriginAnswersOptions) {
    const { settings, context, routed, answersOf, plainMounts, registry } = options;
    const parts = {
      registry: registry.find((it) => it.prefix === "/ns") as Mount,
      web: new WebAnswers(),
      git: new GitAnswers(),
    };
    this.#options = options;
    this.#tls = new OriginTls(settings.ca, context, (error) => context.tellFault(error));
    this.#https = answersOf(routed([originMount("https", parts)], originTarget), admitsHost);
    this.#http = routed([originMount("http", parts)], originTarget);
    this.#proxy = routed([originMount("proxy", parts)], originTarget);
    this.#own = routed([...plainMounts, nobody]);
    const plain = this.#eitherByHost(this.#http, this.#own);
    this.plain = answersOf(plain, anybody);
  }

  /** Opens the listeners with TLS, then the proxy. */
  async open(open: Open): Promise<void> {
    const { settings, context, answersOf } = this.#options;
    const tls = this.#tls;
    for (const address of settings.https) await open(address, tls, this.#https);
    if (settings.proxy === undefined) return;
    const https = createEndpoint(tls, this.#https);
    const http = createEndpoint(undefined, { answer: this.#http.answer });
    this.#endpoints = [https, http];
    const tunnels: Tunnels = {
      endpoints: this.#endpoints,
      async open(authority) {
        const view = await context.view();
        if (!/:\d{1,5}$/.test(authority) || !hasAuthority(view.releases, authority)) return unknownHost(authority);
        return isPlainAt(view.releases, authority) ? http : https;
      },
    };
    const { answer } = answersOf(this.#eitherByForm());
    await open(settings.proxy, undefined, { answer }, { tunnels });
  }

  close(): void {
    for (const it of this.#endpoints) {
      it.closeAll();
      it.server.close();
    }
  }

  /** One port for both: what a request's host says. */
  #eitherByHost(origins: Router, own: Router): Router {
    const { context } = this.#options;
    const of = (view: TreeView, authority: string): Router => (hasAuthority(view.releases, authority) ? origins : own);
    return {
      answer(req, res) {
        const view = context.freshView();
        if (view !== undefined) of(view, authorityOf(req)).answer(req, res);
        else context.view().then((it) => of(it, authorityOf(req)).answer(req, res));
      },
      content: (target, view, authority) => of(view, authority).content(target, view, authority),
    };
  }

  /** A proxy is sent whole URLs; a path alone is for itself. */
  #eitherByForm(): Router {
    const [proxy, own] = [this.#proxy, this.#own];
    return {
      answer: (req, res) => (req.url?.startsWith("/") === true ? own : proxy).answer(req, res),
      content: () => undefined,
    };
  }
}

/** The last of the plain mounts. */
const nobody: Mount = {
  prefix: "",
  anyMethod: true,
  handle(request) {
    sendText(request, 421, `421: ${unknownHost(authorityOf(request.req) || "a request without a host")}`);
    return true;
  },
};
