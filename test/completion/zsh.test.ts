/** The script of `airferry completion zsh` in an interactive zsh. */
import t from "tap";
import { completeInTerminal, completionBench } from "../fixtures/completion-bench.ts";

// Of the file: the shell writes into its home when it ends.
const bench = await completionBench(t);

t.test("zsh completes verbs, flags and their values", (t) =>
  completeInTerminal(
    t,
    bench,
    "zsh",
    "zsh -f -i",
    "unsetopt list_ambiguous; autoload -U compinit; compinit -D -u; source ./airferry.zsh",
  ),
);
