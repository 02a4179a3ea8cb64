/** What was asked for in a rehearsal, by host. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readAsked } from "../../src/rehearsal/asked.ts";
import { scratch } from "../fixtures/program.ts";

t.test("answers and failures by host; what the rehearsal itself asks at its own address is left out", async (t) => {
  const file = join(scratch(t), "access.jsonl");
  const lines = [
    { host: "DL.test", status: 200, bytes: 5 },
    { host: "dl.test", status: 404, bytes: 1 },
    { host: "127.0.0.1:4711", status: 200, bytes: 405 },
  ];
  writeFileSync(file, lines.map((it) => `${JSON.stringify(it)}\n`).join(""));
  t.same(await readAsked(file, "127.0.0.1:4711"), [{ host: "dl.test", answers: 1, bytes: 6, failed: 1 }]);
  t.equal((await readAsked(file)).length, 2);
});
