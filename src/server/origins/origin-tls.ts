/**
 * Certificates for exactly the hosts of the current releases, made when a client names one. The number of releases'
 * hosts bounds the work and what is kept: for any other name the handshake ends.
 */
import type { KeyAndCertificate } from "../../certs/certificates.ts";
import type { HostCertificates } from "../../certs/host-certificates.ts";
import { addressesIn, bareHostOf, hasHost } from "../../origins/known-origins.ts";
import type { ServeContext, TreeView } from "../http/context.ts";
import type { HostTls } from "../http/endpoint.ts";

/** Long before they expire, all certificates are made again. */
const RENEW_MS = 90 * 24 * 60 * 60 * 1000;

type Unnamed = KeyAndCertificate | undefined;

export class OriginTls implements HostTls {
  readonly #ca: KeyAndCertificate;
  readonly #context: Pick<ServeContext, "view" | "freshView">;
  readonly #report: (error: unknown) => void;
  #certificates: HostCertificates | undefined;
  #madeMs = 0;
  /** The last one, and the addresses that it is for. */
  #unnamed: { addresses: string; madeMs: number; pair: Promise<Unnamed>; ready?: { pair: Unnamed } } | undefined;

  /** @param report called when no certificate can be made */
  constructor(
    ca: KeyAndCertificate,
    context: Pick<ServeContext, "view" | "freshView">,
    report: (error: unknown) => void,
  ) {
    this.#ca = ca;
    this.#context = context;
    this.#report = report;
  }

  async contextOf(host: string) {
    if (!hasHost((await this.#context.view()).releases, host)) return undefined;
    // The library for certificates is large, and a server whose origins have no TLS never needs it.
    const { HostCertificates } = await import("../../certs/host-certificates.ts");
    if (this.#certificates === undefined || Date.now() - this.#madeMs > RENEW_MS) {
      this.#certificates = new HostCertificates(this.#ca);
      this.#madeMs = Date.now();
    }
    // One certificate for all spellings that are one host: with a dot at the end, with a port.
    return await this.#certificates.contextOf(bareHostOf(host));
  }

  /** For all addresses among the hosts at once. */
  unnamed(): Unnamed | Promise<Unnamed> {
    const view = this.#context.freshView();
    return view === undefined ? this.#context.view().then((it) => this.#unnamedFor(it)) : this.#unnamedFor(view);
  }

  #unnamedFor({ releases }: TreeView): Unnamed | Promise<Unnamed> {
    const addresses = addressesIn(releases).join(" ");
    const known = this.#unnamed;
    if (known?.addresses === addresses && Date.now() - known.madeMs < RENEW_MS)
      return known.ready === undefined ? known.pair : known.ready.pair;
    const made: typeof known = { addresses, madeMs: Date.now(), pair: this.#certify(addresses) };
    this.#unnamed = made;
    made.pair.then((pair) => {
      made.ready = { pair };
    });
    return made.pair;
  }

  async #certify(addresses: string): Promise<Unnamed> {
    if (addresses === "") return undefined;
    try {
      const { createServerCertificate } = await import("../../certs/certificates.ts");
      return await createServerCertificate(this.#ca, addresses.split(" "));
    } catch (error) {
      this.#report(error);
      return undefined;
    }
  }
}
