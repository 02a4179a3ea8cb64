/**
 * What a delta does not carry: items whose digest the far side has. Generated ones are made for this, as far as their
 * bytes follow from the lock alone.
 */
import { type Digest, digestOf } from "../io/digest.ts";
import { sha256In } from "../io/integrity.ts";
import type { PlanItem } from "../sources/types.ts";
import type { HeldThere } from "./held-there.ts";
import type { BuiltBytes } from "./make-recipe.ts";

/** An item of known size. */
export type SizedItem = PlanItem & { size: number };

/** An item that the far side has, or builds of what it has. */
export type LeftOutItem = SizedItem & { digest: Digest; built?: BuiltBytes };

/** What of a plan is built, and what is carried in its place. */
export interface PlannedRecipes {
  rest: readonly SizedItem[];
  built: LeftOutItem[];
  /** What recipes take from the bundle itself. */
  parts: SizedItem[];
}

/** Plans recipes. */
export interface Recipes {
  /** Divides items that would be carried. */
  plan(items: readonly SizedItem[]): Promise<PlannedRecipes>;
}

/** Thrown, and caught here, when a generated item depends on bytes that nobody has seen. */
const UNKNOWN = new Error("not known before it is fetched");

/** Divides items into those that are carried and those that the far side has. */
export async function leaveOut(
  items: readonly SizedItem[],
  held: HeldThere | undefined,
): Promise<{ rest: readonly SizedItem[]; leftOut: LeftOutItem[] }> {
  if (held === undefined) return { rest: items, leftOut: [] };
  const known = new Map<string, Digest>();
  for (const { path, source, integrity, size } of items) {
    const digest = source.from === "kept" ? source.digest : (held.find(integrity, size) ?? sha256In(integrity));
    if (digest !== undefined) known.set(path, digest);
  }
  const rest: SizedItem[] = [];
  const leftOut: LeftOutItem[] = [];
  for (const item of items) {
    const digest = await digestThere(item, held, known);
    if (digest === undefined) rest.push(item);
    else leftOut.push(Object.assign(item, { digest }));
  }
  return { rest, leftOut };
}

async function digestThere(
  { source, path, integrity, size }: SizedItem,
  held: HeldThere,
  known: ReadonlyMap<string, Digest>,
): Promise<Digest | undefined> {
  if (source.from !== "generated") return held.find(source.from === "kept" ? source.digest : integrity, size);
  try {
    const bytes = await source.make((of) => {
      const digest = known.get(of);
      if (digest === undefined) throw UNKNOWN;
      return digest;
    }, path);
    return held.find(digestOf(bytes), size);
  } catch (error) {
    // Once everything is fetched it is made, and carried.
    if (error === UNKNOWN) return undefined;
    throw error;
  }
}
