/**
 * Writes the objects of a tree that the bucket lacks, step by step: what leads somewhere only when all that it leads to
 * is there. What is there is known by the list of the current generation and the storage's own list; what is in
 * neither, or is to be checked again, by the storage's checksums.
 */
import { hash } from "node:crypto";
import { type Digest, hexOf } from "../io/digest.ts";
import { eachLimited, throwIfAborted } from "../io/limit.ts";
import type { Bucket } from "../s3/bucket.ts";
import { PART_BYTES, PartBuffers, upload } from "../s3/s3-upload.ts";
import { damagedBlob } from "./content-pool.ts";
import { OWN_FOLDER, type PlannedObject, STEPS } from "./object-plan.ts";
import type { ObjectPool } from "./object-pool.ts";
import { headersKey, type ObjectRecord } from "./object-record.ts";

/** Objects on their way at once; a large one goes up in parts, one after the other. */
const AT_ONCE = 6;

/** An object as the storage lists it. */
interface Listed {
  size: number;
  etag: string;
}

interface WriteContext {
  bucket: Bucket;
  pool: ObjectPool;
  /** The current generation. */
  current: ReadonlyMap<string, ObjectRecord>;
  /** Everything below the prefix, by key. */
  there: ReadonlyMap<string, Listed>;
  /** Ask for the checksum of what seems to be there. */
  recheck: boolean;
  /** Called before each write. @throws {AirferryError} when the lock was lost */
  mayWrite(): Promise<void>;
  progress?: ((done: number, total: number) => void) | undefined;
}

/** What was done. */
interface WrittenObjects {
  records: ObjectRecord[];
  files: number;
  bytes: number;
}

/** Objects that are as they should be by what is known without a question, and all others. */
export function splitObjects(
  planned: readonly PlannedObject[],
  { current, there, recheck }: Pick<WriteContext, "current" | "there" | "recheck">,
): { right: ObjectRecord[]; doubtful: PlannedObject[] } {
  const right: ObjectRecord[] = [];
  const doubtful: PlannedObject[] = [];
  for (const it of planned) {
    const [known, listed] = [current.get(it.key), there.get(it.key)];
    const isRight =
      !recheck &&
      known?.digest === it.digest &&
      listed?.size === it.size &&
      isSameState(known.etag, listed.etag) &&
      headersKey(known) === headersKey(it);
    if (isRight) right.push({ ...it, etag: known.etag, sha256: known.sha256 });
    else doubtful.push(it);
  }
  return { right, doubtful };
}

/**
 * Writes what is not right. When it throws, what leads to something that was not written is not there either.
 * @throws {AirferryError} ERR_STORE_INVALID for a damaged blob; ERR_BUSY, ERR_SPACE, ERR_OBJECT_STORAGE, ERR_IO
 */
export async function writeObjects(doubtful: readonly PlannedObject[], context: WriteContext): Promise<WrittenObjects> {
  const writer = new Writer(doubtful, context);
  const steps = Map.groupBy(doubtful, (it) => writer.stepOf(it));
  for (const step of [...steps.keys()].sort((a, b) => a - b)) {
    // A file, then what says what it is; two of a kind are never apart for longer than it takes to write them.
    const groups = Map.groupBy(steps.get(step) ?? [], (it) => it.key.replace(/\.(?:sha\d+(?:sum)?|asc|sig|key)$/, ""));
    await eachLimited(groups.values(), AT_ONCE, async (group) => {
      for (const it of group.sort((a, b) => a.key.length - b.key.length)) await writer.write(it);
    });
  }
  return writer.done;
}

class Writer {
  readonly done: WrittenObjects = { records: [], files: 0, bytes: 0 };
  readonly #context: WriteContext;
  readonly #buffers = new PartBuffers();
  readonly #total: number;
  #moved = 0;
  #large: Promise<unknown> = Promise.resolve();

  constructor(doubtful: readonly PlannedObject[], context: WriteContext) {
    this.#context = context;
    this.#total = doubtful.reduce((sum, it) => sum + it.size, 0);
  }

