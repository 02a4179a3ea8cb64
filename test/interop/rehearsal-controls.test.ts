/** scripts/rehearsal --controls: its rows notice when what they are about is removed, and only they do. */
import t from "tap";
import { rehearse } from "../fixtures/rehearsal.ts";

t.test("exactly the rows about it fail", { timeout: 600_000 }, async (t) => {
  const rows = await rehearse(t, "--controls");
  if (rows === undefined) return;
  const controls = rows.filter((it) => it.name.includes(": without "));
  t.equal(controls.length, 5, controls.map((it) => it.name).join("; "));
});
