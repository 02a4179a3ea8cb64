/**
 * The dependency closure of what a manifest asks for, over all its repositories together: which packages are needed,
 * why each is included, and what is unavailable. Requests that exclude each other are solved separately and reported,
 * since a mirror may hold what one system cannot.
 */
import { compareEvr } from "./evr.ts";
import { choose } from "./policy.ts";
import type { Pool, Rule } from "./pool.ts";
import type { PackageEntry } from "./primary.ts";
import { type SolverRequest, solve } from "./solver.ts";

interface ClosureOptions {
  recommends: boolean;
  /** Looks up paths that primary does not list and adds what it finds to the pool; true when it found any. */
  findFiles: (paths: readonly string[]) => Promise<boolean>;
  /** Packages whose 32-bit twin is included too, if there is one. */
  multilib?: (id: number) => boolean;
  /** Packages whose conditional dependencies, `(a if b)`, count as if the condition held. */
  always?: (id: number) => boolean;
  /** Included if possible once one of its conditions (package numbers) is included: conditional members of groups. */
  conditional?: readonly (SolverRequest & { onlyIf: readonly number[] })[];
  /** Included, or available, in any case: conditions that they meet hold. */
  atHand?: ReadonlySet<number>;
}

/** A conditional dependency of an included package that no included package satisfies. */
interface LeftOut {
  id: number;
  /** As upstream writes it. */
  text: string;
  /** Why it is unavailable, if it was needed: always, or because its condition holds. */
  fault?: string;
}

/** Something unavailable. */
interface Unresolved {
  /** What the manifest asks for. */
  request: string;
  /** Who needs what, with the chain from the direct requirer up to the request. */
  faults: string[];
}

export interface Closure {
  /** Package numbers, sorted, without what is installed already. */
  packages: number[];
  /** Why each is included: the chain of requirers, direct one first; empty when the manifest names it. */
  why: Map<number, string[]>;
  unresolved: Unresolved[];
  leftOut: LeftOut[];
  /** Notes that are not failures: requests that exclude each other, obsoleted packages. */
  notes: string[];
}

/** Requirers in a chain that says why a package is included; real chains are shorter. */
const MAX_CHAIN = 100;
/** Rounds of file look-ups, and of conditions that only several solutions together make true. */
const MAX_ROUNDS = 20;

/**
 * Solves all requests. Never throws for what is unavailable: see `unresolved`.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when dependencies take more time or memory than any honest ones
 */
export async function closureOf(
  pool: Pool,
  requests: readonly SolverRequest[],
  options: ClosureOptions,
): Promise<Closure> {
  const looked = new Set<string>();
  for (let round = 0; ; round++) {
    const result = await solveAll(pool, requests, options);
    // A path below */bin or /etc would be in primary; looking again is worth it only when something fails.
    const paths = [...pool.missingPaths].filter(
      (path) => !looked.has(path) && (result.unresolved.length > 0 || !isPrimaryPath(path)),
    );
    if (paths.length === 0 || round === MAX_ROUNDS) return result;
    for (const path of paths) looked.add(path);
    if (!(await options.findFiles(paths))) return result;
  }
}

/** Files that createrepo_c writes into primary. */
function isPrimaryPath(path: string): boolean {
  return path.startsWith("/etc/") || path.includes("bin/") || path === "/usr/lib/sendmail";
}

async function solveAll(pool: Pool, requests: readonly SolverRequest[], options: ClosureOptions): Promise<Closure> {
  const { recommends } = options;
  const notes: string[] = [];
  const unresolved: Unresolved[] = [];
  const chosen = new Set<number>();
  const together = await solve(pool, requests, { recommends });
  if (together !== undefined) for (const id of together) chosen.add(id);
  else {
    for (const request of requests) {
      const alone = await solve(pool, [request], { recommends });
      if (alone === undefined) unresolved.push({ request: request.label, faults: explain(pool, request) });
      else for (const id of alone) chosen.add(id);
    }
    if (unresolved.length === 0) {
      const labels = [...new Set(requests.map((it) => it.label))];
      notes.push(`${labels.join(", ")}: cannot all be installed on one system; each can`);
    }
  }
  for (let before = -1; before !== chosen.size; ) {
    before = chosen.size;
    await addTogether(pool, chosen, options);
    if (options.multilib) await addCompanions(pool, chosen, recommends, options.multilib);
  }
  const packages = [...chosen].sort((a, b) => a - b);
  return {
    packages,
    why: whyOf(pool, [...requests, ...(options.conditional ?? [])], chosen, options.always),
    unresolved,
    leftOut: leftOutOf(pool, packages, options),
    notes: [...notes, ...obsoletedIn(pool, packages)],
  };
}

