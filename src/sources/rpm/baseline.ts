/** `baseline:`: what the target already has, from `rpm -qa` output. */
import { readFile } from "node:fs/promises";
import { isAbsolute, resolve } from "node:path";
import { AirferryError } from "../../errors.ts";
import { archRank } from "../../rpm/arch.ts";
import type { InstalledPackage } from "../../rpm/pool.ts";

const INSTALLED = /^(?:(\d+):)?(\S+)-(?:(\d+|\(none\)):)?([^-:\s]+)-([^-\s]+)\.([A-Za-z0-9_]+)$/;

/** Reads one line: `name-[epoch:]version-release.arch`. Undefined for other lines, such as gpg-pubkey. */
export function parseInstalled(line: string): InstalledPackage | undefined {
  const [, before, name, within, version, release, arch] = INSTALLED.exec(line.trim()) ?? [];
  if (name === undefined || version === undefined || release === undefined || arch === undefined) return undefined;
  if (name === "gpg-pubkey") return undefined;
  return { name, epoch: Number(before ?? within ?? 0) || 0, version, release, arch };
}

/** What one file says about a target. */
export type Baseline = readonly InstalledPackage[];

/** What a target of one architecture has according to several baselines: files of other architectures are ignored. */
export function installedOn(arch: string, baselines: readonly Baseline[]): InstalledPackage[] {
  const found = new Map<string, InstalledPackage>();
  for (const baseline of baselines) {
    const runs = baseline.filter((it) => archRank(arch, it.arch) !== undefined);
    if (runs.every((it) => it.arch === "noarch") && runs.length < baseline.length) continue;
    for (const it of runs) found.set(`${it.name} ${it.epoch}:${it.version}-${it.release} ${it.arch}`, it);
  }
  return [...found.values()];
}

/**
 * Reads the baselines of all entries, each file once. @throws {AirferryError} ERR_MANIFEST_INVALID for any other file
 */
export async function readBaselines(files: readonly string[], baseDir: string): Promise<Baseline[]> {
  const baselines: Baseline[] = [];
  for (const file of new Set(files.filter((it) => it !== "bare"))) {
    const path = isAbsolute(file) ? file : resolve(baseDir, file);
    const text = await readFile(path, "utf8").catch((cause: Error) => {
      throw new AirferryError(
        "ERR_MANIFEST_INVALID",
        `cannot read baseline "${file}": ${(cause as NodeJS.ErrnoException).code === "ENOENT" ? "no such file" : cause.message}`,
        {
          path: file,
          hint: "on the target: rpm -qa > baseline.txt",
          cause,
        },
      );
    });
    const found = text.split(/\r?\n/).flatMap((line) => parseInstalled(line) ?? []);
    if (found.length === 0) {
      throw new AirferryError(
        "ERR_MANIFEST_INVALID",
        `cannot read baseline "${file}": no line is a package: expected rpm -qa output`,
        {
          path: file,
          hint: "on the target: rpm -qa > baseline.txt",
        },
      );
    }
    baselines.push(found);
  }
  return baselines;
}
