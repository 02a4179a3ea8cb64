/** Media types of images and artifacts, and their meaning. See OCI image-spec v1.1, media-types.md. */

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
/** Retired before v1.1, still in registries. */
const OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json";

export const SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json";
export const SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";

/** The Accept header; always complete, since registries convert or refuse otherwise. */
export const ACCEPT_MANIFESTS = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT].join(", ");

export function isIndexType(mediaType: string): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_LIST;
}

export function isManifestType(mediaType: string): boolean {
  return isIndexType(mediaType) || [OCI_MANIFEST, DOCKER_MANIFEST, OCI_ARTIFACT].includes(mediaType);
}

/** Docker's schema 1, signed or not: not content-addressed, so it cannot be mirrored. */
export function isSchema1Type(mediaType: string): boolean {
  return /^application\/vnd\.docker\.distribution\.manifest\.v1\+(json|prettyjws)$/.test(mediaType);
}

/** Image configs, with operating system and layers; configs of other artifacts are opaque. */
export function isImageConfigType(mediaType: string): boolean {
  return mediaType === OCI_CONFIG || mediaType === DOCKER_CONFIG;
}

/** Foreign layers, which registries may not store: optionally fetched from the URLs in the descriptor. */
export function isForeignLayerType(mediaType: string): boolean {
  return (
    mediaType.startsWith("application/vnd.oci.image.layer.nondistributable.v1.") ||
    mediaType.startsWith("application/vnd.docker.image.rootfs.foreign.diff.")
  );
}

/** Returns whether a media type is an image layer: a tar file, compressed or not, foreign ones included. */
export function isImageLayerType(mediaType: string): boolean {
  return /^application\/vnd\.(?:oci\.image\.layer\.|docker\.image\.rootfs\.|docker\.container\.image\.rootfs)/.test(
    mediaType,
  );
}