  /** A file that gets another content changes together with what says which it has. */
  stepOf({ key, digest, step }: PlannedObject): number {
    const before = this.#context.current.get(key)?.digest;
    if (step !== STEPS.content || key.startsWith(OWN_FOLDER)) return step;
    return before !== undefined && before !== digest ? STEPS.companions : step;
  }

  async write(object: PlannedObject): Promise<void> {
    throwIfAborted();
    const found = await this.#found(object);
    if (found !== undefined) {
      this.#move(object.size);
      this.done.records.push(found);
      return;
    }
    await this.#context.mayWrite();
    if (object.size <= PART_BYTES) this.done.records.push(await this.#writeSmall(object));
    else {
      const turn = this.#large.catch(() => undefined).then(() => this.#writeLarge(object));
      this.#large = turn;
      this.done.records.push(await turn);
    }
    this.done.files++;
    this.done.bytes += object.size;
  }

  /** The object, if the storage says that it is what it should be. */
  async #found(object: PlannedObject): Promise<ObjectRecord | undefined> {
    const { key, size, digest } = object;
    const { there, current, bucket } = this.#context;
    const listed = there.get(key);
    if (listed?.size !== size) return undefined;
    const known = current.get(key);
    // Another content of the same size under a name that moves: not worth a question.
    if (known !== undefined && known.digest !== digest && isSameState(known.etag, listed.etag)) return undefined;
    const found = await bucket.head(key);
    if (found?.size !== size || headersKey(found) !== headersKey(object)) return undefined;
    const inParts = known?.digest === digest ? known.sha256 : undefined;
    const expected = size > PART_BYTES ? inParts : checksumOf(digest);
    // Some storages keep no checksums: then it is as it was written, or unknown.
    const isRight =
      found.sha256 === undefined
        ? known?.digest === digest && isSameState(known.etag, found.etag)
        : found.sha256 === expected;
    if (!isRight) return undefined;
    return { ...object, etag: found.etag, sha256: inParts };
  }

  async #writeSmall(object: PlannedObject): Promise<ObjectRecord> {
    const { bucket, pool } = this.#context;
    const { key, size, digest, headers } = object;
    const bytes = size === 0 ? Buffer.alloc(0) : await pool.read(digest);
    if (bytes.length !== size || hash("sha256", bytes, "base64") !== checksumOf(digest))
      throw damagedBlob(pool.nameOf(digest), `${bytes.length} bytes, sha256:${hash("sha256", bytes)}`);
    const etag = await bucket.put(key, bytes, headers);
    this.#move(size);
    return { ...object, etag };
  }

  async #writeLarge(object: PlannedObject): Promise<ObjectRecord> {
    const { bucket, pool } = this.#context;
    const { key, size, digest, headers } = object;
    const before = this.#context.there.get(key)?.size === size ? await bucket.head(key) : undefined;
    // An earlier run may have written all of it: then its parts are compared, and not sent again.
    const isSuspect = before !== undefined && headersKey(before) !== headersKey(object);
    const { bytes, close } = await pool.open(digest);
    try {
      const fill = async (position: number, into: Buffer) => {
        for (let at = 0; at < into.length; ) {
          const part = await bytes.read(position + at, Math.min(1024 * 1024, into.length - at));
          if (part.length === 0) throw damagedBlob(pool.nameOf(digest), `it ends at byte ${position + at}`);
          into.set(part, at);
          at += part.length;
        }
        await this.#context.mayWrite();
      };
      const progress = (count: number) => this.#move(count);
      const source = { size, digest, headers, fill, progress, isSuspect };
      const end = await upload(bucket, key, source, this.#buffers);
      if (end.is === "differs") throw damagedBlob(pool.nameOf(digest), end.digest);
      const found = await bucket.head(key);
      return { ...object, etag: found?.etag, sha256: found?.sha256 };
    } finally {
      await close();
    }
  }

  #move(bytes: number): void {
    this.#moved += bytes;
    this.#context.progress?.(Math.min(this.#moved, this.#total), this.#total);
  }
}

/** Some storages quote ETags in answers, and not in lists. */
function isSameState(a: string | undefined, b: string): boolean {
  return a !== undefined && a !== "" && a.replaceAll('"', "") === b.replaceAll('"', "");
}

function checksumOf(digest: Digest): string {
  return Buffer.from(hexOf(digest), "hex").toString("base64");
}
