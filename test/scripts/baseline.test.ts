import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type Baseline, changesSince, describeMachine, saveBaseline } from "../../scripts/bench-parts/baseline.ts";
import { scratch } from "../fixtures/program.ts";

const row = (job: string, ratio: number) => ({ job, airferry: "1 s", peer: "1 s", ratio, required: "≤ 1.3" });

t.test("a baseline keeps its rows, the commit and the machine", async (t) => {
  const file = join(scratch(t), "bench.json");
  saveBaseline(describeMachine(), [row("verify", 1.1)], file);
  const kept = JSON.parse(readFileSync(file, "utf8")) as Baseline;
  t.match(kept, {
    commit: /^[0-9a-f]{40}$/,
    measured: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
    rows: [row("verify", 1.1)],
  });
  t.ok(kept.machine.cores > 0 && kept.machine.memoryBytes > 0 && kept.machine.cpu !== "");
  const changes = changesSince(kept, [row("verify", 1.21), row("new", 1)]);
  t.equal(changes.length, 1, "what is new has nothing to be compared with");
  t.equal(changes[0]?.percent.toFixed(1), "10.0");
});

t.test("the peers of a job are compared each with itself", async (t) => {
  const file = join(scratch(t), "bench.json");
  saveBaseline(describeMachine(), [row("pack", 1), row("pack", 2), row("verify", 1)], file);
  const kept = JSON.parse(readFileSync(file, "utf8")) as Baseline;
  const changes = changesSince(kept, [row("verify", 1.5), row("pack", 1), row("pack", 2), row("pack", 3)]);
  t.same(
    changes.map(({ job, percent }) => [job, Math.round(percent)]),
    [
      ["verify", 50],
      ["pack", 0],
      ["pack", 0],
    ],
  );
});
