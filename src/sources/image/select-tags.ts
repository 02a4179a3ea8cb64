/**
 * `tags:` of an images entry: which of a repository's tags are selected. See OCI distribution-spec v1.1, "Listing
 * Tags".
 */
import { AirferryError } from "../../errors.ts";
import type { ImageEntry } from "../../manifest/schema.ts";
import { tagsNewestFirst } from "../../oci/tag-order.ts";
import type { RegistryOrigin } from "./registry.ts";

/** More mean that the pattern is too broad. */
const MAX_MATCHING_TAGS = 500;

/**
 * The tags of the origin's repository that `tags:` selects, newest first.
 * @throws {AirferryError} ERR_MANIFEST_INVALID when there is none, or more than 500
 */
export async function pickTags(origin: RegistryOrigin, entry: ImageEntry): Promise<string[]> {
  const { match, newest } = entry.tags ?? {};
  const all = await origin.tags();
  const pattern = match === undefined ? undefined : new RegExp(match);
  const matching = tagsNewestFirst(all.filter((it) => pattern?.test(it) ?? true));
  const picked = newest === undefined ? matching : matching.slice(0, newest);
  if (picked.length === 0) {
    const there = tagsNewestFirst(all).slice(0, 5).join(", ");
    throw refused(entry, `none of its ${all.length} tags matches "${match ?? ""}"`, {
      hint: there === "" ? "the repository has no tags" : `available tags: ${there}${all.length > 5 ? ", …" : ""}`,
    });
  }
  if (picked.length > MAX_MATCHING_TAGS) {
    throw refused(entry, `${picked.length} tags match: expected at most ${MAX_MATCHING_TAGS}`, {
      hint: "limit them: tags: { newest: 10 }, or match fewer",
    });
  }
  return picked;
}

function refused(entry: ImageEntry, fault: string, more: { hint: string }): AirferryError {
  return new AirferryError("ERR_MANIFEST_INVALID", `cannot lock image "${entry.ref}": ${fault}`, {
    path: entry.ref,
    ...more,
  });
}
