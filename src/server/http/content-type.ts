/**
 * Content types by file name. Packed files are sent unchanged: never with a Content-Encoding, and with a charset only
 * if the name implies readable text.
 */
/** Readable text. */
export const TEXT_TYPE = "text/plain; charset=utf-8";
/** By the ending of a name, in lower case, without its dot. */
export const TYPES_BY_ENDING: Readonly<Record<string, string>> = {
  rpm: "application/x-rpm",
  drpm: "application/x-rpm",
  xml: "application/xml",
  gz: "application/gzip",
  tgz: "application/gzip",
  xz: "application/x-xz",
  bz2: "application/x-bzip2",
  zst: "application/zstd",
  zck: "application/octet-stream",
  tar: "application/x-tar",
  zip: "application/zip",
  iso: "application/x-iso9660-image",
  json: "application/json",
  asc: TEXT_TYPE,
  key: TEXT_TYPE,
  pub: TEXT_TYPE,
  txt: TEXT_TYPE,
  md: TEXT_TYPE,
  sh: TEXT_TYPE,
  cfg: TEXT_TYPE,
  ks: TEXT_TYPE,
  conf: TEXT_TYPE,
  repo: TEXT_TYPE,
  toml: TEXT_TYPE,
  yaml: TEXT_TYPE,
  yml: TEXT_TYPE,
  service: TEXT_TYPE,
  sha256: TEXT_TYPE,
  sha256sum: TEXT_TYPE,
  sha512: TEXT_TYPE,
  pem: "application/x-pem-file",
  crt: "application/x-x509-ca-cert",
};
/** By the whole name: they win. So do names that start with `RPM-GPG-KEY`, which are text. */
export const TYPES_BY_NAME: Readonly<Record<string, string>> = {
  CHECKSUM: TEXT_TYPE,
  SHA256SUMS: TEXT_TYPE,
  ".treeinfo": TEXT_TYPE,
  treeinfo: TEXT_TYPE,
  ".discinfo": TEXT_TYPE,
  "media.repo": TEXT_TYPE,
  "oci-layout": "application/json",
};

/** Returns the content type of a file by its path or name; `application/octet-stream` for unknown names. */
export function contentTypeOf(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const byName = Object.hasOwn(TYPES_BY_NAME, name) ? TYPES_BY_NAME[name] : undefined;
  if (byName !== undefined) return byName;
  if (name.startsWith("RPM-GPG-KEY")) return TEXT_TYPE;
  const dot = name.lastIndexOf(".");
  const extension = dot === -1 ? "" : name.slice(dot + 1).toLowerCase();
  return (
    (Object.hasOwn(TYPES_BY_ENDING, extension) ? TYPES_BY_ENDING[extension] : undefined) ?? "application/octet-stream"
  );
}
