/**
 * `/index.json`: what this server has, for programs. One document for each view and stream, generated once. Every path
 * in it is a URL path below the server's address, so the document is the same for all clients. docs/serve.md, "Index",
 * is its prose.
 */
import { type Digest, digestOf } from "../../io/digest.ts";
import { isInstallable } from "../../iso/install-tree.ts";
import { parseReference, servedRepository } from "../../oci/reference.ts";
import { packedTag } from "../../oci/short-index.ts";
import { repositoriesOf, treeUrl } from "../../render/rpm-repositories.ts";
import type { RenderInput, RenderRelease } from "../../render/types.ts";
import { builderOf, encodeUrlPath, rootFor } from "../../render/view.ts";
import type { Release } from "../../store/types.ts";
import { sendBlob } from "../http/blob.ts";
import type { Mount } from "../http/context.ts";
import { sendNotFound } from "../http/text-responses.ts";
import { renderInput } from "./config.ts";
import type { PageState } from "./pages-state.ts";
import { pinsOf } from "./pin-counts.ts";

const INDEX_MEDIA_TYPE = "application/vnd.airferry.index.v1+json";

/** Something served under its own path. */
interface IndexedFile {
  stream: string;
  /** URL path below the server's address, percent-encoded; begins with `/`. */
  path: string;
  /** Bytes. */
  size: number;
  digest: Digest;
}

interface IndexedIso extends IndexedFile {
  name: string;
  /** Where the files inside are; ends in `/`. Absent when the image's content is unreadable. */
  tree?: string;
  /** An installer can use `tree` as `inst.repo`: stage 2 and packages are in it. */
  installable: boolean;
}

interface IndexedRepository {
  stream: string;
  /** As in `airferry.repo`. */
  id: string;
  /** Ends in `/`; `repodata/repomd.xml` is below it. */
  path: string;
  /** Name of the ISO that contains it. */
  iso?: string;
  gpgcheck: boolean;
  /** `repodata/repomd.xml.asc` exists, by one of `keys`. */
  repoGpgcheck: boolean;
  /** URL paths of the OpenPGP keys. */
  keys: string[];
  /** How many; absent for those inside ISOs. */
  packages?: number;
}

interface IndexedImage {
  stream: string;
  /** As it was packed: `registry.k8s.io/pause:3.9`. */
  reference: string;
  /** Name below `/v2/`. */
  repository: string;
  tag?: string;
  digest: Digest;
  /** Further tags of its repository, such as signatures. */
  tags?: Record<string, Digest>;
  mediaType: string;
  /** Platforms whose layers are available; empty: all, or not an image. */
  platforms: string[];
  /** The tag of an index that has these platforms alone. */
  packedTag?: string;
  /** keyids of the cosign keys that signed it, as checked when it was packed. */
  signedBy?: string[];
  /** Carried manifests that refer to it: signatures, attestations, SBOMs. */
  attached?: number;
  /** How its digest was established. */
  established?: string;
}

interface IndexedKey extends IndexedFile {
  fingerprints: string[];
}

/** A builder of a release. */
interface IndexedBuilder {
  stream: string;
  flavor: "spectro-capi" | "image-builder";
  version?: string;
}

export interface IndexDocument {
  mediaType: typeof INDEX_MEDIA_TYPE;
  releases: {
    stream: string;
    serial: number;
    digest: Digest;
    /** RFC 3339: when it was packed, expires, and was unpacked here. */
    created: string;
    notAfter?: string;
    importedAt: string;
    /** keyids of the trusted keys that signed it. */
    signers: string[];
    entries: number;
    /** Sources of its content, and how many of them were pinned on first sight. */
    sources: number;
    firstSight: number;
    /** The same tree for only this stream. */
    path: string;
  }[];
  isos: IndexedIso[];
  repositories: IndexedRepository[];
  files: IndexedFile[];
  images: IndexedImage[];
  keys: IndexedKey[];
  builders: IndexedBuilder[];
}

/** Serves the index, of all streams or of one. */
export function indexDocument(state: PageState): Mount {
  return {
    prefix: "/index.json",
    async handle(request, context) {
      if (request.path !== "/index.json") return false;
      const view = await context.view();
      const { stream } = request;
      if (stream !== undefined && !view.releases.some((it) => it.stream === stream)) {
        sendNotFound(request, [`the streams here are: ${view.releases.map((it) => it.stream).join(", ")}`]);
        return true;
      }
      const key = JSON.stringify(["index", stream]);
      let bytes = state.pages.known(view, key);
      if (bytes === undefined) {
        const input = { ...(await renderInput(request, context, state)), releases: view.releases };
        bytes = state.pages.document(view, key, () => formatIndex(view.releases, input));
      }
      await sendBlob(request, {
        bytes,
        size: bytes.length,
        digest: digestOf(bytes),
        contentType: "application/json",
      });
      return true;
    },
  };
}

/** Where the files go: the document has no other line like it. */
const NO_FILES = '\n "files": [],\n';
/** What a file takes at most besides its path and stream: names, digest and size. */
const FILE_BYTES = 250;
/** Of a byte of a path that is percent-encoded. */
const ENCODED_BYTES = 3;

