/**
 * The OpenAPI 3.1 document of what the server answers. test/server/pages/openapi.test.ts validates it and asks for each
 * path in it.
 * @see OpenAPI Specification 3.1.1
 */
import { VERSION } from "../../version.ts";

const PLAIN = { "text/plain": { schema: { type: "string" } } };
const PAGE = { "text/html": { schema: { type: "string" } } };
const BYTES = { "*/*": { schema: { type: "string", format: "binary" } } };
const schemaOf = (name: string) => ({ "application/json": { schema: { $ref: `#/components/schemas/${name}` } } });
const parameterOf = (name: string) => ({ $ref: `#/components/parameters/${name}` });

const notFound = { $ref: "#/components/responses/NotFound" };

/** A GET, and the HEAD that has the same answer without its body. */
function get(
  operationId: string,
  summary: string,
  content: object,
  more: { parameters?: object[]; responses?: object } = {},
) {
  const { parameters = [], responses = {} } = more;
  const operation = { summary, parameters, responses: { 200: { description: "It is here.", content }, ...responses } };
  return {
    get: { operationId, ...operation },
    head: {
      operationId: `${operationId}Head`,
      ...operation,
      responses: { ...operation.responses, 200: { description: "It is here." } },
    },
  };
}

/** Content that was packed: with ranges, and validators made of its digest. */
function blob(operationId: string, summary: string, names: readonly string[]) {
  const headers = [parameterOf("Range"), parameterOf("IfNoneMatch")];
  const responses = {
    206: { description: "The ranges that were asked for.", content: BYTES },
    304: { description: "It has the digest of If-None-Match." },
    404: notFound,
    416: { description: "No such range; Content-Range gives the size." },
  };
  return get(operationId, summary, BYTES, { parameters: [...names.map(parameterOf), ...headers], responses });
}

const text = { type: "string" };
const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const path = { type: "string", pattern: "^/", description: "URL path below the server's address, percent-encoded." };
const bytes = { type: "integer", minimum: 0, description: "Bytes." };
const time = { type: "string", format: "date-time" };
const flag = { type: "boolean" };
const list = (items: object) => ({ type: "array", items });
/** An object that may have further keys: they may be added. */
function object(required: Record<string, object>, optional: Record<string, object> = {}) {
  return { type: "object", required: Object.keys(required), properties: { ...required, ...optional } };
}
const file = { stream: text, path, size: bytes, digest };

const schemas = {
  Index: object({
    mediaType: { const: "application/vnd.airferry.index.v1+json" },
    releases: list(
      object(
        {
          stream: text,
          serial: { type: "integer" },
          digest,
          created: time,
          importedAt: time,
          signers: list(text),
          entries: { type: "integer" },
          path,
        },
        { notAfter: time, sources: { type: "integer" }, firstSight: { type: "integer" } },
      ),
    ),
    isos: list(object({ ...file, name: text, installable: flag }, { tree: path })),
    repositories: list(
      object(
        { stream: text, id: text, path, gpgcheck: flag, repoGpgcheck: flag, keys: list(path) },
        { iso: text, packages: { type: "integer" } },
      ),
    ),
    files: list(object(file)),
    images: list(
      object(
        { stream: text, reference: text, repository: text, digest, mediaType: text, platforms: list(text) },
        {
          tag: text,
          tags: { type: "object", additionalProperties: digest },
          packedTag: text,
          signedBy: list(text),
          attached: { type: "integer" },
          established: text,
        },
      ),
    ),
    keys: list(object({ ...file, fingerprints: list(text) })),
    builders: list(object({ stream: text, flavor: text }, { version: text })),
  }),
  Packages: object(
    {
      query: text,
      total: { type: "integer", description: "How many were found; at most a thousand are looked for." },
      more: { type: "boolean", description: "There are more than `total`." },
      page: { type: "integer", minimum: 1 },
      pages: { type: "integer", minimum: 1 },
      repositories: list(object({ stream: text, path: text, packages: { type: "integer" } })),
      packages: list(
        object(
          { name: text, version: text, arch: text, summary: text, stream: text, repository: text },
          { path, size: bytes },
        ),
      ),
    },
    { repository: text },
  ),
  RegistryErrors: object({ errors: list(object({ code: text }, { message: text, detail: {} })) }),
  Tags: object({ name: text, tags: list(text) }),
  Catalog: object({ repositories: list(text) }),
};

