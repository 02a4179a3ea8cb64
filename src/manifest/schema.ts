/**
 * The manifest: what to mirror, as a zod schema, the source of the TypeScript types, the JSON Schema and the
 * validation. See docs/manifest.md. No I/O.
 */
import { z } from "zod";
import type { HashAlgorithm } from "../io/digest.ts";
import { parseBytes } from "../io/format.ts";
import { algorithmsIn, parseWholeIntegrity } from "../io/integrity.ts";
import { MAX_NAME_BYTES, MAX_STREAM_BYTES, NAME } from "../io/path-grammar.ts";
import { printable } from "../io/printable.ts";
import { normalizeWebUrl, secretParameter } from "../io/web-url.ts";
import { PLATFORM } from "../oci/platform.ts";
import { checkReference } from "../oci/reference.ts";

const name = z
  .string()
  .regex(NAME, "must start with a letter or digit and contain only letters, digits, '.', '_' and '-'")
  .max(MAX_NAME_BYTES);
const url = z
  .string()
  .regex(/^https?:\/\/[^\s]+$/, { error: "must be an http:// or https:// URL", abort: true })
  .regex(/^https?:\/\/[^/?#@]*([/?#]|$)/, {
    error: "must not contain a user or password, which would be recorded; put them under hosts:",
    abort: true,
  })
  .refine((it) => URL.canParse(it), "cannot be read as a URL");
const hex256 = z.string().regex(/^[0-9a-fA-F]{64}$/, "must be 64 hexadecimal digits");
const fingerprint = z
  .string()
  .transform((text) => text.replace(/[\s:]/g, "").toUpperCase())
  .pipe(
    z.string().regex(/^([0-9A-F]{40}|[0-9A-F]{64})$/, "must be an OpenPGP fingerprint of 40 or 64 hexadecimal digits"),
  );

/** Every token must be valid: one that a reader ignores would be a digest that nobody checks. */
function isIntegrity(text: string): boolean {
  const integrity = parseWholeIntegrity(text);
  return integrity !== undefined && algorithmsIn(integrity).every((it) => STRONG_ALGORITHMS.includes(it));
}

const STRONG_ALGORITHMS: readonly HashAlgorithm[] = ["sha256", "sha384", "sha512"];

/** OpenPGP keys by URL or file, optionally pinned by fingerprint. */
const keys = z.array(z.string().min(1)).min(1).describe("OpenPGP key files: URLs, or paths relative to the manifest");
const fingerprints = z
  .array(fingerprint)
  .min(1)
  .describe("Only these primary-key fingerprints are accepted from `keys`");

const checksums = z
  .strictObject({
    url: url.optional().describe("The checksum file that upstream publishes: GNU, BSD or bare-hash form"),
    path: z.string().min(1).optional().describe("The same, as a file on disk"),
    signature: z
      .string()
      .min(1)
      .optional()
      .describe("Detached OpenPGP signature over it (URL or path); a clear-signed file needs none"),
    keys: keys.optional(),
    fingerprints: fingerprints.optional(),
  })
  .refine((it) => (it.url === undefined) !== (it.path === undefined), "needs exactly one of url and path")
  .refine((it) => it.signature === undefined || it.keys !== undefined, "a signature needs keys to check it with")
  .refine((it) => it.fingerprints === undefined || it.keys !== undefined, "fingerprints pin keys, but there are none");

const location = {
  url: url.optional(),
  urls: z.array(url).min(1).optional().describe("Mirrors of the same bytes, tried in this order"),
  path: z.string().min(1).optional().describe("A file on this host, relative to the manifest"),
};
const maxSize = z
  .string()
  .refine((it) => (parseBytes(it) ?? 0) > 0, "must be a size such as 20GiB or 700MB")
  .optional()
  .describe("Refuse more bytes than this (default: 64GiB where no digest is known before)");
