/**
 * Collects the licenses of everything in the program, from package-lock.json and node_modules. A package without the
 * text of its license is refused, unless upstream is known to publish none; then the license is named.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..", "..");
const LICENSE_FILE = /^(licen[cs]e|copying|notice)([.-].*)?$/i;
/**
 * Packages that upstream publishes without the text of their license; MIT or ISC, Apache-2.0 of the AWS SDK, and CC0 and CC-BY of SPDX's lists, was
 * looked up by hand.
 */
const WITHOUT_TEXT = new Set([
  "@aws-sdk/credential-provider-http",
  "@aws-sdk/credential-provider-login",
  "@aws-sdk/nested-clients",
  "isarray",
  "saxes",
  "spdx-exceptions",
  "spdx-license-ids",
  "xz-decompress",
]);
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
    const texts = readdirSync(folder)
      .filter((it) => LICENSE_FILE.test(it))
      .sort()
      .map((it) => readFileSync(join(folder, it), "utf8").replaceAll("\r\n", "\n").trim());
    if (texts.length === 0 && !WITHOUT_TEXT.has(name))
      throw new Error(`cannot determine the license of ${name}: the package has no license file`);
    found.set(`${name}@${version}`, { name, version, license: license ?? "unknown", texts });
  }
  return [...found.values()].sort((a, b) =>
    a.name < b.name ? -1 : a.name > b.name ? 1 : a.version < b.version ? -1 : 1,
  );
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
  const parts = all.map(({ name, version, license, texts }) => {
    const text =
      texts.length > 0 ? texts.join("\n\n") : `The package has no text of its license, which it calls ${license}.`;
    return `${LINE}${name} ${version} (${license})\n${LINE}\n${text}\n`;
  });
  const gpl = readFileSync(join(root, "scripts", "lib", "gpl-3.0.txt"), "utf8").trim();
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
