/**
 * comps.xml: groups and environments. Read to resolve `@group` and `@^environment`; cut, verbatim, to what a mirror
 * ships, since anaconda treats a missing member as an error.
 */
import { child, childrenOf, childText, readXml, type XmlElement } from "./xml.ts";
import { toUtf8 } from "./xml-encoding.ts";
import { invalidXml } from "./xml-error.ts";

type MemberType = "mandatory" | "default" | "optional" | "conditional";

interface CompsGroup {
  id: string;
  name: string;
  members: { name: string; type: MemberType; requires?: string }[];
}

interface CompsEnvironment {
  id: string;
  name: string;
  groups: string[];
}

export interface Comps {
  groups: CompsGroup[];
  environments: CompsEnvironment[];
}

/** @throws {AirferryError} ERR_UPSTREAM_INVALID */
export async function readComps(bytes: Uint8Array, name: string): Promise<Comps> {
  const root = await readXml(bytes, name);
  if (root.name !== "comps") throw invalidXml(name, `expected <comps>, got <${root.name}>`);
  return {
    groups: childrenOf(root, "group").map((group) => ({
      id: childText(group, "id") ?? "",
      name: plainName(group),
      members: membersOf(group).map((it) => ({
        name: it.text.trim(),
        type: (it.attributes.type as MemberType | undefined) ?? "mandatory",
        ...(it.attributes.requires !== undefined && { requires: it.attributes.requires }),
      })),
    })),
    environments: childrenOf(root, "environment").map((it) => ({
      id: childText(it, "id") ?? "",
      name: plainName(it),
      groups: groupIdsOf(child(it, "grouplist")).map((id) => id.text.trim()),
    })),
  };
}

/** The untranslated name. */
function plainName(element: XmlElement): string {
  return (
    childrenOf(element, "name")
      .find((it) => it.attributes["xml:lang"] === undefined)
      ?.text.trim() ?? ""
  );
}

function membersOf(group: XmlElement): XmlElement[] {
  return childrenOf(group, "packagelist").flatMap((list) => childrenOf(list, "packagereq"));
}

function groupIdsOf(list: XmlElement | undefined): XmlElement[] {
  return childrenOf(list, "groupid");
}

/**
 * Finds a group by id or name; a group in several repositories is the union of all. Undefined when no repository has
 * it.
 */
export function findGroup(all: readonly Comps[], wanted: string): CompsGroup["members"] | undefined {
  const found = all.flatMap((it) => it.groups).filter((it) => it.id === wanted || it.name === wanted);
  return found.length === 0 ? undefined : found.flatMap((it) => it.members);
}

/** Group ids that an environment (by id or name) always installs. */
export function findEnvironment(all: readonly Comps[], wanted: string): string[] | undefined {
  const found = all.flatMap((it) => it.environments).filter((it) => it.id === wanted || it.name === wanted);
  return found.length === 0 ? undefined : [...new Set(found.flatMap((it) => it.groups))];
}

/** The document without members that are not shipped, groups that lose all of theirs, and mentions of such groups. */
export async function cutComps(
  upstream: Buffer,
  name: string,
  ships: (packageName: string) => boolean,
): Promise<Buffer> {
  const bytes = toUtf8(upstream, name);
  const root = await readXml(bytes, name);
  const cuts: XmlElement[] = [];
  const gone = new Set<string>();
  for (const group of childrenOf(root, "group")) {
    const members = membersOf(group);
    const missing = members.filter((it) => !ships(it.text.trim()));
    if (members.length > 0 && missing.length === members.length) {
      cuts.push(group);
      gone.add(childText(group, "id") ?? "");
    } else for (const it of missing) cuts.push(it);
  }
  for (const owner of root.children.filter((it) => it.name === "environment" || it.name === "category")) {
    const lists = [child(owner, "grouplist"), child(owner, "optionlist")];
    const ids = lists.flatMap(groupIdsOf);
    const missing = ids.filter((it) => gone.has(it.text.trim()));
    if (ids.length > 0 && missing.length === ids.length) cuts.push(owner);
    else for (const it of missing) cuts.push(it);
  }
  return withoutElements(bytes, cuts);
}

/** Bytes without the given elements and the white space before them. Elements do not overlap. */
function withoutElements(bytes: Buffer, elements: readonly XmlElement[]): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end } of [...elements].sort((a, b) => a.start - b.start)) {
    let from = start;
    while (from > at && /\s/.test(String.fromCharCode(bytes[from - 1] as number))) from--;
    parts.push(bytes.subarray(at, from));
    at = end;
  }
  parts.push(bytes.subarray(at));
  return Buffer.concat(parts);
}
