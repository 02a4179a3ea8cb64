/**
 * A network that has nothing but itself: the program starts again in a network namespace (for other users than root
 * also in a user namespace), and brings its loopback interface up there. See unshare(1), network_namespaces(7).
 */
import { execFile, spawn } from "node:child_process";
import { readdir, readFile, readlink } from "node:fs/promises";
import { constants } from "node:os";
import { isSea } from "node:sea";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { AirferryError } from "../errors.ts";
import { isRoot } from "../io/account.ts";

const run = promisify(execFile);

/** Set for the program that was started again, to the network namespace that it came from. */
const INSIDE = "AIRFERRY_REHEARSAL";
/** How long what a command left has for its own end, and after SIGTERM. */
const OWN_END_MS = 5000;
const TERM_MS = 2000;
const POLL_MS = 50;
const MAX_PASSES = 100;
/**
 * What podman, buildah and skopeo tell themselves in a user namespace of theirs: that root is a user there, whose files
 * are below its home and not in /var/lib and /run. See containers/storage, pkg/unshare.
 */
const ROOTLESS = {
  _CONTAINERS_USERNS_CONFIGURED: "done",
  _CONTAINERS_ROOTLESS_UID: String(process.getuid?.() ?? 0),
  _CONTAINERS_ROOTLESS_GID: String(process.getgid?.() ?? 0),
};
const NAMESPACE = "/proc/self/ns/net";
/** Some resolvers look for nothing where there is only loopback (aria2's c-ares). An address of RFC 5737. */
const FURTHER_ADDRESS = "192.0.2.1";

/** The command line of this program, with other arguments. */
export function ownCommand(args: readonly string[]): [string, ...string[]] {
  return [process.execPath, ...(isSea() ? [] : [...process.execArgv, process.argv[1] ?? ""]), ...args];
}

/** Whether this process is the one that was started again. */
export function isInside(): boolean {
  return process.env[INSIDE] !== undefined;
}

/**
 * Runs this program again, with the same arguments, where there is no network; returns its exit status.
 * @throws {AirferryError} ERR_TOOL where this is not possible; the reason of `stop`, which counts until then
 */
export async function runInside(stop: AbortSignal): Promise<number> {
  const plain = ["--net", ...(isRoot() ? [] : ["--user", "--map-root-user"])];
  // Further users and groups, where /etc/subuid and subgid give some: packages and images have files of theirs.
  const flags = isRoot() || !(await canUnshare([...plain, "--map-auto"])) ? plain : [...plain, "--map-auto"];
  await run("unshare", [...flags, "true"]).catch((cause: unknown) => {
    stop.throwIfAborted();
    const { code, stderr = "" } = cause as { code?: unknown; stderr?: string };
    const fault = code === "ENOENT" ? "unshare is missing" : stderr.trim().split("\n")[0] || "unshare failed";
    throw new AirferryError("ERR_TOOL", `cannot rehearse: no network namespace: ${fault}`, {
      hint:
        code === "ENOENT"
          ? "install util-linux"
          : "run it as root, or allow user namespaces: sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns",
      cause,
    });
  });
  stop.throwIfAborted();
  const [program, ...args] = ownCommand(process.argv.slice(2));
  const env = { ...process.env, ...(isRoot() ? {} : ROOTLESS), [INSIDE]: await readlink(NAMESPACE) };
  const child = spawn("unshare", [...flags, "--", program, ...args], { env, stdio: "inherit" });
  // A terminal sends its signals to both.
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  for (const it of ["SIGTERM", "SIGHUP"] as const) process.on(it, pass);
  try {
    return await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (status, signal) => resolve(status ?? 128 + (constants.signals[signal ?? "SIGKILL"] ?? 0)));
    });
  } finally {
    for (const it of ["SIGTERM", "SIGHUP"] as const) process.off(it, pass);
  }
}

async function canUnshare(flags: readonly string[]): Promise<boolean> {
  return run("unshare", [...flags, "true"]).then(
    () => true,
    () => false,
  );
}

/**
 * Brings the loopback interface up, in a namespace that reaches nothing.
 * @throws {AirferryError} ERR_TOOL when this is the machine's own network, or without `ip`
 */
export async function prepareNetwork(): Promise<void> {
  const from = process.env[INSIDE] ?? "";
  delete process.env[INSIDE];
  const [, ...routes] = (await readFile("/proc/net/route", "utf8")).trim().split("\n");
  if (routes.length > 0 || !/^net:\[\d+\]$/.test(from) || from === (await readlink(NAMESPACE)))
    throw new AirferryError(
      "ERR_TOOL",
      `cannot rehearse: ${INSIDE} is set, but this is no network namespace of its own`,
      {
        hint: `unset ${INSIDE}`,
      },
    );
  await ip("link", "set", "lo", "up");
  await addAddress(FURTHER_ADDRESS);
}

/** Gives this machine an address, of which an origin has no name. */
export async function addAddress(address: string): Promise<void> {
  await ip("addr", "add", `${address}/${address.includes(":") ? 128 : 32}`, "dev", "lo");
}

/**
 * Ends what a command left running in this network namespace, daemons too; returns how many processes that were. Those
 * that end by themselves within some seconds, such as the writer of a log at the end of a pipe, may do so.
 * @param group the process group of the server, which stays
 */
export async function endStragglers(group: number): Promise<number> {
  await untilGone(group, OWN_END_MS);
  const left = await stragglers(group);
  signalAll(left, "SIGTERM");
  await untilGone(group, left.length === 0 ? 0 : TERM_MS);
  // What starts others while it is looked for is found in a later pass.
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const pids = await stragglers(group);
    if (pids.length === 0) break;
    signalAll(pids, "SIGKILL");
    await sleep(POLL_MS);
  }
  return left.length;
}

async function untilGone(group: number, withinMs: number): Promise<void> {
  for (const end = performance.now() + withinMs; performance.now() < end; await sleep(POLL_MS))
    if ((await stragglers(group)).length === 0) return;
}

async function stragglers(group: number): Promise<number[]> {
  const own = await readlink(NAMESPACE);
  const found: number[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const network = await readlink(`/proc/${pid}/ns/net`).catch(() => undefined);
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    // After the name, which may have anything in it: state, parent, process group. See proc_pid_stat(5).
    const [state, , itsGroup] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (network === own && state !== "Z" && Number(itsGroup) !== group) found.push(Number(pid));
  }
  return found;
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended by itself.
    }
  }
}

/** How many connections of this network nothing listened to: RFC 4022, tcpAttemptFails. */
export async function refusedConnections(): Promise<number> {
  const [names = "", values = ""] = (await readFile("/proc/net/snmp", "utf8")).match(/^Tcp: .*$/gm) ?? [];
  return Number(values.split(" ")[names.split(" ").indexOf("AttemptFails")] ?? 0);
}

async function ip(...args: string[]): Promise<void> {
  await run("ip", args).catch((cause: unknown) => {
    const { code, stderr = "" } = cause as { code?: unknown; stderr?: string };
    const fault = code === "ENOENT" ? "ip is missing" : `ip ${args.join(" ")}: ${stderr.trim()}`;
    throw new AirferryError("ERR_TOOL", `cannot rehearse: ${fault}`, {
      hint: code === "ENOENT" ? "install iproute2 (iproute on EL)" : "run it as root",
      cause,
    });
  });
}
