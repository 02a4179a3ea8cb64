/**
 * All packages of several repositories by number, and who provides what: names, versions, capabilities and files.
 * Compact arrays, since there are hundreds of thousands of entries; dependencies of a package are read on demand. Names
 * are compared as written in the metadata (bytes read as latin1).
 */
import { AirferryError } from "../errors.ts";
import { Pace } from "../io/pace.ts";
import { archRank, sharesColor } from "./arch.ts";
import { type Budget, clausesOf, type ProvidersOf, tidyClause } from "./clauses.ts";
import { type Dependency, formatRelation, isRich, parseRich, unconditional } from "./dependency.ts";
import { compareEvr, EQ, type Evr, rangesOverlap } from "./evr.ts";
import {
  type DependencyKind,
  flatString,
  forEachFile,
  forEachRelation,
  formatNevra,
  type PackageEntry,
  type Primary,
  type Relation,
  versionOf,
} from "./primary.ts";
import { unescapeXml } from "./xml.ts";
import { invalidXml } from "./xml-error.ts";

/** One condition that a package brings: literals are package numbers plus one, negative for "absent", ascending. */
export interface Rule {
  /** The package that brings it. */
  owner: number;
  literals: readonly number[];
  /** As the package writes it, for messages. */
  text: string;
  kind: "requires" | "conflicts" | "obsoletes" | "same-name";
}

/** A package that is already installed (baseline) without available metadata: it provides its own name and version. */
export interface InstalledPackage extends Evr {
  name: string;
  arch: string;
}

const INSTALLONLY = new Set(["kernel", "kernel-PAE"]);
const INSTALLONLY_PROVIDES = [
  "installonlypkg(kernel)",
  "installonlypkg(kernel-module)",
  "installonlypkg(vm)",
  "multiversion(kernel)",
];

/** Literals that conversions of rich dependencies may take together. Real repositories take some 100,000. */
const MAX_RICH_LITERALS = 50_000_000;
/** Literals that the conditions of all packages looked at may have together. All of EL 9 has under a million. */
const MAX_RULE_LITERALS = 10_000_000;

class GrowingInts {
  #values = new Int32Array(1024);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const larger = new Int32Array(this.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.length++] = value;
  }

  at(index: number): number {
    return this.#values[index] as number;
  }

  set(index: number, value: number): void {
    this.#values[index] = value;
  }
}

export class Pool {
  /** The architecture that packages are for. */
  readonly arch: string;
  readonly entries: PackageEntry[] = [];
  readonly #repositoryOf: number[] = [];
  readonly #primaries: { name: string; primary: Primary; provider: boolean }[] = [];
  /** Names of repositories, in the order added. */
  get repositories(): string[] {
    return this.#primaries.map((it) => it.name);
  }
  /** Packages by name. */
  readonly byName = new Map<string, number[]>();
  readonly installed = new Set<number>();
  #hidden: Uint8Array = new Uint8Array(0);

  readonly #names = new Map<string, number>();
  readonly #heads = new GrowingInts();
  readonly #next = new GrowingInts();
  readonly #package = new GrowingInts();
  readonly #version = new GrowingInts();
  readonly #versionNumbers = new Map<string, number>([["", 0]]);
  readonly #versions: (Evr & { flags: number })[] = [versionOf("")];

