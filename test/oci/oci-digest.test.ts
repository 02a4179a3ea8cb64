/** Digests of registries, and the tags that are made of them. */
import t from "tap";
import { blobPath, isDigestTag, isOciDigest } from "../../src/oci/oci-digest.ts";

const hex = "ab".repeat(32);

t.test("isOciDigest() takes SHA-256 and SHA-512 in lower case", async (t) => {
  for (const it of [`sha256:${hex}`, `sha512:${hex}${hex}`]) t.ok(isOciDigest(it), it);
  for (const it of [
    hex,
    `sha256:${hex}00`,
    `sha512:${hex}`,
    `sha256:${hex.toUpperCase()}`,
    `sha384:${hex}`,
    "",
    7,
    null,
  ])
    t.notOk(isOciDigest(it), String(it));
  t.equal(blobPath(`sha256:${hex}`), `images/blobs/sha256/${hex}`);
});

t.test("isDigestTag() knows the tags that say what a manifest is about", async (t) => {
  // A digest of SHA-512 is cut to as many digits: a tag has at most 128 characters.
  for (const it of [`sha256-${hex}`, `sha512-${hex}`, `sha256-${hex}.sig`, `sha256-${hex}.sbom`])
    t.ok(isDigestTag(it), it);
  for (const it of ["1.27", `sha256:${hex}`, `sha256-${hex.slice(1)}`, `sha256-${hex}.1`, `x-sha256-${hex}`, ""])
    t.notOk(isDigestTag(it), it);
});
