/** The manifest of a recording: made when there is none, else completed; what a person wrote there stays. */
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Document, isMap, isScalar, isSeq, YAMLMap, YAMLSeq } from "yaml";
import { AirferryError } from "../errors.ts";
import { ifThere, writeAtomic } from "../io/atomic.ts";
import { gitUrl } from "../io/git-index.ts";
import { MAX_STREAM_BYTES } from "../io/path-grammar.ts";
import { shellWord } from "../io/shell.ts";
import { parseYaml } from "../io/yaml.ts";
import { repositoryName } from "./git-repositories.ts";

/** A manifest, as far as a recording changes it. */
interface RecordedManifest {
  /** Adds a recording's folder, relative to the manifest, unless an entry has it, however its path is spelled. */
  addRecording(name: string, folder: string): void;
  /** Adds a git repository, unless an entry has its URL. */
  addRepository(url: string): void;
  /** @throws {AirferryError} ERR_IO, ERR_SPACE */
  write(): Promise<void>;
}

/** As any manifest. */
const MAX_BYTES = 4 * 1024 * 1024;
const HEAD = " What a build asked for, as airferry record wrote it down. docs/record.md\n";

/** Reads the manifest at `file`, or begins one. @throws {AirferryError} ERR_MANIFEST_INVALID, ERR_IO */
export async function openManifest(file: string, name: string): Promise<RecordedManifest> {
  const found = await ifThere(file, stat(file));
  if (found !== undefined && (!found.isFile() || found.size > MAX_BYTES)) {
    const fault = found.isFile() ? `too large: at most ${MAX_BYTES} bytes, got ${found.size}` : "not a regular file";
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot add to manifest "${file}": ${fault}`, {
      path: file,
      hint: "give another name with --out",
    });
  }
  const text = found && (await ifThere(file, readFile(file, "utf8")));
  const document = text === undefined ? newManifest(name) : parseYaml(text);
  const [error] = document.errors;
  // Another program's YAML would be changed, and packed by nobody after the build has run.
  const isOurs = isMap(document.contents) && document.get("apiVersion") === "airferry/v1";
  const web = isOurs ? document.get("web") : undefined;
  const ours = isOurs ? undefined : "it does not begin with apiVersion: airferry/v1";
  const fault =
    error?.message ?? ours ?? (web === undefined || web === null || isSeq(web) ? undefined : "web: is not a list");
  if (fault !== undefined) {
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot add to manifest "${file}": ${fault}`, {
      path: file,
      hint: `correct it (airferry check ${shellWord(file)}), or give another name with --out`,
    });
  }
  const entries = () => listIn(document, "web").items.filter((it) => isMap(it));
  const add = (wanted: string, content: Readonly<Record<string, unknown>>) => {
    const names = new Set(entries().map((it) => it.get("name")));
    let entryName = wanted;
    for (let count = 2; names.has(entryName); count++) entryName = `${wanted}-${count}`;
    listIn(document, "web").add(document.createNode({ name: entryName, ...content }));
  };
  const placeOf = (folder: unknown) => (typeof folder === "string" ? resolve(dirname(file), folder) : undefined);
  return {
    addRecording(wanted, folder) {
      const place = placeOf(folder);
      if (!entries().some((it) => placeOf(it.get("recording")) === place)) add(wanted, { recording: folder });
    },
    addRepository(url) {
      const isThere = entries().some((it) => urlsIn(it.get("git")).includes(url));
      if (!isThere) add(repositoryName(url), { git: [url] });
    },
    write: () => writeAtomic(file, document.toString({ lineWidth: 120 })),
  };
}

/** A list of the manifest, which begins to have it now if it had none. */
function listIn(document: Document, key: string): YAMLSeq {
  const there = document.get(key);
  if (isSeq(there)) return there;
  const made = new YAMLSeq();
  document.set(key, made);
  return made;
}

/** Of repositories, in normal form. */
function urlsIn(git: unknown): string[] {
  if (!isSeq(git)) return [];
  return git.items.flatMap((it) => {
    try {
      return isScalar(it) ? [gitUrl(String(it.value))] : [];
    } catch {
      return [];
    }
  });
}

function newManifest(name: string): Document {
  const document = new Document(new YAMLMap());
  document.commentBefore = HEAD.trimEnd();
  document.set("apiVersion", "airferry/v1");
  document.set("stream", name.slice(0, MAX_STREAM_BYTES));
  return document;
}
