/**
 * The hidden verb `complete`, which completion scripts call while somebody types: names of a store or a manifest. Reads
 * local files only, asks nothing, and has nothing to say about what it cannot read.
 */
import { realpath } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { defaultBucketCache, nameInCache } from "./cache/cache-folder.ts";
import type { Asked } from "./completion/verb-words.ts";
import { printable } from "./io/printable.ts";
import { readSmall } from "./io/safe-open.ts";
import { parseYaml } from "./io/yaml.ts";
import { filePathOf, imageName } from "./manifest/entry-names.ts";
import { readyManifests } from "./manifest/ready.ts";
import type { Manifest } from "./manifest/schema.ts";
import { isS3Name, parseS3Target } from "./s3/s3-target.ts";
import { openStore, Store } from "./store/store.ts";

/** A manifest that takes longer to read is not worth the wait. */
const MAX_MANIFEST_BYTES = 1024 * 1024;

const LISTS: Readonly<Record<Asked, (words: readonly string[]) => Promise<string[]>>> = {
  streams: async (words) => (await storeOf(words)).streams(),
  releases: async (words) => {
    const store = await storeOf(words);
    const lists = (await store.streams()).map(async (stream) => [
      stream,
      ...(await store.releaseNames(stream)).map((it) => `${stream}-${it}`),
    ]);
    return (await Promise.all(lists)).flat();
  },
  images: async (words) =>
    (await (await storeOf(words)).releases()).flatMap((it) => it.inventory.catalog.images.map((it) => it.reference)),
  entries: entriesOf,
  ready: async () => [...(await readyManifests()).keys()],
};

/**
 * Lists names, sorted.
 * @param words what was typed after the program's name, up to the word at the cursor
 */
export async function complete(what: Asked, words: readonly string[]): Promise<string[]> {
  const names = await LISTS[what](words).catch(() => []);
  return [...new Set(names)].filter((it) => it !== "" && it === printable(it)).sort();
}

/** The store that a command line names. Of one in a bucket: what its cache has of it here. */
async function storeOf(words: readonly string[]): Promise<Store> {
  const store = flagValue(words, "--store") ?? process.env["AIRFERRY_STORE"] ?? "";
  if (store === "") throw new Error("no store is named");
  if (!isS3Name(store)) return openStore(expanded(store));
  const cache = flagValue(words, "--cache") ?? defaultBucketCache(nameInCache(parseS3Target(store)));
  return new Store(expanded(cache));
}

function flagValue(words: readonly string[], flag: string): string | undefined {
  const at = words.findLastIndex((it) => it === flag || it.startsWith(`${flag}=`));
  return words[at] === flag ? words[at + 1] : words[at]?.slice(flag.length + 1);
}

/** Names of all entries of the first manifest on the line. */
async function entriesOf(words: readonly string[]): Promise<string[]> {
  const file = words.find((it) => /\.ya?ml$/.test(it)) ?? "";
  // A link is followed, as pack follows it; anything but a file would keep the shell waiting.
  const text = (await readSmall(await realpath(expanded(file)), MAX_MANIFEST_BYTES)).toString("utf8");
  const { isos, rpms, files, images } = parseYaml(text, { merge: true }).toJS({ maxAliasCount: 0 }) as Manifest;
  const names = [
    ...list(isos).map((it) => it.name),
    ...list(rpms).map((it) => it.name),
    ...list(files).flatMap((it) => {
      try {
        return [filePathOf(it)];
      } catch {
        return [];
      }
    }),
    ...list(images).map((it) => imageName(it)),
  ];
  return names.filter((it) => typeof it === "string");
}

/** The entries of a list that may be anything yet. */
function list<T>(value: readonly T[] | undefined): T[] {
  return Array.isArray(value) ? value.filter((it) => it !== null && typeof it === "object") : [];
}

/** As the shell would have it. */
function expanded(path: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : path;
}