/**
 * Conditional dependencies that hold because several solutions, or available packages, are present together; or always.
 */
async function addTogether(pool: Pool, chosen: Set<number>, options: ClosureOptions): Promise<void> {
  const { recommends, always, atHand, conditional = [] } = options;
  const isChosen = (id: number) => chosen.has(id) || pool.installed.has(id);
  const isPresent = (id: number) => isChosen(id) || atHand?.has(id) === true;
  const inVain = new Set<Rule | SolverRequest>();
  const add = async (wanted: Rule | SolverRequest, request: SolverRequest) => {
    const more = await solve(pool, [request], { recommends, preferred: chosen });
    if (more === undefined) inVain.add(wanted);
    for (const it of more ?? []) chosen.add(it);
  };
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const before = chosen.size;
    for (const id of [...chosen]) {
      for (const rule of always?.(id) ? [...pool.rules(id), ...pool.unconditionalRules(id)] : pool.rules(id)) {
        if (rule.kind !== "requires" || inVain.has(rule)) continue;
        // Available packages meet conditions; one that is the answer is chosen, so that what it needs is included too.
        if (rule.literals.some((it) => (it > 0 ? isChosen(it - 1) : !isPresent(-it - 1)))) continue;
        const candidates = rule.literals.filter((it) => it > 0).map((it) => it - 1);
        await add(rule, { label: rule.text, candidates });
      }
    }
    for (const member of conditional) {
      if (inVain.has(member) || !member.onlyIf.some(isPresent) || member.candidates.some(isChosen)) continue;
      await add(member, member);
    }
    if (chosen.size === before) return;
  }
}

function leftOutOf(pool: Pool, packages: readonly number[], { always, atHand }: ClosureOptions): LeftOut[] {
  const chosen = new Set(packages);
  const isPresent = (id: number) => chosen.has(id) || pool.installed.has(id) || atHand?.has(id) === true;
  const found: LeftOut[] = [];
  for (const id of packages) {
    if (atHand?.has(id)) continue;
    const open = pool.unconditionalRules(id).filter((it) => !it.literals.some((at) => at > 0 && isPresent(at - 1)));
    for (const text of new Set(open.map((it) => it.text))) {
      const rule = open.find((it) => it.text === text) as Rule;
      const holds = (it: Rule) => !it.literals.some((at) => at > 0 === isPresent(Math.abs(at) - 1));
      const wanted = always?.(id) || pool.rules(id).some((it) => it.text === text && holds(it));
      found.push({ id, text, ...(wanted && { fault: faultOf(pool, rule) }) });
    }
  }
  return found;
}

function faultOf(pool: Pool, { text, literals }: Rule): string {
  const candidates = literals.filter((it) => it > 0).map((it) => it - 1);
  if (candidates.length === 0) return "nothing provides it";
  return explain(pool, { label: text, candidates })[0] as string;
}

async function addCompanions(
  pool: Pool,
  chosen: Set<number>,
  recommends: boolean,
  wanted: (id: number) => boolean,
): Promise<void> {
  for (const id of [...chosen].filter(wanted)) {
    const entry = pool.entries[id] as PackageEntry;
    if (entry.arch !== pool.arch) continue;
    const twins = (pool.byName.get(entry.name) ?? []).filter((other) => {
      const it = pool.entries[other] as PackageEntry;
      return it.arch !== entry.arch && it.arch !== "noarch" && !pool.isHidden(other) && compareEvr(it, entry) === 0;
    });
    const twin = twins.find((other) => pool.repositoryOf(other) === pool.repositoryOf(id)) ?? twins[0];
    if (twin === undefined) continue;
    const more = await solve(pool, [{ label: pool.nevra(twin), candidates: [twin] }], {
      recommends,
      preferred: chosen,
    });
    for (const it of more ?? []) chosen.add(it);
  }
}

