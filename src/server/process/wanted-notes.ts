/**
 * Notes of what clients asked for and did not get. Each thread gathers its own and hands them over every few seconds to
 * the first one, which alone writes the file.
 */
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { writeAtomic } from "../../io/atomic.ts";
import { normalizeWebUrl, targetWithoutDots } from "../../io/web-url.ts";
import { formatWantedList, readWantedList } from "../../wanted/wanted-file.ts";
import { type Wanted, WantedList } from "../../wanted/wanted-list.ts";
import { authorityOf, isHost } from "../http/host-header.ts";

const HAND_OVER_MS = 2000;
const WRITE_MS = 10_000;
/** What browsers ask for by themselves. */
const UNASKED = new Set(["/favicon.ico", "/robots.txt"]);

/** Notes of some seconds, or of one thread since its last ones. Plain data. */
export interface WantedBatch {
  entries: Wanted[];
  /** Requests that had no room. */
  dropped: number;
}

/** The notes of one thread. */
export class WantedNotes {
  readonly #list = new WantedList();
  readonly #handOver: (batch: WantedBatch) => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param handOver called with notes some seconds after the first of them */
  constructor(handOver: (batch: WantedBatch) => void) {
    this.#handOver = handOver;
  }

  /** Notes a request for what is not here. Of its headers only the host is read. */
  note(req: IncomingMessage, now = new Date()): void {
    const url = urlOf(req);
    if (url === undefined) return;
    const time = `${now.toISOString().slice(0, 19)}Z`;
    this.#list.add({ method: req.method === "HEAD" ? "HEAD" : "GET", url, count: 1, first: time, last: time });
    this.#timer ??= setTimeout(() => this.flush(), HAND_OVER_MS).unref();
  }

  /** Hands over what there is. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { entries, dropped } = this.#list.take();
    if (entries.length + dropped > 0) this.#handOver({ entries, dropped });
  }
}

/**
 * The URL as the client knew it, without its query, which may hold secrets; a registry's namespace, which names the
 * registry that a mirror stands for, stays. Undefined when there is none to note.
 */
function urlOf(req: IncomingMessage): string | undefined {
  const host = authorityOf(req);
  const [absolute = "", named] = /^(https?):\/\/[^/?#]*/i.exec(req.url ?? "") ?? [];
  const target = (req.url ?? "").slice(absolute.length);
  const [path = "", query = ""] = target.split("#", 1)[0]?.split(/\?(.*)/s) ?? [];
  if (!isHost(host) || !path.startsWith("/") || UNASKED.has(path)) return undefined;
  const scheme = named ?? ((req.socket as Partial<TLSSocket>).encrypted === true ? "https" : "http");
  const namespace = /^\/v2\//.test(path) ? new URLSearchParams(query).get("ns") : null;
  const kept = namespace !== null && isHost(namespace) ? `?ns=${namespace}` : "";
  try {
    return normalizeWebUrl(`${scheme}://${host}${targetWithoutDots(path)}${kept}`);
  } catch {
    return undefined;
  }
}

/** The list of a server, in its first thread, and its file. */
export class WantedKeeper {
  readonly #file: string;
  readonly #list: WantedList;
  readonly #report: (message: string) => void;
  #isChanged = false;
  #writing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastFault = "";

  private constructor(file: string, list: WantedList, report: (message: string) => void) {
    this.#file = file;
    this.#list = list;
    this.#report = report;
  }

  /**
   * Goes on with the list in a file, or begins one: writes it, so that a folder that cannot be written to is noticed at
   * the start.
   * @param report called when the file can no longer be written, once for each fault
   * @throws {AirferryError} ERR_USAGE when it is another file; ERR_PATH_UNSAFE, ERR_SIZE_LIMIT, ERR_IO, ERR_SPACE
   */
  static async open(file: string, report: (message: string) => void): Promise<WantedKeeper> {
    const list = await readWantedList(file);
    await writeAtomic(file, formatWantedList(list));
    return new WantedKeeper(file, list, report);
  }

  get size(): number {
    return this.#list.size;
  }

  add({ entries, dropped }: WantedBatch): void {
    for (const it of entries) this.#list.add(it);
    this.#list.dropped += dropped;
    this.#isChanged = true;
    this.#timer ??= setTimeout(() => void this.#write(), WRITE_MS).unref();
  }

  /** Writes what is not in the file yet. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#write();
  }

  async #write(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#isChanged) return;
    this.#isChanged = false;
    this.#writing = writeAtomic(this.#file, formatWantedList(this.#list)).then(
      () => {
        this.#lastFault = "";
      },
      (error: Error) => {
        this.#isChanged = true;
        if (error.message !== this.#lastFault) this.#report(error.message);
        this.#lastFault = error.message;
      },
    );
    await this.#writing;
    this.#writing = undefined;
  }
}
