/**
 * A packaged Helm chart: a gzip tar of one folder. Only what airferry needs is read, with limits on everything. See
 * Helm, "Charts", and "Helm Provenance and Integrity".
 */
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { Parser } from "tar";
import { AirferryError } from "../../errors.ts";
import { runInThread } from "../../io/parser-thread.ts";
import { parseYaml } from "../../io/yaml.ts";

/** Helm refuses larger ones since 3.17. */
export const MAX_CHART_BYTES = 16 * 1024 * 1024;
const MAX_UNPACKED_BYTES = 128 * 1024 * 1024;
const MAX_CHART_YAML_BYTES = 1024 * 1024;

/** What `Chart.yaml` says; values that are not strings were written without quotes and are used as written. */
export interface ChartMetadata {
  apiVersion: string;
  name: string;
  version: string;
  appVersion?: string;
  description?: string;
  type?: string;
  annotations: Record<string, string>;
}

/**
 * Reads `Chart.yaml` of a packaged chart, in a thread: a few bytes may decompress to a large archive.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when it is not a chart
 */
export async function readChart(bytes: Uint8Array, shown: string): Promise<ChartMetadata> {
  return runInThread("chart", { bytes, args: [shown], tooMuch: (what) => invalid(shown, what) });
}

function invalid(shown: string, what: string, cause?: unknown): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read chart "${shown}": ${what}`, {
    path: shown,
    hint: "expected what helm package writes: a .tgz with one folder that contains Chart.yaml",
    cause,
  });
}

/** The same in the current thread. @throws {AirferryError} ERR_UPSTREAM_INVALID when it is not a chart */
export async function parseChart(bytes: Uint8Array, shown: string): Promise<ChartMetadata> {
  const fault = (what: string, cause?: unknown) => invalid(shown, what, cause);
  let text: string | undefined;
  try {
    const tar = await promisify(gunzip)(bytes, { maxOutputLength: MAX_UNPACKED_BYTES });
    text = chartYamlIn(tar);
  } catch (cause) {
    throw fault((cause as Error).message, cause);
  }
  if (text === undefined) throw fault("its folder has no Chart.yaml");
  const document = parseYaml(text, { schema: "failsafe" });
  const value: unknown = document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 0 });
  if (typeof value !== "object" || value === null) {
    throw fault(`its Chart.yaml is not YAML: ${document.errors[0]?.message.split("\n")[0] ?? "it has no keys"}`);
  }
  const member = (key: string) => {
    const it = (value as Record<string, unknown>)[key];
    return typeof it === "string" ? it : undefined;
  };
  const [name, version] = [member("name"), member("version")];
  if (name === undefined || version === undefined) throw fault("its Chart.yaml has no name or no version");
  const { annotations } = value as { annotations?: unknown };
  const optional = (key: "appVersion" | "description" | "type") => {
    const text = member(key);
    return text === undefined ? {} : { [key]: text };
  };
  return {
    apiVersion: member("apiVersion") ?? "v1",
    name,
    version,
    ...optional("appVersion"),
    ...optional("description"),
    ...optional("type"),
    annotations:
      typeof annotations === "object" && annotations !== null
        ? Object.fromEntries(
            Object.entries(annotations).filter((it): it is [string, string] => typeof it[1] === "string"),
          )
        : {},
  };
}

/** The text of `FOLDER/Chart.yaml`; subcharts have theirs deeper. */
function chartYamlIn(tar: Uint8Array): string | undefined {
  let found: string | undefined;
  let fault: Error | undefined;
  const parser = new Parser({
    strict: true,
    maxMetaEntrySize: MAX_CHART_YAML_BYTES,
    onReadEntry(entry) {
      const isWanted = entry.type === "File" && /^(?:\.\/)?[^/]+\/Chart\.yaml$/.test(entry.path) && found === undefined;
      if (!isWanted || entry.size > MAX_CHART_YAML_BYTES) return void entry.resume();
      const parts: Buffer[] = [];
      entry.on("data", (chunk: Buffer) => parts.push(chunk));
      entry.on("end", () => {
        found = Buffer.concat(parts).toString("utf8");
      });
    },
  });
  parser.on("error", (error: Error) => {
    fault ??= error;
  });
  parser.end(Buffer.from(tar.buffer, tar.byteOffset, tar.byteLength));
  if (fault !== undefined) throw fault;
  return found;
}
