/** What links do to streams: what is taken is right, the rest is listed, and the next copy completes it. */
import { existsSync, writeFileSync } from "node:fs";
import { planStream, writeBundleStream } from "../../src/bundle/write-stream.ts";
import { CHECKOUT, type Ran, start } from "../../test/fixtures/program.ts";
import { currentOf, judgeFinished, judgeStore, together } from "./judge.ts";
import { type Kind, type Outcome, pick, type Random } from "./kind.ts";
import { drop, type Lab } from "./lab.ts";

const LENGTHS = [1, 512, 1400, 4096, 70_000];

async function streamOf(bundle: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  const write = async (bytes: Uint8Array) => {
    parts.push(Buffer.from(bytes));
  };
  await writeBundleStream(await planStream(bundle), write, () => {});
  return Buffer.concat(parts);
}

function fault(bytes: Buffer, random: Random): Buffer {
  const at = random(bytes.length);
  const length = pick(random, LENGTHS);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (random(7)) {
    case 0:
      return Buffer.concat([before, after.subarray(length)]);
    case 1:
      return Buffer.concat([before, after.subarray(0, length), after]);
    case 2:
      return Buffer.concat([before, Buffer.alloc(Math.min(length, after.length)), after.subarray(length)]);
    case 3:
      return Buffer.concat([before, bytes.subarray(random(bytes.length)).subarray(0, length), after]);
    case 4:
      return random(4) === 0 ? before : Buffer.concat([before, after]);
    case 5:
      return random(4) === 0 ? after : Buffer.concat([before, after]);
    default: {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] as number) ^ (1 << random(8));
      return copy;
    }
  }
}

/** Runs `unpack -` on a file; kills it after so many milliseconds, if any. */
async function unpackFrom(lab: Lab, file: string, args: readonly string[], killMs?: number): Promise<Ran> {
  const running = start(lab.dir, args, {}, ["bash", "-c", `exec "$0" "$@" < '${file}'`, ...CHECKOUT]);
  const timer = killMs === undefined ? undefined : setTimeout(() => running.kill("SIGKILL"), killMs);
  return running.done.finally(() => clearTimeout(timer));
}

async function attempt(lab: Lab, random: Random): Promise<Outcome> {
  const whole = await streamOf(lab.release(2).bundle);
  const store = await lab.storeWith(1);
  const [good, bad] = [lab.fresh("good.tar"), lab.fresh("bad.tar")];
  let damaged = whole;
  for (let left = 1 + random(6); left > 0; left--) damaged = fault(damaged, random);
  writeFileSync(good, whole);
  writeFileSync(bad, damaged);
  const need = lab.fresh("need.json");
  const args = [...lab.unpackArgs(2, store, "-"), "--need", need];
  const ran = await unpackFrom(lab, bad, args, random(4) === 0 ? 300 + random(900) : undefined);
  const found: Outcome[] = [judgeStore(store, lab.releases)];
  const wrong = (text: string) => found.push({ wrong: [`stream: ${text}: ${ran.stderr.slice(-300)}`] });
  if (![0, 3, 5].includes(ran.status ?? 0)) wrong(`unpack ended with ${ran.status}`);
  if (ran.status === 5 && !existsSync(need)) wrong("no need file");
  if (ran.status === 0) found.push(judgeFinished(store, lab.releases, 2));
  else if (ran.status !== null && currentOf(store) !== 1)
    found.push({ corrupt: 1, wrong: [`stream: ended with ${ran.status}, but ${currentOf(store)} is current`] });
  else found.push({ refused: 1 });
  // A medium completes what a stream began, as does the stream.
  const again = random(3) === 0 ? await lab.run(lab.unpackArgs(2, store)) : await unpackFrom(lab, good, args);
  if (again.status === 0) found.push({ completed: 1 }, judgeFinished(store, lab.releases, 2));
  else found.push({ wrong: [`stream: the next copy ended with ${again.status}: ${again.stderr.slice(-300)}`] });
  drop(store, good, bad, need);
  return together(...found);
}

export const STREAM_KINDS: readonly Kind[] = [{ name: "streams", attempt }];
