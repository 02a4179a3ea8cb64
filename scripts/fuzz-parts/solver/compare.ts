/**
 * Whether closures agree with libsolv over one universe. They do when
 *
 * 1. libsolv can install all requests together exactly when one solution holds all of them, and each request alone exactly
 *    when it is not unresolved;
 * 2. what one solution holds is, by libsolv's rules, a system: libsolv installs all of it at once and nothing besides;
 * 3. libsolv, seeing nothing but what is carried, installs the requests (together where that is possible, else each alone),
 *    each in the version that it would choose if it saw all.
 *
 * Universes where all packages of libsolv's own choice are carried are counted separately (`same`): if several packages
 * provide one thing and nothing prefers one of them, either choice works.
 */
import { closureOf } from "../../../src/rpm/closure.ts";
import { Pool } from "../../../src/rpm/pool.ts";
import { type PackageEntry, Primary } from "../../../src/rpm/primary.ts";
import { byNameAndArch } from "../../../src/rpm/select.ts";
import { type SolverRequest, solve } from "../../../src/rpm/solver.ts";
import type { Libsolv, Question } from "./libsolv.ts";
import type { Universe } from "./universe.ts";

interface Comparison {
  /** One line for each disagreement. */
  faults: string[];
  /** libsolv could install the requests together. */
  installable: boolean;
  /** Everything that libsolv chooses is carried. */
  same: boolean;
}

export async function compare(universe: Universe, libsolv: Libsolv): Promise<Comparison> {
  const { primaries, recommends } = universe;
  const pool = new Pool("x86_64");
  for (const [index, xml] of primaries.entries())
    await pool.addRepository(`r${index}`, await Primary.read(Buffer.from(xml), `r${index}`));
  const nevras = (ids: readonly number[]) => [...new Set(ids.map((id) => pool.nevra(id)))].sort();
  const requests = universe.requests.flatMap((name) => requestsFor(pool, name));
  if (requests.length === 0) return { faults: [], installable: true, same: true };
  const jobs = requests.map((it) => nevras(it.candidates));
  const together = await solve(pool, requests, { recommends });
  const closure = await closureOf(pool, requests, { recommends, findFiles: async () => false });
  const carried = nevras(closure.packages);
  const questions: Question[] = [
    { install: jobs },
    { install: jobs, only: carried },
    ...jobs.flatMap((job) => [{ install: [job] }, { install: [job], only: carried }]),
    ...(together ? [{ install: nevras(together).map((it) => [it]) }] : []),
  ];
  const [all, cut, ...rest] = await libsolv.ask(primaries, recommends, questions);
  if (all === undefined || cut === undefined) throw new Error("libsolv returned no answer");
  const faults: string[] = [];
  if (all.ok !== (together !== undefined)) faults.push(`together: libsolv ${all.ok ? "can" : "cannot"}`);
  if (all.ok && !cut.ok) faults.push(`together, out of what is carried (${carried.join(" ")}): libsolv cannot`);
  let same = all.picked.every((it) => carried.includes(it));
  for (const [index, { label }] of requests.entries()) {
    const [alone, cutAlone] = [rest[index * 2], rest[index * 2 + 1]];
    if (alone === undefined || cutAlone === undefined) throw new Error("libsolv returned no answer");
    const unresolved = closure.unresolved.some((it) => it.request === label);
    if (alone.ok === unresolved) faults.push(`${label}: libsolv ${alone.ok ? "can" : "cannot"}`);
    if (alone.ok && !cutAlone.ok)
      faults.push(`${label}, out of what is carried (${carried.join(" ")}): libsolv cannot`);
    if (!all.ok) same &&= alone.picked.every((it) => carried.includes(it));
    const [whole, part] = all.ok ? [all, cut] : [alone, cutAlone];
    const version = (picked: readonly string[]) => picked.filter((it) => jobs[index]?.includes(it)).join(" ");
    if (whole.ok && part.ok && version(whole.picked) !== version(part.picked)) {
      faults.push(
        `${label}: libsolv takes ${version(part.picked)} of what is carried, ${version(whole.picked)} of all`,
      );
    }
  }
  const exact = rest[requests.length * 2];
  if (together && exact && !recommends) {
    if (!exact.ok) faults.push(`libsolv refuses the solution ${nevras(together).join(" ")}`);
    else if (exact.picked.join() !== nevras(together).join()) {
      faults.push(
        `the solution ${nevras(together).join(" ")} is not complete: libsolv adds to it: ${exact.picked.join(" ")}`,
      );
    }
  }
  return { faults, installable: all.ok, same };
}

/** One request for each architecture that has the name, as `packages: [NAME]` makes them. */
function requestsFor(pool: Pool, name: string): SolverRequest[] {
  const ids = (pool.byName.get(name) ?? []).filter((id) => !pool.isHidden(id));
  const native = ids.filter((id) => !/^i\d86$/.test((pool.entries[id] as PackageEntry).arch));
  return byNameAndArch(pool, native.length > 0 ? native : ids).map((candidates) => ({
    label: `${name}.${pool.entries[candidates[0] as number]?.arch}`,
    candidates,
  }));
}
