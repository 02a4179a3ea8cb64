/**
 * Drops root privileges: looks up an account, gives it the folders that it will write, and switches to it permanently.
 * airferry does not need root; only root can do what is in this file. See setuid(2), initgroups(3), capabilities(7).
 */
import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { isSea } from "node:sea";
import { promisify } from "node:util";
import { AirferryError } from "../errors.ts";
import { makeFolder } from "./atomic.ts";

const run = promisify(execFile);

/** The account to switch to. */
interface Account {
  uid: number;
  gid: number;
  /** Absent for a number without an account. */
  name?: string;
  /** Its home; `/` if it has none. */
  home: string;
}

declare global {
  namespace NodeJS {
    interface Process {
      /** Missing in the types of Node 24; absent where there are no such groups. */
      initgroups?: (user: string, extraGroup: number) => void;
    }
  }
}

/** Returns whether this process may switch to any account. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * Looks up `NAME`, `UID`, `NAME:GROUP` or `UID:GID`. The default group is the account's own.
 * @throws {AirferryError} ERR_USAGE when there is no such account, or it is root
 */
export async function findAccount(text: string): Promise<Account> {
  const [user = "", group, ...rest] = text.split(":");
  if (user === "" || group === "" || rest.length > 0) throw unusable(text, "expected NAME, UID, NAME:GROUP or UID:GID");
  const entry = await look("passwd", user);
  if (entry === undefined && !/^\d{1,10}$/.test(user)) throw unusable(text, `there is no user "${user}"`);
  const [name, , uid = user, ownGid, , home] = entry ?? [];
  const gid = group === undefined ? ownGid : await findGroup(group, text);
  if (gid === undefined) throw unusable(text, `no account has this number, so its group is unknown: give ${user}:GID`);
  if (Number(uid) === 0 || Number(gid) === 0) throw unusable(text, "that is root");
  return { uid: Number(uid), gid: Number(gid), home: home || "/", ...(name !== undefined && { name }) };
}

async function findGroup(group: string, text: string): Promise<string> {
  if (/^\d{1,10}$/.test(group)) return group;
  const [, , gid] = (await look("group", group)) ?? [];
  if (gid === undefined) throw unusable(text, `there is no group "${group}"`);
  return gid;
}

/** The fields of one database line, by name or number. Uses getent, which supports directory services too. */
async function look(database: "passwd" | "group", key: string): Promise<string[] | undefined> {
  try {
    return (await run("getent", ["--", database, key])).stdout.split("\n", 1)[0]?.split(":");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") return undefined;
  }
  const lines = (await readFile(`/etc/${database}`, "utf8")).split("\n").map((line) => line.split(":"));
  return lines.find(([name, , number]) => name === key || number === key);
}

function unusable(text: string, fault: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot run as "${text}": ${fault}`, {
    hint: "create an account for it: useradd --system --no-create-home --shell /usr/sbin/nologin airferry; then give --user airferry",
  });
}

/** Creates a folder for an account unless it exists. @throws {AirferryError} ERR_IO */
export async function giveFolder(dir: string, account: Account, mode = 0o755): Promise<void> {
  if (await exists(dir)) return;
  await makeFolder(dir, mode);
  await giveAway(dir, account, constants.O_DIRECTORY);
}

/** Creates an empty file for an account unless it exists. Its folder must exist. */
export async function giveFile(file: string, account: Account): Promise<void> {
  if ((await exists(file)) || !(await exists(dirname(file)))) return;
  await giveAway(file, account, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY);
}

async function giveAway(path: string, { uid, gid }: Account, flags: number): Promise<void> {
  await using handle = await open(path, flags | constants.O_NOFOLLOW, 0o640);
  await handle.chown(uid, gid);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/**
 * Switches to an account: groups, group, user, and HOME. Does nothing when this process already runs as it.
 * @throws {AirferryError} ERR_USAGE when this is not root
 */
export function becomeAccount(account: Account): void {
  if (isAccount(account)) return;
  if (!isRoot()) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot run as ${account.name ?? account.uid}: only root can switch to another user`,
      {
        hint: "remove --user: root is not needed",
      },
    );
  }
  const { setgroups, initgroups, setgid, setuid } = process;
  if (!setgroups || !initgroups || !setgid || !setuid) throw unusable(String(account.uid), "this system has no users");
  if (account.name === undefined) setgroups([account.gid]);
  else initgroups(account.name, account.gid);
  setgid(account.gid);
  setuid(account.uid);
  Object.assign(process.env, environmentOf(account));
  for (const name of Object.keys(process.env)) if (name.startsWith("XDG_")) delete process.env[name];
}

/** Returns whether this process already runs as the account: as a worker of one that switched, or started by it. */
export function isAccount({ uid }: Account): boolean {
  return process.getuid?.() === uid;
}

/**
 * Re-executes this program as the account, with only the capability to listen on ports below 1024, under the same
 * process id. Returns only when that is impossible. Its child processes have that capability too.
 * @throws {AirferryError} ERR_TOOL when there is no setpriv (util-linux)
 */
export async function restartForLowPorts(account: Account): Promise<never> {
  const { stdout } = await run("sh", ["-c", "command -v setpriv"]).catch(() => ({ stdout: "" }));
  const setpriv = stdout.trim();
  if (!setpriv.startsWith("/")) {
    throw new AirferryError("ERR_TOOL", "cannot listen below port 1024 as another user: setpriv is missing", {
      hint: "install util-linux, or listen on a port from 1024 up, or use systemd's AmbientCapabilities=CAP_NET_BIND_SERVICE",
    });
  }
  const capability = "-all,+net_bind_service";
  const groups = account.name === undefined ? "--clear-groups" : "--init-groups";
  const become = ["--reuid", String(account.uid), "--regid", String(account.gid), groups, "--no-new-privs"];
  const rights = ["--inh-caps", capability, "--ambient-caps", capability, "--bounding-set", capability];
  const again = isSea() ? process.argv.slice(2) : [...process.execArgv, ...process.argv.slice(1)];
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries({ ...process.env, ...environmentOf(account) })) {
    if (value !== undefined && !name.startsWith("XDG_")) env[name] = value;
  }
  if (process.execve === undefined) throw unusable(String(account.uid), "this system has no users");
  return process.execve(setpriv, ["setpriv", ...become, ...rights, "--", process.execPath, ...again], env);
}

function environmentOf({ name, uid, home }: Account): Record<string, string> {
  const user = name ?? String(uid);
  return { HOME: home, USER: user, LOGNAME: user };
}
