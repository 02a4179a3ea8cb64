/** The manifest of a recording: made when there is none, else completed; what a person wrote there stays. */
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { Document, isMap, isScalar, isSeq, YAMLMap, YAMLSeq } from "yaml";
import { AirferryError } from "../errors.ts";
import { ifThere, writeAtomic } from "../io/atomic.ts";
import { gitUrl, otherGitUrl } from "../io/git-index.ts";
import { MAX_STREAM_BYTES } from "../io/path-grammar.ts";
import { shellWord } from "../io/shell.ts";
import { parseYaml } from "../io/yaml.ts";
import { repositoryName } from "./git-repositories.ts";
import type { RecordedManifest } from "./types.ts";

/** What a recording may add entries to. */
const LISTS = ["isos", "rpms", "files", "images", "web"];
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
  const ours = isOurs ? undefined : "it does not begin with apiVersion: airferry/v1";
  const noList = isOurs ? LISTS.find((it) => !isListOrNothing(document.get(it))) : undefined;
  const fault = error?.message ?? ours ?? (noList === undefined ? undefined : `${noList}: is not a list`);
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
  const mapsIn = (key: string) => listIn(document, key, false)?.items.filter((it) => isMap(it)) ?? [];
  const given = new Map<object, YAMLMap>();
  const stream = document.get("stream");
  return {
    stream: typeof stream === "string" ? stream : name,
    hosts: (document.toJS() as { hosts?: unknown } | null)?.hosts,
    entries(key) {
      return mapsIn(key).map((node) => {
        const entry = node.toJS(document) as Readonly<Record<string, unknown>>;
        given.set(entry, node);
        return entry;
      });
    },
    put(key, entry, { before, comment } = {}) {
      const known = before && given.get(before);
      const node = known ?? document.createNode(entry);
      if (known === undefined) listIn(document, key).add(node);
      if (before !== undefined) {
        for (const name of Object.keys(before)) if (!(name in entry)) node.delete(name);
        for (const [name, value] of Object.entries(entry))
          if (!isDeepStrictEqual(value, before[name])) node.set(name, document.createNode(value));
      }
      const [first] = node.items;
      const isOurs = isScalar(first?.value) && /^(?: sha256:[0-9a-f]{64})?$/.test(first.value.comment ?? "");
      if (comment !== undefined && isOurs && isScalar(first?.value)) first.value.comment = ` ${comment}`;
    },
    addRecording(wanted, folder) {
      const place = placeOf(folder);
      if (!entries().some((it) => placeOf(it.get("recording")) === place)) add(wanted, { recording: folder });
    },
    addRepository(url) {
      const urls = [url, otherGitUrl(url)];
      const isThere = entries().some((it) => urlsIn(it.get("git")).some((other) => urls.includes(other)));
      if (!isThere) add(repositoryName(url), { git: [url] });
    },
    write: () => writeAtomic(file, document.toString({ lineWidth: 120 })),
  };
}

function isListOrNothing(value: unknown): boolean {
  return value === undefined || value === null || isSeq(value);
}

/** A list of the manifest, which begins to have it now if it had none. */
function listIn(document: Document, key: string): YAMLSeq;
function listIn(document: Document, key: string, begins: false): YAMLSeq | undefined;
function listIn(document: Document, key: string, begins = true): YAMLSeq | undefined {
  const there = document.get(key);
  if (isSeq(there)) return there;
  if (!begins) return undefined;
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