  readonly #providersOf: ProvidersOf = (it) => this.providers(it);
  #ruleLiterals = MAX_RULE_LITERALS;
  readonly #budget: Budget = { literals: MAX_RICH_LITERALS };
  readonly #providersCache = new Map<string, number[]>();
  readonly #rules = new Map<number, Rule[]>();
  readonly #unconditional = new Map<number, Rule[]>();
  readonly #weak = {
    recommends: new Map<number, number[][][]>(),
    suggests: new Map<number, number[][][]>(),
    supplements: new Map<number, number[][][]>(),
    enhances: new Map<number, number[][][]>(),
  };
  readonly #obsoletes = new Map<number, Relation[]>();
  #installonly: ReadonlySet<number> | undefined;
  readonly #with = new Map<"supplements" | "enhances", number[]>();
  /** Requested paths that no package provides according to primary. */
  readonly missingPaths = new Set<string>();

  constructor(arch: string) {
    this.arch = arch;
  }

  /**
   * Adds a repository, with pauses; at equal versions an earlier one wins. Packages of foreign architectures never
   * become candidates.
   * @throws {AirferryError} ERR_UPSTREAM_INVALID when it takes too long to read
   */
  async addRepository(name: string, primary: Primary, provider = false): Promise<void> {
    const pace = new Pace((fault) => invalidXml(primary.name, fault));
    const repository = this.#primaries.push({ name, primary, provider }) - 1;
    const first = this.entries.length;
    for (const [index, entry] of primary.packages.entries()) {
      if (index % 16 === 0 && pace.isDue) await pace.rest();
      const id = this.#addEntry(entry, repository);
      const text = primary.text(entry);
      let itself = false;
      forEachRelation(text, "provides", (capability, rest) => {
        const number = this.#nameNumber(capability);
        this.#addProvide(number, id, this.#versionNumber(rest));
        if (!itself && capability === entry.name) itself = true;
      });
      if (!itself) this.#addSelf(id, entry);
      forEachFile(text, (path) => this.#addProvide(this.#nameNumber(path), id, 0));
    }
    const hidden = new Uint8Array(this.entries.length);
    hidden.set(this.#hidden);
    for (let id = first; id < hidden.length; id++) {
      if (archRank(this.arch, (this.entries[id] as PackageEntry).arch) === undefined) hidden[id] = 1;
    }
    this.#hidden = hidden;
    this.#forget();
  }

  /**
   * Adds what is already installed. A package that a repository also has in exactly that version provides all that one
   * does.
   */
  addInstalled(packages: readonly InstalledPackage[]): void {
    for (const it of packages) {
      const known = (this.byName.get(it.name) ?? []).filter((id) => {
        const entry = this.entries[id] as PackageEntry;
        return entry.arch === it.arch && compareEvr(entry, it) === 0;
      });
      for (const id of known) this.installed.add(id);
      if (known.length > 0) continue;
      const id = this.#addEntry({ ...it, page: 0, start: 0, end: 0 }, -1);
      this.#addSelf(id, it);
      this.installed.add(id);
    }
    const hidden = new Uint8Array(this.entries.length);
    hidden.set(this.#hidden);
    for (const id of this.installed) hidden[id] = 0;
    this.#hidden = hidden;
    this.#forget();
  }

  /** Adds files that only filelists.xml has. */
  addFile(path: string, id: number): void {
    this.#addProvide(this.#nameNumber(path), id, 0);
    this.#forget();
  }

  /** Takes packages out of the choice. */
  hide(ids: Iterable<number>): void {
    for (const id of ids) if (!this.installed.has(id)) this.#hidden[id] = 1;
    this.#forget();
  }

  isHidden(id: number): boolean {
    return this.#hidden[id] === 1;
  }

  nevra(id: number): string {
    return formatNevra(this.entries[id] as PackageEntry);
  }

  /** Index of the repository; -1: installed, no metadata. */
  repositoryOf(id: number): number {
    return this.#repositoryOf[id] as number;
  }

  repositoryName(id: number): string {
    return this.#primaries[this.repositoryOf(id)]?.name ?? "baseline";
  }

  /** Whether the package is available in any case (on a DVD): at equal version it precedes all others. */
  isProvided(id: number): boolean {
    return this.#primaries[this.repositoryOf(id)]?.provider === true;
  }

  primaryOf(id: number): Primary | undefined {
    return this.#primaries[this.repositoryOf(id)]?.primary;
  }

  relations(id: number, kind: DependencyKind): Relation[] {
    return this.primaryOf(id)?.relations(this.entries[id] as PackageEntry, kind) ?? [];
  }

  /** Packages that satisfy a relation and are not hidden, in the order added. */
  providers(relation: Relation): readonly number[] {
    const key = formatRelation(relation);
    let found = this.#providersCache.get(key);
    if (found === undefined) {
      found = this.#findProviders(relation, relation.name);
      if (found.length === 0 && relation.name.startsWith("/")) {
        for (const alias of aliasesOf(relation.name)) {
          found = this.#findProviders(relation, alias);
          if (found.length > 0) break;
        }
        if (found.length === 0) this.missingPaths.add(relation.name);
      }
      this.#providersCache.set(key, found);
    }
    return found;
  }

  #findProviders(relation: Relation, name: string): number[] {
    const number = this.#names.get(name);
    if (number === undefined) return [];
    const found: number[] = [];
    for (let at = this.#heads.at(number); at !== -1; at = this.#next.at(at)) {
      const id = this.#package.at(at);
      if (this.#hidden[id] === 1) continue;
      const provided = this.#versions[this.#version.at(at)] as Evr & { flags: number };
      if (!rangesOverlap(provided.flags, provided, relation.flags, relation)) continue;
      if (found.at(-1) !== id) found.push(id);
    }
    found.sort((a, b) => a - b);
    return found.filter((id, index) => id !== found[index - 1]);
  }

  /** All conditions of a package, computed once. */
  rules(id: number): readonly Rule[] {
    let rules = this.#rules.get(id);
    if (rules === undefined) {
      rules = this.installed.has(id)
        ? []
        : [...this.#requireRules(id), ...this.#conflictRules(id), ...this.#lockStepRules(id)];
      this.#rules.set(id, rules);
    }
    return rules;
  }

  /** Packages that conditions of a package name, other than those it excludes. */
  leadsTo(id: number): number[] {
    const known = this.#rules.get(id);
    const rules = known ?? (this.installed.has(id) ? [] : [...this.#requireRules(id), ...this.#richConflictRules(id)]);
    return rules.flatMap(({ literals }) => literals.filter((it) => it > 0).map((it) => it - 1));
  }

  #requireRules(id: number): Rule[] {
    const rules: Rule[] = [];
    const seen = new Set<string>();
    for (const relation of this.relations(id, "requires")) {
      if (relation.name.startsWith("rpmlib(")) continue;
      const text = formatRelation(relation);
      if (seen.has(text)) continue;
      seen.add(text);
      for (const clause of this.clauses(relation)) this.#addRule(rules, id, clause, text, "requires");
    }
    return rules;
  }

  /** What a package requires conditionally, as rules without the conditions; computed once. */
  unconditionalRules(id: number): readonly Rule[] {
    let rules = this.#unconditional.get(id);
    if (rules === undefined) {
      rules = [];
      for (const { name: text } of this.installed.has(id) ? [] : this.relations(id, "requires")) {
        const dependency = isRich(text) ? parseRich(text) : undefined;
        const always = dependency && unconditional(dependency);
        for (const clause of (always && this.#clausesOf(always)) ?? []) {
          this.#addRule(rules, id, clause, text, "requires");
        }
      }
      this.#unconditional.set(id, rules);
    }
    return rules;
  }

  /**
   * Clauses of a plain or rich relation, without the package that has it. Malformed expressions cannot be satisfied.
   */
  clauses(relation: Relation): number[][] {
    if (!isRich(relation.name)) return [this.providers(relation).map((id) => id + 1)];
    const dependency = parseRich(relation.name);
    return (dependency && this.#clausesOf(dependency)) ?? [[]];
  }

  #clausesOf(dependency: Dependency, negated = false): number[][] | undefined {
    return clausesOf(dependency, this.#providersOf, negated, this.#budget);
  }

  /** Dependencies of one kind as expressions, without malformed ones. */
  dependencies(id: number, kind: DependencyKind): Dependency[] {
    const parsed = this.relations(id, kind).map((it) => (isRich(it.name) ? parseRich(it.name) : { relation: it }));
    return parsed.filter((it) => it !== undefined);
  }

  /** Conflicts with an expression: it must not hold. Nothing conflicts with itself alone. */
  #richConflictRules(id: number): Rule[] {
    const rules: Rule[] = [];
    for (const { name } of this.relations(id, "conflicts")) {
      const dependency = isRich(name) ? parseRich(name) : undefined;
      if (!dependency) continue;
      for (const clause of this.#clausesOf(dependency, true) ?? [[]]) {
        if (clause.length !== 1 || clause[0] !== -(id + 1)) this.#addRule(rules, id, clause, name, "conflicts");
      }
    }
    return rules;
  }

  #conflictRules(id: number): Rule[] {
    const rules = this.#richConflictRules(id);
    const entry = this.entries[id] as PackageEntry;
    const exclude = (other: number, text: string, kind: Rule["kind"]) => {
      if (other !== id && !this.installed.has(other)) this.#addRule(rules, id, [-(other + 1)], text, kind);
    };
    for (const relation of this.relations(id, "conflicts")) {
      if (isRich(relation.name)) continue;
      for (const other of this.providers(relation)) exclude(other, formatRelation(relation), "conflicts");
    }
    for (const relation of this.obsoletes(id)) {
      for (const other of this.byName.get(relation.name) ?? []) {
        const it = this.entries[other] as PackageEntry;
        if (this.isHidden(other)) continue;
        if (rangesOverlap(EQ, it, relation.flags, relation)) exclude(other, formatRelation(relation), "obsoletes");
      }
    }
    if (!this.isInstallonly(id)) {
      for (const other of this.byName.get(entry.name) ?? []) {
        const it = this.entries[other] as PackageEntry;
        if (this.isHidden(other)) continue;
        // The same package in two repositories is no conflict.
        if (it.arch === entry.arch && compareEvr(it, entry) === 0) continue;
        if (sharesColor(it.arch, entry.arch)) exclude(other, "", "same-name");
      }
    }
    return rules;
  }

  /**
   * Architectures stay in lock-step: a package that has a twin (same name and version) of a better architecture
   * requires it. See libsolv's solver_addinfarchrules().
   */
  #lockStepRules(id: number): Rule[] {
    const better = this.betterArchitectures(id);
    const best = this.bestOf(better);
    const twins = this.twinsOf(id, better).filter((it) => this.#rankOf(it) === best);
    if (twins.length === 0) return [];
    const { arch } = this.entries[twins[0] as number] as PackageEntry;
    const { name, ...evr } = this.entries[id] as PackageEntry;
    const rules: Rule[] = [];
    const text = formatRelation({ ...evr, name: `${name}.${arch}`, flags: EQ });
    this.#addRule(
      rules,
      id,
      twins.map((it) => it + 1),
      text,
      "requires",
    );
    return rules;
  }

  /** Visible packages of the same name with a better architecture. */
  betterArchitectures(id: number): number[] {
    const { name, arch } = this.entries[id] as PackageEntry;
    if (arch === "noarch" || arch === this.arch) return [];
    const rank = this.#rankOf(id);
    return (this.byName.get(name) ?? []).filter(
      (it) => !this.isHidden(it) && this.entries[it]?.arch !== "noarch" && this.#rankOf(it) < rank,
    );
  }

  /** The best rank among packages. */
  bestOf(ids: readonly number[]): number {
    return ids.reduce((best, it) => Math.min(best, this.#rankOf(it)), Number.POSITIVE_INFINITY);
  }

  /** Those of `ids` with the same version as a package. */
  twinsOf(id: number, ids: readonly number[]): number[] {
    const entry = this.entries[id] as PackageEntry;
    return ids.filter((it) => compareEvr(this.entries[it] as PackageEntry, entry) === 0);
  }

  #rankOf(id: number): number {
    return archRank(this.arch, this.entries[id]?.arch ?? "") ?? Number.POSITIVE_INFINITY;
  }

  /** Kernels and similar packages: several versions can be installed together. */
  isInstallonly(id: number): boolean {
    if (INSTALLONLY.has((this.entries[id] as PackageEntry).name)) return true;
    this.#installonly ??= new Set(
      INSTALLONLY_PROVIDES.flatMap((name) => this.providers({ name, flags: 0, epoch: 0, version: "", release: "" })),
    );
    return this.#installonly.has(id);
  }

  /**
   * Clauses of each weak dependency of one kind: one list for each that upstream wrote; all clauses of a list belong
   * together.
   */
  weak(id: number, kind: "recommends" | "suggests" | "supplements" | "enhances"): readonly number[][][] {
    const known = this.#weak[kind];
    let found = known.get(id);
    if (found === undefined) {
      found = this.relations(id, kind).map((relation) => this.clauses(relation));
      known.set(id, found);
    }
    return found;
  }

  obsoletes(id: number): readonly Relation[] {
    let found = this.#obsoletes.get(id);
    if (found === undefined) {
      found = this.relations(id, "obsoletes");
      this.#obsoletes.set(id, found);
    }
    return found;
  }

  /** Everything a package provides with a version: name to version, in upstream's order. */
  versionedProvides(id: number): Map<string, Evr> {
    const found = new Map<string, Evr>();
    for (const relation of this.relations(id, "provides")) {
      if (relation.flags === EQ && !found.has(relation.name)) found.set(relation.name, relation);
    }
    return found;
  }

  /** Packages that supplement (or enhance) something, in order: they may be included by themselves. */
  with(kind: "supplements" | "enhances"): readonly number[] {
    let ids = this.#with.get(kind);
    if (ids === undefined) {
      const tag = `<rpm:${kind}>`;
      const has = (entry: PackageEntry, id: number) =>
        !this.isHidden(id) && this.primaryOf(id)?.text(entry).includes(tag) === true;
      ids = this.entries.flatMap((entry, id) => (has(entry, id) ? [id] : []));
      this.#with.set(kind, ids);
    }
    return ids;
  }

  #addEntry(entry: PackageEntry, repository: number): number {
    const id = this.entries.push(entry) - 1;
    this.#repositoryOf.push(repository);
    const same = this.byName.get(entry.name);
    if (same) same.push(id);
    else this.byName.set(entry.name, [id]);
    return id;
  }

  #addSelf(id: number, { name, epoch, version, release }: Evr & { name: string }): void {
    this.#addProvide(
      this.#nameNumber(name),
      id,
      this.#versionNumber(` flags="EQ" epoch="${epoch}" ver="${version}" rel="${release}"`),
    );
  }

  #addProvide(name: number, id: number, version: number): void {
    this.#next.push(this.#heads.at(name));
    this.#package.push(id);
    this.#version.push(version);
    this.#heads.set(name, this.#next.length - 1);
  }

  #nameNumber(raw: string): number {
    const name = raw.includes("&") ? unescapeXml(raw) : raw;
    let number = this.#names.get(name);
    if (number === undefined) {
      number = this.#names.size;
      this.#names.set(flatString(name), number);
      this.#heads.push(-1);
    }
    return number;
  }

  #versionNumber(raw: string): number {
    let number = this.#versionNumbers.get(raw);
    if (number === undefined) {
      const { flags, epoch, version, release } = versionOf(raw);
      number = this.#versions.push({ flags, epoch, version: flatString(version), release: flatString(release) }) - 1;
      this.#versionNumbers.set(flatString(raw), number);
    }
    return number;
  }

  /** Adds "not this package, or that clause", unless it always holds. */
  #addRule(rules: Rule[], id: number, clause: readonly number[], text: string, kind: Rule["kind"]): void {
    this.#ruleLiterals -= clause.length + 1;
    if (this.#ruleLiterals < 0) throw unsolvable(`more than ${MAX_RULE_LITERALS} packages named`);
    const literals = tidyClause([-(id + 1), ...clause]);
    if (literals) rules.push({ owner: id, literals, text, kind });
  }

  #forget(): void {
    this.#ruleLiterals = MAX_RULE_LITERALS;
    this.#providersCache.clear();
    this.#budget.literals = MAX_RICH_LITERALS;
    this.#rules.clear();
    this.#unconditional.clear();
    for (const known of Object.values(this.#weak)) known.clear();
    this.#installonly = undefined;
    this.#with.clear();
    this.missingPaths.clear();
  }
}

/** The same file where `/bin`, `/sbin` and `/lib` are links into `/usr`. */
function aliasesOf(path: string): string[] {
  const merged = /^\/(bin|sbin|lib|lib64)\//.test(path) ? [`/usr${path}`] : [];
  const apart = /^\/usr\/(bin|sbin|lib|lib64)\//.test(path) ? [path.slice(4)] : [];
  return [...merged, ...apart];
}

/** The error for dependencies that are unreasonably complex. */
export function unsolvable(fault: string): AirferryError {
  return new AirferryError(
    "ERR_UPSTREAM_INVALID",
    `cannot resolve packages: the repositories' dependencies: ${fault}`,
    {
      hint: "one of the repositories is damaged or hostile; remove them one by one to find it",
    },
  );
}
