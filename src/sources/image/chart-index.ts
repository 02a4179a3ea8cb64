/**
 * `index.yaml` of a Helm repository: which versions of a chart there are and where. Files of large repositories have
 * tens of megabytes, so only the block of the requested chart is parsed; a JSON document, which some servers send, is
 * parsed whole. See Helm, "The Chart Repository Guide".
 */
import { AirferryError } from "../../errors.ts";
import { type Digest, parseHex } from "../../io/digest.ts";
import { parseJson } from "../../io/json.ts";
import { FEW_BYTES, runInThread } from "../../io/parser-thread.ts";
import { parseYaml } from "../../io/yaml.ts";
import { tagsNewestFirst } from "../../oci/tag-order.ts";
import { pickVersion } from "./chart-version.ts";

export const MAX_CHART_INDEX_BYTES = 64 * 1024 * 1024;
/** A chart with thousands of versions has a block of about two megabytes. */
const MAX_BLOCK_BYTES = 8 * 1024 * 1024;
const MAX_CHART_URLS = 8;

/** One version of a chart. */
interface ChartVersion {
  version: string;
  /** As written, in the order to try: absolute, or relative to the repository. */
  urls: string[];
  /** Of the package, if the index has it. */
  digest?: Digest;
}

/**
 * Finds a version as {@link findChart} does, in a thread where the index is large. `bytes`: `index.yaml`.
 * @throws {AirferryError} as {@link findChart}
 */
export async function findChartIn(
  bytes: Uint8Array,
  name: string,
  wanted: string | undefined,
  shown: string,
): Promise<ChartVersion> {
  if (bytes.length <= FEW_BYTES) return findChart(Buffer.from(bytes).toString("utf8"), name, wanted, shown);
  return runInThread("chartIndex", {
    bytes,
    args: [name, wanted, shown],
    tooMuch: (fault) => invalid(name, shown, fault),
  });
}

/**
 * The newest version that fits `wanted`: an exact one, a range (`~1.15`, `>=1.2 <2`), or undefined for the newest that
 * is not a pre-release.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for anything else than an index; ERR_MANIFEST_INVALID when nothing
 *   matches
 */
export function findChart(text: string, name: string, wanted: string | undefined, shown: string): ChartVersion {
  const list = versionsOf(text, name, shown);
  if (list === undefined) {
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot lock chart "${name}": "${shown}" does not list it`, {
      path: name,
      hint: `list its charts: helm search repo, or read ${shown}`,
    });
  }
  if (!Array.isArray(list)) throw invalid(name, shown, "its part of the index is not a list of versions");
  const versions = list.flatMap((it) => (isVersion(it) ? [it] : []));
  const picked = pickVersion(
    versions.map((it) => it.version),
    wanted,
  );
  const found = versions.find((it) => it.version === picked);
  if (found === undefined) {
    const newest = tagsNewestFirst(versions.map((it) => it.version)).slice(0, 5);
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot lock chart "${name}": "${shown}" has no version ${wanted ?? ""}`.trimEnd(),
      {
        path: name,
        expected: wanted,
        hint: `available versions: ${newest.join(", ")}${versions.length > newest.length ? ", …" : ""}`,
      },
    );
  }
  // As hex, and by some servers with `sha256:` before it.
  const digest = parseHex((found.digest ?? "").toLowerCase().replace(/^sha256:/, ""));
  const urls = found.urls.filter((it) => typeof it === "string").slice(0, MAX_CHART_URLS);
  return { version: found.version, urls, ...(digest !== undefined && { digest }) };
}

/** The versions that the index lists for a chart; undefined when it does not name it. */
function versionsOf(text: string, name: string, shown: string): unknown {
  if (/^\uFEFF?\s*\{/.test(text)) {
    const index = jsonOf(text.replace(/^\uFEFF/, ""));
    const entries = index?.["entries"] as Record<string, unknown> | null | undefined;
    return entries && Object.hasOwn(entries, name) ? entries[name] : undefined;
  }
  const block = blockOf(text.replace(/^\uFEFF/, ""), name);
  if (block === undefined) return undefined;
  if (block.length > MAX_BLOCK_BYTES)
    throw invalid(name, shown, `its part of the index is over ${MAX_BLOCK_BYTES} bytes`);
  const document = parseYaml(block, { schema: "failsafe" });
  const value: unknown = document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 0 });
  return (value as Record<string, unknown> | undefined)?.[name] ?? null;
}

function jsonOf(text: string): Record<string, unknown> | undefined {
  try {
    return parseJson(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function isVersion(it: unknown): it is { version: string; urls: string[]; digest?: string } {
  const { version, urls } = (it ?? {}) as { version?: unknown; urls?: unknown };
  return typeof version === "string" && Array.isArray(urls) && typeof urls[0] === "string";
}

/** The lines below `entries:` for one chart, with its name as the only key. */
function blockOf(text: string, name: string): string | undefined {
  const start = /^(["']?)entries\1:[ \t]*\r?\n/m.exec(text);
  if (start === null) return undefined;
  const body = text.slice(start.index + start[0].length);
  const indent = /^( +)\S/m.exec(body)?.[1];
  if (indent === undefined) return undefined;
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const head = new RegExp(`^${indent}(["']?)${escaped}\\1:[ \\t]*\\r?$`, "m").exec(body);
  if (head === null) return undefined;
  const rest = body.slice(head.index + head[0].length);
  // Lists may be indented as deep as their key.
  const end = new RegExp(`^(?! *\\r?$)(?:${indent}[^ \\-#]| {0,${indent.length - 1}}\\S)`, "m").exec(rest);
  return `${name}:${end === null ? rest : rest.slice(0, end.index)}`;
}

function invalid(name: string, shown: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot lock chart "${name}" from "${shown}": ${fault}`, {
    path: name,
    hint: "the repository, or a proxy in front of it, is at fault",
  });
}
