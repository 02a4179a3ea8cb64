/**
 * zarf's packages, v1alpha1 and v1beta1: images, charts and files of all components. What zarf does with them when it
 * deploys is no content. No I/O.
 */
import type { ImageEntry } from "../manifest/schema.ts";
import { addChart } from "./chart-found.ts";
import { addImage, type FoundContent, skip, templateIn } from "./found.ts";
import { listAt, listUnknownKeys } from "./known-keys.ts";
import type { YamlNode } from "./yaml-node.ts";

/** Keys that are read, and those that say nothing of content. */
const PACKAGE_KEYS = "apiVersion kind metadata build components component values variables constants documentation";
const COMPONENT_KEYS =
  "name description default required optional only selector target group images files charts repos repositories " +
  "imageArchives imageTars manifests import actions scripts dataInjections service healthChecks";
const FILE_KEYS =
  "source shasum checksum target destination executable symlinks extractPath template enableValues enableTemplates";
const CHART_KEYS =
  "name version url repoName gitPath localPath helmRepository git local oci namespace releaseName noWait skipWait wait valuesFiles " +
  "templatedValuesFiles variables values schemaValidation skipSchemaValidation serverSideApply";
const MANIFEST_KEYS =
  "name namespace files kustomizations kustomize kustomizeAllowAnyDirectory noWait skipWait wait template enableValues serverSideApply";

/** Keys of components that tell what zarf does when it deploys. */
const DEPLOYMENT = "what zarf does when it deploys is not content";
const COMPONENT_FIELDS: Readonly<Record<string, string>> = {
  import: "a component of another package: give its file too",
  actions: DEPLOYMENT,
  scripts: DEPLOYMENT,
  dataInjections: DEPLOYMENT,
  service: DEPLOYMENT,
};

export function readZarf(document: YamlNode, found: FoundContent): void {
  const whole = document.at("metadata", "architecture").text();
  const components = listAt(document, "components", found);
  listUnknownKeys(document, PACKAGE_KEYS, "zarf", found);
  // A component of its own file, v1beta1.
  const single = document.get("component");
  for (const it of single.exists() ? [single, ...components] : components) readComponent(it, whole, found);
  for (const key of ["values", "variables", "constants", "documentation"]) {
    const node = document.get(key);
    if (node.exists()) skip(found, node.line, `zarf ${key}`, DEPLOYMENT);
  }
}

/** As v1beta1 has it. */
function architectureOf(component: YamlNode): string | undefined {
  return component.at("target", "architecture").text() ?? component.at("selector", "architecture").text();
}

function readComponent(component: YamlNode, whole: string | undefined, found: FoundContent): void {
  const name = component.get("name").text() ?? "";
  const own = component.at("only", "cluster", "architecture").text() ?? architectureOf(component);
  const architecture = own ?? whole;
  const platforms: Pick<ImageEntry, "platforms"> =
    architecture !== undefined && /^[a-z0-9_]+$/.test(architecture) && architecture !== "multi"
      ? { platforms: [`linux/${architecture}`] }
      : {};
  for (const it of listAt(component, "images", found)) readImage(it, platforms, found);
  for (const it of listAt(component, "files", found)) readFile(it, found);
  for (const it of listAt(component, "charts", found)) readChart(it, found);
  for (const key of ["repos", "repositories"]) {
    for (const it of listAt(component, key, found)) {
      skip(
        found,
        it.line,
        it.text() ?? it.get("url").text() ?? "",
        "a git repository: name archives of it under files:",
      );
    }
  }
  for (const it of [...listAt(component, "imageArchives", found), ...listAt(component, "imageTars", found)]) {
    skip(found, it.line, it.get("path").text() ?? "", "an archive of this host: name it under images: with archive:");
  }
  for (const manifest of listAt(component, "manifests", found)) readManifest(manifest, found);
  listUnknownKeys(component, COMPONENT_KEYS, `component ${name}`, found);
  for (const [key, value] of component.fields()) {
    const why = COMPONENT_FIELDS[key];
    if (why !== undefined && value.exists()) skip(found, value.line, `component ${name} ${key}`, why);
  }
}

