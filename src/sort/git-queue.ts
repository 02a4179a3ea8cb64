/**
 * Git repositories that a build clones are fetched while it runs, whole and one after another: refs and pack are of the
 * moment of the recording, and nobody has to ask for them again.
 */
import { AirferryError } from "../errors.ts";
import type { Fetcher } from "../fetch/types.ts";
import type { RecordedRepository } from "../io/git-recording.ts";
import { redactUrl } from "../io/redact.ts";
import { fetchGit } from "../sources/git-fetch.ts";
import { MAX_PACK_BYTES } from "../sources/git-lock.ts";

interface GitQueueOptions {
  fetcher: Fetcher;
  /** Stores one. */
  add: (repository: Omit<RecordedRepository, "pack">, pack: Buffer | undefined) => Promise<void>;
  report: (line: string) => void;
}

/** The repositories of one run. */
export class GitQueue {
  readonly #options: GitQueueOptions;
  readonly #seen = new Set<string>();
  #last: Promise<void> = Promise.resolve();

  constructor(options: GitQueueOptions) {
    this.#options = options;
  }

  /** Fetches one, unless this run has; with the login of whoever cloned it, which is in memory only. */
  add(url: string, login: string | undefined): void {
    if (this.#seen.has(url)) return;
    this.#seen.add(url);
    this.#last = this.#last.then(() => this.#fetch(url, login));
  }

  /** Resolves when all are fetched, or failed. */
  async settled(): Promise<void> {
    for (let last = this.#last; ; last = this.#last) {
      await last;
      if (last === this.#last) return;
    }
  }

  async #fetch(url: string, login: string | undefined): Promise<void> {
    const { fetcher, add, report } = this.#options;
    try {
      const { pack, ...found } = await fetchGit(url, fetcher, MAX_PACK_BYTES, login);
      await add({ url, ...found, time: new Date().toISOString() }, pack);
    } catch (error) {
      const fault = error instanceof AirferryError ? error.message : `cannot fetch repository "${redactUrl(url)}"`;
      report(`${fault}; the manifest names it under git:, and pack tries again`);
    }
  }
}