const proof = {
  sha256: hex256.optional(),
  integrity: z
    .string()
    .refine(isIntegrity, "must be an SRI string: sha256-, sha384- or sha512- and the base64 of as many bits")
    .optional()
    .describe("SRI string with any of these algorithms, for example sha512-…"),
  checksums: checksums.optional(),
  max_size: maxSize,
};

const isos = z.strictObject({
  name: name
    .refine((it) => !it.toLowerCase().endsWith(".iso"), "must not end in .iso")
    .describe("Served as /isos/NAME.iso"),
  ...location,
  ...proof,
  keys: keys
    .optional()
    .describe("OpenPGP keys of the repositories inside, carried for airferry.repo; default: those in the image's root"),
  fingerprints: fingerprints.optional(),
  packages: z
    .boolean()
    .optional()
    .describe("true: closures of rpms entries use the packages of this DVD, which are then not carried again"),
});

const files = z.strictObject({
  ...location,
  ...proof,
  as: z.string().min(1).optional().describe("Path below /files/; default: the last segment of the URL or path"),
  mode: z.enum(["0644", "0755"]).optional().describe("Default: the executable bit of a local file; 0644 for a URL"),
});

const module_ = z.string().min(1);
const rpms = z.strictObject({
  name,
  url: url.optional().describe("baseurl of the repository"),
  urls: z.array(url).min(1).optional(),
  mirrorlist: url.optional(),
  metalink: url.optional(),
  path: z.string().min(1).optional().describe("A folder of loose RPMs, or a repository on disk (it has repodata/)"),
  vars: z
    .record(z.string().regex(/^[A-Za-z0-9_]+$/), z.string())
    .optional()
    .describe("dnf variables: releasever, basearch, …"),
  keys: keys.optional(),
  fingerprints: fingerprints.optional(),
  gpgcheck: z.boolean().optional().describe("false: upstream does not sign its packages (default: true)"),
  repo_gpgcheck: z
    .boolean()
    .optional()
    .describe("true: upstream's repomd.xml must be signed by `keys`; default: checked when a signature exists"),
  on_bad_package: z
    .enum(["fail", "quarantine"])
    .optional()
    .describe("A package with a wrong digest or signature, or that is listed but missing (default: fail)"),
  legacy_signatures: z
    .boolean()
    .optional()
    .describe("true: SHA-1 signatures and keys under 2048 bits count, for repositories of old systems"),
  packages: z
    .array(module_)
    .optional()
    .describe("name, name.arch, NEVRA glob, @group, @^environment, @module:stream; default: the whole repository"),
  packages_from: z
    .enum(["own", "any"])
    .optional()
    .describe("any: what this repository does not have may be in other entries, as with dnf (default: own)"),
  dependencies: z
    .enum(["closed", "none"])
    .optional()
    .describe(
      "none: exactly `packages`, without what they depend on, as a recorded build fetched them (default: closed)",
    ),
  exclude: z.array(z.string().min(1)).optional(),
  arch: z
    .array(z.string().regex(/^[a-z0-9_]+$/))
    .min(1)
    .optional(),
  newest: z.int().min(1).optional().describe("Keep only the N newest versions of each package"),
  advisories: z
    .array(z.string().min(1))
    .optional()
    .describe("Only packages that these advisories (id, cve, or type such as security) name"),
  source: z.boolean().optional(),
  debuginfo: z.boolean().optional(),
  source_url: url.optional(),
  debuginfo_url: url.optional(),
  weak_deps: z.enum(["off", "recommends"]).optional(),
  conditional_deps: z
    .enum(["selected", "always"])
    .optional()
    .describe(
      "Dependencies (a if b) of its packages: when b is carried or in the baseline (selected, default), or always",
    ),
  module_hotfixes: z
    .boolean()
    .optional()
    .describe("true: a vendor's repository whose packages take precedence over module streams of the same names"),
  multilib: z.boolean().optional(),
  baseline: z.string().min(1).optional().describe("bare (default), or a file with the target's `rpm -qa` output"),
  kickstart: z.boolean().optional().describe("Carry .treeinfo and the images it lists (default: if upstream has it)"),
  rpmrepo: z.boolean().optional().describe("Also put its packages into /rpmrepo/ (default: only loose folders)"),
});

