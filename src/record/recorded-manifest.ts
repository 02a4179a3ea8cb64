/** The manifest of a recording: made when there is none, else completed; what a person wrote there stays. */
import { readFile, stat } from "node:fs/promises";
import { Document, isMap, isSeq, YAMLMap, YAMLSeq } from "yaml";
import { AirferryError } from "../errors.ts";
import { ifThere, writeAtomic } from "../io/atomic.ts";
import { MAX_STREAM_BYTES } from "../io/path-grammar.ts";
import { shellWord } from "../io/shell.ts";
import { parseYaml } from "../io/yaml.ts";

/** A manifest, as far as a recording changes it. */
interface RecordedManifest {
  /** Adds an entry to a list of the manifest, unless one has the same value under `key`. */
  add(list: string, key: string, entry: Readonly<Record<string, unknown>>): void;
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
  const fault = error?.message ?? (isOurs ? undefined : "it does not begin with apiVersion: airferry/v1");
  if (fault !== undefined) {
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot add to manifest "${file}": ${fault}`, {
      path: file,
      hint: `correct it (airferry check ${shellWord(file)}), or give another name with --out`,
    });
  }
  return {
    add(list, key, entry) {
      let seq = document.get(list);
      if (!isSeq(seq)) {
        seq = new YAMLSeq();
        document.set(list, seq);
      }
      const items = (seq as YAMLSeq).items;
      if (items.some((it) => isMap(it) && it.get(key) === entry[key])) return;
      (seq as YAMLSeq).add(document.createNode(entry));
    },
    write: () => writeAtomic(file, document.toString({ lineWidth: 120 })),
  };
}

function newManifest(name: string): Document {
  const document = new Document(new YAMLMap());
  document.commentBefore = HEAD.trimEnd();
  document.set("apiVersion", "airferry/v1");
  document.set("stream", name.slice(0, MAX_STREAM_BYTES));
  return document;
}
