/**
 * What the pages of one site remember between requests: images that are open, pages that were made. The site makes one.
 */
import type { SharedFiles } from "../http/handles.ts";
import { PageCache } from "./page-cache.ts";
import { StoredIsos } from "./stored-iso.ts";

/** Bounded throughout; nothing in it needs to be closed. */
export class PageState {
  readonly isos: StoredIsos;
  readonly pages = new PageCache();

  constructor(files: SharedFiles) {
    this.isos = new StoredIsos(files);
  }
}
