/**
 * Decides which releases can be served. Every page, index and rendered file is tried once with each release alone
 * before it is served: an unforeseen fault affects one stream and not all of them. docs/design.md, "Threat model".
 */
import { AirferryError } from "../../errors.ts";
import type { Release } from "../../store/types.ts";
import { tryPages } from "../pages/try-pages.ts";
import { RegistryIndex } from "../registry/repositories.ts";

export class UsableReleases {
  readonly #areTried: boolean;
  /** The tried releases, and why some cannot be served. */
  #tried = new Map<Release, AirferryError | undefined>();

  /** @param areTried another thread has tried them, and gives only those that can be served */
  constructor(areTried = false) {
    this.#areTried = areTried;
  }

  /** Faults of the releases that the last {@link UsableReleases.among} excluded. */
  get faults(): AirferryError[] {
    return [...this.#tried.values()].filter((it) => it !== undefined);
  }

  /** The servable current releases; the same list object if all are. */
  async among(releases: readonly Release[]): Promise<readonly Release[]> {
    if (this.#areTried) return releases;
    const tried = new Map<Release, AirferryError | undefined>();
    for (const it of releases) tried.set(it, this.#tried.has(it) ? this.#tried.get(it) : await faultOf(it));
    this.#tried = tried;
    return this.faults.length === 0 ? releases : releases.filter((it) => this.#tried.get(it) === undefined);
  }
}

async function faultOf(release: Release): Promise<AirferryError | undefined> {
  try {
    await tryPages(release);
    new RegistryIndex([release]);
    return undefined;
  } catch (cause) {
    const { stream, serial } = release;
    return new AirferryError(
      "ERR_STORE_INVALID",
      `cannot show stream "${stream}", serial ${serial}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { path: stream, hint: "all other streams are served", cause },
    );
  }
}