const reference = z
  .string()
  .min(1)
  .superRefine((text, context) => {
    const wrong = text === "" ? undefined : checkReference(text);
    if (wrong)
      context.addIssue({ code: "custom", message: `is not an image reference: ${wrong.fault}; ${wrong.hint}` });
  });

function isPattern(text: string): boolean {
  try {
    return new RegExp(text) !== undefined;
  } catch {
    return false;
  }
}

const images = z.strictObject({
  ref: reference.optional(),
  tags: z
    .strictObject({
      match: z.string().min(1).refine(isPattern, "is not a regular expression").optional(),
      newest: z.int().min(1).optional().describe("How many of the matching tags, by version; default: all"),
    })
    .optional()
    .describe("With a ref without a tag: which of the repository's tags to include"),
  list: z
    .string()
    .min(1)
    .optional()
    .describe("A file that lists one image per line; the entry's other keys apply to all"),
  archive: z.string().min(1).optional().describe("docker-archive, OCI archive or OCI layout on disk"),
  chart: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "must be a chart's name")
    .optional()
    .describe("A Helm chart of the HTTP repository at repo; charts of OCI registries are named with ref"),
  repo: url.optional().describe("The chart's repository: the address that index.yaml is below"),
  version: z.string().min(1).optional().describe("The chart's version or range, as in helm; default: the newest"),
  keys: keys.optional(),
  fingerprints: fingerprints.optional(),
  images: z.literal(true).optional().describe("Include the images that the chart needs"),
  values: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe("Values files that the chart is rendered with for images"),
  as: reference.optional().describe("Reference to serve it under; required if an archive names none"),
  platforms: z
    .array(z.string().regex(PLATFORM, "must look like linux/amd64, linux/arm/v7 or windows(10.0.17763)/amd64"))
    .min(1)
    .optional()
    .describe("Whose layers to carry: os/architecture, with a variant or a Windows version if there are several"),
  insecure: z.boolean().optional().describe("The registry speaks plain HTTP"),
  referrers: z.boolean().optional().describe("Carry signatures, attestations and SBOMs (default: true)"),
  foreign_layers: z.boolean().optional().describe("Fetch foreign layers from the URLs that they name"),
  signatures: z
    .strictObject({ keys: z.array(z.string().min(1)).min(1) })
    .optional()
    .describe("cosign public keys; pack fails unless one of them signed the image"),
});

/** One check for all: of an item that may be two things, faults are reported only if none of them ends the check. */
const webUrl = z.string().superRefine((text, context) => {
  const fault = webUrlFault(text);
  if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
});

/** What keeps a URL from being carried with its answer. */
function webUrlFault(text: string): string | undefined {
  try {
    const secret = secretParameter(normalizeWebUrl(text));
    if (secret === undefined) return undefined;
    return `must not grant access, since it is recorded as it is: its query has ${printable(secret, 40)}`;
  } catch (error) {
    return `cannot be used: it ${(error as Error).message}`;
  }
}

const gitRepositoryUrl = webUrl.refine((it) => !it.includes("?"), "must have no query");

