/**
 * Content types by file name. Packed files are sent unchanged: never with a Content-Encoding, and with a charset only
 * if the name implies readable text.
 */
const TEXT = "text/plain; charset=utf-8";
const TYPES: Readonly<Record<string, string>> = {
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
  asc: TEXT,
  key: TEXT,
  pub: TEXT,
  txt: TEXT,
  md: TEXT,
  sh: TEXT,
  cfg: TEXT,
  ks: TEXT,
  conf: TEXT,
  repo: TEXT,
  toml: TEXT,
  yaml: TEXT,
  yml: TEXT,
  service: TEXT,
  sha256: TEXT,
  sha256sum: TEXT,
  sha512: TEXT,
  pem: "application/x-pem-file",
  crt: "application/x-x509-ca-cert",
};
const NAMES: Readonly<Record<string, string>> = {
  CHECKSUM: TEXT,
  SHA256SUMS: TEXT,
  ".treeinfo": TEXT,
  treeinfo: TEXT,
  ".discinfo": TEXT,
  "media.repo": TEXT,
  "oci-layout": "application/json",
};

/** Returns the content type of a file by its path or name; `application/octet-stream` for unknown names. */
export function contentTypeOf(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const byName = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
  if (byName !== undefined) return byName;
  if (name.startsWith("RPM-GPG-KEY")) return TEXT;
  const dot = name.lastIndexOf(".");
  const extension = dot === -1 ? "" : name.slice(dot + 1).toLowerCase();
  return (Object.hasOwn(TYPES, extension) ? TYPES[extension] : undefined) ?? "application/octet-stream";
}
