/**
 * State of the pages of one site between requests: open images, indexes of packages, generated
 * pages. The site creates one.
 */
import type { SharedFiles } from "../http/handles.ts";
import type { MakeIndex } from "../process/index-maker.ts";
import { PackageLookup } from "./package-lookup.ts";
import { PageCache } from "./page-cache.ts";
import { StoredIsos } from "./stored-iso.ts";

/** Bounded; nothing in it needs to be closed. */
export class PageState {
  readonly isos: StoredIsos;
  readonly pages = new PageCache();
  readonly packages: PackageLookup;

  constructor(files: SharedFiles, make: MakeIndex) {
    this.isos = new StoredIsos(files);
    this.packages = new PackageLookup(files, make);
  }
}
