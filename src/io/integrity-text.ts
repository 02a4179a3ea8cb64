/** SRI strings as people read them: `sha256:<hex>`, the form of every tool that they compare with. No imports. */

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
