/**
 * Power losses: a verb is recorded by strace, and every disk that a prefix of its system calls may leave is judged; then some of these
 * disks are made, and the verb runs again on them.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { foldersOf, lay, namesAfter } from "../../test/fixtures/power-loss.ts";
import { CHECKOUT, commandEnvironment } from "../../test/fixtures/program.ts";
import { type Disk, disksAfter, type Op, record } from "../../test/fixtures/syscall-trace.ts";
import { filesBelow, judgeFinished, judgeStore, sha256sumOf, together } from "./judge.ts";
import { damageBlobs } from "./kills.ts";
import type { Kind, Outcome, Random } from "./kind.ts";
import { drop, type Lab } from "./lab.ts";

/** Disks of a recording that are made, at random. */
const KEPT = 12;

interface Verb {
  /** Newest release that is in the store before; 0 for no store. */
  before: number;
  /** The release that is served afterwards. */
  after: number;
  args(lab: Lab, store: string): string[];
  isDamaged?: boolean;
}

interface Recording {
  store: string;
  pristine: string;
  ops: Op[];
  disks: Disk[];
  damaged: Set<string>;
}

async function recorded(lab: Lab, random: Random, verb: Verb): Promise<Recording> {
  const store = verb.before === 0 ? lab.fresh("store") : await lab.storeWith(verb.before);
  const damaged = verb.isDamaged ? damageBlobs(store, random, 4) : new Set<string>();
  const pristine = `${store}-before`;
  if (verb.before > 0) cpSync(store, pristine, { recursive: true });
  else mkdirSync(pristine);
  const cwd = `${store}-trace`;
  mkdirSync(cwd);
  const env = { ...commandEnvironment(lab.dir), NODE_COMPILE_CACHE: "" };
  const ops = record([...CHECKOUT, ...verb.args(lab, store)], store, { cwd, env });
  rmSync(cwd, { recursive: true });
  return { store, pristine, ops, disks: [], damaged };
}

/** Judges all disks of a recording, and keeps some. */
function judgeAll(lab: Lab, random: Random, verb: Verb, recording: Recording): Outcome {
  const { store, pristine, ops, damaged } = recording;
  const there = verb.before === 0 ? [] : foldersOf(store);
  const known = new Set(filesBelow(pristine).map((it) => store + it.slice(pristine.length)));
  const contents = lab.fresh("contents");
  mkdirSync(contents);
  const kept = new Set(Array.from({ length: KEPT }, () => random(4 * (ops.length + 1))));
  /** Blobs by name and content, each content written once for sha256sum. */
  const blobs = new Map<string, { name: string; file: string }>();
  const outcome = { attempts: 0, lost: 0, corrupt: 0, wrong: [] as string[] };
  for (const disk of disksAfter(ops, store, there)) {
    if (kept.has(outcome.attempts++)) recording.disks.push(disk);
    for (const [path, bytes] of disk.files) {
      if (!/\/blobs\/sha256\/..\/[0-9a-f]{64}$/.test(path)) continue;
      const content = createHash("sha1").update(bytes).digest("hex");
      const file = join(contents, content);
      const key = `${basename(path)} ${content}`;
      if (blobs.has(key)) continue;
      blobs.set(key, { name: basename(path), file });
      writeFileSync(file, bytes);
    }
    const has = (path: string) => disk.files.has(path) || known.has(path);
    judgeNames(lab, store, damaged, has, (path) => disk.files.get(path)?.toString(), disk.what, outcome);
  }
  const sums = sha256sumOf([...new Set([...blobs.values()].map(({ file }) => file))]);
  for (const { name, file } of blobs.values()) {
    if (sums.get(file) === name) continue;
    outcome.corrupt += Math.max(1, readFileSync(file).length);
    outcome.wrong.push(`a blob ${name} has the digest ${sums.get(file)}`);
  }
  // Names that were there before are lost only where the verb takes or moves them.
  const isTaken = ops.some((it) => (it.kind === "remove" || it.kind === "rename") && isKnown(known, it.path));
  for (const names of isTaken ? namesAfter(ops, known) : []) {
    outcome.attempts++;
    judgeNames(
      lab,
      store,
      damaged,
      (it) => names.has(it) || isMade(ops, it),
      () => undefined,
      "names taken",
      outcome,
    );
  }
  drop(contents);
  return outcome;
}

