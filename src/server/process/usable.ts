/**
 * Which releases can be shown at all. What every page, index and rendered file asks of a release is tried once, with that release
 * alone, before it is shown: a fault that nobody foresaw costs one stream and not all of them. docs/design.md, "Threat model".
 */
import { AirferryError } from "../../errors.ts";
import type { Release } from "../../store/types.ts";
import { tryPages } from "../pages/try-pages.ts";
import { RegistryIndex } from "../registry/repositories.ts";

export class UsableReleases {
  /** What the releases are that were tried, and why some cannot be shown. */
  #tried = new Map<Release, AirferryError | undefined>();

  /** Faults of the releases that the last {@link UsableReleases.among} left out. */
  get faults(): AirferryError[] {
    return [...this.#tried.values()].filter((it) => it !== undefined);
  }

  /** Those of the current releases that can be shown; the very same list where all of them can. */
  async among(releases: readonly Release[]): Promise<readonly Release[]> {
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
