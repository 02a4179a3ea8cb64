/**
 * What module metadata (modulemd.ts) says: which packages belong to which stream, which streams are active, and which
 * documents a mirror keeps.
 */
import { AirferryError } from "../errors.ts";
import { ContextChooser, contextsOf, isAmong, needsOf } from "./module-contexts.ts";
import { isBuild, type ModuleDocument } from "./modulemd.ts";

/** Builds by module and stream. */
type Streams = Map<string, Map<string, ModuleDocument[]>>;

function byStream(builds: Iterable<ModuleDocument>): Streams {
  const streams: Streams = new Map();
  addByStream(streams, builds);
  return streams;
}

function addByStream(streams: Streams, builds: Iterable<ModuleDocument>): void {
  for (const it of builds) {
    const own = streams.get(it.module) ?? new Map<string, ModuleDocument[]>();
    streams.set(it.module, own);
    const list = own.get(it.stream);
    if (list) list.push(it);
    else own.set(it.stream, [it]);
  }
}

/** The usable builds of each stream. */
function* acceptedOf(own: ReadonlyMap<string, ModuleDocument[]> | undefined, streams: readonly string[]) {
  const positive = streams.filter((it) => !it.startsWith("-"));
  for (const stream of positive.length > 0 ? new Set(positive) : (own?.keys() ?? [])) {
    const builds = own?.get(stream);
    if (builds !== undefined && (streams.length === 0 || isAmong(stream, streams))) yield builds;
  }
}

/** The newest version, every context of it. */
function newestOf(builds: readonly ModuleDocument[]): ModuleDocument[] {
  const version = builds.reduce((newest, it) => (it.version > newest ? it.version : newest), 0n);
  return builds.filter((it) => it.version === version);
}

/** A module stream chosen by the manifest: `name:stream`, or `name` if there is a default stream. */
export interface ModuleSpec {
  module: string;
  stream: string | undefined;
  profile: string | undefined;
}

/** Reads `name`, `name:stream`, `name:stream/profile`. */
export function parseModuleSpec(text: string): ModuleSpec {
  const match = /^([^:/]+)(?::([^:/]*))?(?:[^/]*?)(?:\/(.*))?$/.exec(text);
  return { module: match?.[1] ?? text, stream: match?.[2] || undefined, profile: match?.[3] || undefined };
}

/** The modules that clients see: at most one stream of each, and one context of that. */
export interface ActiveModules {
  /** Module to stream. */
  streams: ReadonlyMap<string, string>;
  /** All versions in the active contexts. */
  builds: ReadonlySet<ModuleDocument>;
}

/** All module documents of several repositories, and what can be derived from them. */
export class ModuleIndex {
  readonly documents: readonly ModuleDocument[];
  readonly #builds: ModuleDocument[];
  readonly #byStream: Streams;
  /** Of the last defaults document of each module. */
  readonly #defaults = new Map<string, string | undefined>();

  constructor(documents: readonly ModuleDocument[]) {
    this.documents = documents;
    this.#builds = documents.filter(isBuild);
    this.#byStream = byStream(this.#builds);
    for (const it of documents) if (it.kind === "modulemd-defaults") this.#defaults.set(it.module, it.defaultStream);
  }

  get isEmpty(): boolean {
    return this.#builds.length === 0;
  }

  hasModule(module: string): boolean {
    return this.#byStream.has(module);
  }

  /** The newest defaults document wins; undefined when there is none or it names no stream. */
  defaultStream(module: string): string | undefined {
    return this.#defaults.get(module);
  }

  /** Builds of a stream: the newest version of those that are in `among`, every context of it. */
  newestBuilds(module: string, stream: string, among?: ReadonlySet<ModuleDocument>): ModuleDocument[] {
    const all = this.#byStream.get(module)?.get(stream) ?? [];
    return newestOf(among === undefined ? all : all.filter((it) => among.has(it)));
  }

