/** The verb `completion`: a script that completes the program's command line in a shell. */
import { bashScript } from "./completion/bash.ts";
import { fishScript } from "./completion/fish.ts";
import type { VerbWords } from "./completion/verb-words.ts";
import { zshScript } from "./completion/zsh.ts";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };

/** Returns the script for a shell. Names of a store or a manifest it asks the program for (`airferry complete`). */
export function completion(shell: keyof typeof SCRIPTS, verbs: readonly VerbWords[]): string {
  return SCRIPTS[shell](verbs);
}
