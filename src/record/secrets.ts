/**
 * What grants access and must not be in a recording: URLs that are signed, and the values that clients logged in with.
 */
import { secretParameter } from "../io/web-url.ts";

/** Shorter values appear by chance. */
const MIN_SECRET_LENGTH = 8;
const MAX_SECRETS = 10_000;
/** Request headers whose value grants access: of HTTP, of clouds, and what APIs call theirs. */
const LOGIN_HEADER =
  /^(?:cookie|x-jfrog-art-api)$|(?:^|-)(?:authorization|(?:api|access|auth)?(?:token|key|auth|secret|password|credential)s?)(?:-|$)/;
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
  addFrom(headers: Readonly<Record<string, string | readonly string[] | undefined>>): void {
    for (const [name, values] of Object.entries(headers)) {
      if (!LOGIN_HEADER.test(name)) continue;
      for (const value of typeof values === "string" ? [values] : (values ?? [])) {
        if (name === "cookie") for (const it of value.split(/;\s*/)) this.#addQuoted(it.slice(it.indexOf("=") + 1));
        else if (name.endsWith("authorization")) this.#addLogin(value);
        // Repeated ones are joined.
        else for (const it of new Set([value, ...value.split(/,\s*/)])) this.#addLogin(it);
      }
    }
  }

  #addLogin(value: string): void {
    const [, token = value] = /^\S+\s+(\S.*)$/.exec(value) ?? [];
    this.#addQuoted(token);
    if (!/^basic\s/i.test(value)) return;
    const login = Buffer.from(token, "base64").toString();
    this.#add(login.slice(login.indexOf(":") + 1));
  }

  #addQuoted(value: string): void {
    this.#add(value.replace(/^"(.*)"$/, "$1"));
  }

  /** Remembers the values of a URL that grants access. */
  addUrl(url: URL): void {
    for (const value of url.searchParams.values()) if (value.length >= LONG_VALUE) this.#add(value);
    this.#add(url.password);
  }

  /** As it is, and as URLs and JSON spell it. */
  #add(value: string): void {
    if (value.length < MIN_SECRET_LENGTH) return;
    for (const it of [value, escapedForUrl(value), JSON.stringify(value).slice(1, -1), value.replaceAll("/", "\\/")])
      if (this.#values.size < MAX_SECRETS) this.#values.add(it);
  }

  /** Whether any of them is in a URL, however that is escaped. */
  areInUrl(url: string): boolean {
    return this.areIn(url) || this.areIn(unescaped(url));
  }

  /** Whether any of them is in a text or in bytes. */
  areIn(content: string | Buffer): boolean {
    for (const value of this.#values) if (content.includes(value)) return true;
    return false;
  }
}

function escapedForUrl(value: string): string {
  return value.isWellFormed() ? encodeURIComponent(value) : value;
}

function unescaped(url: string): string {
  return url.replace(/(?:%[0-9a-f]{2})+/gi, (it) => Buffer.from(it.replaceAll("%", ""), "hex").toString());
}