const query = (name: string, description: string, schema: object = text) => ({
  name,
  in: "query",
  required: false,
  description,
  schema,
});
const inPath = (name: string, description: string) => ({ name, in: "path", required: true, description, schema: text });

const parameters = {
  stream: inPath("stream", "Name of a stream."),
  path: inPath("path", "May contain slashes."),
  iso: inPath("iso", "Name of an ISO, without `.iso`."),
  name: inPath("name", "May contain slashes: the name of a repository, with the host that it was packed from."),
  reference: inPath("reference", "A tag or a digest."),
  digest: inPath("digest", "`sha256:` and 64 hexadecimal digits."),
  release: inPath("release", "Serial in six digits, after `eN-` once the epoch was raised."),
  host: inPath("host", "Host of the registry that images were packed from."),
  q: query("q", "Words, all of which must be in name, version and summary, or in what the package provides."),
  repo: query("repo", "Path of the one repository to look in."),
  page: query("page", "From 1.", { type: "integer", minimum: 1 }),
  from: query("from", "Name of the release to compare with; without it the one before."),
  Range: { name: "Range", in: "header", required: false, schema: text, description: "One or several ranges of bytes." },
  IfNoneMatch: { name: "If-None-Match", in: "header", required: false, schema: text, description: "An ETag." },
};

const registryNotFound = { description: "It is not here; the code says what.", content: schemaOf("RegistryErrors") };
const malformed = { description: "Not a digest, tag or name.", content: schemaOf("RegistryErrors") };
const login = { description: "A login is required, with `--htpasswd`.", content: schemaOf("RegistryErrors") };
const registry = (operationId: string, summary: string, content: object, names: readonly string[]) =>
  get(operationId, summary, content, {
    parameters: names.map(parameterOf),
    responses: { 400: malformed, 401: login, 404: registryNotFound },
  });
const busy = {
  description: "Too many searches at once, or the list is being prepared; Retry-After says when to ask again.",
  content: PLAIN,
};
const searched = { parameters: ["q", "repo", "page"].map(parameterOf), responses: { 404: notFound, 503: busy } };
const ofStream = { parameters: [parameterOf("stream")], responses: { 404: notFound } };