/** Breadth first from what the manifest names, so that every chain is the shortest. */
function whyOf(
  pool: Pool,
  requests: readonly SolverRequest[],
  chosen: ReadonlySet<number>,
  always: ClosureOptions["always"],
): Map<number, string[]> {
  const why = new Map<number, string[]>();
  const queue: number[] = [];
  const reach = (id: number, chain: string[]) => {
    if (!chosen.has(id) || why.has(id)) return;
    why.set(id, chain.slice(0, MAX_CHAIN));
    queue.push(id);
  };
  for (const { candidates } of requests) for (const id of candidates) reach(id, []);
  for (let at = 0; at < queue.length; at++) {
    const id = queue[at] as number;
    const rest = why.get(id) as string[];
    for (const rule of always?.(id) ? [...pool.rules(id), ...pool.unconditionalRules(id)] : pool.rules(id)) {
      if (rule.kind !== "requires") continue;
      for (const it of rule.literals) {
        if (it > 0) reach(it - 1, [`${pool.nevra(id)} (needs ${rule.text})`, ...rest]);
      }
    }
    for (const list of pool.weak(id, "recommends").flat()) {
      for (const it of list) if (it > 0) reach(it - 1, [`${pool.nevra(id)} (recommends it)`, ...rest]);
    }
  }
  for (const id of chosen) if (!why.has(id)) why.set(id, ["a package that it supplements or accompanies"]);
  return why;
}

/**
 * Why a request is unavailable: its best candidates' dependencies, each by the best provider, down to what is missing.
 */
function explain(pool: Pool, request: SolverRequest): string[] {
  const faults = new Set<string>();
  const view = { pool, trail: [] as number[], preferred: new Set<number>(), isChosen: () => false };
  if (request.candidates.length === 0) return ["no package of that name"];
  const chain = new Map<number, string[]>([[choose(request.candidates, undefined, view), []]]);
  for (const [id, above] of chain) {
    for (const rule of pool.rules(id)) {
      if (rule.kind !== "requires" || rule.literals.some((it) => it < 0 && it !== -(id + 1))) continue;
      const candidates = rule.literals.filter((it) => it > 0).map((it) => it - 1);
      const path = [pool.nevra(id), ...above];
      if (candidates.length > 0) {
        const next = choose(candidates, rule, view);
        if (!chain.has(next)) chain.set(next, path);
        continue;
      }
      faults.add(`nothing provides ${rule.text}, needed by ${path.join(" ← ")}${offered(pool, rule)}`);
    }
    if (faults.size >= 20) break;
  }
  if (faults.size === 0) {
    faults.add(`what ${[...chain.keys()].slice(0, 1).map((id) => pool.nevra(id))} needs excludes each other`);
  }
  return [...faults];
}

/** Existing versions of the wanted name. */
function offered(pool: Pool, rule: Rule): string {
  const name = rule.text.split(" ", 1)[0] as string;
  const ids = pool.providers({ name, flags: 0, epoch: 0, version: "", release: "" });
  if (ids.length === 0) return "";
  return ` (there is ${[...ids]
    .slice(-5)
    .map((id) => `${pool.nevra(id)} in ${pool.repositoryName(id)}`)
    .join(", ")})`;
}

/** Packages of the result that other packages of it obsolete: dnf will prefer the others. */
function obsoletedIn(pool: Pool, packages: readonly number[]): string[] {
  const chosen = new Set(packages);
  const notes: string[] = [];
  for (const id of packages) {
    for (const rule of pool.rules(id)) {
      if (rule.kind !== "obsoletes" && rule.kind !== "conflicts") continue;
      if (rule.literals.some((it) => it > 0 === chosen.has(Math.abs(it) - 1))) continue;
      const others = rule.literals.filter((it) => it < 0 && it !== -(id + 1)).map((it) => pool.nevra(-it - 1));
      if (others.length === 0) continue;
      notes.push(
        `${pool.nevra(id)} ${rule.kind} ${others.join(" and ")}; ${others.length > 1 ? "all" : "both"} are carried`,
      );
    }
  }
  return notes;
}

/** A relation in readable form. */
