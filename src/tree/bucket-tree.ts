/**
 * A tree in a bucket, and what airferry knows of it:
 *
 * ```
 * PREFIX/…                        the site: each URL is a key
 * PREFIX/.airferry/
 *   tree.json                     which lists count; only ever written on the condition that it is as it was read
 *   lock                          one run at a time, see s3-lease.ts
 *   lists/7-….jsonl               the objects of a generation, see object-record.ts
 *   isos/                         what is inside images, see iso-members.ts
 *   nginx.conf, website.json, policy.json, README.txt
 * ```
 * Before a run writes anything, the list of what it will write is there: so whatever a killed run left is known.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { AirferryError, bug } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { digestSchema, parseNote } from "../io/own-file.ts";
import { printable } from "../io/printable.ts";
import { shellWord } from "../io/shell.ts";
import { type Bucket, MAX_LISTED, openBucket } from "../s3/bucket.ts";
import { PLACE_KEYS, placeAbove } from "../s3/places.ts";
import { S3Lease } from "../s3/s3-lease.ts";
import { nameAt, placeName, type S3Target } from "../s3/s3-target.ts";
import { OWN_FOLDER, STEPS } from "./object-plan.ts";
import { digestOfPlan, formatRecords, type ObjectRecord, parseRecords, STATE_BYTES } from "./object-record.ts";

const STATE_KEY = PLACE_KEYS.tree;
const LOCK_KEY = `${OWN_FOLDER}lock`;
const LIST_FOLDER = `${OWN_FOLDER}lists/`;
const TREE_VERSION = 1;
const MAX_STATE_BYTES = 1024 * 1024;
/** Of some 800,000 objects. */
const MAX_LIST_BYTES = 256 * 1024 * 1024;
/** Objects that a run adds besides the tree: state, lock, and the lists of before and after. */
const OWN_OBJECTS = 4;
/** More runs than are killed one after the other. */
const MAX_LISTS = 1000;
/** Without a look at the lock nothing is written for longer. */
const LOCK_MS = 10_000;

const listName = z.string().regex(/^\.airferry\/lists\/\d{1,15}-[0-9a-f]{16}\.jsonl$/);
const stateSchema = z.strictObject({
  treeVersion: z.literal(TREE_VERSION),
  generation: z.int().min(0),
  /** Of everything in it; null before the first generation. */
  digest: digestSchema.nullable(),
  /** The list of the current generation. */
  current: listName.nullable(),
  /** Lists whose contents are kept: of the generation before, and of a run that was killed on the way to this one. */
  before: z.array(listName).max(MAX_LISTS),
  /** What a run that has not finished was going to write. */
  pending: z.array(listName).max(MAX_LISTS),
  /** Lists whose contents go. */
  retired: z.array(listName).max(MAX_LISTS),
});
type State = z.output<typeof stateSchema>;
type Records = ReadonlyMap<string, ObjectRecord>;
/** What the storage listed, by key. */
type Listed = Pick<ReadonlyMap<string, unknown>, "has" | "keys" | "size">;

const NEW: State = { treeVersion: 1, generation: 0, digest: null, current: null, before: [], pending: [], retired: [] };

/** The tree, locked for writing. Close it. */
export class BucketTree {
  readonly bucket: Bucket;
  readonly #lease: S3Lease;
  readonly #lists = new Map<string, Records>();
  #state: State;
  #etag: string | undefined;
  #checked = performance.now();

  private constructor(bucket: Bucket, lease: S3Lease, found: { state: State; etag: string } | undefined) {
    this.bucket = bucket;
    this.#lease = lease;
    this.#state = found?.state ?? NEW;
    this.#etag = found?.etag;
  }

