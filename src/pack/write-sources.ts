/**
 * What explains a bundle wherever it comes to: the specification of its format, and the manifest and the lock that it
 * was packed from. No credential is in them. docs/format.md, "Sources".
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { getAsset, isSea } from "node:sea";
import { FORMAT_NAME, LOCK_NAME, MANIFEST_NAME } from "../bundle/media-names.ts";
import type { SumLine } from "../bundle/sums.ts";
import { redactText } from "../io/redact.ts";
import { writePieces } from "../io/write-pieces.ts";
import { type Lock, recordedLock } from "../sources/lock-document.ts";
import type { Workspace } from "./workspace.ts";

const SHORTENED =
  "# The manifest as packed, with everything in URLs that may be secret replaced by ***, and without comments.\n";

/** Writes them into a bundle's folder; returns their lines of SHA256SUMS. */
export async function writeSources(
  dir: string,
  { text, manifest }: Pick<Workspace, "text" | "manifest">,
  lock: Lock,
): Promise<SumLine[]> {
  const write = async (name: string, pieces: Iterable<string>) => ({
    name,
    digest: await writePieces(join(dir, name), pieces),
  });
  return [
    await write(FORMAT_NAME, [await formatText()]),
    await write(MANIFEST_NAME, [await carriedManifest(text, manifest)]),
    // It has nothing secret in it: src/sources/ records URLs without.
    await write(LOCK_NAME, recordedLock(lock)),
  ];
}

/** docs/format.md, or the asset of the single-file build. */
async function formatText(): Promise<string> {
  return isSea() ? getAsset(FORMAT_NAME, "utf8") : readFile(join(import.meta.dirname, "../../docs/format.md"), "utf8");
}

/**
 * The text of a manifest without secrets. A URL may be written in many ways in YAML, so the text is only taken as it is
 * when no value has anything to hide; what comments have is hidden in either case.
 */
export async function carriedManifest(text: string, manifest: unknown): Promise<string> {
  const shown = withoutSecrets(manifest);
  if (shown === undefined) return redactText(text);
  const { stringify } = await import("yaml");
  return SHORTENED + stringify(shown);
}

/** A copy in which every string is redacted; undefined if nothing is hidden by that. */
function withoutSecrets(value: unknown): unknown {
  let hides = false;
  const shown = (it: unknown): unknown => {
    if (typeof it === "string") {
      const text = redactText(it);
      hides ||= text !== it;
      return text;
    }
    if (Array.isArray(it)) return it.map(shown);
    if (typeof it !== "object" || it === null) return it;
    return Object.fromEntries(Object.entries(it).map(([key, member]) => [shown(key), shown(member)]));
  };
  const copy = shown(value);
  return hides ? copy : undefined;
}
