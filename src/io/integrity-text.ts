/** SRI strings as people read them: `sha256:<hex>`, the form of every tool that they compare with. */
import type { Established } from "./types.ts";

/** Each digest of an SRI string as `algorithm:hex`, with blanks between them; other text as it is. */
export function integrityText(integrity: string): string {
  return integrity
    .trim()
    .split(/\s+/)
    .map((token) => {
      const [, algorithm, base64] = /^([a-z0-9]+)-([A-Za-z0-9+/]+={0,2})$/.exec(token) ?? [];
      return base64 === undefined ? token : `${algorithm}:${Buffer.from(base64, "base64").toString("hex")}`;
    })
    .join(" ");
}

const PUBLISHED: readonly Established[] = ["manifest", "upstream-signed", "upstream-checksum"];

/** Which algorithm the digest had that was given or published: the first of an SRI string, SHA-256 without one. */
export function publishedAlgorithm(established: Established, integrity = "sha256-"): { algorithm?: string } {
  const algorithm = /^[a-z0-9]+(?=-)/.exec(integrity)?.[0];
  return algorithm !== undefined && PUBLISHED.includes(established) ? { algorithm } : {};
}
