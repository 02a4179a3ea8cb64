/**
 * The lock of a store in object storage: an object that names its holder, who writes it again while it works. It is
 * only ever replaced on the condition that it is as it was read, so of several takers one succeeds; it is never
 * deleted. A holder that was killed on this host is known to be gone; one elsewhere is, when it has not written for a
 * minute by the storage's own clock.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { runToEnd } from "../io/limit.ts";
import { parseNote } from "../io/own-file.ts";
import { printable } from "../io/printable.ts";
import { type HeldLock, hasEnded, processMark } from "../io/process-lock.ts";
import type { Bucket } from "./bucket.ts";

const MAX_BYTES = 4096;
const ATTEMPTS = 5;
/** Of no object. */
const NO_ETAG = '"00000000000000000000000000000000"';

/** Times of a lease, in milliseconds; tests give shorter ones. */
interface LeaseTimes {
  /** After so long without a sign its holder is gone. */
  lease: number;
  /** Between two signs. */
  renew: number;
}

const TIMES: LeaseTimes = { lease: 60_000, renew: 15_000 };

const text = z.string().max(300);
const schema = z.strictObject({
  /** Null: nobody holds it. */
  holder: z.strictObject({ id: text, pid: z.int(), started: text, host: text, space: text }).nullable(),
  /** How often it was written, so that no two states are alike. */
  writes: z.int(),
});
type State = z.output<typeof schema>;

/** A held lease. */
export class S3Lease implements HeldLock {
  readonly #bucket: Bucket;
  readonly #key: string;
  readonly #timer: NodeJS.Timeout;
  #state: State;
  #etag: string;
  #lost = false;
  #last: Promise<void> = Promise.resolve();

  private constructor(bucket: Bucket, key: string, state: State, etag: string, times: LeaseTimes) {
    this.#bucket = bucket;
    this.#key = key;
    this.#state = state;
    this.#etag = etag;
    // A failure shows at the next check(), which tries once more.
    this.#timer = setInterval(() => void this.check().catch(() => undefined), times.renew).unref();
  }

  /**
   * Takes the lease at a key.
   * @throws {AirferryError} ERR_BUSY while another process holds it; ERR_OBJECT_STORAGE where conditions are ignored
   */
  static async take(bucket: Bucket, key: string, times: LeaseTimes = TIMES): Promise<S3Lease> {
    const mark = await processMark();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found = await bucket.get(key, MAX_BYTES);
      const before = found && parseNote(schema, found.bytes.toString());
      if (found !== undefined && before?.holder) {
        const now = bucket.now();
        const age = now === undefined || found.modified === undefined ? 0 : now - found.modified.getTime();
        if (age <= times.lease && !(await hasEnded(before.holder))) throw busy(bucket, key, before);
      }
      const state: State = {
        holder: { id: randomBytes(8).toString("hex"), ...mark },
        writes: (before?.writes ?? 0) + 1,
      };
      const etag = await bucket.putIf(key, bytesOf(state), found === undefined ? "absent" : { etag: found.etag });
      if (etag === undefined) continue;
      // Other bytes: the same ones would look like an answer that got lost.
      const probe = bytesOf({ holder: null, writes: 0 });
      // Each time, before anything relies on it: a proxy in front may be new.
      for (const was of ["absent", { etag: NO_ETAG }] as const) {
        if ((await bucket.putIf(key, probe, was)) === undefined) continue;
        // Nobody holds it: whoever mends the storage need not wait.
        await bucket.put(key, probe).catch(() => undefined);
        throw unconditional(bucket, key);
      }
      return new S3Lease(bucket, key, state, etag, times);
    }
    throw busy(bucket, key, undefined);
  }

  /**
   * Makes sure that the lease is still held, and holds it for another minute.
   * @throws {AirferryError} ERR_BUSY when it was lost
   */
  check(): Promise<void> {
    // One after the other: each needs the state that the one before left.
    this.#last = this.#last.catch(() => undefined).then(() => this.#write(this.#state.holder));
    return this.#last;
  }

  async release(): Promise<void> {
    clearInterval(this.#timer);
    await this.#last.catch(() => undefined);
    // Whoever finds it held by a process that ended takes it.
    if (!this.#lost) await runToEnd(() => this.#write(null)).catch(() => undefined);
    this.#lost = true;
  }

  async #write(holder: State["holder"]): Promise<void> {
    if (this.#lost) throw busy(this.#bucket, this.#key, undefined);
    const next = { holder, writes: this.#state.writes + 1 };
    const etag = await this.#bucket.putIf(this.#key, bytesOf(next), { etag: this.#etag });
    if (etag === undefined) {
      this.#lost = true;
      throw busy(this.#bucket, this.#key, undefined);
    }
    this.#state = next;
    this.#etag = etag;
  }
}

function bytesOf(state: State): Buffer {
  return Buffer.from(`${JSON.stringify(state)}\n`);
}

/** Two writers could overwrite what the other wrote. */
function unconditional({ target }: Bucket, key: string): AirferryError {
  return new AirferryError(
    "ERR_OBJECT_STORAGE",
    `cannot write to "${target.name}": the storage does not know conditional writes: it replaced "${key}" although it exists`,
    {
      path: target.name,
      hint: `use a newer version of it, or another one; or a folder: ${target.kind === "tree" ? "airferry export tree FOLDER" : "airferry unpack BUNDLE --trust KEY --store FOLDER"}`,
    },
  );
}

function busy({ target }: Bucket, key: string, state: State | undefined): AirferryError {
  const { pid, host } = state?.holder ?? {};
  const who = pid === undefined ? "another process" : `process ${pid} on ${printable(host ?? "", 100)}`;
  return new AirferryError("ERR_BUSY", `cannot use "${target.name}": ${who} is working on it`, {
    path: target.name,
    hint: `wait until it has finished, then run the same command again; if it was killed elsewhere, a minute is enough ("${key}" names it)`,
  });
}
