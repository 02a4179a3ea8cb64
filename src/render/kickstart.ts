/**
 * Rewrites a kickstart file for the local server: placeholders, the installation source and the repositories. Every
 * other byte is unchanged. See the pykickstart documentation, "url" and "repo", and docs/build.md, "Kickstart
 * templates".
 */

import { posix } from "node:path";
import { checkKickstartText, isKickstart, type KickstartFinding } from "../builder/kickstart-findings.ts";
import {
  fillPlaceholders,
  kickstartLines,
  placeholdersOf,
  placeholderVariable,
  valueFault,
} from "../builder/kickstart-template.ts";
import { AirferryError, bug } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { repositoriesOf, type ServedRepository, treeUrl } from "./rpm-repositories.ts";
import type { RenderInput } from "./types.ts";
import { addressOf, builderOf, buildIso, releasesOf } from "./view.ts";

const WHAT = "kickstart";
const METHOD = /^(\s*)(cdrom|url|nfs|harddrive|hmc)(?=\s|$)(.*)$/;
const REPO = /^\s*repo(?=\s)(.*)$/;
const SOURCE_OPTION = /--(?:url|mirrorlist|metalink|baseurl)(?:=|\s+)("[^"]*"|'[^']*'|\S+)/;

/** The template's path in the bundle: `files/…` of `builder.kickstart`, or the only file named ks.cfg. */
export function kickstartTemplate(input: RenderInput): { path: string; digest: Digest } {
  const found: { path: string; digest: Digest; stream: string; named: boolean }[] = [];
  for (const release of releasesOf(input)) {
    const named = builderOf(release)?.kickstart;
    for (const { path, digest } of release.inventory.entries) {
      if (isKickstart(path, named) && !found.some((it) => it.digest === digest)) {
        found.push({ path, digest, stream: release.stream, named: named !== undefined });
      }
    }
  }
  // A file that a builder names takes precedence over one that only has the name, perhaps in another stream.
  const named = found.filter((it) => it.named);
  const templates = named.length > 0 ? named : found;
  const [only, more] = templates;
  if (only !== undefined && more === undefined) return only;
  const streams = [...new Set(templates.map((it) => it.stream))];
  throw new AirferryError(
    "ERR_RENDER",
    `cannot render "${WHAT}": ${found.length === 0 ? "no template was packed" : "several templates were packed"}`,
    {
      expected: "one kickstart file among the manifest's files",
      ...(found.length === 0 ? {} : { actual: found.map((it) => it.path).join(", ") }),
      hint:
        streams.length > 1
          ? `choose one stream: --stream ${streams[0]}, or /s/${streams[0]}/config/ks.cfg; streams: ${streams.join(", ")}`
          : "add to the manifest, then lock, pack and carry again:\nfiles:\n  - path: ./ks.cfg\nbuilder:\n  kickstart: ks.cfg",
    },
  );
}

/**
 * Fills in the placeholders of a template from the environment; unset ones are marked so that no installer accepts
 * them.
 * @throws {AirferryError} ERR_RENDER for a value that the file, or packer's login, cannot carry
 */
export function fillKickstart(template: string, env: RenderInput["env"]): string {
  for (const { name } of placeholdersOf(template)) {
    if (name === undefined) continue;
    const variable = placeholderVariable(name);
    const value = env?.[variable];
    const fault = value ? valueFault(template, name, value) : undefined;
    if (fault !== undefined) {
      throw new AirferryError("ERR_RENDER", `cannot render "${WHAT}": ${variable} ${fault}`, {
        hint: `set ${variable} to another value; letters and digits always work`,
      });
    }
  }
  return fillPlaceholders(template, (name) => env?.[placeholderVariable(name)]);
}

/** Whether {@link fillKickstart} puts a value of the environment into the file. */
export function isFilled(template: string, env: RenderInput["env"]): boolean {
  return placeholdersOf(template).some(({ name }) => name !== undefined && env?.[placeholderVariable(name)]);
}

/**
 * Returns the faults of a kickstart file: placeholders that the environment does not fill, and an account other than
 * packer's.
 */
export function checkKickstart(template: string, input: RenderInput): KickstartFinding[] {
  const builders = releasesOf(input).flatMap((release) => builderOf(release) ?? []);
  return checkKickstartText(template, input.env ?? {}, builders.length === 1 ? builders[0] : undefined);
}

