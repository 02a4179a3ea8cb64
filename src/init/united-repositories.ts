/**
 * The repositories of all files, each once. What several files say of one repository is united without a loss: all
 * URLs, keys and packages, and the strictest check, whatever the order of the files. No I/O.
 */
import { MAX_NAME_BYTES } from "../io/path-grammar.ts";
import type { RpmEntry } from "../manifest/schema.ts";
import { type FoundContent, type FoundRepository, type Skipped, shown, urlFault } from "./found.ts";
import { keyForPlace, publishedKey, usualVariable } from "./vendor-keys.ts";

/** A repository with its entry, and the files that name it. */
export interface UnitedRepository {
  entry: RpmEntry;
  /** `ks.cfg:12`. */
  from: string[];
  files: Set<string>;
  /** Only these packages of it are of use; empty: all. */
  only: string[];
  isInRepoFile: boolean;
  /** A file says that signatures are not checked. */
  isOff: boolean;
}

interface Context {
  vars: Readonly<Record<string, string>>;
  release: string | undefined;
  keys: GivenKeys;
  names: Set<string>;
  skipped: Skipped[];
}

/** What one file says of a repository, and where. */
interface Member {
  it: FoundRepository;
  /** Its locations that a manifest can have. */
  places: { kind: "url" | "metalink" | "mirrorlist"; at: string }[];
  file: string;
  isInRepoFile: boolean;
}

/**
 * Repositories in the order in which files name them first; two with a location in common are one.
 * @param options values of dnf variables, and the given key files by name as the manifest needs them
 */
export function uniteRepositories(
  found: readonly FoundContent[],
  options: { vars: Readonly<Record<string, string>>; keyPaths: ReadonlyMap<string, string> },
): { repositories: UnitedRepository[]; skipped: Skipped[] } {
  const releases = new Set(found.flatMap((it) => it.releases));
  const context: Context = {
    vars: options.vars,
    release: releases.size === 1 ? [...releases][0] : undefined,
    keys: givenKeys(found, options.keyPaths),
    names: new Set(),
    skipped: [],
  };
  const members = found.flatMap((source) => source.repositories.flatMap((it) => memberOf(it, source, context) ?? []));
  const repositories = groupsOf(members, context).flatMap((group) => unite(group, context) ?? []);
  return { repositories, skipped: context.skipped };
}

/** Key files that were given: by the name that a repository file has for them, and those that none names. */
interface GivenKeys {
  byName: ReadonlyMap<string, string>;
  others: string[];
}

function givenKeys(found: readonly FoundContent[], paths: ReadonlyMap<string, string>): GivenKeys {
  const named = new Set(found.flatMap((it) => it.repositories.flatMap(({ keys }) => keys.map(baseName))));
  return {
    byName: new Map([...paths].map(([name, path]) => [baseName(name), path])),
    others: [...paths].flatMap(([name, path]) => (named.has(baseName(name)) ? [] : [path])),
  };
}

function baseName(path: string): string {
  return path.split("/").at(-1) ?? "";
}

/** @param part of it that is not carried; empty: all of it */
function list({ it, file }: Member, part: string, why: string, { skipped }: Context): void {
  const { url, urls, mirrorlist, metalink } = it.place;
  const name = it.name === "" ? (url ?? urls?.[0] ?? mirrorlist ?? metalink ?? "") : it.name;
  skipped.push({ file, line: it.line, what: shown(`repository ${name} ${part}`), why });
}

/** Undefined when it has no location that a manifest can have; wrong ones are listed. */
function memberOf(it: FoundRepository, source: FoundContent, context: Context): Member | undefined {
  const { url, urls = [], mirrorlist, metalink } = it.place;
  const member: Member = {
    it,
    places: [],
    file: source.file,
    isInRepoFile: source.formats.includes("dnf repository file"),
  };
  const all = [
    ...[url, ...urls].map((at) => ({ kind: "url" as const, at })),
    { kind: "metalink" as const, at: metalink },
    { kind: "mirrorlist" as const, at: mirrorlist },
  ];
  for (const { kind, at } of all) {
    if (at === undefined) continue;
    const fault = urlFault(withoutVariables(at));
    if (fault === undefined) member.places.push({ kind, at });
    else list(member, urls.length > 0 ? at : "", fault, context);
  }
  return member.places.length > 0 ? member : undefined;
}

function withoutVariables(url: string): string {
  return url.replace(/\$\{?\w+\}?/g, "x");
}

