/**
 * What `fsck` found to be damaged in a bucket, so that nobody is sent there for it: who reads through the cache gets
 * right bytes or none. Read only once somebody may be sent. A list that cannot be read names everything.
 */
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { shellWord } from "../io/shell.ts";
import { DAMAGED_FILE, parseKnownDamage } from "../store/known-damage.ts";
import type { BucketHealth } from "./bucket-health.ts";
import type { BucketObjects } from "./types.ts";

/** Some 56,000 blobs. */
const MAX_LIST_BYTES = 4 * 1024 * 1024;
const READ_MS = 2000;

/** The list of one bucket, in the thread that fills the cache. */
export class DamageList {
  readonly #objects: Pick<BucketObjects, "name" | "read">;
  readonly #health: BucketHealth;
  readonly #tell: (message: string) => void;
  readonly #everyMs: number;
  #damaged: ReadonlySet<Digest> = new Set();
  #etag: string | undefined;
  /** Whether the last read says what is damaged. */
  #isKnown = false;
  #isAsked = false;
  #readMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;
  #failures = 0;
  #told = "";

  /**
   * @param tell hears why the list cannot be read, each reason once
   * @param everyMs how often it is read
   */
  constructor(
    objects: Pick<BucketObjects, "name" | "read">,
    health: BucketHealth,
    tell: (message: string) => void,
    everyMs = READ_MS,
  ) {
    this.#objects = objects;
    this.#health = health;
    this.#tell = tell;
    this.#everyMs = everyMs;
  }

  /** Whether clients may get a blob from the bucket itself, as far as was read last. */
  async allows(digest: Digest): Promise<boolean> {
    this.#isAsked = true;
    if (this.#readMs === Number.NEGATIVE_INFINITY) await this.follow();
    return this.#isKnown && !this.#damaged.has(digest);
  }

  /** Reads the list when it is time to, if anybody was ever to be sent to the bucket; never throws. */
  async follow(): Promise<void> {
    if (!this.#isAsked || performance.now() - this.#readMs < this.#everyMs) return;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    await this.#reading;
  }

  async #read(): Promise<void> {
    try {
      const found = await this.#objects.read(DAMAGED_FILE, { maxBytes: MAX_LIST_BYTES, etag: this.#etag });
      if (found !== "unchanged") {
        this.#isKnown = false;
        this.#etag = undefined;
        const damaged = found === undefined ? new Set<Digest>() : parseKnownDamage(found.bytes.toString());
        if (damaged === undefined) throw this.#refuse("expected a list of digests");
        this.#damaged = damaged;
        this.#etag = found?.etag;
      }
      this.#isKnown = true;
      this.#failures = 0;
      this.#told = "";
    } catch (error) {
      this.#isKnown = false;
      this.#failures++;
      this.#say(error);
    } finally {
      this.#readMs = performance.now();
    }
  }

  #refuse(fault: string): AirferryError {
    return new AirferryError(
      "ERR_STORE_INVALID",
      `cannot read "${DAMAGED_FILE}" of "${this.#objects.name}": ${fault}`,
      {
        path: DAMAGED_FILE,
        hint: `write it again: airferry fsck --store ${shellWord(this.#objects.name)}`,
      },
    );
  }

  #say(error: unknown): void {
    const isBucket = error instanceof AirferryError && error.code === "ERR_OBJECT_STORAGE";
    // One request that failed passes, and of a bucket that is gone the mirror tells.
    if (isBucket && (this.#failures < 2 || this.#health.downSince !== undefined)) return;
    const message = error instanceof Error ? error.message : String(error);
    if (message !== this.#told) this.#tell(`${message}; until it can be read no client is redirected`);
    this.#told = message;
  }
}
