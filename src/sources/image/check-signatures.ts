/**
 * Checks at lock and at pack that an image is signed by one of the keys that the manifest names, from what the lock
 * stores.
 */
import { isAbsolute, resolve } from "node:path";
import { AirferryError, EXIT, exitStatusOf } from "../../errors.ts";
import type { Fetcher } from "../../fetch/types.ts";
import { BY_USER } from "../../http/named.ts";
import { plural } from "../../io/format.ts";
import type { ImageEntry } from "../../manifest/schema.ts";
import { COSIGN_SIGNATURE_ANNOTATION, type CosignSignature, checkCosignSignature } from "../../oci/cosign.ts";
import { type ImageManifest, parseImageManifest } from "../../oci/image-manifest.ts";
import { SIGSTORE_BUNDLE, SIMPLE_SIGNING } from "../../oci/media-types.ts";
import { blobPath, type OciDigest } from "../../oci/oci-digest.ts";
import { digestTag } from "../../oci/reference.ts";
import { parsePublicKeys, readTrustedKeys, type TrustedKey } from "../../sign/keys.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import type { LockBlobs } from "../types.ts";
import type { LockedImage } from "./image-detail.ts";

const MAX_KEY_BYTES = 64 * 1024;

/**
 * Reads the cosign public keys of an entry, files relative to the manifest or URLs; undefined when it requires no
 * signature.
 * @throws {AirferryError} ERR_MANIFEST_INVALID for anything else than a key; ERR_UPSTREAM* when one cannot be fetched
 */
export async function readImageKeys(
  { signatures }: Pick<ImageEntry, "signatures">,
  image: string,
  { baseDir, fetcher }: { baseDir: string; fetcher: Fetcher },
): Promise<TrustedKey[] | undefined> {
  if (signatures === undefined) return undefined;
  const keys: TrustedKey[] = [];
  for (const name of signatures.keys) {
    try {
      if (/^https?:\/\//.test(name)) {
        const { bytes } = await fetcher.fetchBytes({ urls: [name], named: BY_USER, maxBytes: MAX_KEY_BYTES });
        keys.push(...parsePublicKeys(bytes, name));
      } else keys.push(...(await readTrustedKeys([isAbsolute(name) ? name : resolve(baseDir, name)])));
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      const isUpstream = exitStatusOf(error) === EXIT.upstream;
      throw new AirferryError(
        isUpstream ? error.code : "ERR_MANIFEST_INVALID",
        `cannot check signatures of image "${image}": ${error.message}`,
        {
          path: name,
          hint: isUpstream
            ? error.hint
            : "signatures.keys: expects public keys as cosign writes them: cosign public-key --key cosign.key > cosign.pub",
          cause: error.cause,
        },
      );
    }
  }
  return keys;
}

/**
 * Returns the keyids that signed the image.
 * @throws {AirferryError} ERR_UPSTREAM_SIGNATURE when none of the keys did, with what was found instead
 */
export async function verifyImageSignatures(
  image: LockedImage,
  artifacts: readonly LockedArtifact[],
  keys: readonly TrustedKey[],
  kept: LockBlobs,
): Promise<string[]> {
  const keptOf = new Map(artifacts.flatMap((it) => (it.kept === undefined ? [] : [[it.path, it.kept] as const])));
  const bytesOf = async (digest: OciDigest) => {
    const blob = keptOf.get(blobPath(digest));
    return blob && kept.get(blob);
  };
  const signers = new Set<string>();
  const faults: string[] = [];
  const tagged = image.tags[digestTag(image.digest, ".sig")];
  for (const digest of image.manifests) {
    const bytes = await bytesOf(digest);
    if (bytes === undefined) continue;
    const manifest = parseImageManifest(bytes, image.reference);
    if (manifest.subject?.digest !== image.digest && digest !== tagged) continue;
    for (const signature of await signaturesIn(manifest, bytesOf)) {
      const result = checkCosignSignature(signature, image.digest, keys);
      if ("key" in result) signers.add(result.key.keyid);
      else faults.push(result.fault);
    }
  }
  if (signers.size > 0) return [...signers].sort();
  const found =
    faults.length === 0
      ? "it is not signed"
      : `${plural(faults.length, "signature")} found, none counts: ${[...new Set(faults)].join("; ")}`;
  throw new AirferryError(
    "ERR_UPSTREAM_SIGNATURE",
    `cannot use image "${image.reference}" (${image.digest}): ${found}: expected a cosign signature by ${keys.map((key) => key.file).join(" or ")}`,
    {
      path: image.reference,
      hint: "check with cosign verify --key; if the signer changed, correct signatures: in the manifest",
    },
  );
}

async function signaturesIn(
  manifest: ImageManifest,
  bytesOf: (digest: OciDigest) => Promise<Buffer | undefined>,
): Promise<CosignSignature[]> {
  const found: CosignSignature[] = [];
  for (const layer of manifest.layers) {
    const bytes = await bytesOf(layer.digest);
    if (bytes === undefined) continue;
    const signature = layer.annotations?.[COSIGN_SIGNATURE_ANNOTATION];
    if (layer.mediaType === SIGSTORE_BUNDLE) found.push({ form: "bundle", bytes });
    else if (layer.mediaType === SIMPLE_SIGNING && signature !== undefined)
      found.push({ form: "simple", payload: bytes, signature });
  }
  return found;
}
