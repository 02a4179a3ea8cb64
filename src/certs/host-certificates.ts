/** Certificates for host names that are known only when a client asks for them, made on demand. */
import type { SecureContext } from "node:tls";
import { CertificateIssuer, type KeyAndCertificate } from "./certificates.ts";

/** Hosts whose certificate is kept; beyond this the one that was made first is made again when it is asked for. */
const MAX_HOSTS = 2048;

/**
 * Makes a certificate for each host that is asked for, signed by one CA. Whoever asks decides which hosts there are.
 */
export class HostCertificates {
  readonly #ca: KeyAndCertificate;
  readonly #contexts = new Map<string, Promise<SecureContext>>();
  #issuer: Promise<CertificateIssuer> | undefined;

  constructor(ca: KeyAndCertificate) {
    this.#ca = ca;
  }

  /** What a TLS server needs to be `host`, a DNS name or an IP address. */
  contextOf(host: string): Promise<SecureContext> {
    const name = host.toLowerCase();
    let context = this.#contexts.get(name);
    if (context === undefined) {
      context = this.#make(name);
      context.catch(() => this.#contexts.delete(name));
      this.#contexts.set(name, context);
      const [oldest] = this.#contexts.keys();
      if (this.#contexts.size > MAX_HOSTS && oldest !== undefined) this.#contexts.delete(oldest);
    }
    return context;
  }

  /** The same as PEM, made at each call: for a server's certificate when its client names no host. */
  async pemOf(host: string): Promise<KeyAndCertificate> {
    this.#issuer ??= CertificateIssuer.of(this.#ca);
    const issuer = await this.#issuer;
    return { key: issuer.key, cert: await issuer.certify([host.toLowerCase()]) };
  }

  async #make(host: string): Promise<SecureContext> {
    return process.getBuiltinModule("node:tls").createSecureContext(await this.pemOf(host));
  }
}