/**
 * Formats the document. `input` selects the stream and has the trees of the ISOs; its address is ignored. The files may
 * be hundreds of thousands, and become text one after the other.
 */
export function formatIndex(releases: readonly Release[], input: RenderInput): Buffer {
  const text = `${JSON.stringify(indexOf(releases, input), null, 1)}\n`;
  const at = text.indexOf(NO_FILES);
  const most = Buffer.byteLength(text) + mostBytes(releases);
  // What nothing is written to takes no memory.
  const buffer = Buffer.allocUnsafeSlow(most);
  let end = buffer.write(`${text.slice(0, at)}\n "files": [`);
  let count = 0;
  for (const it of filesOf(releases, input)) {
    const item = JSON.stringify(it, null, 1).replaceAll("\n", "\n  ");
    end += buffer.write(`${count++ === 0 ? "" : ","}\n  ${item}`, end);
  }
  end += buffer.write(`${count === 0 ? "" : "\n "}],\n${text.slice(at + NO_FILES.length)}`, end);
  return buffer.subarray(0, end);
}

function mostBytes(releases: readonly Release[]): number {
  let bytes = 0;
  // The stream is in the path too, if others have other content there.
  for (const { stream, inventory } of releases)
    for (const { path } of inventory.catalog.files)
      bytes += ENCODED_BYTES * Buffer.byteLength(path) + 2 * Buffer.byteLength(stream) + FILE_BYTES;
  return bytes;
}

function* filesOf(releases: readonly Release[], input: RenderInput): Generator<IndexedFile> {
  const below: RenderInput = { ...input, baseUrl: "" };
  for (const release of releases) {
    if (input.stream !== undefined && release.stream !== input.stream) continue;
    for (const { path } of release.inventory.catalog.files) yield* fileOf(release, path, below);
  }
}

function fileOf(release: Release, path: string, input: RenderInput): IndexedFile[] {
  const entry = release.entries.get(path);
  if (entry === undefined) return [];
  const at = `${rootFor(input, release, path)}/${encodeUrlPath(path)}`;
  return [{ stream: release.stream, path: at, size: entry.size, digest: entry.digest }];
}

/** The document without the files. */
function indexOf(releases: readonly Release[], input: RenderInput): IndexDocument {
  const below: RenderInput = { ...input, baseUrl: "" };
  const chosen = releases.filter((it) => input.stream === undefined || it.stream === input.stream);
  const file = (release: Release, path: string) => fileOf(release, path, below);
  const each = <T>(one: (release: Release) => T[]): T[] => chosen.flatMap(one);
  return {
    mediaType: INDEX_MEDIA_TYPE,
    releases: chosen.map(({ stream, serial, digest, importedAt, signers, inventory }) => ({
      stream,
      serial,
      digest,
      created: inventory.created,
      ...(inventory.notAfter !== undefined && { notAfter: inventory.notAfter }),
      importedAt,
      signers,
      entries: inventory.entries.length,
      ...pinsOf(inventory),
      path: `/s/${encodeURIComponent(stream)}/`,
    })),
    isos: each((release) =>
      release.inventory.catalog.isos.flatMap(({ name, path }) =>
        file(release, path).map((it) => {
          const inside = input.trees.get(it.digest);
          const tree = inside && treeUrl(below, name, release);
          return {
            ...it,
            name,
            ...(tree !== undefined && { tree }),
            installable: inside !== undefined && isInstallable(inside),
          };
        }),
      ),
    ),
    repositories: repositoriesOf(below).map(({ release, id, url, iso, prefix, gpgcheck, repoGpgcheck, keys }) => ({
      stream: release.stream,
      id,
      path: url,
      ...(iso !== undefined && { iso: iso.name }),
      gpgcheck,
      repoGpgcheck,
      keys,
      ...packagesOf(release, prefix),
    })),
    files: [],
    images: each((release) => release.inventory.catalog.images.map((it) => imageOf(release.stream, it))),
    keys: each((release) =>
      release.inventory.catalog.keys.flatMap(({ path, fingerprints }) =>
        file(release, path).map((it) => ({ ...it, fingerprints })),
      ),
    ),
    builders: each((release) => {
      const builder = builderOf(release);
      if (builder === undefined) return [];
      const { flavor, version } = builder;
      return [{ stream: release.stream, flavor, ...(version !== undefined && { version }) }];
    }),
  };
}

function packagesOf({ inventory }: RenderRelease, prefix: string | undefined): { packages?: number } {
  const packages = inventory.catalog.rpms.find((it) => it.path === prefix)?.packages;
  return packages === undefined ? {} : { packages };
}

function imageOf(stream: string, image: Release["inventory"]["catalog"]["images"][number]): IndexedImage {
  const { reference, digest, mediaType, platforms, tags, signedBy, attached, established } = image;
  const parsed = parseReference(reference);
  const short = packedTag(image);
  return {
    stream,
    reference,
    repository: servedRepository(parsed),
    ...(parsed.tag !== undefined && { tag: parsed.tag }),
    digest,
    ...(tags !== undefined && { tags }),
    mediaType,
    platforms,
    ...(short !== undefined && { packedTag: short }),
    ...(signedBy !== undefined && { signedBy }),
    ...(attached !== undefined && { attached }),
    ...(established !== undefined && { established }),
  };
}
