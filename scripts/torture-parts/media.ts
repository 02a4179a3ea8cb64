/** Damage on media: named by verify, imported only where the store has the rest, and repaired to the same bytes. */
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { currentOf, judgeBundle, judgeFinished, judgeStore, sha256sums, together } from "./judge.ts";
import { type Kind, type Outcome, pick, type Random } from "./kind.ts";
import { drop, type Lab } from "./lab.ts";

/** What was done to a bundle. */
interface Damage {
  what: string;
  /** Files of which one must be named. */
  names: string[];
}

function changeBytes(path: string, random: Random): string {
  const bytes = readFileSync(path);
  const at = random(bytes.length);
  const isRun = random(3) === 0;
  if (isRun) bytes.fill(0, at, Math.min(bytes.length, at + 1 + random(200_000)));
  else
    for (let bits = 1 + random(3); bits > 0; bits--) {
      const place = bits === 1 ? at : random(bytes.length);
      bytes[place] = (bytes[place] as number) ^ (1 << random(8));
    }
  writeFileSync(path, bytes);
  return isRun ? "zeros in" : "bits flipped in";
}

/** One file: some of its bits, its length, or all of it. */
function damageFile(bundle: string, name: string, random: Random): Damage {
  const path = join(bundle, name);
  const { length } = readFileSync(path);
  let what = "removed";
  switch (random(6)) {
    case 0:
      truncateSync(path, random(length));
      what = "truncated";
      break;
    case 1:
      truncateSync(path, length + 1 + random(5000));
      what = "extended";
      break;
    case 2:
      rmSync(path);
      break;
    default:
      what = changeBytes(path, random);
  }
  // Of a pair that does not agree either file may be named.
  return { what: `${what} ${name}`, names: [name.replace(/^(signatures\/[0-9a-f]{16}\.).*/, "$1")] };
}

function damage(bundle: string, other: string, random: Random): Damage {
  const files = [
    ...readdirSync(bundle).filter((it) => it !== "signatures"),
    ...readdirSync(join(bundle, "signatures")).map((it) => `signatures/${it}`),
  ].sort();
  const volumes = files.filter((it) => it.startsWith("data.tar."));
  const [one, two] = [pick(random, volumes), pick(random, volumes)];
  const [first, second] = [join(bundle, one), join(bundle, two)];
  switch (random(9)) {
    case 0: {
      renameSync(first, join(bundle, "swap"));
      if (one !== two) renameSync(second, first);
      renameSync(join(bundle, "swap"), second);
      return { what: `swapped ${one} and ${two}`, names: [one, two] };
    }
    case 1:
      copyFileSync(first, second);
      return { what: `${one} twice, in place of ${two}`, names: [two] };
    case 2:
      copyFileSync(join(other, one), first);
      return { what: `${one} of another release`, names: [one] };
    case 3:
      return damageFile(
        bundle,
        pick(
          random,
          files.filter((it) => it.endsWith(".par2")),
        ),
        random,
      );
    case 4:
      return damageFile(
        bundle,
        pick(
          random,
          files.filter((it) => !it.startsWith("data.")),
        ),
        random,
      );
    case 5:
      return damageFile(
        bundle,
        pick(
          random,
          files.filter((it) => it === "SHA256SUMS" || it.startsWith("signatures/") || it.startsWith("trust.")),
        ),
        random,
      );
    default:
      return damageFile(bundle, one, random);
  }
}

