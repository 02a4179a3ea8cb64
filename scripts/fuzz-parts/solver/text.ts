/**
 * Universes as text, as in test/rpm/universes/:
 *
 *     repository r0:
 *       a-0:1-1.x86_64  requires b >= 2, (c if d); conflicts e; files /usr/bin/a
 *     install a
 *
 * "install with recommends" where weak dependencies count. Blank lines and lines that begin with # are ignored.
 */
import type { DependencyKind } from "../../../src/rpm/primary.ts";
import { unescapeXml } from "../../../src/rpm/xml.ts";
import { documentOf, type MadePackage, packageBlock } from "./packages.ts";
import type { Universe } from "./universe.ts";

const SIGNS: Record<string, string> = { EQ: "=", LT: "<", LE: "<=", GT: ">", GE: ">=" };
const RECOMMENDS = "with recommends ";
const PACKAGE = /^ {2}(\S+)-(\d+:[^-\s]+-[^-\s]+)\.([^.\s]+)(?: {2}(.+))?$/;

export function formatUniverse({ primaries, requests, recommends }: Universe): string {
  const lines = primaries.flatMap((xml, index) => [`repository r${index}:`, ...blocksOf(xml).map(lineOf)]);
  return `${[...lines, `install ${recommends ? RECOMMENDS : ""}${requests.join(" ")}`].join("\n")}\n`;
}

/** @throws {Error} with the invalid line */
export function parseUniverse(text: string): Universe {
  const repositories: string[][] = [];
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    if (line.startsWith("repository ")) repositories.push([]);
    else if (line.startsWith("install ")) {
      const recommends = line.startsWith(`install ${RECOMMENDS}`);
      const requests = line.slice("install ".length + (recommends ? RECOMMENDS.length : 0)).split(" ");
      return { seed: 0, primaries: repositories.map(documentOf), requests, recommends };
    } else repositories.at(-1)?.push(packageBlock(packageOf(line)));
  }
  throw new Error('no line "install"');
}

/** The packages of a primary.xml, in file order. */
export function blocksOf(xml: string): string[] {
  return xml.match(/<package [\s\S]*?<\/package>/g) ?? [];
}

function packageOf(line: string): MadePackage {
  const [, name, evr, arch, rest = ""] = PACKAGE.exec(line) ?? [];
  if (name === undefined || evr === undefined || arch === undefined) throw new Error(`not a package: ${line}`);
  const sections: MadePackage["sections"] = {};
  let files: string[] = [];
  for (const part of rest.split("; ").filter((it) => it !== "")) {
    const [kind = "", ...words] = part.split(" ");
    const list = words.join(" ").split(", ");
    if (kind === "files") files = list;
    else sections[kind as DependencyKind] = list;
  }
  return { name, evr, arch, sections, files };
}

function lineOf(block: string): string {
  const [, name, arch] = /<name>([^<]*)<\/name><arch>([^<]*)/.exec(block) ?? [];
  const [, epoch, version, release] = /<version epoch="(\d+)" ver="([^"]*)" rel="([^"]*)"/.exec(block) ?? [];
  const evr = `${epoch}:${version}-${release}`;
  const sections = [...block.matchAll(/<rpm:(\w+)>((?:<rpm:entry [^>]*\/>)+)/g)].map(([, kind, entries = ""]) => {
    const relations = (entries.match(/<rpm:entry [^>]*\/>/g) ?? []).map(relationOf);
    return { kind, list: kind === "provides" ? relations.filter((it) => it !== `${name} = ${evr}`) : relations };
  });
  sections.push({ kind: "files", list: [...block.matchAll(/<file>([^<]*)/g)].map(([, it]) => it as string) });
  const parts = sections.filter((it) => it.list.length > 0).map(({ kind, list }) => `${kind} ${list.join(", ")}`);
  return `  ${name}-${evr}.${arch}${parts.length > 0 ? `  ${parts.join("; ")}` : ""}`;
}

function relationOf(entry: string): string {
  const attribute = (key: string) => new RegExp(` ${key}="([^"]*)"`).exec(entry)?.[1];
  const name = unescapeXml(attribute("name") ?? "");
  const [flags, release] = [attribute("flags"), attribute("rel")];
  if (flags === undefined) return name;
  return `${name} ${SIGNS[flags]} ${attribute("epoch")}:${attribute("ver")}${release === undefined ? "" : `-${release}`}`;
}
