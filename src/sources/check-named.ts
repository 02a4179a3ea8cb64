/**
 * What a manifest names on this host, looked at without the network: is it there, of the right kind, readable, and for
 * keys also of use. The bytes of artifacts are not hashed, which `lock` and `pack` do.
 */
import { access, constants, readdir, readFile, stat } from "node:fs/promises";
import { AirferryError, type Problem } from "../errors.ts";
import { systemFault } from "../io/atomic.ts";
import { mapLimited } from "../io/limit.ts";
import { parseImageList } from "../manifest/image-list.ts";
import type { NamedLocally } from "../manifest/named-locally.ts";
import type { ImageEntry, RpmEntry } from "../manifest/schema.ts";
import { localPath } from "./local-path.ts";
import { expandVariables } from "./rpm/variables.ts";

/** Something named, and its place for messages. */
type Named = NamedLocally & { place: string };

const LOOK_TOGETHER = 16;
const MAX_KEY_FILE_BYTES = 4 * 1024 * 1024;

/** What was found: problems keep a pack from working, warnings depend on where it is run. */
interface NamedReport {
  problems: Problem[];
  warnings: Problem[];
}

/**
 * Checks everything that is named, several at a time; the result is in the order of `named`.
 * @param value the document, of which entries give their variables
 */
export async function checkNamed(
  named: readonly Named[],
  value: unknown,
  options: { baseDir: string; env?: NodeJS.ProcessEnv },
): Promise<NamedReport> {
  const found = await mapLimited(named, LOOK_TOGETHER, (it) => checkOne(it, value, named, options));
  const rows = (isWarning: boolean) =>
    named.flatMap(({ place, is }, index): Problem[] =>
      (is === "variable") !== isWarning
        ? []
        : (found[index] as string[]).map((message) => ({ code: "ERR_MANIFEST_INVALID", path: place, message })),
    );
  return { problems: rows(false), warnings: rows(true) };
}

/** Every fault of one thing. */
async function checkOne(
  { name, is, path }: Named,
  value: unknown,
  named: readonly Named[],
  { baseDir, env = process.env }: { baseDir: string; env?: NodeJS.ProcessEnv },
): Promise<string[]> {
  if (is === "variable") return env[name]?.trim() ? [] : [`the environment variable ${name} is not set here`];
  const entry = entryAt(value, path);
  let text = name;
  if (path[0] === "rpms" && name.includes("$")) {
    try {
      text = expandVariables(name, entry as RpmEntry);
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      // A local key file is listed as that too.
      return is === "template" ? [`${error.message.replace(/^.*?": /, "")}: ${error.hint}`] : [];
    }
  }
  if (is === "template") return [];
  const vendor = named.find((it) => it.path[0] === "vendor");
  // A member of the vendor's archive, which is unpacked when it is locked.
  if (vendor !== undefined && text.startsWith(`${vendor.name}/`)) return [];
  const file = localPath(text, { baseDir });
  const fault = await faultOf(file, is, path[0] !== "files");
  if (fault !== undefined) return [`${fault}: "${text}"`];
  try {
    return await checkContent(file, is, entry, text);
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    return [error.message];
  }
}

async function faultOf(file: string, is: Named["is"], needsContent: boolean): Promise<string | undefined> {
  try {
    const found = await stat(file);
    const isFolder = is === "folder" || is === "recording";
    if (isFolder && !found.isDirectory()) return "not a folder";
    const mayBeFolder = isFolder || is === "file or folder";
    if (!found.isFile() && !(mayBeFolder && found.isDirectory())) return "not a regular file";
    await access(file, found.isDirectory() ? constants.R_OK | constants.X_OK : constants.R_OK);
    const isSmall = is !== "file" && is !== "file or folder" && !isFolder;
    if (isSmall && found.size > MAX_KEY_FILE_BYTES) return `too large: expected at most ${MAX_KEY_FILE_BYTES} bytes`;
    if (needsContent && found.isFile() && found.size === 0) return "the file is empty";
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ENOENT"
      ? is === "folder" || is === "recording"
        ? "no such folder"
        : "no such file"
      : systemFault(error);
  }
}

async function checkContent(
  file: string,
  is: Named["is"],
  entry: Record<string, unknown>,
  text: string,
): Promise<string[]> {
  switch (is) {
    case "folder": {
      const names = await readdir(file, { recursive: true });
      const isUseful = names.some((it) => it.endsWith(".rpm") || it.endsWith("repomd.xml"));
      return isUseful ? [] : [`the folder has neither packages (*.rpm) nor repodata/repomd.xml: "${text}"`];
    }
    case "recording":
      return (await isRecording(file)) ? [] : [`the folder has no answers.jsonl with an answer in it: "${text}"`];
    case "image list":
      return parseImageList(await readFile(file, "utf8"), entry as ImageEntry, text).problems.map(
        (it) => `${it.path}: ${it.message}`,
      );
    case "OpenPGP keys": {
      const { readOpenPgpKeyring } = await import("../sign/openpgp-keyring.ts");
      // Fingerprints may be of another file of the entry.
      await readOpenPgpKeyring([await readFile(file)], { name: text });
      return [];
    }
    case "public keys": {
      const { parsePublicKeys } = await import("../sign/keys.ts");
      parsePublicKeys(await readFile(file), text);
      return [];
    }
    case "PEM":
      return (await readFile(file, "utf8")).includes("-----BEGIN ") ? [] : [`no PEM block in it: "${text}"`];
    default:
      return [];
  }
}

async function isRecording(folder: string): Promise<boolean> {
  const { readRecording } = await import("../io/web-recording.ts");
  return readRecording(folder).then(
    ({ answers }) => answers.length > 0,
    () => false,
  );
}

/** The entry that a path is in, as a mapping. */
function entryAt(value: unknown, [kind, index]: readonly PropertyKey[]): Record<string, unknown> {
  const list = (value as Record<PropertyKey, unknown> | null)?.[kind as string] as Record<PropertyKey, unknown>;
  return (list?.[index as number] ?? {}) as Record<string, unknown>;
}