/** Those with a location in common, in the order of the first of each group. */
function groupsOf(members: readonly Member[], context: Context): Member[][] {
  const above = members.map((_, index) => index);
  const root = (index: number) => {
    let at = index;
    for (let next = above[at]; next !== undefined && next !== at; next = above[at]) at = next;
    return at;
  };
  const firstAt = new Map<string, number>();
  for (const [index, { places }] of members.entries()) {
    for (const { at } of places) {
      const place = comparable(at, context);
      const first = firstAt.get(place);
      if (first === undefined) firstAt.set(place, index);
      else {
        const [a, b] = [root(first), root(index)];
        above[Math.max(a, b)] = Math.min(a, b);
      }
    }
  }
  const groups = new Map<number, Member[]>();
  for (const [index, member] of members.entries()) {
    const group = groups.get(root(index));
    if (group === undefined) groups.set(root(index), [member]);
    else group.push(member);
  }
  return [...groups.values()];
}

/** A location with the values of its variables, and without slashes at its end. */
function comparable(url: string, context: Context): string {
  const text = url.replace(VARIABLE, (_, braced?: string, plain?: string) => {
    const name = braced ?? plain ?? "";
    return variableOf(name, context) ?? `$${name}`;
  });
  let end = text.length;
  while (text[end - 1] === "/") end--;
  return text.slice(0, end);
}

const VARIABLE = /\$(?:\{(\w+)\}|(\w+))/g;

function variableOf(name: string, { vars, release }: Context): string | undefined {
  return Object.hasOwn(vars, name) ? vars[name] : usualVariable(name, release);
}

/** One entry of what its members say; undefined when it cannot be one, which is listed for each. */
function unite(group: readonly Member[], context: Context): UnitedRepository | undefined {
  const refuse = (why: string) => {
    for (const member of group) list(member, "", why, context);
    return undefined;
  };
  const { place, locations } = placeOf(group, context);
  const [first = ""] = locations;
  const check = checkOf(group, locations, context);
  if ("fault" in check) return refuse(check.fault);
  const { keys, isChecked } = check;
  const vars: Record<string, string> = {};
  for (const [, braced, plain] of [...locations, ...keys].join(" ").matchAll(VARIABLE)) {
    const name = (braced ?? plain) as string;
    const value = variableOf(name, context);
    if (value !== undefined) vars[name] = value;
    else if (name !== "basearch" && name !== "arch")
      return refuse(`$${name} has no value: give it with --var ${name}=VALUE`);
  }
  const arch = /\/(aarch64|ppc64le|s390x)(?:\/|$)/.exec(first)?.[1];
  const exclude = excludedByAll(group, context);
  const has = (key: "repo_gpgcheck" | "module_hotfixes") => group.some(({ it }) => it.entry[key] === true);
  const name = group[0]?.it.name ?? "";
  const entry: RpmEntry = {
    name: freeName(name === "" ? nameFromUrl(first) : name, context.names),
    ...place,
    ...(Object.keys(vars).length > 0 && { vars }),
    ...(keys.length > 0 && { keys }),
    ...(!isChecked && { gpgcheck: false }),
    ...(has("repo_gpgcheck") && { repo_gpgcheck: true }),
    ...(has("module_hotfixes") && { module_hotfixes: true }),
    ...(exclude.length > 0 && { exclude }),
    ...(arch !== undefined && { arch: [arch] }),
  };
  return {
    entry,
    from: group.map(({ it, file }) => `${file}:${it.line}`),
    files: new Set(group.map(({ file }) => file)),
    only: limitsOf(group, context),
    isInRepoFile: group.some((it) => it.isInRepoFile),
    isOff: group.some(isOff),
  };
}

/** All URLs of a group, or the one list of mirrors that its members have. */
function placeOf(group: readonly Member[], context: Context): { place: FoundRepository["place"]; locations: string[] } {
  const places = group.flatMap((it) => it.places);
  const urls = new Map<string, string>();
  for (const { kind, at } of places) {
    const key = comparable(at, context);
    if (kind === "url" && !urls.has(key)) urls.set(key, at);
  }
  const locations = [...urls.values()];
  const [url] = locations;
  if (url !== undefined) return { place: locations.length > 1 ? { urls: locations } : { url }, locations };
  const { kind, at } = places.find((it) => it.kind === "metalink") ?? places[0] ?? { kind: "url", at: "" };
  return { place: { [kind]: at }, locations: [at] };
}

