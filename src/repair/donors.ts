/**
 * Other trusted bundles whose content mends a damaged one: the answer to a need file, or any release that has the same
 * entries. Digests decide about what is taken.
 */
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { readContents } from "../bundle/contents.ts";
import { placesOf } from "../bundle/inventory.ts";
import { groupByBundle, readMedia } from "../bundle/media.ts";
import { SUMS_NAME } from "../bundle/media-names.ts";
import type { Recipe } from "../bundle/recipe-list.ts";
import { judgeMedia } from "../bundle/trust-rules.ts";
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import type { TrustSource } from "../sign/whom-to-trust.ts";

/** Where a bundle has its content. */
export interface Donor {
  dirs: readonly string[];
  volumeSize: number;
  /** Position of some content in its stream; undefined for what it does not carry. */
  offsetOf(digest: Digest): number | undefined;
  /** How entries are built, of which it carries parts. */
  recipes: ReadonlyMap<Digest, Recipe>;
  /** By index; undefined where a volume is not there. */
  files: readonly (string | undefined)[];
}

/** Opens the bundles among folders. One that is not trusted, or too damaged, is left out with a notice. */
export async function openDonors(
  dirs: readonly string[],
  source: TrustSource,
  notice: (line: string) => void,
): Promise<Donor[]> {
  const bundles: string[] = [];
  for (const it of dirs)
    if ((await lstat(join(it, SUMS_NAME)).catch(() => undefined))?.isFile() === true) bundles.push(it);
  const donors: Donor[] = [];
  for (const group of await groupByBundle(bundles)) {
    try {
      const media = await readMedia(group);
      const { problems } = await judgeMedia(media, source, { now: new Date() });
      const read = problems.length > 0 ? undefined : await readContents(media);
      if (read?.contents === undefined) {
        const [first] = [...problems, ...(read?.problems ?? [])];
        notice(
          `"${group.join('", "')}" is another bundle; only whole volumes of it are tried: ${first?.message ?? "it has no contents"}`,
        );
        continue;
      }
      const { inventory, copies, recipes } = read.contents;
      const placeOf = placesOf(inventory.entries);
      donors.push({
        dirs: group,
        volumeSize: inventory.volumeSize,
        offsetOf: (digest) => placeOf({ digest }),
        recipes,
        files: copies.map((it) => it[0]),
      });
    } catch (error) {
      if (!(error instanceof AirferryError) || error.code === "ERR_USAGE") throw error;
      notice(`"${group.join('", "')}" is another bundle; only whole volumes of it are tried: ${error.message}`);
    }
  }
  return donors;
}

/** Where a bundle has a part of some content: in one piece, as it carries it or takes it for a recipe. */
export function placeIn({ offsetOf, recipes }: Donor, of: Digest, at: number, length: number): number | undefined {
  const whole = offsetOf(of);
  if (whole !== undefined) return whole + at;
  const [range, more] = recipes.get(of)?.ranges(at, length) ?? [];
  const carried = range?.source && offsetOf(range.source.digest);
  return range === undefined || more !== undefined || carried === undefined ? undefined : carried + range.offset;
}
