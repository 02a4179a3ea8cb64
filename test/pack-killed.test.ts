/** pack in processes that are killed: a rerun gives the same bytes, and fetches no finished byte twice. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { airferry } from "./fixtures/host.ts";
import { MIB, packSample, volumesOf } from "./fixtures/pack-sample.ts";
import { start } from "./fixtures/program.ts";
import { seeded } from "./fixtures/seeded.ts";

// Each run waits more than it computes: two rows of kills side by side.
const KILLS = 50;
const ROWS = 2;

t.test(`killed at ${KILLS} random instants, a rerun gives the same bytes and fetches no finished byte twice`, (t) =>
  Promise.all(Array.from({ length: ROWS }, (_, row) => killRuns(t, seeded(20261123 + row), KILLS / ROWS))),
);

async function killRuns(t: Test, random: (below: number) => number, wanted: number): Promise<void> {
  const { upstream, dir, file, iso } = await packSample(t, 24 * MIB);
  const reference = await airferry(dir, ["pack", file, "--unsigned", "--out", "ref", "--serial", "1"]);
  t.equal(reference.status, 0, reference.stderr);
  const expected = volumesOf(join(dir, "ref", "test-000001"));
  rmSync(join(dir, "m.state.json"));
  // Slow enough that kills land in the middle of the body.
  upstream.behaviour["/x.iso"] = { drip: { bytes: 256 * 1024, everyMs: 4 } };
  let kills = 0;
  let rounds = 0;
  while (kills < wanted && rounds < wanted + 10) {
    rounds++;
    const out = `out-${rounds}`;
    const sentBefore = upstream.bytesOf("/x.iso");
    let died = 0;
    for (;;) {
      const child = start(dir, ["pack", file, "--unsigned", "--out", out, "--serial", "1", "--frozen"]);
      const timer = died < 5 ? setTimeout(() => child.kill("SIGKILL"), 250 + random(700)) : undefined;
      const ran = await child.done;
      clearTimeout(timer);
      if (ran.signal === "SIGKILL") {
        died++;
        kills++;
        continue;
      }
      if (ran.status !== 0) t.fail(`after a kill: ${ran.stderr}`);
      break;
    }
    t.same(volumesOf(join(dir, out, "test-000001")), expected, `round ${rounds}, ${died} kills: same volumes`);
    const sent = upstream.bytesOf("/x.iso") - sentBefore;
    // Finished bytes are those the journal knows (steps of 8 MiB); what was on the wire at a kill is not finished.
    t.ok(
      sent <= iso.length + died * 10 * MIB,
      `round ${rounds}: ${sent} bytes sent for ${iso.length} with ${died} kills`,
    );
    rmSync(join(dir, out), { recursive: true });
    rmSync(join(dir, "m.state.json"), { force: true });
  }
  t.ok(kills >= wanted, `${kills} kills`);
}