/** Plain data. */
export const OPENAPI = {
  openapi: "3.1.1",
  info: {
    title: "airferry serve",
    version: VERSION,
    description:
      "What a server of carried content answers: GET and HEAD only, read-only. Every path exists below `/s/STREAM/` too, " +
      "for one stream alone. docs/serve.md is its prose.",
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  },
  servers: [{ url: "/" }],
  paths: {
    "/": get("overview", "A page: what is here, from whom, how to use it", PAGE),
    "/s/{stream}/": get("streamOverview", "The same of one stream", PAGE, ofStream),
    "/index.json": get("index", "What is here, for programs", schemaOf("Index")),
    "/s/{stream}/index.json": get("streamIndex", "The same of one stream", schemaOf("Index"), ofStream),
    "/packages": get("packagesPage", "A page: search and lists of packages", PAGE, searched),
    "/packages.json": get("packages", "Search and lists of packages, for programs", schemaOf("Packages"), searched),
    "/registry": get("imagesPage", "A page: all images, with their tags and commands", PAGE, {
      parameters: [parameterOf("page")],
    }),
    "/releases/": get("historyPage", "A page: the releases of each stream", PAGE),
    "/s/{stream}/releases/": get("streamHistoryPage", "The same of one stream", PAGE, ofStream),
    "/s/{stream}/releases/{release}": get("releasePage", "A page: one release, and what changed since another", PAGE, {
      parameters: ["stream", "release", "from"].map(parameterOf),
      responses: { 404: notFound, 503: busy },
    }),
    "/s/{stream}/BOM.html": get("billPage", "A page: the bill of materials, as it was signed", PAGE, ofStream),
    "/s/{stream}/BOM.cdx.json": get("bill", "The bill of materials, CycloneDX", { "application/json": {} }, ofStream),
    "/isos/": get("isosPage", "A page: all ISOs", PAGE, { responses: { 404: notFound } }),
    "/isos/{iso}.iso": blob("iso", "An ISO", ["iso"]),
    "/isos/{iso}/{path}": blob("isoMember", "A file inside an ISO, read in place", ["iso", "path"]),
    "/files/{path}": blob("file", "A file, or with `.sha256` or `.sha256sum` after its name its digest", ["path"]),
    "/rpms/{path}": blob("repositoryFile", "A file of an RPM repository", ["path"]),
    "/rpmrepo/{path}": blob("mergedRepositoryFile", "A file of the merged repository", ["path"]),
    "/images/{path}": blob("layoutFile", "A file of the OCI layout, for static use", ["path"]),
    "/web/{path}": blob("webBody", "The body of an answer of a web server; `/web/index.json` lists the answers", [
      "path",
    ]),
    "/keys/{path}": blob("key", "A public key", ["path"]),
    "/s/{stream}/{path}": blob("streamFile", "Any of these paths in one stream alone", ["stream", "path"]),
    "/config/": get("configPage", "A page: rendered configuration", PAGE),
    "/config/{path}": get(
      "config",
      "Configuration, rendered for the address that the client used",
      { ...PLAIN, "application/json": {} },
      {
        parameters: [parameterOf("path")],
        responses: { 404: notFound },
      },
    ),
    "/ca.crt": blob("certificateAuthority", "The server's own CA, with `--tls auto`", []),
    "/v2/": get(
      "registry",
      "Whether this is a registry",
      { "application/json": { schema: object({}) } },
      { responses: { 401: login } },
    ),
    "/v2/_catalog": registry("catalog", "Repositories of the registry", schemaOf("Catalog"), []),
    "/v2/{name}/tags/list": registry("tags", "Tags of a repository", schemaOf("Tags"), ["name"]),
    "/v2/{name}/manifests/{reference}": registry("manifest", "A manifest", BYTES, ["name", "reference"]),
    "/v2/{name}/blobs/{digest}": registry("blob", "A blob", BYTES, ["name", "digest"]),
    "/v2/{name}/referrers/{digest}": get(
      "referrers",
      "Manifests that refer to one: signatures, attestations, SBOMs; an empty list for none",
      { "application/vnd.oci.image.index.v1+json": { schema: object({}) } },
      { parameters: ["name", "digest"].map(parameterOf), responses: { 400: malformed, 401: login } },
    ),
    "/ns/{host}/v2/": get(
      "registryOfHost",
      "The registry as one host has it: all paths below `/v2/` are here too",
      { "application/json": { schema: object({}) } },
      {
        parameters: [parameterOf("host")],
        responses: { 401: login },
      },
    ),
    "/openapi.json": get("openapi", "This document", { "application/json": { schema: object({}) } }),
    "/healthz": get("health", "Whether the server answers, and its bucket, if it has one", {
      ...PLAIN,
      "application/json": { schema: object({}) },
    }),
    "/metrics": get("metrics", "Prometheus text", PLAIN),
  },
  components: {
    schemas,
    parameters,
    responses: {
      NotFound: {
        description: "It is not here. The text says what to try; browsers get a page.",
        content: { ...PLAIN, ...PAGE },
      },
    },
  },
};
