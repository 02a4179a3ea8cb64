/** pack in processes that are killed: a rerun gives the same bytes, and fetches no finished byte twice. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "./fixtures/host.ts";
import { MIB, packSample, volumesOf } from "./fixtures/pack-sample.ts";
import { start } from "./fixtures/program.ts";

t.test("killed at 50 random instants, a rerun gives the same bytes and fetches no finished byte twice", async (t) => {
  const { upstream, dir, file, iso } = await packSample(t, 24 * MIB);
  const reference = await airferry(dir, ["pack", file, "--unsigned", "--out", "ref", "--serial", "1"]);
  t.equal(reference.status, 0, reference.stderr);
  const expected = volumesOf(join(dir, "ref", "test-000001"));
  rmSync(join(dir, "m.state.json"));
  // Slow enough that kills land in the middle of the body.
  upstream.behaviour["/x.iso"] = { drip: { bytes: 256 * 1024, everyMs: 4 } };
  let kills = 0;
  let rounds = 0;
  let seed = 20261123;
  const random = () => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff;
    return seed / 0x7fffffff;
  };
  while (kills < 50 && rounds < 60) {
    rounds++;
    const out = `out-${rounds}`;
    const sentBefore = upstream.bytesOf("/x.iso");
    let died = 0;
    for (;;) {
      const child = start(dir, ["pack", file, "--unsigned", "--out", out, "--serial", "1", "--frozen"]);
      const timer = died < 5 ? setTimeout(() => child.kill("SIGKILL"), 250 + random() * 700) : undefined;
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
  t.ok(kills >= 50, `${kills} kills`);
});