  /**
   * What is active when the wanted streams are enabled: these, the compatible default streams of all other modules, and
   * what all of these need; for each stream the context that fits the others.
   * @throws {AirferryError} ERR_UNRESOLVED for a stream that no repository has, and for streams that exclude each other
   */
  activate(wanted: readonly ModuleSpec[]): ActiveModules {
    const chooser = new ContextChooser(contextsOf(this.#builds));
    const goals = new Map<string, string>();
    for (const { module, stream = this.defaultStream(module) } of wanted) {
      const streams = chooser.streamsOf(module);
      const name = `${module}${stream === undefined ? "" : `:${stream}`}`;
      if (stream === undefined || !streams.includes(stream)) {
        throw new AirferryError(
          "ERR_UNRESOLVED",
          `cannot select module "${name}": ${streams.length === 0 ? "no repository has that module" : `expected one of the streams ${streams.join(", ")}`}`,
          { hint: "write it as @module:stream" },
        );
      }
      const other = goals.get(module);
      if (other !== undefined && other !== stream) {
        throw new AirferryError(
          "ERR_UNRESOLVED",
          `cannot select module "${name}": ${module}:${other} is selected too, and a system has one stream of a module`,
          { hint: "move one of them to another manifest" },
        );
      }
      goals.set(module, stream);
    }
    let active = chooser.choose(goals);
    if (active === undefined) throw excluding(chooser, goals);
    const defaults = chooser.modules.flatMap((module) => {
      const stream = goals.has(module) ? undefined : this.defaultStream(module);
      return stream === undefined ? [] : [[module, stream] as const];
    });
    const all = chooser.choose(new Map([...goals, ...defaults]));
    if (all) active = all;
    else {
      for (const [module, stream] of defaults) {
        const more = chooser.choose(new Map([...goals, [module, stream]]));
        if (more === undefined) continue;
        goals.set(module, stream);
        active = more;
      }
    }
    return {
      streams: new Map([...active.values()].map((it) => [it.module, it.stream])),
      builds: new Set([...active.values()].flatMap((it) => it.builds)),
    };
  }

  /** NEVRAs of every build that is not active: clients cannot see them. */
  inactiveArtifacts({ builds }: ActiveModules): Set<string> {
    const visible = this.activeArtifacts({ builds });
    const hidden = new Set<string>();
    for (const build of this.#builds) {
      if (builds.has(build)) continue;
      for (const nevra of build.artifacts) if (!visible.has(nevra)) hidden.add(nevra);
    }
    return hidden;
  }

  /** NEVRAs of the active builds. */
  activeArtifacts({ builds }: Pick<ActiveModules, "builds">): Set<string> {
    return new Set([...builds].flatMap((it) => it.artifacts));
  }

  /**
   * NEVRAs of the newest version of every stream, and of the version that has the newest package: what `newest` must
   * keep.
   */
  newestArtifacts(): Set<string> {
    const found = new Set<string>();
    for (const streams of this.#byStream.values()) {
      for (const builds of streams.values()) {
        for (const build of newestOf(builds)) for (const nevra of build.artifacts) found.add(nevra);
      }
    }
    return found;
  }

  /** Every NEVRA that any stream lists. */
  allArtifacts(): Set<string> {
    return new Set(this.#builds.flatMap((it) => it.artifacts));
  }
}

/** Name of a package in `name-epoch:version-release.arch`. */
export function artifactName(nevra: string): string {
  return nevra.replace(/-[^-]*-[^-]*$/, "");
}

/**
 * The documents that a mirror keeps: builds of which it ships a binary package, builds that these need, and what
 * belongs to their modules. Text is verbatim; undefined when nothing is left.
 */
export function cutModules(documents: readonly ModuleDocument[], shipped: ReadonlySet<string>): string | undefined {
  const all = documents.filter(isBuild);
  const builds = new Set(
    all.filter((it) => it.artifacts.some((nevra) => !nevra.endsWith(".src") && shipped.has(nevra))),
  );
  if (builds.size === 0) return undefined;
  // A client considers a stream broken without the streams it needs, even when none of their packages is needed.
  const offered = byStream(all);
  const kept = byStream(builds);
  for (const build of builds) {
    for (const [module, streams] of needsOf(build)) {
      if (!acceptedOf(kept.get(module), streams).next().done) continue;
      const more = [...acceptedOf(offered.get(module), streams)].flat();
      for (const it of more) builds.add(it);
      addByStream(kept, more);
    }
  }
  const modules = new Set([...builds].map((it) => it.module));
  const streams = new Set([...builds].map((it) => `${it.module}:${it.stream}`));
  const left = documents.filter((it) => {
    if (isBuild(it)) return builds.has(it);
    return it.stream === "" ? modules.has(it.module) : streams.has(`${it.module}:${it.stream}`);
  });
  return left.map((it) => (it.text.endsWith("\n") ? it.text : `${it.text}\n`)).join("");
}

/** Streams that exclude each other, for messages. */
function excluding(chooser: ContextChooser, goals: ReadonlyMap<string, string>): AirferryError {
  const names = [...goals].map(([module, stream]) => `${module}:${stream}`);
  const broken = [...goals].filter(([module, stream]) => chooser.choose(new Map([[module, stream]])) === undefined);
  const [name, list] =
    broken.length > 0
      ? [broken.map((it) => it.join(":")).join(" and "), "needs a module that no repository here has in such a stream"]
      : [names.join(" and "), "they need different streams of one module"];
  const needs = chooser.contexts.filter((it) => goals.get(it.module) === it.stream).flatMap((it) => it.needs);
  const modules = [...new Set(needs.map(([module, streams]) => `${module}:${streams.join("|")}`))].join(", ");
  return new AirferryError("ERR_UNRESOLVED", `cannot select module "${name}": ${list} (needed: ${modules})`, {
    hint: "add the repository that has them, or move one of the streams to another manifest",
  });
}
