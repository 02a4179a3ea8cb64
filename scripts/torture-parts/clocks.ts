/** Clocks that are wrong by days or centuries, when a release is imported and when it is served. */
import { join } from "node:path";
import { currentOf, judgeFinished, judgeStore, together } from "./judge.ts";
import { type Kind, type Outcome, pick, type Random } from "./kind.ts";
import { drop, type Lab } from "./lab.ts";
import { fetchAll, serveStore } from "./served.ts";

const DAY_MS = 86_400_000;
/** Of the rule that the lab's trust root has, and how long its versions are good. */
const MAX_AGE_DAYS = 90;
const MOMENTS = ["1970-01-02", "1999-12-31", "2019-04-06", "2038-01-20", "2106-02-08", "2399-12-31", "9999-12-30"];

/** The environment in which the clock is wrong by some milliseconds. */
function clockOff(ms: number): NodeJS.ProcessEnv {
  return {
    NODE_OPTIONS: `--import=${join(import.meta.dirname, "clock-preload.mjs")}`,
    TORTURE_CLOCK_MS: String(ms),
  };
}

/** How far off: to one of the moments, or by up to 400 days. */
function wrongBy(random: Random): number {
  if (random(2) === 0) return Date.parse(pick(random, MOMENTS)) - Date.now();
  const days = random(801) - 400;
  // Near the limit of the rule, the seconds of the attempt would decide.
  return (Math.abs(days - MAX_AGE_DAYS) < 2 ? MAX_AGE_DAYS + 2 : days) * DAY_MS;
}

async function importAt(lab: Lab, random: Random): Promise<Outcome> {
  const off = wrongBy(random);
  const when = new Date(Date.now() + off).toISOString().slice(0, 10);
  const store = random(2) === 0 ? lab.fresh("store") : await lab.storeWith(1);
  const before = currentOf(store);
  const found: Outcome[] = [];
  const ran = await lab.run(lab.unpackArgs(2, store), clockOff(off));
  const isTooOld = off > MAX_AGE_DAYS * DAY_MS;
  if (isTooOld) {
    if (ran.status === 3 && currentOf(store) === before) found.push({ refused: 1 });
    else
      found.push({
        wrong: [`at ${when} unpack ended with ${ran.status}, in spite of max-age: ${ran.stderr.slice(-200)}`],
      });
    found.push(judgeStore(store, lab.releases));
  } else {
    if (ran.status !== 0)
      found.push({ wrong: [`at ${when} unpack ended with ${ran.status}: ${ran.stderr.slice(-300)}`] });
    found.push(judgeFinished(store, lab.releases, 2));
  }
  // With the clock right again, the next release arrives: a wrong clock locks nobody out.
  const next = await lab.run(lab.unpackArgs(3, store));
  if (next.status === 0) found.push({ completed: 1 });
  else found.push({ wrong: [`after ${when} unpack ended with ${next.status}: ${next.stderr.slice(-300)}`] });
  found.push(judgeFinished(store, lab.releases, 3));
  drop(store);
  return together(...found);
}

async function serveAt(lab: Lab, random: Random): Promise<Outcome> {
  const serial = 1 + random(2);
  const store = await lab.storeWith(serial);
  const server = await serveStore(lab, store, clockOff(wrongBy(random)));
  const found = [fetchAll(lab, server.url, lab.release(serial)), { completed: 1 }];
  const status = await server.stop();
  if (status !== 0) found.push({ wrong: [`serve ended with ${status}`] } as Outcome);
  drop(store);
  return together(...found);
}

export const CLOCK_KINDS: readonly Kind[] = [
  { name: "clock-import", attempt: importAt },
  { name: "clock-serve", attempt: serveAt },
];