/** Whether a path, or something below it, was there before. */
function isKnown(known: ReadonlySet<string>, path: string): boolean {
  return known.has(path) || [...known].some((it) => it.startsWith(`${path}/`));
}

/** Whether a verb makes a name itself: those are judged with their bytes. */
function isMade(ops: readonly Op[], path: string): boolean {
  return ops.some((it) => (it.kind === "rename" || it.kind === "link") && it.to === path);
}

/** Whether the release that is served has its record and all its blobs, by names. */
function judgeNames(
  lab: Lab,
  store: string,
  damaged: ReadonlySet<string>,
  has: (path: string) => boolean,
  read: (path: string) => string | undefined,
  what: string,
  outcome: { lost: number; wrong: string[] },
): void {
  const current = read(join(store, "releases/sample/current"));
  for (const { serial, truth } of lab.releases) {
    const name = String(serial).padStart(6, "0");
    const record = join(store, "releases/sample", name);
    const isCurrent = current !== undefined && Number(current) === serial;
    const isThere = has(join(record, "import.json"));
    if (isCurrent && !(isThere && has(join(record, "airferry.json")) && has(join(record, "SHA256SUMS")))) {
      outcome.lost++;
      outcome.wrong.push(`release ${serial} is current without its record: ${what}`);
    }
    if (!isCurrent && !isThere) continue;
    for (const [path, { hex, size }] of truth) {
      if (damaged.has(hex) || has(join(store, "blobs/sha256", hex.slice(0, 2), hex))) continue;
      outcome.lost += Math.max(1, size);
      outcome.wrong.push(`release ${serial} lacks ${path}: ${what}`);
    }
  }
}

function powerKind(name: string, verb: Verb): Kind {
  let recording: Recording | undefined;
  return {
    name: `power-${name}`,
    missing: () => (spawnSync("strace", ["-V"]).status === 0 ? undefined : "needs strace"),
    async attempt(lab, random) {
      if (recording === undefined) {
        recording = await recorded(lab, random, verb);
        return judgeAll(lab, random, verb, recording);
      }
      const { store, pristine, ops, damaged, disks } = recording;
      const disk = disks.pop();
      if (disks.length === 0) recording = undefined;
      if (disk === undefined) return { attempts: 0 };
      lay(disk, store, pristine, ops);
      const found: Outcome[] = [judgeStore(store, lab.releases, damaged)];
      const ran = await lab.run(verb.args(lab, store));
      if (ran.status === 0) found.push({ completed: 1 });
      else found.push({ wrong: [`${disk.what}: the rerun ended with ${ran.status}: ${ran.stderr.slice(0, 300)}`] });
      found.push(judgeFinished(store, lab.releases, verb.after));
      if (recording === undefined) drop(store, pristine);
      return together(...found);
    },
  };
}

export const POWER_KINDS: readonly Kind[] = [
  powerKind("unpack", { before: 1, after: 2, args: (lab, store) => lab.unpackArgs(2, store) }),
  powerKind("first", { before: 0, after: 1, args: (lab, store) => lab.unpackArgs(1, store) }),
  powerKind("rollback", { before: 3, after: 2, args: (_, store) => ["rollback", "--store", store, "--to", "2", "-q"] }),
  powerKind("prune", { before: 3, after: 3, args: (_, store) => ["prune", "--store", store, "--keep", "1", "-q"] }),
  powerKind("fsck", {
    before: 1,
    after: 1,
    isDamaged: true,
    args: (lab, store) => [
      "fsck",
      "--store",
      store,
      "--repair-from",
      lab.release(1).bundle,
      "--trust",
      lab.fingerprint,
      "-q",
    ],
  }),
];
