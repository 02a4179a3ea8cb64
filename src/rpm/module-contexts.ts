/**
 * Contexts of module streams: a stream may be built several times, against different streams of other modules, and clients see
 * one of these contexts, the one that fits what else is active. As libdnf decides it (ModulePackageContainer::moduleSolve): builds
 * with the same needs are one context; modules of one name exclude each other; the rest is a search.
 */
import type { ModuleDocument } from "./modules.ts";

export interface ModuleContext {
  module: string;
  stream: string;
  /** Modules that it needs, with the streams of them that will do; empty: any. */
  needs: [module: string, streams: string[]][];
  /** Orders contexts that are equally good. */
  key: string;
  /** All versions. */
  builds: ModuleDocument[];
}

/** A search gives up here; real ones take a few steps for each module. */
const MAX_STEPS = 100_000;

/** Modules that a build needs. The platform is what it is. */
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

/**
 * Finds one context for each goal (module to stream) and for whatever they need, all of which fit together: module to
 * context. Undefined when there is no way.
 */
export function chooseContexts(
  contexts: readonly ModuleContext[],
  goals: ReadonlyMap<string, string>,
): Map<string, ModuleContext> | undefined {
  const byModule = new Map<string, ModuleContext[]>();
  for (const it of contexts) byModule.set(it.module, [...(byModule.get(it.module) ?? []), it]);
  const chosen = new Map<string, ModuleContext>();
  let steps = 0;

  const accepts = (stream: string | undefined, streams: readonly string[]) =>
    stream === undefined || streams.length === 0 || isAmong(stream, streams);
  /** Goals count from the beginning, so that what does not fit them is never tried. */
  const streamOf = (module: string) => chosen.get(module)?.stream ?? goals.get(module);
  const fits = (it: ModuleContext) =>
    accepts(it.stream, goals.has(it.module) ? [goals.get(it.module) as string] : []) &&
    it.needs.every(([module, streams]) => byModule.has(module) && accepts(streamOf(module), streams)) &&
    [...chosen.values()].every((other) =>
      other.needs.every(([module, streams]) => module !== it.module || accepts(it.stream, streams)),
    );

  /** Decides the modules of `open` from `at` on; true when all of it worked out. */
  const search = (open: readonly string[], at: number): boolean => {
    const module = open[at];
    if (module === undefined) return true;
    if (chosen.has(module)) return search(open, at + 1);
    for (const context of byModule.get(module) ?? []) {
      if (++steps > MAX_STEPS) return false;
      if (!fits(context)) continue;
      chosen.set(module, context);
      const more = context.needs.map(([needed]) => needed).filter((it) => !open.includes(it));
      if (search([...open, ...more], at + 1)) return true;
      chosen.delete(module);
    }
    return false;
  };
  return search([...goals.keys()], 0) ? chosen : undefined;
}

/** `-stream` in a list excludes it; a list of nothing else takes all others. */
function isAmong(stream: string, streams: readonly string[]): boolean {
  if (streams.includes(`-${stream}`)) return false;
  const positive = streams.filter((it) => !it.startsWith("-"));
  return positive.length === 0 || positive.includes(stream);
}
