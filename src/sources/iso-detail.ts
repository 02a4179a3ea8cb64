/** A locked entry of `isos:` in the lock: its artifact, and with `keys:` the vendor's. */
import { z } from "zod";
import { lockedEntry, lockedKey } from "./locked-artifact.ts";

const isoDetail = z.strictObject({ keys: z.array(lockedKey) });

export type IsoDetail = z.output<typeof isoDetail>;
export const lockedIso = lockedEntry("iso", "isos/").extend({
  /** Absent without `keys:`. */
  detail: isoDetail.exactOptional(),
});