async function attempt(lab: Lab, random: Random): Promise<Outcome> {
  const good = lab.release(2).bundle;
  const bundle = lab.copyOf(good, "medium");
  const before = sha256sums(bundle);
  const { what, names } = damage(bundle, lab.release(1 + 2 * random(2)).bundle, random);
  const after = sha256sums(bundle);
  const changed = [...before].filter(([path, hex]) => after.get(path) !== hex).map(([path]) => path);
  const found: Outcome[] = [];
  const store = await lab.storeWith(1);
  const verified = await lab.run(["verify", bundle, "--trust", lab.fingerprint]);
  const said = verified.stdout + verified.stderr;
  // Recovery files are allowed to be damaged: nothing that is imported depends on them. A signature that is good proves
  // itself, with or without its last newline.
  const isSpare = changed.every((it) => it.endsWith(".par2"));
  const isHarmless = isSpare || (verified.status === 0 && changed.every((it) => it.startsWith("signatures/")));
  const unpacked = await lab.run(lab.unpackArgs(2, store, bundle));
  const fault = (text: string) => found.push({ wrong: [`${what}: ${text}`] });
  if (isHarmless) {
    if (verified.status !== 0) fault(`verify ended with ${verified.status}: ${said.slice(-300)}`);
    if (isSpare && changed.length > 0 && !changed.some((it) => said.includes(it))) fault("verify does not name it");
    if (unpacked.status !== 0) fault(`unpack ended with ${unpacked.status}: ${unpacked.stderr.slice(-300)}`);
    found.push(judgeFinished(store, lab.releases, 2), { completed: 1 });
  } else {
    if (verified.status !== 3) fault(`verify ended with ${verified.status}: ${said.slice(-300)}`);
    // Without a version of the trust root, it is the next one that cannot be trusted.
    else if (!names.some((it) => said.includes(it) || (it.startsWith("trust.") && /\btrust(?: root|\.\d)/.test(said))))
      fault(`verify does not name it: ${said.slice(-300)}`);
    // The store of release 1 has what both releases have: a volume with nothing else is not needed, nor read.
    const isWhole = unpacked.status === 0 && changed.every((it) => it.startsWith("data."));
    if (isWhole) found.push(judgeFinished(store, lab.releases, 2));
    else if (unpacked.status !== 3 && unpacked.status !== 5) fault(`unpack ended with ${unpacked.status}`);
    if (!isWhole && currentOf(store) !== 1) {
      found.push({ corrupt: 1, wrong: [`${what}: release ${currentOf(store)} was imported`] });
    }
    found.push(judgeStore(store, lab.releases), { refused: 1 });
    found.push(await repaired(lab, { bundle, good, store, changed, what }));
  }
  drop(bundle, store);
  return together(...found);
}

interface Repaired {
  bundle: string;
  good: string;
  store: string;
  changed: readonly string[];
  what: string;
}

/** Repairs from parity, else from another copy; then the import that was refused finishes. */
async function repaired(lab: Lab, { bundle, good, store, changed, what }: Repaired): Promise<Outcome> {
  const copies = lab.copyOf(good, "other-copy");
  const trust = ["--trust", lab.fingerprint, "--in-place", "-q"];
  const alone = await lab.run(["repair", bundle, ...trust]);
  const found: Outcome[] = [];
  const fault = (text: string) => found.push({ wrong: [`${what}: ${text}`] });
  if (alone.status !== 0) {
    const again = await lab.run(["repair", bundle, ...trust, "--from", copies]);
    // A volume that is missing here and good there stays there.
    const isThere = again.status === 5 && changed.every((it) => it.startsWith("data.tar."));
    if (again.status !== 0 && !isThere)
      fault(`repair from another copy ended with ${again.status}: ${again.stderr.slice(-300)}`);
  }
  // A missing volume counts as present where another copy has it, and stays there: it is copied.
  for (const it of changed) if (!existsSync(join(bundle, it))) copyFileSync(join(good, it), join(bundle, it));
  const unpacked = await lab.run(lab.unpackArgs(2, store, bundle));
  if (unpacked.status === 0) found.push({ completed: 1 });
  else fault(`unpack after the repair ended with ${unpacked.status}: ${unpacked.stderr.slice(-300)}`);
  found.push(judgeBundle(bundle, good), judgeFinished(store, lab.releases, 2));
  drop(copies);
  return together(...found);
}

export const MEDIA_KINDS: readonly Kind[] = [{ name: "media", attempt }];
