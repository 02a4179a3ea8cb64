/**
 * The journal of a store: who did what to it, when, from which medium, and with what result, appended under the store's
 * lock. A deed comes first and its line second, so that no line reports what did not happen. If power is lost in
 * between, whoever writes next completes the journal: what is in the store without a line is noted as found.
 * docs/operating.md, "Evidence".
 */
import { constants } from "node:fs";
import { type FileHandle, open, readdir, readFile } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { AirferryError, ERROR_CODES, EXIT } from "../errors.ts";
import { ifThere, ioError, syncPath } from "../io/atomic.ts";
import { digestOf } from "../io/digest.ts";
import { plural } from "../io/format.ts";
import { mediumDevice } from "../io/medium-device.ts";
import { printable } from "../io/printable.ts";
import { readSmall } from "../io/safe-open.ts";
import { shellWord } from "../io/shell.ts";
import { formatUtcTime } from "../io/utc-time.ts";
import { VERSION } from "../version.ts";
import { formatLine, type JournalEntry, MAX_LINE_BYTES, NO_LINE, readJournal } from "./journal-line.ts";
import { JOURNAL_FILE, releaseName, TRUST_FOLDER } from "./layout.ts";
import { readImport } from "./release-record.ts";
import type { Store } from "./store.ts";

const MAX_MEDIA = 8;
const MAX_SIGNERS = 16;
const MAX_REMOVED = 40;
const MAX_CHARS = 200;
const MAX_TRUST_BYTES = 256 * 1024;

/** What was done, without what every line says. */
export type Deed = Omit<JournalEntry, "n" | "previous" | "time" | "by" | "tool" | "media" | "torn">;

/** What accompanies a deed. */
interface DeedOptions {
  /** Folders of media that were read. */
  folders?: readonly string[];
  /** Default now. */
  now?: Date | undefined;
  /** Called with what was mended or found. */
  notice?: ((line: string) => void) | undefined;
}

/** What the lines so far say of a store. */
export class JournalState {
  /** Every release by stream and name. */
  readonly releases = new Set<string>();
  /** Name of the served release by stream. */
  readonly served = new Map<string, string>();
  trust: string | undefined;

  /** Takes in the next line. */
  apply({ action, result, bundle, removed = [], trust }: Deed): void {
    if (result === "refused" || result === "failed" || result === "incomplete") return;
    for (const it of removed) this.releases.delete(it);
    if (action === "trust" || (action === "found" && trust !== undefined)) this.trust = trust?.digest;
    const { stream, epoch, serial } = bundle ?? {};
    if (stream === undefined || epoch === undefined || serial === undefined) return;
    const name = releaseName(epoch, serial);
    const isServed = action === "unpack" || action === "rollback" || result === "served";
    if (result === "gone") this.releases.delete(`${stream}/${name}`);
    else this.releases.add(`${stream}/${name}`);
    if (isServed) this.served.set(stream, name);
  }
}

/** Path of a store's journal. */
export function journalPath(store: Pick<Store, "dir">): string {
  return join(store.dir, JOURNAL_FILE);
}

/**
 * Appends what was done, on disk when this returns. The caller holds the store's lock.
 * @throws {AirferryError} ERR_SPACE, ERR_IO; ERR_STORE_INVALID for a link in the journal's place
 */
export async function recordDeed(store: Store, deed: Deed, options: DeedOptions = {}): Promise<void> {
  const file = journalPath(store);
  const notice = options.notice ?? (() => {});
  const state = new JournalState();
  const end = await readJournal(file, (entry) => state.apply(entry));
  if (end?.fault !== undefined) {
    notice(
      `the journal of the store was changed at line ${end.fault.line}: airferry journal verify --store ${shellWord(store.dir)}`,
    );
  }
  const deeds = inParts(deed);
  // What this very deed did needs no other line.
  for (const it of deeds) state.apply(it);
  const found = await whatHasNoLine(store, state);
  if (found.length > 0 && end !== undefined)
    notice(`the journal lacks ${plural(found.length, "line")} of earlier work; now noted as found`);
  // A torn line is at most one line long; anything longer was not written here, and stays.
  const torn = end !== undefined && end.torn <= MAX_LINE_BYTES ? end.torn : 0;
  if (torn > 0) notice(`the last line of the journal was torn: ${plural(torn, "byte")} of it removed`);
  const common = {
    time: formatUtcTime(options.now ?? new Date()),
    by: await author(),
    tool: `airferry ${VERSION}`,
  };
  const media = await mediaOf(options.folders ?? []);
  let last = end?.last ?? 0;
  let previous = end?.head ?? NO_LINE;
  const lines: string[] = [];
  for (const it of [...found, ...deeds]) {
    const own = it.action === "found" || media.length === 0 ? {} : { media };
    const first = lines.length === 0 && torn > 0 ? { torn } : {};
    const line = formatLine({ ...cleaned(it), ...common, ...own, ...first, n: ++last, previous });
    previous = digestOf(line.slice(0, -1));
    lines.push(line);
  }
  const stranger = (end?.torn ?? 0) > torn;
  await append(file, `${stranger ? "\n" : ""}${lines.join("")}`, torn > 0 ? end?.size : undefined);
}

