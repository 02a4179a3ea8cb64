/**
 * Lists of wanted things as files: the one that a server keeps, and the short one that is carried out of the gap. Both
 * are JSON of one version and are read by one reader, which believes nothing: whoever carries a file may be deceived.
 */
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { parseOwn } from "../io/own-file.ts";
import { readSmall } from "../io/safe-open.ts";
import { normalizeWebUrl } from "../io/web-url.ts";
import { MAX_WANTED, MAX_WANTED_URL_LENGTH, type Wanted, WantedList } from "./wanted-list.ts";

const WANTED_VERSION = 1;
const MAX_FILE_BYTES = 16 * 1024 * 1024;
const HINT = "give a file of airferry serve --wanted, or of airferry wanted --out";

const count = z.int().min(1);
const time = z.iso.datetime();

const url = z
  .string()
  .max(MAX_WANTED_URL_LENGTH)
  .refine((it) => {
    try {
      return normalizeWebUrl(it) === it;
    } catch {
      return false;
    }
  }, "expected a URL in normal form");

const schema = z.strictObject({
  wantedVersion: z.literal(WANTED_VERSION),
  /** Requests for further URLs, which had no room. */
  dropped: z.int().min(0),
  wanted: z
    .array(
      z.strictObject({
        count,
        first: time.exactOptional(),
        last: time.exactOptional(),
        method: z.enum(["GET", "HEAD"]).exactOptional(),
        url,
      }),
    )
    .max(MAX_WANTED),
});

/** A URL of the short form: both methods together. */
interface WantedUrl {
  url: string;
  count: number;
}

/** A list as read; in the short form without methods and times. */
export interface ReadWanted {
  dropped: number;
  wanted: z.output<typeof schema>["wanted"];
}

/**
 * Reads either form.
 * @throws {AirferryError} ERR_USAGE for anything else; ERR_NOT_FOUND, ERR_PATH_UNSAFE, ERR_SIZE_LIMIT, ERR_IO
 */
export async function readWanted(file: string): Promise<ReadWanted> {
  return parseWanted((await readSmall(file, MAX_FILE_BYTES)).toString("utf8"), file);
}

/** Parses either form. @throws {AirferryError} ERR_USAGE */
export function parseWanted(text: string, file: string): ReadWanted {
  const version = { key: "wantedVersion", value: WANTED_VERSION };
  const { dropped, wanted } = parseOwn(schema, text, { file, what: "list", code: "ERR_USAGE", hint: HINT, version });
  return { dropped, wanted };
}

/**
 * Reads the list that a server keeps; empty when there is no file yet.
 * @throws {AirferryError} as {@link readWanted}
 */
export async function readWantedList(file: string): Promise<WantedList> {
  const list = new WantedList();
  const found = await readWanted(file).catch((error: unknown) => {
    if (error instanceof AirferryError && error.code === "ERR_NOT_FOUND") return undefined;
    throw error;
  });
  for (const { method = "GET", first, last, ...it } of found?.wanted ?? []) {
    const now = last ?? first ?? new Date(0).toISOString();
    list.add({ ...it, method, first: first ?? now, last: now });
  }
  list.dropped = found?.dropped ?? 0;
  return list;
}

/** The file that a server keeps: one line for each URL. */
export function formatWantedList(list: WantedList): string {
  return format(list.dropped, list.entries());
}

/** The short form, to be carried: which URLs, and how often; the same for the same requests, whenever they were. */
export function formatWantedUrls(dropped: number, urls: readonly WantedUrl[]): string {
  return format(dropped, urls);
}

function format(dropped: number, wanted: readonly (Wanted | WantedUrl)[]): string {
  const lines = wanted.map((it) => JSON.stringify(it));
  const list = lines.length === 0 ? "[]" : `[\n${lines.join(",\n")}\n]`;
  return `{"wantedVersion":${WANTED_VERSION},"dropped":${dropped},"wanted":${list}}\n`;
}

/** Both methods of a URL together, sorted by URL. */
export function wantedUrls({ wanted }: ReadWanted): WantedUrl[] {
  const counts = new Map<string, number>();
  for (const it of wanted) counts.set(it.url, Math.min((counts.get(it.url) ?? 0) + it.count, Number.MAX_SAFE_INTEGER));
  return [...counts].map(([url, count]) => ({ url, count })).sort((a, b) => (a.url < b.url ? -1 : 1));
}
