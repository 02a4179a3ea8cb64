/** A locked entry of `files:` in the lock: just its artifact. */
import { lockedEntry } from "./locked-artifact.ts";

export const lockedFile = lockedEntry("file", "files/");
