/**
 * Contexts of module streams: a stream may be built several times, against different streams of other modules, and
 * clients see one of these contexts, the one that fits what else is active. Follows libdnf
 * (ModulePackageContainer::moduleSolve): builds with the same requirements are one context; modules of one name exclude
 * each other; the rest is a search.
 */
import type { ModuleDocument } from "./modulemd.ts";

interface ModuleContext {
  module: string;
  stream: string;
  /** Required modules, each with its acceptable streams; empty means any. */
  needs: [module: string, streams: string[]][];
  /** Orders contexts that are equally good. */
  key: string;
  /** All versions. */
  builds: ModuleDocument[];
}

/** A search, and each that follows, gives up after this many comparisons of streams; real ones take some thousands. */
const MAX_STEPS = 500_000;
const MAX_STEPS_TOGETHER = 5_000_000;

/** Modules that a build needs, except the platform, which is fixed. */
export function needsOf(build: ModuleDocument): [string, string[]][] {
  return build.requires.flatMap((it) => [...it]).filter(([module]) => module !== "platform");
}

/** Groups builds into contexts, in the order of libdnf's names for them. */
export function contextsOf(builds: readonly ModuleDocument[]): ModuleContext[] {
  const contexts = new Map<string, ModuleContext>();
  for (const build of builds) {
    const needs = needsOf(build);
    const text = needs.map(([module, streams]) =>
      streams.length === 0 ? module : `${module}:[${[...streams].sort().join(",")}]`,
    );
    const key = `${build.module}:${build.stream}:${build.format >= 3 ? build.context : text.sort().join(";") || "NoRequires"}`;
    const context = contexts.get(key);
    if (context) context.builds.push(build);
    else contexts.set(key, { module: build.module, stream: build.stream, needs, key, builds: [build] });
  }
  return [...contexts.values()].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

/** Chooses contexts that go together. */
export class ContextChooser {
  readonly contexts: readonly ModuleContext[];
  readonly #byModule = new Map<string, ModuleContext[]>();
  readonly #streams = new Map<string, string[]>();
  #steps = MAX_STEPS_TOGETHER;

  constructor(contexts: readonly ModuleContext[]) {
    this.contexts = contexts;
    for (const it of contexts) {
      const list = this.#byModule.get(it.module);
      if (list) list.push(it);
      else this.#byModule.set(it.module, [it]);
    }
    for (const [module, list] of this.#byModule) this.#streams.set(module, [...new Set(list.map((it) => it.stream))]);
  }

  /** In order. */
  get modules(): string[] {
    return [...this.#byModule.keys()];
  }

  /** Streams of a module, in order. */
  streamsOf(module: string): readonly string[] {
    return this.#streams.get(module) ?? [];
  }

  /**
   * Finds one context for each goal (module to stream) and for whatever they need, all of which fit together: module to
   * context. Undefined when there is no solution, or none is found in time.
   */
  choose(goals: ReadonlyMap<string, string>): Map<string, ModuleContext> | undefined {
    let steps = Math.min(MAX_STEPS, this.#steps);
    const before = steps;
    const step = (count: number) => {
      steps -= count;
    };
    const chosen = new Map<string, ModuleContext>();
    /** What chosen contexts require of a module. */
    const asked = new Map<string, string[][]>();
    /** Modules to decide, in this order; a context appends what it needs, and removes it when it is dropped. */
    const open = [...goals.keys()];
    const isOpen = new Set(open);
    /** For each decision the next context to try, and how many modules were open before. */
    const tries: { next: number; before: number }[] = [];

    const accepts = (stream: string, lists: readonly (readonly string[])[]) =>
      lists.every((streams) => {
        step(1 + streams.length);
        return streams.length === 0 || isAmong(stream, streams);
      });
    const fits = ({ module, stream, needs }: ModuleContext) => {
      if (stream !== (goals.get(module) ?? stream)) return false;
      // Goals count from the start; for other modules something must be left to choose from.
      const isMet = ([needed, streams]: [string, string[]]) => {
        step(1);
        const decided = chosen.get(needed)?.stream ?? goals.get(needed);
        const left = decided === undefined ? this.streamsOf(needed) : this.#byModule.has(needed) ? [decided] : [];
        const others = decided === undefined ? (asked.get(needed) ?? []) : [];
        return left.some((it) => accepts(it, [streams]) && accepts(it, others));
      };
      return needs.every(isMet) && accepts(stream, asked.get(module) ?? []);
    };
    const take = (context: ModuleContext) => {
      chosen.set(context.module, context);
      for (const [needed, streams] of context.needs) {
        const list = asked.get(needed);
        if (list) list.push(streams);
        else asked.set(needed, [streams]);
        if (isOpen.has(needed)) continue;
        isOpen.add(needed);
        open.push(needed);
      }
    };
    const takeBack = (module: string, before: number) => {
      for (const it of open.splice(before)) isOpen.delete(it);
      for (const [needed] of chosen.get(module)?.needs ?? []) asked.get(needed)?.pop();
      chosen.delete(module);
    };
    /** Takes the next context that fits for the last decision; false when none is left. */
    const takeNext = (): boolean => {
      const last = tries.at(-1) as { next: number };
      const candidates = this.#byModule.get(open[tries.length - 1] as string) ?? [];
      while (last.next < candidates.length) {
        step(1);
        if (steps < 0) return false;
        const context = candidates[last.next++] as ModuleContext;
        if (!fits(context)) continue;
        take(context);
        return true;
      }
      return false;
    };

    const search = (): boolean => {
      while (tries.length < open.length) {
        tries.push({ next: 0, before: open.length });
        while (!takeNext()) {
          tries.pop();
          const last = tries.at(-1);
          if (last === undefined || steps < 0) return false;
          takeBack(open[tries.length - 1] as string, last.before);
        }
      }
      return true;
    };
    step(goals.size);
    const isFound = search();
    this.#steps -= before - Math.max(0, steps);
    return isFound ? chosen : undefined;
  }
}

/** `-stream` in a list excludes it; a list of exclusions only accepts all others. */
export function isAmong(stream: string, streams: readonly string[]): boolean {
  if (streams.includes(`-${stream}`)) return false;
  const positive = streams.filter((it) => !it.startsWith("-"));
  return positive.length === 0 || positive.includes(stream);
}
