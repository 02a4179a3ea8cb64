/** Reduces a universe while its fault stays: leaves out packages, then single dependencies, one by one. */
import { documentOf } from "./packages.ts";
import { blocksOf } from "./text.ts";
import type { Universe } from "./universe.ts";

const ENTRY = /<rpm:entry [^>]*\/>|<file>[^<]*<\/file>/g;

/** The smallest universe found of which `isFaulty` is still true. */
export async function reduce(universe: Universe, isFaulty: (it: Universe) => Promise<boolean>): Promise<Universe> {
  let best = universe;
  const attempt = async (next: Universe) => {
    if (!(await isFaulty(next))) return false;
    best = next;
    return true;
  };
  for (let size = Number.POSITIVE_INFINITY; sizeOf(best) < size; ) {
    size = sizeOf(best);
    for (let at = 0; at < best.requests.length; ) {
      const requests = best.requests.filter((_it, index) => index !== at);
      if (requests.length === 0 || !(await attempt({ ...best, requests }))) at++;
    }
    for (let repository = 0; repository < best.primaries.length; repository++) {
      const blocks = () => blocksOf(best.primaries[repository] as string);
      const put = (kept: readonly string[]) => ({
        ...best,
        primaries: best.primaries.map((it, index) => (index === repository ? documentOf(kept) : it)),
      });
      for (let at = 0; at < blocks().length; ) if (!(await attempt(put(blocks().toSpliced(at, 1))))) at++;
      for (let at = 0; at < blocks().length; at++) {
        for (let entry = 0; ; ) {
          const block = blocks()[at] as string;
          const found = [...block.matchAll(ENTRY)][entry];
          if (found === undefined) break;
          const shorter = block.slice(0, found.index) + block.slice(found.index + found[0].length);
          if (!(await attempt(put(blocks().with(at, shorter))))) entry++;
        }
      }
    }
  }
  return best;
}

function sizeOf({ primaries, requests }: Universe): number {
  return primaries.join("").length + requests.length;
}
