/**
 * What a service manager hands to a server, and wants to hear: sockets that are already listening, sd_listen_fds(3),
 * and when the service is ready, sd_notify(3).
 */
import { execFile } from "node:child_process";
import { AirferryError } from "../../errors.ts";

/** The first descriptor that is handed over: SD_LISTEN_FDS_START. */
const FIRST_FD = 3;
const NOTIFY_TIMEOUT_MS = 5000;

/** See {@link inheritedSockets} and {@link readyNotice}. */
export interface ServiceManager {
  sockets: readonly number[];
  notifyReady: ((status: string) => Promise<void>) | undefined;
}

/**
 * The descriptors of sockets that this process was started with, in the order of the socket unit; none when they are
 * meant for another process. The variables are removed: the processes that this one starts are not meant either.
 */
export function inheritedSockets(env: NodeJS.ProcessEnv, pid: number): number[] {
  const { LISTEN_PID: owner, LISTEN_FDS: count } = env;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  if (owner !== String(pid) || count === undefined || !/^\d{1,3}$/.test(count)) return [];
  return Array.from({ length: Number(count) }, (_, at) => FIRST_FD + at);
}

/**
 * Returns what tells the service manager that the service is ready, with a line for `systemctl status`; undefined when
 * no manager waits for it. The variable is removed. systemd-notify(1) sends it, since Node has no datagram sockets of
 * this family; the unit needs NotifyAccess=all.
 */
export function readyNotice(env: NodeJS.ProcessEnv): ((status: string) => Promise<void>) | undefined {
  const { NOTIFY_SOCKET: socket } = env;
  delete env["NOTIFY_SOCKET"];
  return socket === undefined || socket === "" ? undefined : (status) => notify(socket, status);
}

/** @throws {AirferryError} ERR_TOOL when the program is missing or fails: the manager would wait in vain */
function notify(socket: string, status: string): Promise<void> {
  const options = { env: { ...process.env, NOTIFY_SOCKET: socket }, timeout: NOTIFY_TIMEOUT_MS };
  return new Promise((resolve, reject) => {
    execFile("systemd-notify", ["--ready", `--status=${status}`], options, (error, _out, stderr) => {
      if (error === null) return resolve();
      const cause = (error as NodeJS.ErrnoException).code === "ENOENT" ? "it is not installed" : stderr.trim();
      reject(
        new AirferryError("ERR_TOOL", `cannot report to the service manager with systemd-notify: ${cause}`, {
          hint: "install systemd's programs, or set Type=exec in the unit",
          cause: error,
        }),
      );
    });
  });
}
