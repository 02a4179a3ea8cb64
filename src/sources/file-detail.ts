/** A locked entry of `files:` in the lock: its artifact, and the documents that its `checksums:` names. */
import { z } from "zod";
import { lockedDocument, lockedEntry } from "./locked-artifact.ts";

export const lockedFile = lockedEntry("file", "files/").extend({
  /** Absent if there are none. */
  documents: z.array(lockedDocument).exactOptional(),
});
