/**
 * Renders all pages and files of one release as a test, so that an unforeseen fault shows before the release is served.
 */
import { AirferryError } from "../../errors.ts";
import { configFiles } from "../../render/config-files.ts";
import type { RenderInput } from "../../render/types.ts";
import type { Release } from "../../store/types.ts";
import { createTreeView } from "./entry-tree.ts";
import { frontPage } from "./front-page.ts";
import { formatIndex } from "./index-document.ts";

/** A dummy address. */
const NOWHERE = "http://127.0.0.1";

/** Renders every shared page for one release alone. Reads no blob. Throws what they throw. */
export async function tryPages(release: Release): Promise<void> {
  const releases = [release];
  const input: RenderInput = {
    releases,
    baseUrl: NOWHERE,
    stream: undefined,
    trees: new Map(),
    privateCa: false,
    origins: { address: async () => "127.0.0.1" },
  };
  const nothing = { caCertificate: undefined, names: () => ({}) };
  frontPage({ view: createTreeView(releases), render: input, ...nothing });
  formatIndex(releases, input);
  for (const file of configFiles(input, noText)) await file.make().catch(passRefusal);
}

/** Templates are not read in this test: their faults affect only the file rendered from them. */
async function noText(): Promise<never> {
  throw new AirferryError("ERR_RENDER", "cannot render: templates are not read");
}

/** A file that this release does not need, or cannot provide, is not a fault. */
function passRefusal(error: unknown): void {
  if (!(error instanceof AirferryError)) throw error;
}
