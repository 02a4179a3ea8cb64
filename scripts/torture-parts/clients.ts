/** One server for all attempts, while its store switches, is pruned and checked: right answers, and memory that stays flat. */
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Answer, abort, askMadly, download, silent, type Target } from "./client.ts";
import { currentOf, sha256sumOf, together } from "./judge.ts";
import { type Kind, type Outcome, pick, type Random } from "./kind.ts";
import { drop, type Lab } from "./lab.ts";
import { fetchAll, type Server, serveStore, switchedTo, urlPathOf } from "./served.ts";

const SILENT = 2000;
const ROUND_MS = 4000;
const MIB = 1 << 20;
/** What the server may take with thousands of connections. */
const PEAK_BYTES = 512 * MIB;
/** By how much a round may leave more memory in use than the first one did. */
const GROWTH_BYTES = 64 * MIB;
const SAMPLE_MS = 200;

const mib = (bytes: number) => `${Math.round(bytes / MIB)} MiB`;

/** Resident memory of a process, where the system tells it. */
function residentBytes(pid: number): number {
  if (process.platform !== "linux") return 0;
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}

function targetsOf(lab: Lab): Target[] {
  return [...lab.release(1).truth.keys()].flatMap((entry) => {
    const path = urlPathOf(entry);
    const files = lab.releases.filter((it) => it.truth.has(entry)).map((it) => join(it.files, entry));
    return path === undefined || path.startsWith("/v2/") || files.length < lab.releases.length ? [] : [{ path, files }];
  });
}

/** What is done to the store meanwhile. */
async function keepSwitching(lab: Lab, store: string, rounds: number): Promise<Outcome[]> {
  const first = [
    lab.unpackArgs(3, store),
    ["rollback", "--store", store, "--to", "1", "-q"],
    ["rollback", "--store", store, "--to", "3", "-q"],
    ["prune", "--store", store, "--keep", "2", "-q"],
  ];
  const to = currentOf(store) === 3 ? "2" : "3";
  const later = [
    ["fsck", "--store", store, "-q"],
    ["rollback", "--store", store, "--to", to, "-q"],
  ];
  const found: Outcome[] = [];
  for (const args of rounds === 0 ? first : later) {
    const ran = await lab.run(args);
    if (ran.status !== 0)
      found.push({ wrong: [`${args[0]} beside the server: ${ran.status}: ${ran.stderr.slice(0, 300)}`] });
  }
  return found;
}

/** Compares complete answers with sha256sum. */
function judgeAnswers(answers: readonly Answer[]): Outcome {
  const outcome = { corrupt: 0, wrong: [] as string[] };
  const sums = sha256sumOf([...new Set(answers.flatMap(({ file, target }) => [file, ...target.files]))]);
  for (const { file, target } of answers) {
    if (target.files.some((it) => sums.get(it) === sums.get(file))) continue;
    outcome.corrupt += Math.max(1, statSync(file).size);
    outcome.wrong.push(`${target.path}: a complete answer of no release`);
  }
  return outcome;
}

function clientsKind(): Kind {
  let highest = 0;
  let server: (Server & { store: string; rounds: number; settled: number }) | undefined;

  async function attempt(lab: Lab, random: Random): Promise<Outcome> {
    if (server === undefined) {
      const store = await lab.storeWith(2);
      server = { ...(await serveStore(lab, store)), store, rounds: 0, settled: 0 };
    }
    const { url, pid, store, rounds } = server;
    const port = Number(new URL(url).port);
    const targets = targetsOf(lab);
    const large = targets.filter((it) => statSync(it.files[0] as string).size > 500_000);
    const folder = lab.fresh("answers");
    mkdirSync(folder);
    const found: Outcome[] = [];
    const answers: Answer[] = [];
    let count = 0;
    let peak = 0;
    const watch = setInterval(() => {
      peak = Math.max(peak, residentBytes(pid));
    }, SAMPLE_MS);
    const quiet = await silent(port, SILENT);
    let busy = true;
    const while_ = async (work: () => Promise<unknown>) => {
      while (busy) await work();
    };
    const honest = async (sips: boolean) => {
      const target = pick(random, sips ? large : targets);
      const answer = await download(url, target, join(folder, String(count++)), sips);
      if (answer !== undefined) answers.push(answer);
      else found.push({ lost: 1, wrong: [`${target.path}: an honest client got no whole answer`] });
    };
    const clients = [
      ...Array.from({ length: 4 }, () => while_(() => honest(false))),
      ...Array.from({ length: 8 }, () => while_(() => honest(true))),
      ...Array.from({ length: 8 }, () => while_(() => abort(port, pick(random, targets), random))),
      ...Array.from({ length: 4 }, () =>
        while_(async () => found.push(await askMadly(url, pick(random, targets), random))),
      ),
    ];
    found.push(...(await Promise.all([keepSwitching(lab, store, rounds), sleep(ROUND_MS)]))[0]);
    busy = false;
    await Promise.all(clients);
    for (const it of quiet) it.destroy();
    found.push(judgeAnswers(answers));
    const serial = currentOf(store) as number;
    if (await switchedTo(url, serial)) found.push(fetchAll(lab, url, lab.release(serial)), { completed: 1 });
    else found.push({ wrong: [`the server did not switch to release ${serial}`] });
    clearInterval(watch);
    found.push(judgeMemory(peak, residentBytes(pid)));
    server.rounds++;
    drop(folder);
    return together(...found);
  }

  function judgeMemory(peak: number, now: number): Outcome {
    highest = Math.max(highest, peak);
    if (server === undefined) return {};
    const wrong: string[] = [];
    if (peak > PEAK_BYTES) wrong.push(`the server took ${mib(peak)}, more than ${mib(PEAK_BYTES)}`);
    if (server.rounds === 0) server.settled = now;
    else if (now > server.settled + GROWTH_BYTES) {
      wrong.push(
        `after ${server.rounds + 1} rounds the server keeps ${mib(now)}, after the first it kept ${mib(server.settled)}`,
      );
    }
    return { wrong };
  }

  async function close(): Promise<void> {
    await server?.stop();
  }

  const note = () => `the server took at most ${mib(highest)}, beside ${SILENT} silent connections`;
  return { name: "clients", attempt, note, close };
}

export const CLIENT_KINDS: readonly Kind[] = [clientsKind()];
