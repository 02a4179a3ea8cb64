/** Disks that are full, or fill up while a verb writes, and file systems without inodes: refused, and a rerun finishes. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, truncateSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { currentOf, judgeBundle, judgeFinished, judgeStore, together } from "./judge.ts";
import type { Kind, Outcome, Random } from "./kind.ts";
import { drop, type Lab } from "./lab.ts";

const MIB = 1 << 20;
/** What a store or a bundle of the sample fits into. */
const ENOUGH_MIB = 32;
const INODES = 2000;
const FILL_WITHIN_MS = 1200;

interface Disk {
  dir: string;
  /** Makes room for everything. */
  relieve(): void;
  close(): void;
}

/** Undefined where file systems can be mounted. */
function noMounts(): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "needs root on Linux, for mounts";
  const ran = spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], { encoding: "utf8" });
  return ran.status === 0 ? undefined : `mounts are refused here: ${(ran.stderr || String(ran.error)).trim()}`;
}

function noLoops(): string | undefined {
  const reason = noMounts();
  if (reason !== undefined) return reason;
  if (spawnSync("mkfs.ext4", ["-V"]).status !== 0) return "needs mkfs.ext4";
  const ran = spawnSync("losetup", ["-f"], { encoding: "utf8" });
  return ran.status === 0 ? undefined : `no loop devices here: ${(ran.stderr || String(ran.error)).trim()}`;
}

function tmpfs(lab: Lab, options: string): Disk {
  const dir = lab.fresh("disk");
  mkdirSync(dir);
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", dir]);
  return {
    dir,
    relieve: () => execFileSync("mount", ["-o", `remount,size=${ENOUGH_MIB}m,nr_inodes=100000`, dir]),
    close: () => unmount(dir),
  };
}

function ext4(lab: Lab): Disk {
  const image = lab.fresh("image");
  writeFileSync(image, "");
  truncateSync(image, ENOUGH_MIB * MIB);
  execFileSync("mkfs.ext4", ["-q", "-F", "-N", String(INODES), "-m", "0", image]);
  const dir = lab.fresh("disk");
  mkdirSync(dir);
  execFileSync("mount", ["-o", "loop", image, dir]);
  const close = () => {
    unmount(dir);
    rmSync(image);
  };
  return { dir, relieve: () => rmSync(join(dir, "filler"), { recursive: true, force: true }), close };
}

function unmount(dir: string): void {
  execFileSync("umount", ["-l", dir]);
  rmSync(dir, { recursive: true });
}

/** Takes all free bytes of a disk, but for `leave`. */
function fill(dir: string, leave: number): void {
  const { bavail, bsize } = statfsSync(dir);
  const size = bavail * bsize - leave;
  if (size > 0) spawnSync("fallocate", ["-l", String(size), join(dir, "filler")]);
}

/** Takes all free inodes of a disk, but for `leave`; the program may take the last ones first. */
function fillInodes(dir: string, leave: number): void {
  try {
    mkdirSync(join(dir, "filler"));
    for (let left = Number(statfsSync(dir).ffree) - leave; left > 0; left--) {
      writeFileSync(join(dir, "filler", String(left)), "");
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

/** Runs a verb on a disk: it ends well, or says that space is missing; then with room it ends well. */
async function onDisk(lab: Lab, random: Random, disk: Disk, later?: () => void): Promise<Outcome> {
  const found: Outcome[] = [];
  const isPack = random(3) === 0;
  const isSecond = !isPack && random(2) === 0;
  const serial = isPack ? 1 + random(3) : isSecond ? 2 : 1;
  const place = join(disk.dir, "place");
  const { bundle } = lab.release(serial);
  const made = join(place, basename(bundle));
  const args = isPack ? [...lab.packArgs(serial, place), "--frozen"] : lab.unpackArgs(serial, place);
  const env = { SOURCE_DATE_EPOCH: lab.epochOf(serial) };
  // The record of what was packed belongs to the manifest, and each attempt packs again.
  if (isPack) rmSync(join(lab.dir, String(serial), "sample.state.json"), { force: true });
  const child = lab.start([...args, "--json"], env);
  const timer = later === undefined ? undefined : setTimeout(later, random(FILL_WITHIN_MS));
  const ran = await child.done;
  clearTimeout(timer);
  const isMissing = ran.stderr.includes('"ERR_SPACE"');
  if (ran.status !== 0 && isMissing) found.push({ refused: 1 });
  else if (ran.status !== 0)
    found.push({ wrong: [`${args[0]} ended with ${ran.status}: ${ran.stderr.trim().slice(-400)}`] });
  if (isPack) found.push(ran.status === 0 ? judgeBundle(made, bundle) : {});
  else found.push(judgeStore(place, lab.releases));
  if (ran.status !== 0 && !isPack && currentOf(place) === serial)
    found.push({ wrong: ["a refused release is served"] });
  disk.relieve();
  rmSync(join(disk.dir, "filler"), { recursive: true, force: true });
  const again = ran.status === 0 ? ran : await lab.run(args, env);
  if (again.status === 0) found.push({ completed: 1 });
  else
    found.push({ wrong: [`the rerun of ${args[0]} ended with ${again.status}: ${again.stderr.trim().slice(0, 400)}`] });
  found.push(isPack ? judgeBundle(made, bundle) : judgeFinished(place, lab.releases, serial));
  return together(...found);
}

async function closing(disk: Disk, use: (disk: Disk) => Promise<Outcome>): Promise<Outcome> {
  try {
    return await use(disk);
  } finally {
    disk.close();
    drop(disk.dir);
  }
}

/** A disk that has room, with a few thousand inodes; bytes or inodes go before the run, or during it. */
function fills(lab: Lab, random: Random, disk: Disk, isInodes: boolean): Promise<Outcome> {
  const leave = isInodes ? random(120) : random(64) * 1024;
  const work = () => (isInodes ? fillInodes(disk.dir, leave) : fill(disk.dir, leave));
  if (random(3) > 0) return onDisk(lab, random, disk, work);
  work();
  return onDisk(lab, random, disk);
}

export const DISK_KINDS: readonly Kind[] = [
  {
    name: "disk-small",
    missing: noMounts,
    attempt: (lab, random) => closing(tmpfs(lab, `size=${64 + random(9000)}k`), (disk) => onDisk(lab, random, disk)),
  },
  {
    name: "disk-fills",
    missing: noMounts,
    attempt: (lab, random) => closing(tmpfs(lab, `size=${ENOUGH_MIB}m`), (disk) => fills(lab, random, disk, false)),
  },
  {
    name: "disk-inodes",
    missing: noMounts,
    attempt: (lab, random) =>
      closing(tmpfs(lab, `size=${ENOUGH_MIB}m,nr_inodes=${INODES}`), (disk) => fills(lab, random, disk, true)),
  },
  {
    name: "disk-ext4",
    missing: noLoops,
    attempt: (lab, random) => closing(ext4(lab), (disk) => fills(lab, random, disk, random(2) === 0)),
  },
];
