/** Suggests what an unknown key may mean: the nearest key in its place, or the place where it belongs. */
import { closestWord, didYouMean } from "../io/closest-word.ts";
import { manifestJsonSchema } from "./schema.ts";

interface Node {
  properties?: Record<string, Node>;
  items?: Node;
  anyOf?: Node[];
  additionalProperties?: Node | boolean;
}

let schema: Node | undefined;

/** Describes an unknown key, with a suggestion. `path` is its place, without the key. */
export function unknownKey(key: string, path: readonly PropertyKey[]): string {
  schema ??= manifestJsonSchema() as Node;
  const here = Object.keys(nodeAt(schema, path)?.properties ?? {}).filter((it) => it !== "$schema");
  const near = closestWord(key, here) ?? here.find((it) => isSameKey(it, key));
  if (near !== undefined) return `unknown key${didYouMean(near)}`;
  const elsewhere = placesOf(schema, key);
  if (elsewhere.length > 0) return `unknown key here; it belongs to ${elsewhere.slice(0, 3).join(" and ")}`;
  return `unknown key: expected one of ${here.join(", ")}`;
}

function nodeAt(root: Node, path: readonly PropertyKey[]): Node | undefined {
  let node: Node | undefined = root;
  for (const key of path) {
    const other: Node | undefined =
      typeof node?.additionalProperties === "object" ? node.additionalProperties : undefined;
    node = typeof key === "number" ? node?.items : (node?.properties?.[String(key)] ?? other);
    // Of what may be text or a mapping, the mapping has keys.
    node = node?.anyOf?.find((it) => it.properties !== undefined) ?? node;
  }
  return node;
}

/** Names of the places that have a key, the manifest itself first. */
function placesOf(node: Node, key: string, place = ""): string[] {
  const own = node.properties !== undefined && Object.hasOwn(node.properties, key);
  const found = own ? [place === "" ? "the manifest itself" : place] : [];
  for (const [name, child] of Object.entries(node.properties ?? {}))
    found.push(...placesOf(child, key, place === "" ? `${name}:` : `${place}${name}:`));
  if (node.items !== undefined) found.push(...placesOf(node.items, key, place));
  if (typeof node.additionalProperties === "object") found.push(...placesOf(node.additionalProperties, key, place));
  return found;
}

/** `repoGpgcheck`, `repo-gpgcheck` and `packagess` are `repo_gpgcheck` and `packages`. */
function isSameKey(a: string, b: string): boolean {
  const plain = (it: string) => it.toLowerCase().replace(/[^a-z0-9]|s$/g, "");
  return plain(a) === plain(b);
}
