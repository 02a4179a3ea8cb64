/** What changed between two releases: added, removed, up, down, or other bytes under the same name. */
import { tagsNewestFirst } from "../oci/tag-order.ts";
import { rpmvercmp } from "../rpm/evr.ts";
import type { Content } from "./content.ts";
import { type Item, PARTS, type Part } from "./parts.ts";

/** One thing that both have, in two versions or with other bytes. */
interface Change {
  before: Item;
  after: Item;
}

/** Each list in the order of names, then versions. */
export interface Changes {
  added: Item[];
  removed: Item[];
  upgraded: Change[];
  downgraded: Change[];
  /** The same version, but other bytes or other platforms. */
  changed: Change[];
  unchanged: number;
}

export interface Comparison extends Record<Part, Changes> {
  /** keyids, as long as both sides know them. */
  signers: { added: string[]; removed: string[] };
  /** Nothing was added, removed or changed; the signers do not count. */
  same: boolean;
}

/** Compares two releases, or what locks pin for them. */
export function compare(before: Content, after: Content): Comparison {
  const parts = Object.fromEntries(PARTS.map((it) => [it, compareItems(before[it], after[it], it)])) as Record<
    Part,
    Changes
  >;
  const isSame = (it: Changes) =>
    it.added.length + it.removed.length + it.upgraded.length + it.downgraded.length + it.changed.length === 0;
  const lacks = (all: readonly string[], one: string) => !all.some((it) => it.startsWith(one) || one.startsWith(it));
  return {
    ...parts,
    signers: {
      added: after.signers.filter((it) => lacks(before.signers, it)),
      removed: before.signers.filter((it) => lacks(after.signers, it)),
    },
    same: PARTS.every((it) => isSame(parts[it])),
  };
}

function compareItems(before: readonly Item[], after: readonly Item[], part: Part): Changes {
  const changes: Changes = { added: [], removed: [], upgraded: [], downgraded: [], changed: [], unchanged: 0 };
  const olds = byIdentity(before);
  const news = byIdentity(after);
  for (const [id, item] of news) {
    const old = olds.get(id);
    if (old === undefined) continue;
    if (isOther(old, item)) changes.changed.push({ before: old, after: item });
    else changes.unchanged++;
  }
  const gone = groups([...olds].flatMap(([id, item]) => (news.has(id) ? [] : [item])));
  const come = groups([...news].flatMap(([id, item]) => (olds.has(id) ? [] : [item])));
  for (const [name, items] of come) {
    const order = (a: Item, b: Item) => compareVersions(a, b, part);
    const newest = items.sort(order);
    const oldest = (gone.get(name) ?? []).sort(order);
    // The newest of one side beside the newest of the other; what one side has more of was added or removed.
    while (newest.length > 0 && oldest.length > 0) {
      const change = { before: oldest.pop() as Item, after: newest.pop() as Item };
      const up = order(change.before, change.after) <= 0;
      (up ? changes.upgraded : changes.downgraded).push(change);
    }
    changes.added.push(...newest);
  }
  changes.removed.push(...[...gone.values()].flat());
  const byName = (a: Item, b: Item) =>
    compareTexts(groupOf(a), groupOf(b)) || compareVersions(a, b, part) || compareTexts(a.path, b.path);
  for (const list of [changes.added, changes.removed]) list.sort(byName);
  for (const list of [changes.upgraded, changes.downgraded, changes.changed]) {
    list.sort((a, b) => byName(a.after, b.after));
  }
  return changes;
}

const groupOf = (it: Item) => `${it.repository ?? ""}\0${it.name}`;

/** By what makes an item the same one on both sides; by its path as well where several are. */
function byIdentity(items: readonly Item[]): Map<string, Item> {
  const found = new Map<string, Item>();
  for (const item of items) {
    const id = `${groupOf(item)}\0${item.version}`;
    found.set(found.has(id) ? `${id}\0${item.path}` : id, item);
  }
  return found;
}

function groups(items: readonly Item[]): Map<string, Item[]> {
  const found = new Map<string, Item[]>();
  for (const item of items) {
    const group = found.get(groupOf(item));
    if (group === undefined) found.set(groupOf(item), [item]);
    else group.push(item);
  }
  return found;
}

/** Other bytes, as far as both sides know a digest of the same algorithm, or other platforms. */
function isOther(before: Item, after: Item): boolean {
  if (String(before.platforms) !== String(after.platforms)) return true;
  const algorithm = (it: string) => it.slice(0, it.indexOf(":"));
  const known = new Map(before.digests.map((it) => [algorithm(it), it]));
  return after.digests.some((it) => (known.get(algorithm(it)) ?? it) !== it);
}

/** Negative where `a` is older, as the clients of such things order versions. */
function compareVersions(a: Item, b: Item, part: Part): number {
  if (a.version === b.version) return (a.epoch ?? 0) - (b.epoch ?? 0);
  if (part === "images") return tagsNewestFirst([a.version, b.version])[0] === a.version ? 1 : -1;
  if (part !== "packages") return rpmvercmp(a.version, b.version);
  if (a.epoch !== undefined && b.epoch !== undefined && a.epoch !== b.epoch) return a.epoch - b.epoch;
  const [aDash, bDash] = [a.version.lastIndexOf("-"), b.version.lastIndexOf("-")];
  return (
    rpmvercmp(a.version.slice(0, aDash), b.version.slice(0, bDash)) ||
    rpmvercmp(a.version.slice(aDash + 1), b.version.slice(bDash + 1))
  );
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
