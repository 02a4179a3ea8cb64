/**
 * Module metadata (modulemd): which packages belong to which stream, and which documents a mirror keeps. Documents are cut
 * and kept byte for byte, since stream names such as 1.10 do not survive a YAML writer; they are parsed only to decide.
 * See fedora-modularity/libmodulemd, yaml_specs.
 */
import { parseDocument } from "yaml";
import { AirferryError } from "../errors.ts";

/** Real files have 300 documents in 2 MB. */
const MAX_DOCUMENTS = 20_000;

/** One document. */
export interface ModuleDocument {
  /** modulemd, modulemd-stream-v2, modulemd-packager …, modulemd-defaults, modulemd-obsoletes, modulemd-translations. */
  kind: string;
  /** Verbatim, from its `---` on. */
  text: string;
  module: string;
  /** "" for documents that are about the whole module. */
  stream: string;
  version: number;
  context: string;
  arch: string;
  /** NEVRAs with epoch, as upstream lists them; source packages included. */
  artifacts: string[];
  /** Modules that this build needs at run time, with the streams it accepts: empty means any. Alternatives are a list. */
  requires: Map<string, string[]>[];
  /** Package names of each profile. */
  profiles: Map<string, string[]>;
  /** Default stream, of a modulemd-defaults document. */
  defaultStream?: string;
}

interface Raw {
  document?: unknown;
  version?: unknown;
  data?: {
    name?: unknown;
    module?: unknown;
    stream?: unknown;
    version?: unknown;
    context?: unknown;
    arch?: unknown;
    artifacts?: { rpms?: unknown };
    dependencies?: unknown;
    profiles?: Record<string, { rpms?: unknown } | null> | null;
  };
}

/**
 * Reads modules.yaml.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID naming `name` and the document
 */
export function parseModules(bytes: Uint8Array, name: string): ModuleDocument[] {
  const source = Buffer.from(bytes).toString("utf8");
  const documents: ModuleDocument[] = [];
  for (const text of splitDocuments(source)) {
    if (documents.length >= MAX_DOCUMENTS)
      throw invalid(name, documents.length, `more than ${MAX_DOCUMENTS} documents`);
    // The failsafe schema leaves every scalar the string that upstream wrote.
    const parsed = parseDocument(text, { schema: "failsafe", uniqueKeys: true, logLevel: "silent" });
    if (parsed.errors.length > 0) {
      throw invalid(name, documents.length + 1, parsed.errors[0]?.message.split("\n")[0] ?? "not YAML");
    }
    let raw: Raw;
    try {
      raw = parsed.toJS({ maxAliasCount: 100 }) as Raw;
    } catch (cause) {
      throw invalid(name, documents.length + 1, (cause as Error).message);
    }
    if (raw === null || typeof raw !== "object") continue;
    documents.push(documentOf(raw, text));
  }
  return documents;
}

function documentOf(raw: Raw, text: string): ModuleDocument {
  const data = raw.data ?? {};
  const string = (value: unknown) => (typeof value === "string" ? value : "");
  const kind = string(raw.document);
  const defaultStream = kind === "modulemd-defaults" ? string(data.stream) : "";
  return {
    kind,
    text,
    module: string(data.name) || string(data.module),
    stream: kind === "modulemd-defaults" ? "" : string(data.stream),
    version: Number(string(data.version)) || 0,
    context: string(data.context),
    arch: string(data.arch),
    artifacts: strings(data.artifacts?.rpms),
    requires: requiresOf(data.dependencies),
    profiles: new Map(Object.entries(data.profiles ?? {}).map(([key, value]) => [key, strings(value?.rpms)])),
    ...(defaultStream !== "" && { defaultStream }),
  };
}

/** Version 2 has a list of alternatives, each with `requires: {module: [streams]}`; version 1 a map with one stream each. */
function requiresOf(dependencies: unknown): Map<string, string[]>[] {
  const alternatives = Array.isArray(dependencies) ? dependencies : dependencies ? [dependencies] : [];
  return alternatives.map((it: { requires?: Record<string, unknown> } | null) => {
    const requires = new Map<string, string[]>();
    for (const [module, streams] of Object.entries(it?.requires ?? {})) {
      requires.set(module, typeof streams === "string" ? [streams] : strings(streams));
    }
    return requires;
  });
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((it): it is string => typeof it === "string") : [];
}

