/** All targets: one for each parser of foreign bytes. docs/design.md, "Parsers", has the table; a test keeps both in step. */
import type { Targets } from "./target.ts";
import { archives } from "./targets/archives.ts";
import { bundles } from "./targets/bundles.ts";
import { images } from "./targets/images.ts";
import { repositories } from "./targets/repositories.ts";
import { signatures } from "./targets/signatures.ts";
import { texts } from "./targets/texts.ts";
import { web } from "./targets/web.ts";

export const targets: Targets = {
  ...archives,
  ...bundles,
  ...images,
  ...repositories,
  ...signatures,
  ...texts,
  ...web,
};