const web = z.strictObject({
  name,
  urls: z
    .array(
      z.union([webUrl, z.strictObject({ url: webUrl, sha256: proof.sha256, integrity: proof.integrity })], {
        error: "must be an http:// or https:// URL, or url: with sha256: or integrity:",
      }),
    )
    .min(1)
    .optional()
    .describe("URLs whose answers are carried: as they are now, or with their digests"),
  git: z.array(gitRepositoryUrl).min(1).optional().describe("Git repositories, by the URL that they are cloned from"),
  recording: z
    .string()
    .min(1)
    .optional()
    .describe("Folder of a recording, relative to the manifest: its answers are carried, and nothing is fetched"),
  hosts: z
    .array(z.string().regex(/^[^\s/@?#]+$/, "must be a host, or host:port"))
    .min(1)
    .optional()
    .describe("Of the recording only the answers of these hosts"),
  max_size: maxSize,
});

const builder = z.strictObject({
  flavor: z.enum(["spectro-capi", "image-builder"]),
  version: z.string().optional(),
  imageconfig: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
  packer_vars: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
  kickstart: z
    .string()
    .min(1)
    .optional()
    .describe("files entry (its path below /files/) that is the kickstart template"),
  custom_scripts: z
    .strictObject({ pre: z.array(z.string()).optional(), post: z.array(z.string()).optional() })
    .optional(),
  iso: z.string().optional().describe("isos entry the build installs from; default: the only one"),
});

const vendor = z.strictObject({
  archive: z
    .string()
    .min(1)
    .describe("The vendor's capi-image-builder-VERSION.tgz on this host: its builder image, rpmrepo/ and kickstart/"),
  sha256: hex256.optional(),
});

const credentials = z.strictObject({
  ca: z.string().min(1).optional().describe("PEM file with the CA of this host"),
  cert: z.string().min(1).optional().describe("PEM client certificate (RHEL CDN entitlement)"),
  key: z.string().min(1).optional(),
  username_env: z.string().optional().describe("Environment variable that holds the user name"),
  password_env: z.string().optional(),
  token_env: z.string().optional().describe("Environment variable that holds a bearer token"),
});

/** The whole manifest, before the checks across entries. */
export const manifestSchema = z
  .strictObject({
    $schema: z.string().optional(),
    apiVersion: z.literal("airferry/v1"),
    stream: name.max(MAX_STREAM_BYTES).describe("Bundles of one stream follow each other by serial"),
    expires: z
      .string()
      .regex(/^([1-9]\d{0,3}[dwm]|[1-9]\d?y)$/, "must be a number and d, w, m or y, for example 90d, and at most 99y")
      .optional()
      .describe("How long after packing a bundle may still be imported"),
    audience: z
      .array(name.max(MAX_STREAM_BYTES))
      .min(1)
      .max(64)
      .refine((it) => new Set(it).size === it.length, "must not name a site twice")
      .optional()
      .describe("The sites that bundles are made for; others may refuse them (docs/format.md, Trust root)"),
    isos: z.array(isos).optional(),
    rpms: z.array(rpms).optional(),
    files: z.array(files).optional(),
    images: z.array(images).optional(),
    web: z.array(web).optional(),
    builder: builder.optional(),
    vendor: vendor.optional(),
    hosts: z
      .record(z.string().regex(/^[^\s/@?#]+$/, "must be a host, or host:port"), credentials)
      .optional()
      .describe("Credentials by host or host:port; never sent to another origin"),
  })
  .describe("airferry manifest: what to carry across the gap");

export type Manifest = z.infer<typeof manifestSchema>;
export type IsoEntry = z.infer<typeof isos>;
export type FileEntry = z.infer<typeof files>;
export type RpmEntry = z.infer<typeof rpms>;
export type ImageEntry = z.infer<typeof images>;
export type WebEntry = z.infer<typeof web>;
export type VendorEntry = z.infer<typeof vendor>;
export type ChecksumsEntry = z.infer<typeof checksums>;
export type HostCredentials = z.infer<typeof credentials>;

/** Returns the JSON Schema that editors complete manifests with (draft 2020-12), as an object. */
export function manifestJsonSchema(): object {
  const schema = z.toJSONSchema(manifestSchema, { io: "input" });
  return { ...schema, title: "airferry manifest", $id: "https://airferry.dev/schema/v1/manifest.json" };
}
