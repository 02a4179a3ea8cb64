/** A locked entry of `files:` in the lock: its artifact, nothing else. */
import { lockedEntry } from "./locked-artifact.ts";

export const lockedFile = lockedEntry("file", "files/");
