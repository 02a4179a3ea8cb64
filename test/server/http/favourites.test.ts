/** What is kept: by how often it was asked for, whatever scans come by, and not for ever. */
import t from "tap";
import { Favourites, Frequency } from "../../../src/server/http/favourites.ts";

interface Thing {
  name: number;
  uses: number;
  period: number;
}

function make(count: number): Thing[] {
  return Array.from({ length: count }, (_, name) => ({ name, uses: 0, period: 0 }));
}

function cache(limit: number, periodUses: number) {
  const frequency = new Frequency(periodUses);
  const kept = new Set<Thing>();
  const favourites = new Favourites<Thing>(limit, frequency, (thing) => kept.delete(thing));
  /** Returns whether it was kept. */
  const use = (thing: Thing, cost = 1): boolean => {
    frequency.count(thing);
    if (kept.has(thing)) return true;
    if (favourites.wants(thing, cost)) {
      favourites.add(thing, cost);
      kept.add(thing);
    }
    return false;
  };
  return { use, kept, favourites };
}

t.test("a scan over more than fits finds as much as fits, round after round", async (t) => {
  const { use, kept } = cache(100, 100_000);
  const things = make(250);
  for (let round = 0; round < 20; round++) {
    const hits = things.filter((it) => use(it)).length;
    t.equal(hits, round === 0 ? 0 : 100, `round ${round}`);
  }
  t.equal(kept.size, 100);
});

t.test("a scan pushes out nothing that is in use, and a new favourite comes in", async (t) => {
  const { use, kept } = cache(10, 100_000);
  const hot = make(10);
  for (let i = 0; i < 50; i++) for (const it of hot) use(it);
  for (const it of make(5000)) use(it);
  t.ok(hot.every((it) => kept.has(it)));
  const [rising] = make(1) as [Thing];
  for (let i = 0; i < 200; i++) use(rising);
  t.ok(kept.has(rising));
});

t.test("yesterday's favourites leave", async (t) => {
  const { use, kept } = cache(10, 1000);
  const old = make(10);
  for (let i = 0; i < 50; i++) for (const it of old) use(it);
  const today = make(10);
  for (let i = 0; i < 1000; i++) for (const it of today) use(it);
  t.ok(today.every((it) => kept.has(it)));
  t.notOk(old.some((it) => kept.has(it)));
});

t.test("costs add up within the limit; what is too large is never kept", async (t) => {
  const { use, kept, favourites } = cache(10, 1000);
  const [small, large, huge] = make(3) as [Thing, Thing, Thing];
  use(small, 4);
  for (let i = 0; i < 5; i++) use(large, 7);
  t.same([...kept], [large], "4 and 7 do not fit");
  for (let i = 0; i < 100; i++) use(huge, 11);
  t.notOk(kept.has(huge));
  favourites.clear();
  t.equal(kept.size, 0);
  use(small, 10);
  t.ok(kept.has(small), "and there is room again");
});
