/**
 * The hybrid image archive: an OCI layout that is also a docker-archive, as current docker writes it. docker (both
 * stores), podman, containerd and skopeo load it, and preserve the digest where they can. Written in one stream.
 */
import { once } from "node:events";
import type { Stats } from "node:fs";
import { PassThrough, type Readable } from "node:stream";
import { TarArchive } from "archiver";
import { AirferryError } from "../errors.ts";
import {
  CONTAINERD_NAME,
  formatLayoutIndex,
  OCI_LAYOUT_BYTES,
  OCI_LAYOUT_FILE,
  REF_NAME,
} from "../oci/image-layout.ts";
import type { Descriptor } from "../oci/image-manifest.ts";
import { isImageConfigType } from "../oci/media-types.ts";
import { layoutPath, type OciDigest } from "../oci/oci-digest.ts";
import { formatPlatform, isPlatform, type Platform, parsePlatform } from "../oci/platform.ts";
import { formatReference } from "../oci/reference.ts";
import { type PackedBlob, readPackedBlob } from "../store/packed-blob.ts";
import { blobsOf, isComplete, ownManifests, type PackedImage, type PackedManifest } from "../store/packed-images.ts";

const COPY_BUFFER_BYTES = 4 * 1024 * 1024;
/** The time of every member: the same images give the same bytes. */
const ARCHIVE_TIME = new Date(0);

/** One member: its name, and its bytes or where they are. */
interface Member {
  name: string;
  size: number;
  content: Buffer | PackedBlob;
}

/** A writable archive. */
export interface ImageArchive {
  /** Size of the archive in bytes, within a few KiB. */
  size: number;
  /** Starts writing. The stream fails when a blob of the store is damaged. Read it to its end or destroy it. */
  open(): Readable;
}

/**
 * Lays out an archive of images. Shared blobs are included once.
 * @param platform platform for tools without index support, if several were packed
 * @param sent called with the bytes of blobs as they are written
 * @throws {AirferryError} ERR_NOT_FOUND when an image has nothing for `platform`
 */
export function createImageArchive(
  images: readonly PackedImage[],
  platform?: string,
  sent?: (bytes: number) => void,
): ImageArchive {
  const members = archiveMembers(images, platform);
  return {
    size: members.reduce((sum, it) => sum + 512 + Math.ceil(it.size / 512) * 512, 1024),
    open() {
      const archive = new TarArchive({ highWaterMark: COPY_BUFFER_BYTES });
      const out = new PassThrough({ highWaterMark: COPY_BUFFER_BYTES });
      archive.on("error", (error) => out.destroy(error));
      archive.pipe(out);
      // archiver throws from a timer when it is destroyed while a member is being added: it gets no more and drains.
      out.once("close", () => archive.unpipe(out).resume());
      fill(archive, members, out, sent).catch((error) => out.destroy(error));
      return out;
    },
  };
}

/** Appends the members one after the other, until `out` is closed. */
async function fill(
  archive: TarArchive,
  members: readonly Member[],
  out: Readable,
  sent?: (bytes: number) => void,
): Promise<void> {
  for (const { name, size, content } of members) {
    if (out.destroyed) return;
    const source = Buffer.isBuffer(content) ? content : readPackedBlob(content, sent);
    const giveUp = () => Buffer.isBuffer(source) || source.destroy();
    if (!Buffer.isBuffer(source)) source.on("error", (error) => out.destroy(error));
    out.once("close", giveUp);
    const written = once(archive, "entry");
    archive.append(source, { name, mode: 0o644, date: ARCHIVE_TIME, stats: { size, mode: 0o644 } as Stats });
    // One open file at a time.
    await written;
    out.off("close", giveUp);
  }
  await archive.finalize();
}

function archiveMembers(images: readonly PackedImage[], platform: string | undefined): Member[] {
  const blobs = new Map<OciDigest, Member>();
  const descriptors: Descriptor[] = [];
  const docker: object[] = [];
  for (const image of images) {
    for (const it of ownManifests(image)) {
      blobs.set(it.digest, { name: layoutPath(it.digest), size: it.bytes.length, content: it.bytes });
      for (const { digest } of blobsOf(it)) {
        const blob = image.blob(digest);
        if (blob !== undefined) blobs.set(digest, { name: layoutPath(digest), size: blob.size, content: blob });
      }
    }
    const { reference, root } = image;
    const { tag } = reference;
    descriptors.push({
      mediaType: root.manifest.mediaType,
      digest: root.digest,
      size: root.bytes.length,
      annotations: { [CONTAINERD_NAME]: formatReference(nameOf(image)), ...(tag !== undefined && { [REF_NAME]: tag }) },
    });
    const entry = dockerEntry(image, platform);
    if (entry !== undefined) docker.push(entry);
  }
  const text = (name: string, content: Buffer): Member => ({ name, size: content.length, content });
  return [
    text(OCI_LAYOUT_FILE, OCI_LAYOUT_BYTES),
    text("index.json", formatLayoutIndex(descriptors)),
    ...(docker.length > 0 ? [text("manifest.json", Buffer.from(JSON.stringify(docker)))] : []),
    ...blobs.values(),
  ];
}

/** The name to load under: a tag if there is one, since docker does not accept `name:tag@digest`. */
function nameOf({ reference }: PackedImage): PackedImage["reference"] {
  const { host, path, tag, digest } = reference;
  return tag !== undefined ? { host, path, tag } : { host, path, ...(digest !== undefined && { digest }) };
}

/**
 * The line of docker's manifest.json, which supports one platform of an image; none for anything but container images.
 */
function dockerEntry(image: PackedImage, platform: string | undefined): object | undefined {
  const chosen = choosePlatform(image, platform);
  const config = chosen?.manifest.config;
  if (chosen === undefined || config === undefined || !isImageConfigType(config.mediaType)) return undefined;
  const name = nameOf(image);
  return {
    Config: layoutPath(config.digest),
    RepoTags: name.tag === undefined ? null : [formatReference(name)],
    Layers: chosen.manifest.layers.map((it) => layoutPath(it.digest)),
  };
}

function choosePlatform(image: PackedImage, platform: string | undefined): PackedManifest | undefined {
  const { root } = image;
  if (root.manifest.kind === "manifest") return root;
  const whole = root.manifest.manifests.flatMap((child) => {
    const manifest = image.manifests.get(child.digest);
    const known = child.platform?.os && child.platform.os !== "unknown" ? child.platform : undefined;
    return manifest?.manifest.kind === "manifest" && known && isComplete(image, manifest)
      ? [{ platform: known, manifest }]
      : [];
  });
  if (platform !== undefined) {
    const found = whole.find((it) => isPlatform(it.platform, parsePlatform(platform)));
    if (found === undefined) {
      throw new AirferryError(
        "ERR_NOT_FOUND",
        `cannot export image "${image.catalog.reference}": platform ${platform} was not packed`,
        {
          hint: `packed: ${whole.map((it) => formatPlatform(it.platform)).join(", ") || "none"}`,
        },
      );
    }
    return found.manifest;
  }
  return (whole.find((it) => isPlatform(it.platform, hostPlatform())) ?? whole[0])?.manifest;
}

function hostPlatform(): Platform {
  const architecture = { x64: "amd64", ia32: "386" }[process.arch as string] ?? process.arch;
  return { os: "linux", architecture };
}
