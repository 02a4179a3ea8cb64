/**
 * Paths of web answers in a bundle: `web/HOST/…`, as their URLs read. URLs are foreign and not made for file systems,
 * so a path need not tell the whole URL: the index does. No I/O.
 */
import { digestOf, hexOf } from "../io/digest.ts";
import { GIT_INDEX } from "../io/git-index.ts";
import { answerKey, type WebAnswer } from "../io/web-answer.ts";
import { WEB_INDEX } from "../io/web-index.ts";

/** An answer whose body needs a path. */
interface PlacedAnswer extends WebAnswer {
  /** The same for two answers only if their bodies are the same bytes. */
  body: string;
}

const INDEXES: readonly string[] = [WEB_INDEX, GIT_INDEX];
/** Longest segment, and longest path, as long as nothing is added. */
const MAX_SEGMENT = 120;
const MAX_PATH = 700;
const MAX_DEPTH = 32;

/**
 * Chooses a path for every answer, in the order of `answers`. Answers of one host with the same body share the path of
 * the first. No path is the folder of another, and none differs from another by case alone. The same answers always
 * get the same paths, whatever their order.
 */
export function webPaths(answers: readonly PlacedAnswer[]): string[] {
  const sorted = answers
    .map((it) => ({ ...it, key: answerKey(it), host: hostFolder(it.url) }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  const bodies = new Map<string, { wanted: string; key: string }>();
  const idOf = ({ host, body }: { host: string; body: string }) => `${host}\n${body}`;
  for (const it of sorted) {
    const id = idOf(it);
    if (!bodies.has(id)) bodies.set(id, { wanted: `${it.host}/${pathBelowHost(it)}`, key: it.key });
  }
  const folders = new Map<string, string>();
  const spelled = [...bodies].map(([id, { wanted, key }]) => ({ id, key, path: withFolders(wanted, folders) }));
  const taken = new Set([...INDEXES, ...folders.keys()]);
  const paths = new Map<string, string>();
  for (const { id, key, path } of spelled) {
    let free = path;
    // Each round has another hash, so that no list of URLs can have taken all of them.
    for (let round = 0; taken.has(free.toLowerCase()); round++)
      free = `${path}~${round === 0 ? hashOf(key, 8) : hashOf(`${key}\n${round}`, 16)}`;
    taken.add(free.toLowerCase());
    paths.set(id, free);
  }
  return answers.map((it) => paths.get(idOf({ host: hostFolder(it.url), body: it.body })) ?? "");
}

/** Folders that differ by case alone become one: the first spelling counts. */
function withFolders(path: string, folders: Map<string, string>): string {
  const segments = path.split("/");
  let folder = "";
  for (const segment of segments.slice(0, -1)) {
    const next = folder === "" ? segment : `${folder}/${segment}`;
    const known = folders.get(next.toLowerCase());
    if (known === undefined) folders.set(next.toLowerCase(), next);
    folder = known ?? next;
  }
  return `${folder}/${segments.at(-1)}`;
}

/** `web/HOST`, with `_` before a port. A host with the name of an index gets another. */
function hostFolder(url: string): string {
  const host = readable(hostOf(url).replace(":", "_"));
  return INDEXES.includes(`web/${host}`.toLowerCase()) ? `web/${host}~` : `web/${host}`;
}

/** Host, and port if the URL has one, of a URL in normal form. */
export function hostOf(url: string): string {
  return /^https?:\/\/([^/]*)/.exec(url)?.[1] ?? "";
}

function pathBelowHost({ url, status, headers, key }: PlacedAnswer & { key: string }): string {
  const [place = "", query] = splitOnce(url.slice(url.indexOf("/", "https://".length) + 1), "?");
  const segments = place.split("/");
  const last = segments.pop() ?? "";
  const name = last === "" ? `index${endingOf(headers["content-type"])}` : last;
  // As wget names files where a question mark cannot be in one.
  const leaf = `${name}${query === undefined ? "" : `@${query}`}`;
  const marked = `${shortened(readable(leaf))}${status === 200 ? "" : `~${status}`}`;
  const path = [...segments.map((it) => shortened(readable(it))), marked].join("/");
  const isDeep = path.length > MAX_PATH || segments.length >= MAX_DEPTH;
  return isDeep ? `~deep/${marked}~${hashOf(key, 16)}` : path;
}

/** Letters, digits and what every file system allows; everything else, escapes too, becomes `_`. */
function readable(segment: string): string {
  const plain = segment.replace(/(?:%[0-9A-F]{2})+/g, "_").replace(/[^A-Za-z0-9._~+=@,()-]/g, "_");
  return /^\.{0,2}$/.test(plain) ? `_${plain}` : plain;
}

function shortened(segment: string): string {
  return segment.length <= MAX_SEGMENT ? segment : `${segment.slice(0, MAX_SEGMENT)}~${hashOf(segment, 8)}`;
}

function hashOf(text: string, digits: number): string {
  return hexOf(digestOf(text)).slice(0, digits);
}

const ENDINGS: readonly [type: RegExp, ending: string][] = [
  [/html$/, ".html"],
  [/json$/, ".json"],
  [/xml$/, ".xml"],
  [/^text\//, ".txt"],
];

function endingOf(contentType = ""): string {
  const type = contentType.replace(/;.*$/s, "").trim().toLowerCase();
  return ENDINGS.find(([of]) => of.test(type))?.[1] ?? "";
}

function splitOnce(text: string, at: string): [string, string | undefined] {
  const index = text.indexOf(at);
  return index < 0 ? [text, undefined] : [text.slice(0, index), text.slice(index + 1)];
}
