/**
 * Packer and the variables of image-builder's templates: computes their values, and runs packer as the builder's
 * container does, as user 1000 with the staged folder at /home/imagebuilder/output.
 */
import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nodeTemplate, type System, type Template, tagsUpTo, type Variables, variableFiles } from "./builder-files.ts";
import type { Build } from "./builds.ts";
import { inside, type RunOptions, type Stage } from "./row.ts";

/** Where the builder's container has the staged folder. */
export const OUTPUT = "/home/imagebuilder/output";
export const BUILDER_UID = "1000";

/** Keys of the original templates that packer 1.6.6 does not support yet. */
const NEWER_THAN_PACKER_1_6 = ["destroy", "remote_cache_cleanup", "remove_cdrom"];

/** What PACKER_VAR_FILES adds: packer-vars.json of the staged folder; nothing for the CAPI builder, which has its own. */
export function stagedVariables(build: Build, staged: string): Variables {
  if (build.flavor === "spectro-capi") return {};
  return JSON.parse(readFileSync(join(staged, "packer-vars.json"), "utf8")) as Variables;
}

/** The value of every variable, as packer computes them; calls other than `user` stay. */
export function resolveVariables(build: Build, staged: string): (text: string) => string {
  const merged: Variables = Object.assign(
    {},
    nodeTemplate(build.tag).variables,
    ...variableFiles(build.tag, build.system),
    stagedVariables(build, staged),
  );
  const resolve = (text: string, depth = 0): string =>
    text.replace(/\{\{-?\s*user\s+[`"]([^`"]+)[`"]\s*-?\}\}/g, (call, name: string) =>
      depth > 9 ? call : resolve(merged[name] ?? "", depth + 1),
    );
  return (text) => resolve(text);
}

/** The template's vsphere-iso builder, in the form that packer 1.6.6 accepts. */
export function vsphereBuilder(build: Build): Record<string, unknown> {
  const found = nodeTemplate(build.tag).builders.find((it) => it.name === "vsphere")!;
  return Object.fromEntries(Object.entries(found).filter(([key]) => !NEWER_THAN_PACKER_1_6.includes(key)));
}

/** Where the boot command directs the installer for its kickstart file. */
export function kickstartLocation(build: Build, staged: string): string {
  const command = (vsphereBuilder(build).boot_command as string[]).join("");
  const text = resolveVariables(build, staged)(command);
  const location = /inst\.ks=((?:\{\{.*?\}\}|[^<\s])*)/.exec(text)?.[1];
  if (location === undefined) throw new Error(`no inst.ks= in the boot command: ${text}`);
  return location;
}

/**
 * The builder's working folder: the needed part of image-builder's checkout, with its kickstart folder filled as the
 * builder does.
 */
export function builderFolder(stage: Stage, build: Build, staged: string): string {
  const folder = join(stage.dir, `builder-${build.stream}`);
  const { distro, major } = build.system;
  const http = join(folder, `packer/ova/linux/${distro}/http/${major}`);
  mkdirSync(http, { recursive: true });
  // The CAPI builder uses ks.cfg of its output folder; image-builder has its own there, with the public mirrors.
  if (build.flavor === "spectro-capi") copyFileSync(join(staged, "ks.cfg"), join(http, "ks.cfg"));
  else writeFileSync(join(http, "ks.cfg"), "# image-builder's own kickstart file\n");
  return folder;
}

/** Files on this host for a path or pattern that the variables of the builder's container name. */
export function filesOf(pattern: string, folder: string, staged: string): string[] {
  const here = pattern.startsWith(OUTPUT) ? join(staged, pattern.slice(OUTPUT.length)) : join(folder, pattern);
  return globSync(here).filter((it) => existsSync(it));
}

/** Runs a program as the builder's container does. It writes to the folder, so pass a copy of the staged one. */
export async function asBuilder(
  stage: Stage,
  build: Build,
  staged: string,
  command: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const folder = builderFolder(stage, build, staged);
  const home = stage.dir.startsWith("/home/") ? ":" : "mount -t tmpfs tmpfs /home";
  const script = `${home} && mkdir -p ${OUTPUT} && mount --bind "$1" ${OUTPUT} && chown -R ${BUILDER_UID}:${BUILDER_UID} "$2" && cd "$2" && shift 2 && exec setpriv --reuid=${BUILDER_UID} --regid=${BUILDER_UID} --clear-groups --no-new-privs "$@"`;
  const wrapped = [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    script,
    "-",
    staged,
    folder,
    ...command,
  ];
  const env = { HOME: folder, PACKER_CACHE_DIR: join(folder, "cache"), CHECKPOINT_DISABLE: "1", ...options.env };
  return await inside(stage, wrapped, { ...options, env });
}

/**
 * Writes a template with the original variable files and those of the staged folder into the builder's folder; returns
 * packer's arguments. `extra` variables replace those that the operator sets.
 */
export function writeTemplate(
  stage: Stage,
  build: Build,
  staged: string,
  template: Partial<Template>,
  extra: Variables = {},
): string[] {
  const folder = builderFolder(stage, build, staged);
  const variables = nodeTemplate(build.tag).variables;
  writeFileSync(
    join(folder, "template.json"),
    JSON.stringify({ builders: [], provisioners: [], "post-processors": [], ...template, variables }),
  );
  const own = build.flavor === "spectro-capi" ? [] : [`-var-file=${OUTPUT}/packer-vars.json`];
  const files = variableFiles(build.tag, build.system).map((it, i) => {
    writeFileSync(join(folder, `vars-${i}.json`), JSON.stringify(withoutNull(it)));
    return `-var-file=vars-${i}.json`;
  });
  writeFileSync(join(folder, "operator.json"), JSON.stringify(extra));
  return [...files, ...own, "-var-file=operator.json", "template.json"];
}

/** As packer reads `null` in a file of variables. */
function withoutNull(variables: Variables): Variables {
  return Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, value ?? ""]));
}

/** Every variable that a tag's files define or read. */
function variablesOf(tag: string, system: System): Set<string> {
  const template = nodeTemplate(tag);
  const files = variableFiles(tag, system);
  const text = JSON.stringify([template, ...files]);
  const read = [...text.matchAll(/user\s+[`\\"]+([A-Za-z0-9_]+)[`\\"]+/g)].map((it) => it[1]!);
  return new Set([...Object.keys(template.variables), ...files.flatMap((it) => Object.keys(it)), ...read]);
}

/**
 * Sorts names of variables: read by the build's version; read only by earlier ones, which is harmless since packer
 * accepts any name; read by none up to it, so that the setting has no effect.
 */
export function sortVariables(
  build: Build,
  names: readonly string[],
): { read: string[]; earlier: string[]; never: string[] } {
  const now = variablesOf(build.tag, build.system);
  const before = tagsUpTo(build.tag).map((it) => variablesOf(it, build.system));
  const wasRead = (name: string) => before.some((it) => it.has(name));
  return {
    read: names.filter((it) => now.has(it)),
    earlier: names.filter((it) => !now.has(it) && wasRead(it)),
    never: names.filter((it) => !wasRead(it)),
  };
}
