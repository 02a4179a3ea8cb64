/**
 * Tries what the pages and rendered files ask of one release, so that a fault that nobody foresaw shows before the release is shown.
 */
import { AirferryError } from "../../errors.ts";
import { configFiles } from "../../render/config-files.ts";
import type { RenderInput } from "../../render/types.ts";
import type { Release } from "../../store/types.ts";
import { createTreeView } from "./entry-tree.ts";
import { frontPage } from "./front-page.ts";
import { indexOf } from "./index-document.ts";

/** Where nobody is asked for anything. */
const NOWHERE = "http://127.0.0.1";

/** Makes every page that all streams share, of one release alone. Reads no blob. Throws whatever they throw. */
export async function tryPages(release: Release): Promise<void> {
  const releases = [release];
  const input: RenderInput = { releases, baseUrl: NOWHERE, stream: undefined, trees: new Map(), privateCa: false };
  frontPage(createTreeView(releases), NOWHERE, undefined, input.trees);
  indexOf(releases, input);
  for (const file of configFiles(input, noText)) await file.make().catch(passRefusal);
}

/** Templates are not read for a try: whatever is in them costs the one file that is made of them. */
async function noText(): Promise<never> {
  throw new AirferryError("ERR_RENDER", "cannot render: templates are not read");
}

/** A file that this release does not call for, or lacks something for, is no fault. */
function passRefusal(error: unknown): void {
  if (!(error instanceof AirferryError)) throw error;
}
