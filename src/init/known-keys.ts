/** What a document of another tool has beyond what is read of it: keys that are not known, and lists that are none. */
import { type FoundContent, skip } from "./found.ts";
import type { YamlNode } from "./yaml-node.ts";

/** Members of the list at `key`; something else in its place is listed. */
export function listAt(node: YamlNode, key: string, found: FoundContent): YamlNode[] {
  const list = node.get(key);
  if (list.exists() && !list.isList()) skip(found, list.line, key, "expected a list: it is not read");
  return list.items();
}

/**
 * Lists keys that are not known, unless they are empty or `false`: what they bring is unknown.
 * @param known their names, separated by spaces
 */
export function listUnknownKeys(node: YamlNode, known: string, what: string, found: FoundContent): void {
  const names = new Set(known.split(" "));
  for (const [key, value] of node.fields()) {
    const isSet = value.exists() && value.text() !== "false" && value.text() !== "" && !value.isEmpty();
    if (isSet && !names.has(key))
      skip(found, value.line, `${what} ${key}`, "not read: airferry does not know this key");
  }
}
