/** The script of `airferry completion fish` in fish. */
import { execFileSync } from "node:child_process";
import t from "tap";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { COMPLETIONS, completionBench } from "../fixtures/completion-bench.ts";

t.test("fish completes verbs, flags and their values", async (t) => {
  if (!needs(t, "fish")) return;
  const { dir, env } = await completionBench(t);
  const lines = ["source airferry.fish", ...COMPLETIONS.map(([typed]) => `complete -C '${typed}'; echo ==`)];
  const found = execFileSync("fish", ["--no-config", "-c", lines.join("\n")], {
    cwd: dir,
    env: clientEnv(env),
    encoding: "utf8",
  });
  const parts = found.split(/^==\n/m);
  for (const [index, [typed, ...words]] of COMPLETIONS.entries()) {
    const offered = (parts[index] as string).split("\n").flatMap((it) => it.split("\t").slice(0, 1));
    t.strictSame(offered.filter((it) => it !== "").sort(), [...words].sort(), typed);
  }
});