  /**
   * Opens the tree below a prefix, or begins one, and locks it.
   * @throws {AirferryError} ERR_USAGE for a prefix that has something else; ERR_BUSY; ERR_NOT_FOUND for no bucket;
   *   ERR_OBJECT_STORAGE
   */
  static async open(target: S3Target): Promise<BucketTree> {
    const bucket = await openBucket(target);
    try {
      if ((await readState(bucket)) === undefined) await refuseForeign(bucket);
      const lease = await S3Lease.take(bucket, LOCK_KEY);
      try {
        return new BucketTree(bucket, lease, await readState(bucket));
      } catch (error) {
        await lease.release();
        throw error;
      }
    } catch (error) {
      bucket.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#lease.release();
    this.bucket.close();
  }

  get generation(): number {
    return this.#state.generation;
  }

  /** Of everything that the current generation has, when no run was killed since. */
  get digest(): Digest | undefined {
    return this.#state.pending.length === 0 ? (this.#state.digest ?? undefined) : undefined;
  }

  /** Makes sure, from time to time, that this run still holds the lock. @throws {AirferryError} ERR_BUSY */
  async mayWrite(): Promise<void> {
    if (performance.now() - this.#checked < LOCK_MS) return;
    await this.#lease.check();
    this.#checked = performance.now();
  }

  /** The objects of the current generation. */
  current(): Promise<Records> {
    const { current } = this.#state;
    return current === null ? Promise.resolve(new Map()) : this.#read(current);
  }

  /** Whether an object is one that some run wrote, or may have written: with this content, if one is given. */
  async knows(): Promise<(key: string, digest?: Digest) => boolean> {
    const { current, before, pending, retired } = this.#state;
    const lists = [...(current === null ? [] : [current]), ...before, ...pending, ...retired];
    const all = await Promise.all(lists.map((it) => this.#read(it)));
    return (key, digest) =>
      digest === undefined
        ? key.startsWith(OWN_FOLDER) || all.some((it) => it.has(key))
        : all.some((it) => it.get(key)?.digest === digest);
  }

  /**
   * Says what will be written, before it is.
   * @param digest of all that is planned
   * @throws {AirferryError} ERR_USAGE for more than the next run could list or read
   */
  async begin(planned: readonly ObjectRecord[], digest: Digest, there: Listed): Promise<void> {
    const added = planned.reduce((sum, it) => sum + (there.has(it.key) ? 0 : 1), OWN_OBJECTS);
    if (there.size + added > MAX_LISTED)
      throw tooMany(this.bucket, `expected at most ${MAX_LISTED} with what is there, got ${there.size + added}`);
    const bytes = formatRecords(planned, MAX_LIST_BYTES - planned.length * STATE_BYTES);
    if (bytes === undefined) throw tooMany(this.bucket, `expected a list of at most ${MAX_LIST_BYTES} bytes, got more`);
    const last = this.#state.pending.at(-1);
    // A run that failed is often tried again: it has said so already.
    if (last !== undefined && digestOfPlan([...(await this.#read(last)).values()]) === digest) return;
    const pending = await this.#write(planned, bytes);
    await this.#save({ ...this.#state, pending: [...this.#state.pending, pending] });
  }

  /**
   * Makes what was written the current generation. What the one before had stays, but for what leads to its contents.
   * @returns what was removed
   */
  async finish(
    written: readonly ObjectRecord[],
    digest: Digest,
    there: Listed,
  ): Promise<{ files: number; bytes: number }> {
    const { generation, current, before, pending, retired } = this.#state;
    const list = await this.#write(written);
    const [own, ...killed] = pending.toReversed();
    await this.#save({
      treeVersion: 1,
      generation: generation + 1,
      digest,
      current: list,
      before: [...(current === null ? [] : [current]), ...killed],
      pending: [],
      retired: [...retired, ...before, ...(own === undefined ? [] : [own])],
    });
    return this.removeRetired(there);
  }

  /** Notes how the objects of the current generation are now, after something of them was written again. */
  async refresh(written: readonly ObjectRecord[]): Promise<void> {
    const { current, retired } = this.#state;
    const list = await this.#write(written);
    await this.#save({ ...this.#state, current: list, retired: current === null ? retired : [...retired, current] });
  }

  /**
   * Removes what no generation has that is kept; also lists that no run could name before it was killed.
   * @returns what of it was there
   */
  async removeRetired(there: Listed): Promise<{ files: number; bytes: number }> {
    const { before, retired } = this.#state;
    const removed = { files: 0, bytes: 0 };
    if (retired.length === 0) {
      await this.#removeLists(there.keys());
      return removed;
    }
    const now = await this.current();
    const kept = await Promise.all(before.map((it) => this.#read(it)));
    const isKept = (key: string) => now.has(key) || kept.some((it) => (it.get(key)?.step ?? STEPS.index) < STEPS.index);
    const gone = new Map<string, ObjectRecord>();
    for (const list of [...(await Promise.all(retired.map((it) => this.#read(it)))), ...kept])
      for (const it of list.values()) if (!isKept(it.key) && there.has(it.key)) gone.set(it.key, it);
    // What leads somewhere first.
    await this.#remove([...gone.values()].sort((a, b) => b.step - a.step).map((it) => it.key));
    await this.#save({ ...this.#state, retired: [] });
    await this.#removeLists([...retired, ...there.keys()]);
    for (const { size } of gone.values()) removed.bytes += size;
    removed.files = gone.size;
    return removed;
  }

  async #removeLists(keys: Iterable<string>): Promise<void> {
    const { current, before, pending, retired } = this.#state;
    const named = new Set([current, ...before, ...pending, ...retired]);
    await this.#remove([...new Set(keys)].filter((it) => it.startsWith(LIST_FOLDER) && !named.has(it)));
  }

  #remove(keys: readonly string[]): Promise<void> {
    return this.bucket.remove(keys, () => this.#lease.check());
  }

  async #read(list: string): Promise<Records> {
    const known = this.#lists.get(list);
    if (known !== undefined) return known;
    const found = await this.bucket.get(list, MAX_LIST_BYTES);
    // Lost or damaged: everything is compared with the bucket again, and what only it named stays.
    const records = (found && parseRecords(found.bytes)) ?? new Map<string, ObjectRecord>();
    this.#lists.set(list, records);
    return records;
  }

  async #write(records: readonly ObjectRecord[], bytes = formatRecords(records, MAX_LIST_BYTES)): Promise<string> {
    if (bytes === undefined) bug("a list that became longer than it was to be");
    const name = `${LIST_FOLDER}${this.#state.generation + 1}-${randomBytes(8).toString("hex")}.jsonl`;
    await this.bucket.put(name, bytes, { contentType: "application/jsonl", cacheControl: "no-cache" });
    this.#lists.set(name, new Map(records.map((it) => [it.key, it])));
    return name;
  }

  async #save(state: State): Promise<void> {
    await this.#lease.check();
    this.#checked = performance.now();
    const bytes = Buffer.from(`${JSON.stringify(state)}\n`);
    const was = this.#etag === undefined ? "absent" : { etag: this.#etag };
    const etag = await this.bucket.putIf(STATE_KEY, bytes, was);
    if (etag === undefined) {
      const { name } = this.bucket.target;
      throw new AirferryError("ERR_BUSY", `cannot write the tree "${name}": another airferry changed it meanwhile`, {
        path: name,
        hint: "run the same command again",
      });
    }
    this.#etag = etag;
    this.#state = state;
  }
}

function tooMany({ target: { name } }: Bucket, fault: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot write a tree into "${name}": it has too many objects: ${fault}`, {
    path: name,
    hint: "leave out the files inside ISOs with --isos none, or name a folder in place of the bucket",
  });
}

async function readState(bucket: Bucket): Promise<{ state: State; etag: string } | undefined> {
  const found = await bucket.get(STATE_KEY, MAX_STATE_BYTES);
  if (found === undefined) return undefined;
  const state = parseNote(stateSchema, found.bytes.toString("utf8"));
  if (state !== undefined) return { state, etag: found.etag };
  const { name } = bucket.target;
  throw new AirferryError("ERR_USAGE", `cannot write the tree "${name}": its version is not ${TREE_VERSION}`, {
    path: name,
    hint: "use the airferry that wrote it, or a new prefix",
  });
}

/** A new tree needs a prefix of its own, which is in nothing else of airferry's. */
async function refuseForeign(bucket: Bucket): Promise<void> {
  const { target } = bucket;
  const refuse = (fault: string, free: string | undefined) => {
    throw new AirferryError("ERR_USAGE", `cannot write a tree into "${target.name}": ${fault}`, {
      path: target.name,
      hint:
        free === undefined
          ? "give it a bucket of its own: everything in this one is below that"
          : `give it a bucket of its own, or a prefix that nothing else has, such as ${shellWord(nameAt(target, free))}`,
    });
  };
  const above = await placeAbove(target);
  if (above !== undefined) {
    const { kind, prefix } = above;
    const place = placeName({ bucket: target.bucket, prefix });
    const what = kind === "store" ? "a store" : "another tree";
    refuse(`it is inside ${what}: "${place}"`, prefix === "" ? undefined : `${prefix}-tree`);
  }
  const { folders, objects } = await bucket.folder("", 3);
  const other = [...folders.map((it) => `${it}/`), ...objects.map((it) => it.key)].find(
    // A storage's own mark of the folder is nothing that somebody put there.
    (it) => it !== OWN_FOLDER && it !== "",
  );
  if (other !== undefined)
    refuse(`it has other objects: "${printable(other, 200)}"`, target.prefix === "" ? "tree" : `${target.prefix}-tree`);
}
