/**
 * The guest: the new virtual machine, as a network and mount namespace with an unprepared /etc. It runs the steps of
 * the installation (the account of the kickstart file), the staged scripts, and the steps of the builder's roles.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { clientPath } from "../../test/fixtures/clients.ts";
import type { Account } from "./kickstart.ts";
import { BUILDER_ADDRESS, type Gap, GUEST_ADDRESS, VCENTER_PORT } from "./network.ts";

const INIT = join(import.meta.dirname, "guest-init.sh");

/** Programs that the guest calls. */
export const GUEST_TOOLS = ["unshare", "nsenter", "useradd", "chpasswd", "sshd", "sudo"];

/** A running guest. {@link Guest.close} ends it, with everything that was started in it. */
export class Guest {
  readonly #init: ChildProcess;

  private constructor(init: ChildProcess) {
    this.#init = init;
  }

  /** Starts one in the guest's network namespace. It cannot see `hidden`. Only one at a time can listen at its address. */
  static async start(gap: Gap, dir: string, hidden: string): Promise<Guest> {
    const work = mkdtempSync(join(dir, "guest-"));
    // Its own process-id namespace: everything started in it ends with it.
    const command = [
      "unshare",
      "--mount",
      "--propagation",
      "private",
      "--pid",
      "--fork",
      "--kill-child",
      "--mount-proc",
    ];
    const init = gap.spawn("guest", [...command, INIT, work, hidden, `${BUILDER_ADDRESS}/${VCENTER_PORT + 1}`], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    let said = "";
    init.stderr!.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    await new Promise<void>((resolve, reject) => {
      init.stdout!.once("data", () => resolve());
      init.once("close", (code) => reject(new Error(`the guest does not start (${code}): ${said.trim()}`)));
    });
    return new Guest(init);
  }

  #command(command: readonly string[]): string[] {
    // unshare's child is the first process of the guest.
    const pid = readFileSync(`/proc/${this.#init.pid}/task/${this.#init.pid}/children`, "utf8").trim().split(" ")[0]!;
    return ["-t", pid, "--mount", "--net", "--pid", "--", ...command];
  }

  /** Starts a program; it ends with the guest at the latest. */
  spawn(command: readonly string[]): ChildProcess {
    return spawn("nsenter", this.#command(command), { cwd: "/", env: guestEnv(), stdio: ["pipe", "pipe", "pipe"] });
  }

  /** Runs a program as root and returns its output; throws with the end of its output unless the status is 0. */
  async run(command: readonly string[], input = ""): Promise<string> {
    const child = this.spawn(command);
    let output = "";
    const take = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout!.on("data", take);
    child.stderr!.on("data", take);
    child.stdin!.on("error", () => {});
    child.stdin!.end(input);
    const status = await new Promise((resolve) => child.on("close", resolve));
    if (status === 0) return output;
    throw new Error(`in the guest, ${command[0]} ended with ${status}: ${output.trim().slice(-600)}`);
  }

  /** Writes a file of the guest. */
  async write(path: string, text: string, mode = "644"): Promise<void> {
    await this.run(["sh", "-c", `mkdir -p "$(dirname "$1")" && cat >"$1" && chmod ${mode} "$1"`, "-", path], text);
  }

  /** Runs scripts in the order of their names, as builders do: copied to the machine alone, as root. */
  async runScripts(scripts: readonly { name: string; text: string }[]): Promise<void> {
    for (const { name, text } of [...scripts].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      await this.write(`/tmp/script_${name}`, text, "755");
      await this.run([`/tmp/script_${name}`]);
      await this.run(["rm", `/tmp/script_${name}`]);
    }
  }

  /** Creates the account of a kickstart file as the installer does, and allows it to log in over SSH. */
  async install(account: Account): Promise<void> {
    await this.run(["sh", "-c", `getent group wheel >/dev/null || groupadd wheel`]);
    const home = `/run/home-${account.name}`;
    await this.run(["useradd", "-m", "-d", home, "-s", "/bin/bash", "-G", "wheel", account.name]);
    const hash = account.isHash
      ? account.password
      : (await this.run(["openssl", "passwd", "-6", "-stdin"], `${account.password}\n`)).trim();
    await this.run(["chpasswd", "-e"], `${account.name}:${hash}\n`);
    for (const { file, line } of account.sudoers) await this.write(file, `${line}\n`, "440");
    await this.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "/run/sshd/key"]);
    const config = [
      `ListenAddress ${GUEST_ADDRESS}`,
      "HostKey /run/sshd/key",
      "PidFile /run/sshd/pid",
      "UsePAM no",
      "PasswordAuthentication yes",
      "PermitRootLogin no",
      "Subsystem sftp internal-sftp",
    ];
    await this.write("/run/sshd/config", `${config.join("\n")}\n`);
    this.spawn([clientPath("sshd") ?? "/usr/sbin/sshd", "-D", "-e", "-f", "/run/sshd/config"]);
    for (let i = 0; i < 100; i++) {
      const up = await this.run(["sh", "-c", "[ -e /run/sshd/pid ] && echo up || :"]);
      if (up.includes("up")) return;
      await sleep(50);
    }
    throw new Error("the guest's sshd does not start");
  }

  /** Digest of every file and target of every link below /etc: equal before and after if nothing was left. */
  async etc(): Promise<Map<string, string>> {
    const script =
      "find /etc -type f -exec sha256sum {} +; find /etc -type l -printf '%l  %p\\n'; find /etc -type d -printf '-  %p\\n'";
    const lines = (await this.run(["sh", "-c", script])).trim().split("\n");
    return new Map(lines.map((it) => [it.slice(it.indexOf("  ") + 2), it.slice(0, it.indexOf("  "))]));
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#init.once("close", resolve));
    if (this.#init.exitCode !== null) return;
    this.#init.stdin!.end();
    await Promise.race([ended, sleep(3000)]);
    if (this.#init.exitCode === null) this.#init.kill("SIGKILL");
  }
}

function guestEnv(): NodeJS.ProcessEnv {
  const clients = join(import.meta.dirname, "../../.cache/clients/bin");
  return {
    PATH: `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${clients}`,
    HOME: "/root",
    LC_ALL: "C.UTF-8",
  };
}