/**
 * Rewrites the text of a kickstart file. Lines inside sections (%packages, %post, …) keep every byte except
 * placeholders.
 * @throws {AirferryError} ERR_RENDER when a `repo` line names something that is not served, without an ISO, or as
 *   {@link fillKickstart}
 */
export function renderKickstart(template: string, input: RenderInput): string {
  const source = installSource(input);
  const repositories = repositoriesOf(input);
  const insecure = addressOf(input.baseUrl).tls && input.privateCa ? " --noverifyssl" : "";
  const filled = fillKickstart(template, input.env);
  const ends = filled.split("\n").map((it) => (it.endsWith("\r") ? "\r" : ""));
  const lines = [...kickstartLines(filled)].map(({ text: line, section }) => {
    const method = section === undefined ? METHOD.exec(line) : null;
    if (method !== null) return `${method[1]}url --url="${source}"${insecure}`;
    const [, options = ""] = section === undefined ? (REPO.exec(line) ?? []) : [];
    const [, place] = SOURCE_OPTION.exec(options) ?? [];
    return place === undefined ? line : repoLine(line, place, repositories, insecure);
  });
  return lines.map((line, index) => `${line}${ends[index]}`).join("\n");
}

function installSource(input: RenderInput): string {
  for (const release of releasesOf(input)) {
    const iso = buildIso(WHAT, builderOf(release), release);
    if (iso !== undefined) return treeUrl(input, iso.iso.name, release) ?? bug(`no entry of ISO ${iso.iso.name}`);
    const tree = release.inventory.catalog.rpms.find((it) => it.tree);
    if (tree !== undefined) return `${input.baseUrl}/${tree.path}`;
  }
  throw new AirferryError("ERR_RENDER", `cannot render "${WHAT}": there is no installation source`, {
    expected: "an ISO, or a repository with .treeinfo",
    hint: ["add to the manifest, then lock, pack and carry again:", "isos:", "  - name: rocky-9", "    url: https://…"],
  });
}

/** Replaces the URL (`place`) in the line with the served repository's; other options stay. */
function repoLine(line: string, place: string, repositories: readonly ServedRepository[], insecure: string): string {
  const name = /--name(?:=|\s+)("[^"]*"|'[^']*'|\S+)/.exec(line)?.[1]?.replace(/^["']|["']$/g, "") ?? "";
  const old = place.replace(/^["']|["']$/g, "");
  const served = findServed(name, old, repositories);
  if (served === undefined) {
    throw new AirferryError(
      "ERR_RENDER",
      `cannot render "${WHAT}": the kickstart file needs repository "${name}", which is not served`,
      {
        expected: repositories.map((it) => it.id).join(", ") || "a served repository",
        actual: old,
        hint: [
          "add to the manifest, then lock, pack and carry again:",
          "rpms:",
          `  - name: ${name.toLowerCase().replace(/[^a-z0-9._-]/g, "-") || "extra"}`,
          `    url: ${old}`,
        ],
      },
    );
  }
  const replaced = line.replace(SOURCE_OPTION, `--baseurl="${served.url}"`);
  return insecure === "" || /--noverifyssl\b/.test(replaced) ? replaced : `${replaced}${insecure}`;
}

/** By the repository's name, then by a directory of the old URL (`…/BaseOS/x86_64/kickstart/` is BaseOS). */
function findServed(
  name: string,
  url: string,
  repositories: readonly ServedRepository[],
): ServedRepository | undefined {
  const lastOf = (it: ServedRepository) => posix.basename(it.url).toLowerCase();
  const inIso = repositories.filter((it) => it.iso !== undefined);
  const packed = repositories.filter((it) => it.iso === undefined);
  const wanted = name.toLowerCase();
  const segments = url.toLowerCase().split("/");
  // The ISO is preferred: its packages must match its kernel and stage 2.
  const ordered = [...inIso, ...packed];
  return (
    ordered.find((it) => lastOf(it) === wanted) ??
    ordered.find((it) => segments.includes(lastOf(it))) ??
    // A `…/kickstart/` is the frozen copy of the distribution's installation source, whatever its folder is called:
    // image-builder v0.1.45 to v0.1.48 say `devel` and mean BaseOS, as later versions do. The ISO is that copy.
    (segments.filter((it) => it !== "").pop() === "kickstart" ? inIso.find((it) => lastOf(it) === "baseos") : undefined)
  );
}
