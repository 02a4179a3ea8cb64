/** A locked entry of `isos:` in the lock: its artifact, the vendor's `keys:`, and what its `checksums:` names. */
import { z } from "zod";
import { lockedDocument, lockedEntry, lockedKey } from "./locked-artifact.ts";

const isoDetail = z.strictObject({ keys: z.array(lockedKey) });

export type IsoDetail = z.output<typeof isoDetail>;
export const lockedIso = lockedEntry("iso", "isos/").extend({
  /** Absent without `keys:`. */
  detail: isoDetail.exactOptional(),
  /** What its `checksums:` names; absent if there are none. */
  documents: z.array(lockedDocument).exactOptional(),
});
