/** What a command line may consist of: the shape that the command tree is reduced to for completion. Types only. */

/** What `airferry complete` lists: a store's streams, releases and images, a manifest's entries, ready manifests. */
export type Asked = "streams" | "releases" | "images" | "entries" | "ready";

/** The values of a flag or an argument; empty: free text, nothing is offered. */
export interface Values {
  words?: readonly string[];
  files?: "all" | "folders" | "manifests";
  asked?: Asked;
}

/** A place for a value. With `isMany` every word up to the next flag belongs to it. */
export interface Slot {
  name: string;
  values: Values;
  isMany: boolean;
}

export interface Flag {
  /** `--quiet`. */
  name: string;
  /** `-q`. */
  short?: string;
  about: string;
  value?: Slot;
  isRepeatable: boolean;
}

export interface VerbWords {
  name: string;
  about: string;
  flags: readonly Flag[];
  slots: readonly Slot[];
}
