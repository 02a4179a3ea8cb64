import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { currentSignal, eachLimited, mapLimited, runToEnd, runUnder, throwIfAborted } from "../../src/io/limit.ts";

/** Waits until it is aborted, then takes its time to tidy up. */
async function slow(onEnd: () => void): Promise<void> {
  const signal = currentSignal() as AbortSignal;
  await sleep(60_000, undefined, { signal }).catch(() => {});
  await sleep(50);
  onEnd();
  signal.throwIfAborted();
}

t.test("mapLimited() keeps the order of items, and to the limit", async (t) => {
  let running = 0;
  let most = 0;
  const doubled = await mapLimited([30, 10, 20, 0, 5], 2, async (ms) => {
    most = Math.max(most, ++running);
    await sleep(ms);
    running--;
    return ms * 2;
  });
  t.strictSame(doubled, [60, 20, 40, 0, 10]);
  t.equal(most, 2);
  t.strictSame(await mapLimited([], 3, async () => 1), []);
});

t.test("eachLimited() ends all siblings of what failed, and then throws that failure", async (t) => {
  const ended: number[] = [];
  const started: number[] = [];
  const work = eachLimited([0, 1, 2, 3, 4, 5], 4, async (item) => {
    started.push(item);
    if (item === 2) {
      await sleep(20);
      throw new Error("the first");
    }
    await slow(() => ended.push(item));
    throw new Error("what came of it");
  });
  await t.rejects(work, { message: "the first" });
  t.strictSame(ended.sort(), [0, 1, 3], "all that ran had ended before");
  t.strictSame(started, [0, 1, 2, 3], "nothing new was started");
});

t.test("eachLimited() tells siblings of an abort, not of somebody else's failure", async (t) => {
  let reason: unknown;
  const work = eachLimited(["fails", "waits"], 2, async (item) => {
    if (item === "fails") throw new Error("own");
    const signal = currentSignal() as AbortSignal;
    while (!signal.aborted) await sleep(5);
    reason = signal.reason;
  });
  await t.rejects(work, { message: "own" });
  t.match(reason, { name: "AbortError" });
});

t.test("eachLimited() ends by the caller's signal, however deep, and throws its reason", async (t) => {
  const controller = new AbortController();
  const ended: string[] = [];
  const work = runUnder(controller.signal, () =>
    eachLimited(["a", "b"], 2, (one) => eachLimited(["c", "d"], 2, (two) => slow(() => ended.push(one + two)))),
  );
  await sleep(20);
  controller.abort(new Error("by the user"));
  await t.rejects(work, { message: "by the user" });
  t.strictSame(ended.sort(), ["ac", "ad", "bc", "bd"]);
  let isStarted = false;
  const late = runUnder(controller.signal, () =>
    eachLimited([1], 1, async () => {
      isStarted = true;
    }),
  );
  await t.rejects(late, { message: "by the user" });
  t.notOk(isStarted, "nothing is started for work that is over");
  t.equal(currentSignal(), undefined);
});

t.test("a failure that the caller lives with aborts nothing around it", async (t) => {
  await eachLimited([1], 1, async () => {
    await eachLimited([1, 2], 2, async () => {
      throw new Error("inside");
    }).catch(() => {});
    throwIfAborted();
  });
  t.pass();
});

t.test("runToEnd() lets what leaves things in order finish", async (t) => {
  const controller = new AbortController();
  controller.abort();
  const done: number[] = [];
  await runUnder(controller.signal, () =>
    runToEnd(() =>
      eachLimited([1, 2], 1, async (it) => {
        done.push(it);
      }),
    ),
  );
  t.strictSame(done, [1, 2]);
});