function readImage(node: YamlNode, platforms: Pick<ImageEntry, "platforms">, found: FoundContent): void {
  const name = node.text() ?? node.get("name").text() ?? "";
  if (node.get("source").text() === "daemon") {
    skip(found, node.line, name, "from this host's daemon: save it, and give archive: under images:");
    return;
  }
  listUnknownKeys(node, "name source", name, found);
  addImage(found, node.line, name, platforms);
}

function readFile(node: YamlNode, found: FoundContent): void {
  const source = node.get("source").text() ?? "";
  const { line } = node;
  if (!/^https?:\/\//i.test(source)) {
    skip(found, line, source, "a file of this host: name it under files: with path:");
    return;
  }
  listUnknownKeys(node, FILE_KEYS, source, found);
  const template = templateIn(source);
  if (template !== undefined) {
    skip(found, line, source, `it is a template: ${template} has no value`);
    return;
  }
  const [, url = source, suffix] = /^(.*)@([0-9a-fA-F]{64})$/.exec(source) ?? [];
  const sum = node.get("shasum").text() ?? node.get("checksum").text() ?? suffix;
  const sha256 = /^(?:sha256:)?([0-9a-fA-F]{64})$/.exec(sum ?? "")?.[1];
  const [, algorithm, hex = ""] = /^(sha384|sha512):((?:[0-9a-fA-F]{2})+)$/.exec(sum ?? "") ?? [];
  if (sum !== undefined && sum !== "" && sha256 === undefined && algorithm === undefined) {
    skip(found, line, url, "its checksum is none that is known: expected sha256:, sha384: or sha512:");
    return;
  }
  found.files.push({
    line,
    entry: {
      url,
      ...(sha256 !== undefined && { sha256 }),
      ...(algorithm !== undefined && { integrity: `${algorithm}-${Buffer.from(hex, "hex").toString("base64")}` }),
      ...(node.get("executable").isTrue() && { mode: "0755" as const }),
    },
  });
}

function readChart(node: YamlNode, found: FoundContent): void {
  const { line } = node;
  const own = node.get("name").text() ?? "";
  const text = (...keys: string[]) => node.at(...keys).text();
  const url = text("url") ?? text("helmRepository", "url") ?? text("oci", "url") ?? "";
  const git = text("git", "url") ?? (text("gitPath") !== undefined || /\.git(?:@.*)?$/.test(url) ? url : undefined);
  const digest = text("oci", "ref", "digest");
  listUnknownKeys(node, CHART_KEYS, `chart ${own}`, found);
  if (git !== undefined)
    skip(found, line, `chart ${own} of ${git}`, "a chart in git: render it, and give the result too");
  else if (digest !== undefined) addImage(found, line, `${url.replace(/^oci:\/\//, "")}@${digest}`);
  else {
    addChart(found, line, {
      name: text("repoName") ?? text("helmRepository", "name") ?? own,
      url,
      version:
        text("version") ?? text("helmRepository", "version") ?? text("oci", "ref", "tag") ?? text("oci", "version"),
      more: {},
      isWhole: true,
    });
  }
  for (const key of ["valuesFiles", "templatedValuesFiles"]) {
    const files = listAt(node, key, found);
    const first = files[0];
    if (first !== undefined)
      skip(found, first.line, `chart ${own} ${key}`, "values are not content: name them under files:");
  }
}

function readManifest(manifest: YamlNode, found: FoundContent): void {
  const kustomizations = [
    ...listAt(manifest, "kustomizations", found),
    ...listAt(manifest.get("kustomize"), "files", found),
  ];
  listUnknownKeys(manifest, MANIFEST_KEYS, `manifest ${manifest.get("name").text() ?? ""}`, found);
  for (const it of kustomizations)
    skip(found, it.line, it.text() ?? "", "build it (kubectl kustomize), and give the result too");
  for (const it of listAt(manifest, "files", found)) {
    skip(found, it.line, it.text() ?? "", "its images, if they are not listed here: give the file too");
  }
}
