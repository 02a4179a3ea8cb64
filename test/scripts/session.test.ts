/** README's session, pasted command by command; scripts/lib/session.ts runs and draws it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { commandsOf, drawn, runSession } from "../../scripts/lib/session.ts";

const readme = await readFile(join(import.meta.dirname, "../../README.md"), "utf8");

t.test("every command of README's session works", async (t) => {
  const commands = commandsOf(readme);
  t.ok(commands.length >= 9, commands.join("\n"));
  const steps = await runSession(commands);
  const output = (start: string) => steps.find((it) => it.command.startsWith(start))?.output ?? "";
  t.match(output("airferry pack"), /^bundles\/tools-000001$/m);
  t.match(output("airferry serve"), /http:\/\/127\.0\.0\.1:9000/);
  const digest = /^[0-9a-f]{64} {2}README\.md$/m;
  t.equal(
    digest.exec(output("curl -sO"))?.[0],
    digest.exec(output("curl -s "))?.[0],
    "what is served is what was packed",
  );
  const svg = drawn(steps, "session");
  t.equal(svg.match(/class="c"[^>]*>\$ /g)?.length, commands.length, "each command is drawn");
  t.notMatch(svg, /<(?!\/?(?:svg|title|style|rect|text)\b)/, "what the commands printed is text");
});

t.test("a command that fails ends the session and is named", async (t) => {
  await t.rejects(runSession(["echo before", "airferry verify nowhere --trust nobody"]), {
    message: /exit status [1-9]\d* of: airferry verify[\s\S]*error/,
  });
});
