/** What torture tries, and what came of it. */
import type { Lab } from "./lab.ts";

/** Gives whole numbers below its argument. */
export type Random = (below: number) => number;

/** What one attempt found. */
export interface Outcome {
  /** How many attempts this was; 1 if not given. */
  attempts?: number;
  /** The program refused, and should have. */
  refused?: number;
  /** A rerun, or the repair, finished with the right bytes. */
  completed?: number;
  /** Bytes that should have been there, and were not. */
  lost?: number;
  /** Bytes of files, or of complete answers, that were not what their name says. */
  corrupt?: number;
  /** What was otherwise than expected, a line each. */
  wrong?: string[];
}

export interface Kind {
  /** Row of the table; its first word is the group that --only can name. */
  name: string;
  /** Why it cannot be tried here; undefined when it can. */
  missing?(): string | undefined;
  attempt(lab: Lab, random: Random): Promise<Outcome>;
  /** What was measured, for the line below the row. */
  note?(): string;
  /** After the last attempt. */
  close?(): Promise<void>;
}

/** Adds up outcomes of one kind. */
export function add(sum: Required<Outcome>, it: Outcome): void {
  sum.attempts += it.attempts ?? 1;
  sum.refused += it.refused ?? 0;
  sum.completed += it.completed ?? 0;
  sum.lost += it.lost ?? 0;
  sum.corrupt += it.corrupt ?? 0;
  sum.wrong.push(...(it.wrong ?? []));
}

/** Whether nothing was lost, corrupt, or otherwise than expected. */
export const held = ({ lost, corrupt, wrong }: Required<Outcome>): boolean => lost + corrupt + wrong.length === 0;

/** One element. */
export function pick<T>(random: Random, of: readonly T[]): T {
  return of[random(of.length)] as T;
}
