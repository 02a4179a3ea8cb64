/**
 * What grants access and must not be in a recording: URLs that are signed, and the values that clients logged in with.
 */
import { secretParameter } from "../io/web-url.ts";

/** Shorter values appear by chance. */
const MIN_SECRET_LENGTH = 8;
const MAX_SECRETS = 10_000;
/** A parameter that no person typed. */
const LONG_VALUE = 24;

/** Whether a URL that a client asked for grants access by itself. */
export function urlGrantsAccess(url: string): boolean {
  return secretParameter(url) !== undefined;
}

/**
 * Whether the target of a redirect may be signed: then its body is recorded for the URL that redirected. Suspects more
 * than {@link urlGrantsAccess}, which costs nothing here.
 */
export function mayBeSigned(target: URL): boolean {
  if (target.username !== "" || target.password !== "" || urlGrantsAccess(target.href)) return true;
  return [...target.searchParams.values()].some((it) => it.length >= LONG_VALUE && /\d/.test(it));
}

/** The values that clients used to log in during a recording; kept in memory only. */
export class KnownSecrets {
  readonly #values = new Set<string>();

  /** Remembers what a request's headers grant access with. */
  addFrom(headers: Record<string, unknown>): void {
    for (const name of ["authorization", "proxy-authorization", "x-auth-token", "private-token", "x-api-key"]) {
      const value = headers[name];
      if (typeof value !== "string") continue;
      const [, token = value] = /^\S+\s+(\S.*)$/.exec(value) ?? [];
      this.#add(token);
      if (/^basic\s/i.test(value)) {
        const login = Buffer.from(token, "base64").toString();
        this.#add(login.slice(login.indexOf(":") + 1));
      }
    }
    if (typeof headers["cookie"] === "string")
      for (const it of headers["cookie"].split(/;\s*/)) this.#add(it.slice(it.indexOf("=") + 1));
  }

  /** Remembers the values of a URL that grants access. */
  addUrl(url: URL): void {
    for (const value of url.searchParams.values()) if (value.length >= LONG_VALUE) this.#add(value);
    this.#add(url.password);
  }

  #add(value: string): void {
    if (value.length >= MIN_SECRET_LENGTH && this.#values.size < MAX_SECRETS) this.#values.add(value);
  }

  /** Whether any of them is in a text or in bytes. */
  areIn(content: string | Buffer): boolean {
    for (const value of this.#values) if (content.includes(value)) return true;
    return false;
  }
}

/** Whether a small JSON body is the answer of a login: a token is its reason to exist. */
export function isLoginAnswer(contentType: string | undefined, body: Buffer): boolean {
  if (!/json/i.test(contentType ?? "") && body[0] !== 0x7b) return false;
  return /^\s*\{[^{}[\]]*"(?:access_token|token|id_token|refresh_token)"\s*:\s*"/.test(body.toString("latin1"));
}
