/**
 * Collects the licenses of everything in the program, from package-lock.json and node_modules. A package without the text
 * of its license there has one in `licenses/`, or that of another package of the same publisher and license; else it is
 * refused.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..", "..");
const LICENSE_FILE = /^(licen[cs]e|copying|notice)([.-].*)?$/i;
const OWN_TEXTS = join(import.meta.dirname, "licenses");
/** By scope: a package of the same publisher that comes with the text of the license that all of its packages have. */
const OF_PUBLISHER = new Map([["@aws-sdk", "@aws-sdk/client-s3"]]);
const LINE = `${"=".repeat(80)}\n`;

interface Locked {
  version?: string;
  license?: string;
  dev?: boolean;
  devOptional?: boolean;
  optional?: boolean;
  peer?: boolean;
}

/** A package in the program. */
export interface Package {
  name: string;
  version: string;
  license: string;
  texts: string[];
}

/** Packages that the program needs when it runs, each version once, by name. */
export function packages(): Package[] {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, Locked>;
  };
  const found = new Map<string, Package>();
  for (const [path, { version, license, dev, devOptional, optional }] of Object.entries(lock.packages)) {
    if (path === "" || dev || devOptional || optional || version === undefined) continue;
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const folder = join(root, path);
    if (!existsSync(folder)) throw new Error(`cannot read "${path}": run npm ci first`);
    found.set(`${name}@${version}`, { name, version, license: license ?? "unknown", texts: textsOf(name, folder) });
  }
  return [...found.values()].sort((a, b) =>
    a.name < b.name ? -1 : a.name > b.name ? 1 : a.version < b.version ? -1 : 1,
  );
}

function textsOf(name: string, folder: string): string[] {
  const texts = readdirSync(folder)
    .filter((it) => LICENSE_FILE.test(it))
    .sort()
    .map((it) => readText(join(folder, it)));
  if (texts.length > 0) return texts;
  const own = join(OWN_TEXTS, `${name.replaceAll("/", "-")}.txt`);
  if (existsSync(own)) return [readText(own)];
  // The oldest way to say it: a heading in the README, and the whole text below.
  const readme = join(folder, "README.md");
  const [, said] = existsSync(readme) ? (/^## License\n([\s\S]*)/m.exec(readText(readme)) ?? []) : [];
  if (said?.includes("Permission is hereby granted")) return [said.trim()];
  const other = OF_PUBLISHER.get(name.split("/")[0] ?? "");
  if (other === undefined) {
    throw new Error(`cannot determine the license of ${name}: write its text into ${own}, as upstream has it`);
  }
  const [ofIt, ofOther] = [folder, join(root, "node_modules", other)].map((it) => {
    const { license, author } = JSON.parse(readFileSync(join(it, "package.json"), "utf8"));
    return JSON.stringify([license, author]);
  });
  if (ofIt !== ofOther)
    throw new Error(`${name} has not the license or the publisher of ${other}: ${ofIt}, ${ofOther}`);
  return textsOf(other, join(root, "node_modules", other));
}

function readText(file: string): string {
  return readFileSync(file, "utf8").replaceAll("\r\n", "\n").trim();
}

/** The license of Node, which the single-file program contains, with those of its parts. */
function nodeLicense(): string {
  for (let folder = dirname(process.execPath); folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, "LICENSE");
    if (existsSync(file)) return readFileSync(file, "utf8").trim();
  }
  throw new Error(`cannot find the license of ${process.execPath}`);
}

/** The text of THIRD-PARTY.txt. @throws when a package is not installed or comes without the text of its license */
export function thirdParty(): string {
  const all = packages();
  const list = all.map((it) => `  ${it.name} ${it.version}: ${it.license}`).join("\n");
  const parts = all.map(
    ({ name, version, license, texts }) => `${LINE}${name} ${version} (${license})\n${LINE}\n${texts.join("\n\n")}\n`,
  );
  const gpl = readText(join(OWN_TEXTS, "gpl-3.0.txt"));
  return [
    `Third-party software in airferry. Made by scripts/notices; do not edit.\n\n${list}\n  Node.js ${process.versions.node} (single-file program only)\n`,
    ...parts,
    `${LINE}GNU General Public License, version 3, which the LGPL of openpgp refers to\n${LINE}\n${gpl}\n`,
    `${LINE}Node.js ${process.versions.node}\n${LINE}\n${nodeLicense()}\n`,
  ].join("\n");
}

if (import.meta.main) {
  const target = join(root, "dist", "THIRD-PARTY.txt");
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, thirdParty());
  console.log(target);
}