/** As {@link recordDeed} for what failed: takes the lock itself, and only tells if nothing can be written. */
export async function recordFailure(
  store: Store,
  deed: Omit<Deed, "result">,
  error: unknown,
  options: DeedOptions = {},
): Promise<void> {
  // Another process is writing, or the command was wrong: nothing was tried.
  if (!(error instanceof AirferryError) || error.code === "ERR_USAGE" || error.code === "ERR_BUSY") return;
  // Whatever keeps a bucket from being read or written keeps its journal from it too.
  if (error.code === "ERR_OBJECT_STORAGE") return;
  const { code, message } = error;
  const result = ERROR_CODES[code] === EXIT.refused ? "refused" : "failed";
  try {
    const lock = await store.lock();
    try {
      await recordDeed(store, { ...deed, result, code, message: store.shown(message) }, options);
      await store.save();
    } finally {
      await lock.release();
    }
  } catch (fault) {
    // What failed first is what counts.
    options.notice?.(`this is not in the journal of the store: ${(fault as Error).message}`);
  }
}

/** Many removed releases need several lines. */
function inParts(deed: Deed): Deed[] {
  const { removed = [] } = deed;
  if (removed.length <= MAX_REMOVED) return [deed];
  const { blobs: _, bytes: __, ...first } = deed;
  const rest = inParts({ ...deed, removed: removed.slice(MAX_REMOVED) });
  return [{ ...first, removed: removed.slice(0, MAX_REMOVED) }, ...rest];
}

/** Bounded, and without characters that control a terminal. */
function cleaned(deed: Deed): Deed {
  const { message, signers, attested } = deed;
  return {
    ...deed,
    ...(message !== undefined && { message: shown(message) }),
    ...(signers !== undefined && { signers: signers.slice(0, MAX_SIGNERS) }),
    ...(attested !== undefined && { attested: attested.slice(0, MAX_SIGNERS).map(shown) }),
  };
}

function shown(text: string): string {
  return printable(printable(text), MAX_CHARS);
}

async function author(): Promise<JournalEntry["by"]> {
  const uid = process.getuid?.() ?? -1;
  let user = String(uid);
  try {
    user = userInfo().username;
  } catch {
    // A number without an account.
  }
  const login = Number(await readFile("/proc/self/loginuid", "utf8").catch(() => ""));
  const isKnown = Number.isSafeInteger(login) && login > 0 && login < 0xffff_ffff;
  return { user: shown(user), uid, ...(isKnown && { login }), host: shown(hostname()) };
}

async function mediaOf(folders: readonly string[]): Promise<NonNullable<JournalEntry["media"]>> {
  const media: NonNullable<JournalEntry["media"]> = [];
  for (const it of folders.slice(0, MAX_MEDIA)) {
    // Standard input is no folder.
    if (it === "-") media.push({ folder: it });
    else media.push({ folder: shown(resolve(it)), ...(await mediumDevice(it)) });
  }
  return media;
}

/**
 * Where a store differs from what its journal says of it: after a power loss, after another version of airferry, or
 * after somebody changed it by hand.
 */
export async function whatHasNoLine(store: Store, state: JournalState): Promise<Deed[]> {
  const found: Deed[] = [];
  const there = new Set<string>();
  for (const stream of await store.streams()) {
    for (const name of await store.releaseNames(stream)) {
      there.add(`${stream}/${name}`);
      if (state.releases.has(`${stream}/${name}`)) continue;
      const record = await readImport(await store.recordFolder(stream, name)).catch(() => undefined);
      found.push({
        action: "found",
        result: "appeared",
        bundle: { ...placeOf(stream, name), ...(record && { digest: record.digest }) },
        ...(record && { signers: record.signers }),
      });
    }
    const current = await store.currentName(stream);
    if (current !== undefined && current !== state.served.get(stream))
      found.push({ action: "found", result: "served", bundle: placeOf(stream, current) });
  }
  for (const it of state.releases) {
    const [stream = "", name = ""] = it.split("/");
    if (!there.has(it)) found.push({ action: "found", result: "gone", bundle: placeOf(stream, name) });
  }
  const trust = await newestTrust(join(store.dir, TRUST_FOLDER));
  if (trust !== undefined && trust.digest !== state.trust) found.push({ action: "found", result: "appeared", trust });
  return found;
}

/** The trust root that a store follows, as it says of itself: whoever uses it checks it. */
async function newestTrust(folder: string): Promise<JournalEntry["trust"]> {
  const versions = ((await ifThere(folder, readdir(folder))) ?? [])
    .map((it) => Number(/^trust\.([1-9]\d{0,8})\.json$/.exec(it)?.[1] ?? 0))
    .sort((a, b) => b - a);
  const [version = 0] = versions;
  if (version === 0) return undefined;
  const bytes = await readSmall(join(folder, `trust.${version}.json`), MAX_TRUST_BYTES).catch(() => undefined);
  if (bytes === undefined) return undefined;
  const said = /"name":"([^"\\]{1,100})"/.exec(bytes.toString("utf8"))?.[1] ?? "";
  return { name: shown(said), version, digest: digestOf(bytes) };
}

function placeOf(stream: string, name: string): { stream: string; epoch: number; serial: number } {
  const [, epoch = 1, serial] = /^(?:e(\d+)-)?(\d+)$/.exec(name) ?? [];
  return { stream, epoch: Number(epoch), serial: Number(serial) };
}

/** Appends whole lines with one write, and syncs them. What follows `keep` bytes is cut off first. */
async function append(file: string, lines: string, keep: number | undefined): Promise<void> {
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, flags, 0o644);
    const found = await handle.stat();
    if (!found.isFile()) throw new Error("it is not a file");
    if (keep !== undefined) await handle.truncate(keep);
    await handle.writeFile(lines);
    await handle.sync();
    if (found.size === 0) await syncPath(dirname(file));
  } catch (error) {
    throw ioError("write", file, error);
  } finally {
    await handle?.close();
  }
}
