/**
 * Repositories opened for one lock. If a mirror's content is wrong, another one is tried; if upstream changes
 * meanwhile, everything is read again.
 */
import { AirferryError, EXIT, exitStatusOf } from "../../errors.ts";
import { mapLimited } from "../../io/limit.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import type { UpstreamContext } from "../types.ts";
import { openRepository, type Repository } from "./repository.ts";
import type { RepositoryKeys } from "./repository-keys.ts";
import { fetchRepomd, isCurrent, type Snapshot, takeSnapshot } from "./snapshot.ts";

/** Repositories rechecked at the same time. */
const ASK_TOGETHER = 16;
/** How often a repository may change while it is being read. */
const MAX_CHANGES = 4;

/** One repository of a lock, opened as often as needed. */
export interface Opening {
  open(): Promise<Repository>;
  /** Whether upstream still has what was opened last; true when nothing was. */
  isCurrent(): Promise<boolean>;
  /**
   * Called when it is not: reports it.
   * @throws {AirferryError} ERR_UPSTREAM_CHANGED when it never becomes stable
   */
  moved(cause: unknown): void;
  /**
   * Called with a failure on what was opened last. Returns if opening it again may help; throws the failure otherwise.
   */
  failed(error: unknown): void;
  /** Whether the error came from {@link Repository.blame}. */
  isBlamedFor(error: unknown): boolean;
}

/** An opening of what does not change meanwhile: a folder of packages, or an earlier lock. */
export function openingOf(open: () => Promise<Repository>): Opening {
  const failed = (error: unknown) => {
    throw error;
  };
  return { open, isCurrent: async () => true, moved: failed, failed, isBlamedFor: () => false };
}

/** An opening of a repository with metadata, on the network or on a disk. */
export class SnapshotOpening implements Opening {
  readonly #entry: RpmEntry;
  readonly #place: Snapshot["place"];
  readonly #keys: RepositoryKeys | undefined;
  readonly #context: UpstreamContext;
  readonly #options: Parameters<Snapshot["primary"]>[0];
  /** For each repomd.xml that failed, what was wrong. */
  readonly #failures: { repomd: Buffer; error: unknown }[] = [];
  #repomd: Buffer | undefined;
  #changes = 0;
  #blamedFor: unknown;

  /** @param options see Primary.read */
  constructor(
    entry: RpmEntry,
    place: Snapshot["place"],
    keys: RepositoryKeys | undefined,
    context: UpstreamContext,
    options: Parameters<Snapshot["primary"]>[0],
  ) {
    this.#options = options;
    this.#entry = entry;
    this.#place = place;
    this.#keys = keys;
    this.#context = context;
  }

  /** @throws {AirferryError} ERR_UPSTREAM* when no mirror works, ERR_UPSTREAM_SIGNATURE, ERR_UPSTREAM_CHANGED */
  async open(): Promise<Repository> {
    for (;;) {
      const repomd = await fetchRepomd(this.#entry, this.#place, this.#context).catch((error: unknown) => {
        throw this.#failures[0]?.error ?? error;
      });
      this.#repomd = repomd;
      // What this one lists was requested from all of them.
      const known = this.#failures.find((it) => it.repomd.equals(repomd));
      if (known) this.failed(known.error);
      else {
        try {
          const snapshot = await takeSnapshot(this.#entry, this.#place, this.#keys, this.#context, repomd);
          const opened = await openRepository(this.#entry, snapshot, this.#options);
          return { ...opened, blame: (work) => this.#blame(work) };
        } catch (error) {
          // A wrong digest or a missing file is typical of a repository in the middle of an update.
          if (await this.isCurrent().catch(() => true)) this.failed(error);
          else this.moved(error);
        }
      }
    }
  }

  async #blame<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#blamedFor = error;
      throw error;
    }
  }

  isBlamedFor(error: unknown): boolean {
    return error === this.#blamedFor;
  }

  async isCurrent(): Promise<boolean> {
    return this.#repomd === undefined || isCurrent(this.#repomd, this.#place, this.#context);
  }

  moved(cause: unknown): void {
    if (++this.#changes < MAX_CHANGES) {
      this.#context.report(`${this.#entry.name}: upstream changed while its metadata was being read; reading it again`);
      return;
    }
    throw new AirferryError(
      "ERR_UPSTREAM_CHANGED",
      `cannot lock rpms "${this.#entry.name}": the repository changed ${MAX_CHANGES} times while it was read`,
      { hint: "upstream is being updated; run the command again once that is finished", cause },
    );
  }

  failed(error: unknown): void {
    const place = this.#place;
    // One mirror's content is wrong or incomplete: that says nothing about the others.
    if (exitStatusOf(error) !== EXIT.upstream || place.kind === "disk" || place.bases.length < 2) {
      throw this.#failures[0]?.error ?? error;
    }
    const repomd = this.#repomd as Buffer;
    if (!this.#failures.some((it) => it.repomd.equals(repomd))) {
      this.#failures.push({ repomd, error });
      this.#context.report(`${(error as Error).message}; trying another mirror`);
    }
    place.bases = place.bases.slice(1);
  }
}

/**
 * Runs `work`, which opens them, until it succeeds on what every upstream still has.
 * @throws what `work` throws, and what {@link Opening.open} does
 */
export async function untilSettled<T>(openings: readonly Opening[], work: () => Promise<T>): Promise<T> {
  for (;;) {
    let value: T;
    try {
      value = await work();
    } catch (error) {
      if (await allCurrent(openings, error)) {
        const culprit = openings.find((it) => it.isBlamedFor(error));
        if (culprit === undefined) throw error;
        culprit.failed(error);
      }
      continue;
    }
    if (await allCurrent(openings, undefined)) return value;
  }
}

/** Notifies those that are not current; after a known failure, unreachable ones count as current. */
async function allCurrent(openings: readonly Opening[], failure: unknown): Promise<boolean> {
  const answers = await mapLimited(openings, ASK_TOGETHER, (it) =>
    it.isCurrent().catch((error: unknown) => {
      if (failure !== undefined) return true;
      it.failed(error);
      return undefined;
    }),
  );
  for (const [index, it] of openings.entries()) if (answers[index] === false) it.moved(failure);
  return answers.every((it) => it === true);
}
