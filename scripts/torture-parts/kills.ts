/** SIGKILL at a random instant of each verb that writes: what is served stays whole, and a rerun finishes. */
import { closeSync, cpSync, existsSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import {
  currentOf,
  filesBelow,
  judgeBundle,
  judgeFinished,
  judgeStore,
  sha256sumOf,
  sha256sums,
  together,
} from "./judge.ts";
import { type Kind, type Outcome, pick, type Random } from "./kind.ts";
import { drop, type Lab } from "./lab.ts";
import { fetchAll, serveStore, switchedTo } from "./served.ts";

/** Milliseconds within which a verb of a store ends; the longest run so far, so that kills fall into all of it. */
const spans = new Map<string, number>();
/** Nothing is done yet while node itself starts. */
const START_MS = 120;

/** Runs a command and kills it at a random instant; whether it was killed before it ended. */
async function killed(
  lab: Lab,
  random: Random,
  args: readonly string[],
  span: number,
  env: NodeJS.ProcessEnv = {},
): Promise<boolean> {
  const verb = args[0] as string;
  const before = spans.get(verb) ?? span;
  const since = Date.now();
  const child = lab.start(args, env);
  const timer = setTimeout(() => child.kill("SIGKILL"), START_MS + random(Math.max(before, 1)));
  const { signal } = await child.done;
  clearTimeout(timer);
  if (signal === null) spans.set(verb, Math.max(200, Date.now() - since - START_MS));
  else spans.set(verb, before * 1.02);
  return signal !== null;
}

/** Runs a command that must end with 0. */
async function finished(lab: Lab, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const ran = await lab.run(args, env);
  if (ran.status === 0) return { completed: 1 };
  return { wrong: [`the rerun of ${args[0]} ended with ${ran.status}: ${ran.stderr.trim().slice(0, 400)}`] };
}

async function killPack(lab: Lab, random: Random): Promise<Outcome> {
  const serial = 1 + random(3);
  const folder = lab.fresh("pack");
  cpSync(join(lab.dir, String(serial)), join(folder, String(serial)), { recursive: true });
  rmSync(join(folder, String(serial), "sample.state.json"), { force: true });
  const args = lab.packArgs(serial, join(folder, "out"));
  args[1] = join(folder, String(serial), "sample.yaml");
  args.push("--frozen");
  const { bundle } = lab.release(serial);
  const env = { SOURCE_DATE_EPOCH: lab.epochOf(serial) };
  const out = join(folder, "out", basename(bundle));
  const found: Outcome[] = [];
  // A pack that is killed again and again still gets to its end.
  for (let kills = 1 + random(3); kills > 0; kills--) {
    await killed(lab, random, args, lab.packMs, env);
    if (existsSync(out)) found.push(judgeBundle(out, bundle));
  }
  if (!existsSync(out)) found.push(await finished(lab, args, env));
  else found.push({ completed: 1 });
  found.push(judgeBundle(out, bundle));
  const ran = await lab.run(["verify", out, "--trust", lab.fingerprint, "-q"]);
  if (ran.status !== 0) found.push({ wrong: [`verify of what pack finished: ${ran.stderr.slice(0, 300)}`] });
  drop(folder);
  return together(...found);
}

async function killUnpack(lab: Lab, random: Random): Promise<Outcome> {
  const isFirst = random(3) === 0;
  const serial = isFirst ? 1 + random(3) : 2;
  const store = isFirst ? lab.fresh("store") : await lab.storeWith(1);
  const args = lab.unpackArgs(serial, store);
  const found: Outcome[] = [];
  for (let kills = 1 + random(2); kills > 0; kills--) {
    await killed(lab, random, args, 800);
    found.push(judgeStore(store, lab.releases));
  }
  const served = currentOf(store);
  const server = served === undefined ? undefined : await serveStore(lab, store);
  if (server !== undefined && served !== undefined) found.push(fetchAll(lab, server.url, lab.release(served)));
  found.push(await finished(lab, args), judgeFinished(store, lab.releases, serial));
  if (server !== undefined) {
    if (await switchedTo(server.url, serial)) found.push(fetchAll(lab, server.url, lab.release(serial)));
    else found.push({ wrong: [`the server did not switch to release ${serial}`] });
    await server.stop();
  }
  drop(store);
  return together(...found);
}

async function killPrune(lab: Lab, random: Random): Promise<Outcome> {
  const store = await lab.storeWith(3);
  const args = ["prune", "--store", store, "--keep", String(1 + random(2)), "-q"];
  await killed(lab, random, args, 400);
  const found = [judgeStore(store, lab.releases)];
  found.push(await finished(lab, args), judgeFinished(store, lab.releases, 3));
  const kept = new Set(
    lab.releases.slice(-Number(args[4])).flatMap((it) => [...it.truth.values()].map(({ hex }) => hex)),
  );
  const over = filesBelow(join(store, "blobs")).filter((it) => !kept.has(basename(it)));
  if (over.length > 0) found.push({ wrong: [`prune left ${over.length} files, such as ${over[0]}`] });
  drop(store);
  return together(...found);
}

async function killRollback(lab: Lab, random: Random): Promise<Outcome> {
  const store = await lab.storeWith(3);
  const to = 1 + random(2);
  const args = ["rollback", "--store", store, "--to", String(to), "-q"];
  await killed(lab, random, args, 300);
  const between = currentOf(store);
  const found = [judgeStore(store, lab.releases)];
  if (between !== 3 && between !== to) found.push({ lost: 1, wrong: [`current is ${between}`] });
  if (between !== to) found.push(await finished(lab, args));
  else found.push({ completed: 1 });
  found.push(judgeFinished(store, lab.releases, to));
  drop(store);
  return together(...found);
}

/** Damages some of a store's blobs; returns their names. */
export function damageBlobs(store: string, random: Random, count: number): Set<string> {
  const blobs = filesBelow(join(store, "blobs")).sort();
  const damaged = new Set<string>();
  for (let index = 0; index < count; index++) {
    const path = pick(random, blobs);
    if (damaged.has(basename(path))) continue;
    damaged.add(basename(path));
    if (random(4) === 0) rmSync(path);
    else {
      const file = openSync(path, "r+");
      writeSync(file, Buffer.from([1 + random(255)]), 0, 1, random(1000));
      closeSync(file);
    }
  }
  return damaged;
}

async function killFsck(lab: Lab, random: Random): Promise<Outcome> {
  const store = await lab.storeWith(1);
  const damaged = damageBlobs(store, random, 1 + random(12));
  const args = ["fsck", "--store", store, "--repair-from", lab.release(1).bundle, "--trust", lab.fingerprint, "-q"];
  await killed(lab, random, args, 600);
  const found = [
    judgeStore(store, lab.releases, damaged),
    await finished(lab, args),
    judgeFinished(store, lab.releases, 1),
  ];
  drop(store);
  return together(...found);
}

async function killTrust(lab: Lab, random: Random): Promise<Outcome> {
  const version = 1 + random(2);
  const folder = lab.copyOf(join(lab.dir, `trust-${version}`), "trust");
  const before = sha256sums(folder);
  const rotate = ["trust", "rotate", folder, "--expires", "3y", "-q"];
  const sign = ["trust", "sign", folder, "--key", join(lab.dir, "site.key"), "-q"];
  const isSign = random(2) === 0;
  const found: Outcome[] = [];
  if (isSign) found.push(await finished(lab, rotate));
  await killed(lab, random, isSign ? sign : rotate, 400);
  for (const [path, hex] of before) {
    if (sha256sums(folder).get(path) !== hex) found.push({ corrupt: 1, wrong: [`${path} of the trust root changed`] });
  }
  const isSigned = readdirSync(folder).some(
    (it) => it.startsWith(`trust.${version + 1}.`) && it.endsWith(".sigstore.json"),
  );
  if (!isSign) found.push(await finished(lab, rotate));
  if (!isSigned) found.push(await finished(lab, sign));
  found.push(await finished(lab, ["trust", "show", folder, "-q"]));
  found.push(await finished(lab, ["verify", lab.release(1).bundle, "--trust", folder, "-q"]));
  const [newest] = sha256sumOf([join(folder, `trust.${version + 1}.json`)]);
  if (newest === undefined) found.push({ lost: 1, wrong: ["the new version of the trust root is not there"] });
  drop(folder);
  return together(...found);
}

export const KILL_KINDS: readonly Kind[] = [
  { name: "kill-unpack", attempt: killUnpack },
  { name: "kill-pack", attempt: killPack },
  { name: "kill-prune", attempt: killPrune },
  { name: "kill-fsck", attempt: killFsck },
  { name: "kill-rollback", attempt: killRollback },
  { name: "kill-trust", attempt: killTrust },
];