/** Cuts at `---` lines; what precedes the first is a document of its own when it says anything. */
function splitDocuments(source: string): string[] {
  return source
    .split(/^(?=---(?:\s|$))/m)
    .map((part) => part.replace(/^\.\.\.\s*$[\s\S]*/m, ""))
    .filter((part) => /^(?!---\s*$|\s*#|\s*$).+/m.test(part))
    .map((part) => (part.startsWith("---") ? part : `---\n${part}`));
}

function isBuild(document: ModuleDocument): boolean {
  return document.kind === "modulemd" || document.kind === "modulemd-stream-v2" || document.kind === "modulemd-stream";
}

/** A module stream chosen by the manifest: `name:stream`, the stream left out where there is a default. */
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

/** All module documents of several repositories, and what follows from them. */
export class ModuleIndex {
  readonly documents: readonly ModuleDocument[];
  readonly #builds: ModuleDocument[];

  constructor(documents: readonly ModuleDocument[]) {
    this.documents = documents;
    this.#builds = documents.filter(isBuild);
  }

  get isEmpty(): boolean {
    return this.#builds.length === 0;
  }

  hasModule(module: string): boolean {
    return this.#builds.some((it) => it.module === module);
  }

  /** The newest defaults document wins; undefined when there is none or it names no stream. */
  defaultStream(module: string): string | undefined {
    return this.documents.findLast((it) => it.kind === "modulemd-defaults" && it.module === module)?.defaultStream;
  }

  /** Builds of a stream: the newest version, every context of it. */
  newestBuilds(module: string, stream: string): ModuleDocument[] {
    const builds = this.#builds.filter((it) => it.module === module && it.stream === stream);
    const version = Math.max(...builds.map((it) => it.version));
    return builds.filter((it) => it.version === version);
  }

  /**
   * Streams that are active: the wanted ones, the defaults of all other modules, and what these need. Returns module to stream.
   * @throws {AirferryError} ERR_UNRESOLVED for a stream that nobody has
   */
  activeStreams(wanted: readonly ModuleSpec[]): Map<string, string> {
    const active = new Map<string, string>();
    const queue: [string, string][] = [];
    const enable = (module: string, stream: string) => {
      if (active.has(module)) return;
      active.set(module, stream);
      queue.push([module, stream]);
    };
    for (const { module, stream = this.defaultStream(module) } of wanted) {
      const streams = [...new Set(this.#builds.filter((it) => it.module === module).map((it) => it.stream))];
      if (stream === undefined || !streams.includes(stream)) {
        throw new AirferryError(
          "ERR_UNRESOLVED",
          `cannot select module "${module}${stream === undefined ? "" : `:${stream}`}": ${streams.length === 0 ? "no repository has that module" : `expected one of the streams ${streams.join(", ")}`}`,
          { hint: "write it as @module:stream" },
        );
      }
      enable(module, stream);
    }
    this.#follow(active, queue, enable);
    for (const module of new Set(this.#builds.map((it) => it.module))) {
      const stream = this.defaultStream(module);
      if (stream !== undefined) enable(module, stream);
    }
    this.#follow(active, queue, enable);
    return active;
  }

  #follow(
    active: ReadonlyMap<string, string>,
    queue: [string, string][],
    enable: (module: string, stream: string) => void,
  ): void {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      for (const build of this.newestBuilds(...next)) {
        for (const [module, streams] of build.requires[0] ?? []) {
          if (module === "platform" || active.has(module) || !this.hasModule(module)) continue;
          const fallback = this.defaultStream(module);
          const stream =
            streams.length === 0 || (fallback !== undefined && streams.includes(fallback)) ? fallback : streams[0];
          if (stream !== undefined) enable(module, stream);
        }
      }
    }
  }

  /** NEVRAs of every stream that is not active: clients cannot see them. */
  inactiveArtifacts(active: ReadonlyMap<string, string>): Set<string> {
    const visible = this.activeArtifacts(active);
    const hidden = new Set<string>();
    for (const build of this.#builds) {
      if (active.get(build.module) === build.stream) continue;
      for (const nevra of build.artifacts) if (!visible.has(nevra)) hidden.add(nevra);
    }
    return hidden;
  }

  /** NEVRAs of the active streams. */
  activeArtifacts(active: ReadonlyMap<string, string>): Set<string> {
    const found = new Set<string>();
    for (const build of this.#builds) {
      if (active.get(build.module) === build.stream) for (const nevra of build.artifacts) found.add(nevra);
    }
    return found;
  }

  /** NEVRAs of the newest version of every stream, and of the version that has the newest package: what `newest` must keep. */
  newestArtifacts(): Set<string> {
    const found = new Set<string>();
    for (const { module, stream } of this.#builds) {
      for (const build of this.newestBuilds(module, stream)) for (const nevra of build.artifacts) found.add(nevra);
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
 * The documents that a mirror keeps: builds of which it ships a binary package, and what belongs to their modules. Text is
 * verbatim; undefined when nothing is left.
 */
export function cutModules(documents: readonly ModuleDocument[], shipped: ReadonlySet<string>): string | undefined {
  const builds = new Set(
    documents.filter(
      (it) => isBuild(it) && it.artifacts.some((nevra) => !nevra.endsWith(".src") && shipped.has(nevra)),
    ),
  );
  if (builds.size === 0) return undefined;
  const modules = new Set([...builds].map((it) => it.module));
  const streams = new Set([...builds].map((it) => `${it.module}:${it.stream}`));
  const kept = documents.filter((it) => {
    if (isBuild(it)) return builds.has(it);
    return it.stream === "" ? modules.has(it.module) : streams.has(`${it.module}:${it.stream}`);
  });
  return kept.map((it) => (it.text.endsWith("\n") ? it.text : `${it.text}\n`)).join("");
}

function invalid(name: string, number: number, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read "${name}": document ${number}: ${fault}`, {
    path: name,
    hint: "upstream's module metadata is damaged; try another mirror",
  });
}
