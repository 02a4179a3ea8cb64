/**
 * The ready manifests that ship with the program: the files of manifests/, or an asset of the single-file build.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { getAsset, isSea } from "node:sea";

/** Name of the single-file build's asset: JSON, name to text. */
const READY_MANIFESTS_ASSET = "manifests.json";

/** Returns the ready manifests by name, sorted, `starter` last. */
export async function readyManifests(): Promise<Map<string, string>> {
  const texts = isSea()
    ? (JSON.parse(getAsset(READY_MANIFESTS_ASSET, "utf8")) as Record<string, string>)
    : await readFolder(join(import.meta.dirname, "../../manifests"));
  const byName = Object.entries(texts).sort(
    ([a], [b]) => Number(a === "starter") - Number(b === "starter") || (a < b ? -1 : 1),
  );
  return new Map(byName);
}

async function readFolder(folder: string): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const file of await readdir(folder)) {
    if (file.endsWith(".yaml")) texts[file.slice(0, -".yaml".length)] = await readFile(join(folder, file), "utf8");
  }
  return texts;
}
