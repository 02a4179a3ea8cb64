/** The buffers of large answers: bounded, reused, and never used after they were given up. */
import t from "tap";
import { BufferPool } from "../../../src/server/http/buffers.ts";

const MIB = 1024 * 1024;

t.test("BufferPool gives smaller ones the more are lent, and reuses them", async (t) => {
  const pool = new BufferPool();
  const one = pool.take(10 * MIB);
  t.equal(one.first.length, MIB);
  t.not(one.first, one.second);
  pool.giveBack(one);
  const again = pool.take(10 * MIB);
  t.ok([one.first, one.second].includes(again.first), "the same memory again");
  pool.drop(again);
  const small = pool.take(1000);
  t.equal(small.first.length, 64 * 1024, "no more than is needed");
  pool.giveBack(small);

  const many = Array.from({ length: 1000 }, () => pool.take(10 * MIB));
  const bytes = many.reduce((sum, it) => sum + it.first.length + (it.second === it.first ? 0 : it.second.length), 0);
  t.ok(bytes < 96 * MIB, `a thousand clients have ${Math.round(bytes / MIB)} MiB`);
  t.equal(many.at(-1)!.first.length, 64 * 1024);
  for (const buffers of many) pool.drop(buffers);
  t.equal(pool.take(10 * MIB).first.length, MIB, "and it is as before");
});

t.test("pools of one process share what it may lend", async (t) => {
  const large = (sites: number) => {
    const pool = new BufferPool(sites);
    const taken = Array.from({ length: 100 }, () => pool.take(10 * MIB));
    return taken.filter((it) => it.first !== it.second).reduce((sum, it) => sum + 2 * it.first.length, 0);
  };
  t.equal(large(1), 12 * MIB);
  for (const sites of [2, 3, 4]) {
    t.ok(large(sites) > 0, "nobody is left without");
    t.ok(sites * large(sites) <= 12 * MIB, `${sites} have no more than one`);
  }
});
