/**
 * The digest of one manifest entry, by which the lock detects whether its text changed. The lock is committed, so it
 * must not reveal a secret: the parts of a URL's query that grant access are dropped, and the rest is hashed slowly.
 * docs/manifest.md, "The lock".
 */
import { createHash, scryptSync } from "node:crypto";
import { canonicalJson } from "./canonical-json.ts";

/** Parameters that identify the caller or an expiry, not the content: changing their value requests the same. */
const ACCESS =
  /token|secret|passw|pwd|auth|signature|credential|session|api.?key|expire|^x-(?:amz|goog|ms|oss|cos)-|^(?:sig|sign|key|key-pair-id|policy|jwt|code|hash|hmac|t|e|s|st|se|sp|sv|sr|spr|ske|skt|sks|skv|skoid|sktid)$/i;
/** 16 MiB and some 50 ms per guess. */
const SCRYPT = { N: 16_384, r: 8, p: 1 };

/** Several steps of a run ask for the same entry. */
let known = new WeakMap<object, string>();

/**
 * SHA-256 (hex) of an entry's canonical JSON, with a slow hash instead of each URL's query and without secrets.
 * Computed once: nobody changes an entry after it was read.
 */
export function requestDigest(entry: object): string {
  const digest = known.get(entry) ?? digestOfText(entry);
  known.set(entry, digest);
  return digest;
}

/** Called once the entries of a manifest are locked: of 100,000 digests the lock has its own text. */
export function forgetRequests(): void {
  known = new WeakMap();
}

function digestOfText(entry: object): string {
  const shown = JSON.parse(JSON.stringify(entry), (_key, it) => (typeof it === "string" ? withoutSecrets(it) : it));
  return createHash("sha256").update(canonicalJson(shown)).digest("hex");
}

function withoutSecrets(text: string): string {
  if (!/^https?:\/\/[^?#]*[?#]/i.test(text) || !URL.canParse(text)) return text;
  const [place = "", query = ""] = text.split("#", 1)[0]?.split(/\?(.*)/s) ?? [];
  const asked = query.split("&").filter((it) => it !== "" && !ACCESS.test(nameOf(it)));
  if (asked.length === 0) return place;
  return `${place}?${scryptSync(asked.join("&"), place, 16, SCRYPT).toString("hex")}`;
}

function nameOf(parameter: string): string {
  const name = parameter.split("=", 1)[0] as string;
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
