/**
 * Module metadata (modulemd) as documents. They are cut and copied byte for byte, since stream names such as 1.10 do
 * not survive a YAML writer; they are parsed only to decide. See fedora-modularity/libmodulemd, yaml_specs.
 */
import { AirferryError } from "../errors.ts";
import { textOf } from "../io/text.ts";
import { MAX_ALIASES, parseYaml } from "../io/yaml.ts";

/** Real files have 300 documents in 2 MB. */
const MAX_DOCUMENTS = 20_000;

/** Real documents have up to 200 kB. */
const MAX_DOCUMENT_CHARS = 4 * 1024 * 1024;

/** One document. */
export interface ModuleDocument {
  /**
   * modulemd, modulemd-stream-v2, modulemd-packager …, modulemd-defaults, modulemd-obsoletes, modulemd-translations.
   */
  kind: string;
  /** Verbatim, starting at its `---`. */
  text: string;
  module: string;
  /** "" for documents about the whole module. */
  stream: string;
  /** Up to 64 bits. */
  version: bigint;
  /** Of the format: up to 2, or 3, in which contexts are chosen names. */
  format: number;
  context: string;
  arch: string;
  /** NEVRAs with epoch, as upstream lists them; source packages included. */
  artifacts: string[];
  /**
   * Modules that this build needs at run time, with the streams it accepts: empty means any. Alternatives are a list.
   */
  requires: Map<string, string[]>[];
  /** Package names of each profile. */
  profiles: Map<string, string[]>;
  /** Default stream, of a modulemd-defaults document. */
  defaultStream?: string;
  /** Why it cannot be used. Clients warn about such a document and continue. */
  fault?: string;
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
 * Parses modules.yaml, about 1 MB a second: read large ones with `readModules` (modules-thread.ts), which does not
 * block the caller. A document that is not YAML comes with its `fault`.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID naming `name`: too many documents, or one too large
 */
export function parseModules(bytes: Uint8Array, name: string): ModuleDocument[] {
  const source = textOf(bytes);
  const documents: ModuleDocument[] = [];
  for (const text of splitDocuments(source)) {
    if (documents.length >= MAX_DOCUMENTS)
      throw invalid(name, documents.length, `more than ${MAX_DOCUMENTS} documents`);
    if (text.length > MAX_DOCUMENT_CHARS) {
      throw invalid(name, documents.length + 1, `more than ${MAX_DOCUMENT_CHARS} characters`);
    }
    // The failsafe schema leaves every scalar the string that upstream wrote.
    try {
      const parsed = parseYaml(text, { schema: "failsafe" });
      const [error] = parsed.errors;
      if (error) {
        const { line, col } = error.linePos?.[0] ?? { line: 1, col: 1 };
        throw new Error(`${error.message} at line ${line}, column ${col}`);
      }
      const raw = parsed.toJS({ maxAliasCount: MAX_ALIASES }) as Raw;
      if (raw !== null && typeof raw === "object") documents.push(documentOf(raw, text));
    } catch (cause) {
      const fault = `document ${documents.length + 1}: ${(cause as Error).message.split("\n")[0]}`;
      documents.push({ ...documentOf({}, text), fault });
    }
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
    version: /^\d{1,20}$/.test(string(data.version)) ? BigInt(string(data.version)) : 0n,
    format: Number(string(raw.version)) || 0,
    context: string(data.context),
    arch: string(data.arch),
    artifacts: strings(data.artifacts?.rpms),
    requires: requiresOf(data.dependencies),
    profiles: new Map(Object.entries(data.profiles ?? {}).map(([key, value]) => [key, strings(value?.rpms)])),
    ...(defaultStream !== "" && { defaultStream }),
  };
}

/**
 * Version 2 has a list of alternatives, each with `requires: {module: [streams]}`; version 1 a map with one stream
 * each.
 */
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

/** Cuts at `---` lines; text before the first is a separate document unless it is empty, text after `...` is not. */
function* splitDocuments(source: string): Generator<string> {
  let start = 0;
  let end: number | undefined;
  let says = false;
  const text = (next: number) => startOf(source.slice(start, end ?? next));
  for (let at = 0; at < source.length; ) {
    const feed = source.indexOf("\n", at);
    const next = feed < 0 ? source.length : feed + 1;
    if (isMarker(source, at, "---")) {
      if (says) yield text(at);
      start = at;
      end = undefined;
      says = !isEmptyLine(source, at + 3, next);
    } else if (end === undefined) {
      if (isMarker(source, at, "...") && isEmptyLine(source, at + 3, next)) end = at;
      else says ||= !isEmptyLine(source, at, next);
    }
    at = next;
  }
  if (says) yield text(source.length);
}

function startOf(text: string): string {
  return text.startsWith("---") ? text : `---\n${text}`;
}

function isMarker(source: string, at: number, marker: string): boolean {
  return source.startsWith(marker, at) && /^\s?$/.test(source.charAt(at + 3));
}

/** Blank, or a comment. */
function isEmptyLine(source: string, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    const char = source.charAt(at);
    if (char === "#") return true;
    if (char.trim() !== "") return false;
  }
  return true;
}

/** Whether a document is about one build of a stream, with its packages. */
export function isBuild(document: ModuleDocument): boolean {
  return document.kind === "modulemd" || document.kind === "modulemd-stream-v2" || document.kind === "modulemd-stream";
}

function invalid(name: string, number: number, fault: string): AirferryError {
  return invalidModules(name, `document ${number}: ${fault}`);
}

/** The error for malformed module metadata. */
export function invalidModules(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read "${name}": ${fault}`, {
    path: name,
    hint: "upstream's module metadata is damaged; try another mirror",
  });
}
