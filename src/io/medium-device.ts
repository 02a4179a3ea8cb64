/**
 * What medium a folder is on, as far as the system tells everybody: the device, the label of its file system, and the
 * serial number of the medium. For evidence; nothing depends on it. See udev(7), proc_pid_mountinfo(5).
 */
import { readdir, readFile, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { printable } from "./printable.ts";

const MAX_CHARS = 64;

/** One line each, printable, of at most 64 characters. What the system does not tell is absent. */
interface MediumDevice {
  /** Name in /dev. */
  device?: string;
  /** Of the file system. */
  label?: string;
  /** Of the drive or stick. */
  serial?: string;
}

/**
 * Looks up what medium a folder is on. Never fails.
 * @param system where the system's files are, and the number of the folder's device, in place of the real ones
 */
export async function mediumDevice(
  folder: string,
  { root = "/", number }: { root?: string; number?: string } = {},
): Promise<MediumDevice> {
  try {
    const at = await blockDevice(root, number ?? deviceNumber((await stat(folder, { bigint: true })).dev));
    const sys = join(root, "sys/dev/block", at);
    const name = /^DEVNAME=(.+)$/m.exec(await readFile(join(sys, "uevent"), "utf8"))?.[1];
    if (name === undefined) return {};
    const udev = await readFile(join(root, "run/udev/data", `b${at}`), "utf8").catch(() => "");
    const said = (key: string) => new RegExp(`^E:${key}=(.+)$`, "m").exec(udev)?.[1];
    const label = said("ID_FS_LABEL") ?? (await labelOf(join(root, "dev/disk/by-label"), name));
    const serial = said("ID_SERIAL_SHORT") ?? said("ID_SERIAL") ?? (await serialOf(sys));
    return {
      device: shown(name),
      ...(label !== undefined && { label: shown(label) }),
      ...(serial !== undefined && { serial: shown(serial) }),
    };
  } catch {
    return {};
  }
}

function shown(text: string): string {
  return printable(printable(text.trim()), MAX_CHARS);
}

/** As the kernel packs it. */
function deviceNumber(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/** The number of the block device; file systems such as btrfs show numbers of their own. */
async function blockDevice(root: string, at: string): Promise<string> {
  if (!at.startsWith("0:")) return at;
  for (const line of (await readFile(join(root, "proc/self/mountinfo"), "utf8")).split("\n")) {
    if (line.split(" ")[2] !== at) continue;
    const source = / - \S+ (\/dev\/\S+) /.exec(line)?.[1];
    const found = source && (await stat(join(root, source), { bigint: true }).catch(() => undefined));
    if (found) return deviceNumber(found.rdev);
  }
  return at;
}

/** The name of the link that leads to the device, in which udev escapes what is unusual. */
async function labelOf(folder: string, device: string): Promise<string | undefined> {
  for (const name of await readdir(folder).catch(() => [])) {
    const target = await readlink(join(folder, name)).catch(() => "");
    if (basename(target) !== basename(device)) continue;
    const bytes = name.replace(/\\x([0-9a-f]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
    return Buffer.from(bytes, "latin1").toString("utf8");
  }
  return undefined;
}

/** Of the device, or of the disk whose partition it is. */
async function serialOf(sys: string): Promise<string | undefined> {
  const folder = await realpath(sys);
  for (const it of [folder, dirname(folder)]) {
    for (const file of ["serial", "device/serial"]) {
      const text = await readFile(join(it, file), "utf8").catch(() => "");
      if (text.trim() !== "") return text;
    }
  }
  return undefined;
}
