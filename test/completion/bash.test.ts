/** The script of `airferry completion bash` in an interactive bash. */
import t from "tap";
import { completeInTerminal, completionBench } from "../fixtures/completion-bench.ts";

// Of the file: the shell writes into its home when it ends.
const bench = await completionBench(t);

t.test("bash completes verbs, flags and their values", (t) =>
  completeInTerminal(
    t,
    bench,
    "bash",
    "bash --norc --noprofile -i",
    "alias airferry='bin/airferry'; bind 'set show-all-if-ambiguous on'; source airferry.bash",
  ),
);
