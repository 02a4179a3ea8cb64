/**
 * Certificates for exactly the hosts of the current releases, made when a client names one. The number of releases'
 * hosts bounds the work and what is kept: for any other name the handshake ends.
 */
import type { KeyAndCertificate } from "../../certs/certificates.ts";
import type { HostCertificates } from "../../certs/host-certificates.ts";
import { addressesIn, bareHostOf, hasHost } from "../../origins/known-origins.ts";
import type { TreeView } from "../http/context.ts";
import type { HostTls } from "../http/endpoint.ts";

/** Long before they expire, all certificates are made again. */
const RENEW_MS = 90 * 24 * 60 * 60 * 1000;

export class OriginTls implements HostTls {
  readonly #ca: KeyAndCertificate;
  readonly #view: () => Promise<TreeView>;
  #certificates: HostCertificates | undefined;
  #madeMs = 0;

  constructor(ca: KeyAndCertificate, view: () => Promise<TreeView>) {
    this.#ca = ca;
    this.#view = view;
  }

  async contextOf(host: string) {
    if (!hasHost((await this.#view()).releases, host)) return undefined;
    // The library for certificates is large, and a server whose origins have no TLS never needs it.
    const { HostCertificates } = await import("../../certs/host-certificates.ts");
    if (this.#certificates === undefined || Date.now() - this.#madeMs > RENEW_MS) {
      this.#certificates = new HostCertificates(this.#ca);
      this.#madeMs = Date.now();
    }
    // One certificate for all spellings that are one host: with a dot at the end, with a port.
    return await this.#certificates.contextOf(bareHostOf(host));
  }

  /** For all addresses among the hosts at once; undefined when there are none. */
  async unnamedFor(view: TreeView): Promise<KeyAndCertificate | undefined> {
    const addresses = addressesIn(view.releases);
    if (addresses.length === 0) return undefined;
    const { createServerCertificate } = await import("../../certs/certificates.ts");
    return createServerCertificate(this.#ca, addresses);
  }
}
