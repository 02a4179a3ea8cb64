/** Opens a stream with bundles, and a private folder for their small files meanwhile. */
import { lstat, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isatty } from "node:tty";
import { AirferryError } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { StreamWindow } from "../io/stream-window.ts";
import { BundleStream } from "./bundle-stream.ts";

/** What stands for standard input among the arguments of a command. */
export const STREAM_ARGUMENT = "-";

/**
 * Whether the bundle of a command is to come on standard input.
 * @throws {AirferryError} ERR_USAGE when folders are named as well
 */
export function isStream(action: string, bundles: readonly string[]): boolean {
  if (!bundles.includes(STREAM_ARGUMENT)) return false;
  if (bundles.length === 1) return true;
  throw new AirferryError("ERR_USAGE", `cannot ${action} "${STREAM_ARGUMENT}" and folders in one run`, {
    hint: "run it once for the stream, and once for the folders; a folder with this name is ./-",
  });
}

/**
 * Opens standard input, or another descriptor.
 * @throws {AirferryError} ERR_USAGE for a terminal; ERR_IO
 */
export async function openBundleStream(
  action: string,
  notice: (line: string) => void,
  fd = 0,
): Promise<AsyncDisposable & { stream: BundleStream }> {
  if (isatty(fd)) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot ${action} "${STREAM_ARGUMENT}": standard input is a terminal: expected a stream`,
      {
        hint: `airferry ${action} ${STREAM_ARGUMENT} < FILE; or give the folder of a bundle`,
      },
    );
  }
  const parent = tmpdir();
  await removeLeft(parent);
  const dir = await mkdtemp(join(parent, `airferry-stream-${process.pid}-`)).catch((error: unknown) =>
    Promise.reject(ioError("write", parent, error)),
  );
  const window = await StreamWindow.open(fd);
  return {
    stream: new BundleStream(window, dir, notice),
    [Symbol.asyncDispose]: async () => {
      window.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Removes the folders of this user's runs that were killed. */
async function removeLeft(parent: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const pid = Number(/^airferry-stream-([1-9]\d{0,9})-/.exec(name)?.[1] ?? 0);
    if (pid === 0 || isRunning(pid)) continue;
    const stats = await lstat(join(parent, name)).catch(() => undefined);
    if (stats?.isDirectory() && stats.uid === process.getuid?.())
      await rm(join(parent, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Nothing of what came is a bundle. */
export function noBundle(action: string): AirferryError {
  return new AirferryError("ERR_BUNDLE_INCOMPLETE", `cannot ${action} "${STREAM_ARGUMENT}": no bundle came`, {
    hint: "send one: airferry pack MANIFEST --key FILE --stream",
  });
}