/** A kickstart file names no keys, and says nothing of checks. */
function isOff({ it }: Member): boolean {
  return it.entry.gpgcheck === false;
}

/**
 * Keys, and whether packages are checked: if one member wants that, also one that has its key by its place. A fault
 * when keys are needed that are not known.
 */
function checkOf(
  group: readonly Member[],
  urls: readonly string[],
  context: Context,
): { keys: string[]; isChecked: boolean } | { fault: string } {
  const { keys: given } = context;
  const wantsCheck = (it: Member) => it.isInRepoFile && !isOff(it);
  const needsKeys = (it: Member) => wantsCheck(it) || it.it.entry.repo_gpgcheck === true;
  const named = new Set<string>();
  let isNamed = false;
  for (const member of group) {
    for (const key of member.it.keys) {
      const at = given.byName.get(baseName(key)) ?? (/^https?:\/\//.test(key) ? key : publishedKey(key));
      const wrong = at !== undefined && /^https?:/.test(at) ? urlFault(withoutVariables(at)) : undefined;
      if (at !== undefined && wrong === undefined) {
        named.add(at);
        isNamed ||= wantsCheck(member);
        continue;
      }
      const hint = `its key ${shown(key)} is a file of the target: give that too: --from ${shown(baseName(key))}`;
      if (needsKeys(member)) return { fault: wrong ?? hint };
      if (group.some(needsKeys)) list(member, "gpgkey", wrong ?? hint, context);
    }
  }
  const mayCheck = group.some((it) => !isOff(it));
  const isFallback = mayCheck ? !isNamed : group.some(needsKeys) && named.size === 0;
  const published = urls.map(keyForPlace).find((it) => it !== undefined);
  const others = isFallback ? (published === undefined ? given.others : [published]) : [];
  const keys = [...new Set([...named, ...others])];
  if (keys.length === 0 && group.some(needsKeys)) {
    return { fault: "it names no key, and does not have gpgcheck=0: give its key too: --from KEYFILE" };
  }
  return { keys, isChecked: group.some(wantsCheck) || (mayCheck && others.length > 0) };
}

/** What all members exclude. What only some do comes with the others; that is listed. */
function excludedByAll(group: readonly Member[], context: Context): string[] {
  const sets = group.map(({ it }) => new Set(it.entry.exclude));
  const all = new Set([...(sets[0] ?? [])].filter((spec) => sets.every((it) => it.has(spec))));
  for (const [index, member] of group.entries()) {
    const more = [...(sets[index] ?? [])].filter((it) => !all.has(it));
    const [spec] = more;
    const other = spec === undefined ? undefined : group[sets.findIndex((it) => !it.has(spec))];
    if (other === undefined) continue;
    const why = `${other.file}:${other.it.line} names the same repository without that: see exclude:`;
    list(member, `exclude ${more.join(" ")}`, why, context);
  }
  return [...all];
}

/** `includepkgs` of all members together; none if one has no such limit. */
function limitsOf(group: readonly Member[], context: Context): string[] {
  const whole = group.find(({ it }) => it.only.length === 0);
  if (whole === undefined) return [...new Set(group.flatMap(({ it }) => it.only))];
  const why = `${whole.file}:${whole.it.line} names the same repository without a limit`;
  for (const member of group) if (member.it.only.length > 0) list(member, "includepkgs", why, context);
  return [];
}

/** The last part of a URL that says what it is: `BaseOS` of `…/9/BaseOS/x86_64/os/`. */
function nameFromUrl(url: string): string {
  const { pathname, searchParams, hostname } = new URL(url.replace(/\$\{?(\w+)\}?/g, "$1"));
  const asked = searchParams.get("repo");
  const ordinary = /^(?:os|tree|packages|rpms?|repos?|x86_64|aarch64|ppc64le|s390x|basearch|v?\d[\w.]*|)$/i;
  return asked ?? pathname.split("/").findLast((it) => !ordinary.test(it)) ?? hostname;
}

/** A name that an entry may have, and no other one has. */
function freeName(text: string, taken: Set<string>): string {
  const base =
    text
      .replace(/[^A-Za-z0-9._-]+/g, "-")
      .replace(/^[^A-Za-z0-9]+|-+$/g, "")
      .slice(0, MAX_NAME_BYTES - 8) || "repository";
  let name = base;
  for (let number = 2; taken.has(name); number++) name = `${base}-${number}`;
  taken.add(name);
  return name;
}
