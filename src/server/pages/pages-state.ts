/**
 * State of the pages of one site between requests: open images, generated pages. The site creates one.
 */
import type { SharedFiles } from "../http/handles.ts";
import { PageCache } from "./page-cache.ts";
import { StoredIsos } from "./stored-iso.ts";

/** Bounded; nothing in it needs to be closed. */
export class PageState {
  readonly isos: StoredIsos;
  readonly pages = new PageCache();

  constructor(files: SharedFiles) {
    this.isos = new StoredIsos(files);
  }
}
