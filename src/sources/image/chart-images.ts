/**
 * The images that a chart needs: those in its rendered objects with the given values, if helm is available, otherwise
 * those that its annotations list (Artifact Hub's `artifacthub.io/images`, and `images`). The result is locked, so
 * another helm changes nothing later.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { promisify } from "node:util";
import { AirferryError } from "../../errors.ts";
import { FEW_BYTES, runInThread } from "../../io/parser-thread.ts";
import { MAX_ALIASES, parseYaml } from "../../io/yaml.ts";
import { checkReference, formatReference, parseReference } from "../../oci/reference.ts";
import type { ChartMetadata } from "./chart-archive.ts";

const HELM_TIMEOUT_MS = 120_000;
const MAX_RENDERED_BYTES = 64 * 1024 * 1024;
const MAX_DEPTH = 64;
/**
 * A registry host with a dot, a path, and a tag or digest: what arguments and variables must look like to count as an
 * image.
 */
const LOOKS_LIKE_IMAGE =
  /^(?:--?[A-Za-z0-9-]+=)?((?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?\/[a-z0-9._/-]+(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?)$/;

interface ChartImagesOptions {
  chart: ChartMetadata;
  /** The packaged chart. */
  bytes: Uint8Array;
  /** Values files, relative to `baseDir`. */
  values: readonly string[];
  baseDir: string;
  /**
   * The cluster's Kubernetes version, if the manifest says it: charts check it, and helm's default may be too old for
   * them.
   */
  kubeVersion?: string | undefined;
  shown: string;
  report: (line: string) => void;
}

/**
 * Returns canonical references, sorted and distinct.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when helm cannot render it, or nothing lists what it needs
 */
export async function imagesOfChart(options: ChartImagesOptions): Promise<string[]> {
  const { chart, shown, report } = options;
  const rendered = await renderChart(options);
  // The annotations hold a YAML list of `{ name, image }`.
  const sources = rendered === undefined ? annotations(chart) : [rendered];
  const notes = (line: string) => report(`chart ${shown}: ${line}`);
  const found = (await Promise.all(sources.map((it) => imagesIn(it, shown, notes)))).flat();
  const references = new Set<string>();
  for (const text of found) {
    const wrong = checkReference(text);
    if (wrong === undefined) references.add(formatReference(parseReference(text)));
    else report(`chart ${shown}: ignored "${text}", which is not an image reference: ${wrong.fault}`);
  }
  if (rendered === undefined && references.size === 0) {
    throw new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot determine which images chart "${shown}" needs: helm is not on PATH, and its annotations list none`,
      { path: shown, hint: "install helm, or remove images: true and name the images under images:" },
    );
  }
  const how = rendered === undefined ? "its annotations list" : "it renders to";
  const sorted = [...references].sort();
  report(`chart ${shown}: ${how} ${sorted.length === 0 ? "no image" : sorted.join(", ")}`);
  return sorted;
}

/** The chart's objects as YAML; undefined without helm. Nothing of the user's own helm configuration is used. */
async function renderChart({
  bytes,
  values,
  baseDir,
  kubeVersion,
  shown,
}: ChartImagesOptions): Promise<string | undefined> {
  const files = values.map((it) => (isAbsolute(it) ? it : resolve(baseDir, it)));
  for (const [index, file] of files.entries()) await requireFile(file, values[index] as string, shown);
  const given = [
    ...files.flatMap((it) => ["--values", it]),
    ...(kubeVersion === undefined ? [] : ["--kube-version", kubeVersion]),
  ];
  const dir = await mkdtemp(join(tmpdir(), "airferry-chart-"));
  try {
    const file = join(dir, "chart.tgz");
    await writeFile(file, bytes);
    const env = {
      PATH: process.env["PATH"] ?? "",
      HOME: dir,
      HELM_CACHE_HOME: dir,
      HELM_CONFIG_HOME: dir,
      HELM_DATA_HOME: dir,
    };
    const { stdout } = await promisify(execFile)("helm", ["template", "airferry", file, ...given], {
      cwd: dir,
      env,
      timeout: HELM_TIMEOUT_MS,
      maxBuffer: MAX_RENDERED_BYTES,
    });
    return stdout;
  } catch (error) {
    const { code, stderr, message } = error as { code?: unknown; stderr?: string; message: string };
    if (code === "ENOENT") return undefined;
    const said = errorIn(stderr || message);
    throw new AirferryError("ERR_UPSTREAM_INVALID", `cannot render chart "${shown}": helm says: ${said}`, {
      path: shown,
      hint: "give the values that it needs: values: [values.yaml], or remove images: true and name its images under images:",
      cause: error,
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Helm's error, between its warnings and its advice. */
function errorIn(text: string): string {
  const lines = text.trim().split("\n");
  const at = lines.findLastIndex((it) => it.startsWith("Error: "));
  return at < 0
    ? (lines.at(-1) as string)
    : lines
        .slice(at)
        .join(" ")
        .replace(/\s+Use --debug flag.*$/, "")
        .slice(0, 1000);
}

/** @throws {AirferryError} ERR_MANIFEST_INVALID */
async function requireFile(file: string, given: string, shown: string): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found?.isFile()) return;
  throw new AirferryError(
    "ERR_MANIFEST_INVALID",
    `cannot render chart "${shown}": ${found === undefined ? "no such values file" : "not a values file"}: "${given}"`,
    { path: given, hint: "paths in a manifest are relative to the manifest's own folder" },
  );
}

/** {@link imagesInYaml}, in a thread where the text is large. */
async function imagesIn(text: string, shown: string, report: (line: string) => void): Promise<string[]> {
  const bytes = Buffer.from(text);
  if (bytes.length <= FEW_BYTES) return imagesInYaml(text, report);
  const tooMuch = (fault: string) =>
    new AirferryError("ERR_UPSTREAM_INVALID", `cannot determine which images chart "${shown}" needs: ${fault}`, {
      path: shown,
      hint: "remove images: true and name the images under images:",
    });
  const { images, notes } = await runInThread<ReturnType<typeof listImages>>("chartImages", { bytes, tooMuch });
  for (const it of notes) report(it);
  return images;
}

/** What {@link imagesInYaml} returns and reports, as plain data. */
export function listImages(text: string): { images: string[]; notes: string[] } {
  const notes: string[] = [];
  return { images: imagesInYaml(text, (line) => notes.push(line)), notes };
}

/**
 * Every `image:` of rendered objects, and every other field, argument, command and variable that can only be an image.
 * An object that is not valid YAML, such as one with a repeated key, which Kubernetes accepts, is read line by line.
 */
export function imagesInYaml(text: string, report: (line: string) => void = () => {}): string[] {
  const found = new Set<string>();
  for (const part of text.split(/^(?:---(?=\s|$)|\.\.\.[ \t\r]*$)/m)) {
    const document = parseYaml(part);
    if (document.errors.length === 0) collect(document.toJS({ maxAliasCount: MAX_ALIASES }), "", 0, found);
    else {
      const source = /^# Source: (.*)$/m.exec(part)?.[1] ?? "an object";
      report(`${source} is read line by line: ${document.errors[0]?.message.split("\n")[0]}`);
      for (const [, image] of part.matchAll(IMAGE_LINE)) found.add(image as string);
    }
  }
  return [...found];
}

const IMAGE_LINE = /(?:^[ \t-]*|[{,][ \t]*)["']?image["']?:[ \t]+["']?([^\s"'{[&*#][^\s"',}]*)/gm;
/** Fields of custom resources: `sidecarImage`, `imageName`, `containerImage`. */
const IMAGE_FIELD = /[a-z]Image$|^imageName$/;

function collect(value: unknown, key: string, depth: number, found: Set<string>): void {
  if (depth > MAX_DEPTH) return;
  if (typeof value === "string") {
    if (key === "image" && value !== "") found.add(value);
    else if (key === "args" || key === "command" || key === "value" || IMAGE_FIELD.test(key)) {
      const image = LOOKS_LIKE_IMAGE.exec(value)?.[1];
      if (image !== undefined && /[:@]/.test(image.slice(image.lastIndexOf("/")))) found.add(image);
    }
  } else if (Array.isArray(value)) {
    for (const it of value) collect(it, key, depth + 1, found);
  } else if (typeof value === "object" && value !== null) {
    if (/^image$|[a-z]Image$/.test(key)) addParts(value as Record<string, unknown>, found);
    for (const [name, it] of Object.entries(value)) collect(it, name, depth + 1, found);
  }
}

/** `image: { registry: quay.io, repository: a/b, tag: 1.0 }` of a custom resource. */
function addParts({ registry, repository, tag }: Record<string, unknown>, found: Set<string>): void {
  if (typeof repository !== "string" || (typeof tag !== "string" && typeof tag !== "number") || tag === "") return;
  const host = typeof registry === "string" && registry !== "" ? `${registry}/` : "";
  found.add(`${host}${repository}:${tag}`);
}

function annotations({ annotations }: ChartMetadata): string[] {
  return ["artifacthub.io/images", "images"].flatMap((key) => annotations[key] ?? []);
}
