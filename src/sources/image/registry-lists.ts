/** Lists that registries return: of tags, and of manifests. See OCI distribution-spec v1.1, "Content Discovery". */
import { parseJson } from "../../io/json.ts";
import { isTag } from "../../oci/reference.ts";

/** Removes entries from a list whose digests are well-formed but use an algorithm other than those of `OciDigest`. */
export function withoutForeignDigests(bytes: Buffer): { known: Buffer; left: string[] } {
  const foreign = /^(?!sha256:|sha512:)[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/;
  const left: string[] = [];
  let list: { manifests?: unknown } | null;
  try {
    list = parseJson(bytes.toString("utf8")) as typeof list;
  } catch {
    return { known: bytes, left };
  }
  if (!Array.isArray(list?.manifests)) return { known: bytes, left };
  const manifests = list.manifests.filter((it: { digest?: unknown } | null) => {
    const isForeign = typeof it?.digest === "string" && foreign.test(it.digest);
    if (isForeign) left.push((it.digest as string).slice(0, 200));
    return !isForeign;
  });
  return left.length === 0
    ? { known: bytes, left }
    : { known: Buffer.from(JSON.stringify({ ...list, manifests })), left };
}

/** The tags of one page; undefined for a page that is not such a list. Invalid names are dropped. */
export function tagsIn(bytes: Buffer): (string | undefined)[] {
  let list: { tags?: unknown } | null;
  try {
    list = parseJson(bytes.toString("utf8")) as typeof list;
  } catch {
    return [undefined];
  }
  // A repository without tags says null.
  if (list?.tags === null) return [];
  if (!Array.isArray(list?.tags)) return [undefined];
  return list.tags.filter((it): it is string => typeof it === "string" && isTag(it));
}
