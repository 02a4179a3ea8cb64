/**
 * Packer's own vsphere-iso builder with the original template, against a simulated vCenter: it uploads the ISO, creates
 * the machine, inserts the CDs, powers it on, and types the boot command. The rehearsal then acts as the installer: it
 * reads the typed keys, fetches the kickstart file that they name, and creates its account. packer logs in, runs the
 * staged scripts, and powers the machine off.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { VCENTER } from "./build-steps.ts";
import type { Build } from "./builds.ts";
import { GUEST_TOOLS, Guest } from "./guest.ts";
import { accountOf } from "./kickstart.ts";
import { BUILDER_ADDRESS, GUEST_ADDRESS, VCENTER_PORT } from "./network.ts";
import { asBuilder, builderFolder, OUTPUT, resolveVariables, vsphereBuilder, writeTemplate } from "./packer.ts";
import { inside, type Stage, type Step } from "./row.ts";

/** The program that scripts/lib/vcenter.sh builds from `vcenter/`. */
const VCENTER_PROGRAM = "rehearsal-vcenter";

/** The row of one build. */
export function vcenterStep(build: Build, staged: (stage: Stage) => string): Step {
  return {
    name: `${build.name}: packer builds it in a simulated vCenter`,
    command: "packer build (vsphere-iso of the template) with govmomi's simulator and an sshd as the machine",
    needs: [
      "packer",
      VCENTER_PROGRAM,
      "bsdtar",
      "curl",
      "xorriso",
      ...(build.flavor === "image-builder" ? ["ansible-playbook"] : []),
      ...GUEST_TOOLS,
    ],
    fetches: [/\/isos\/.*\.iso$/],
    run: (stage) => buildInVcenter(stage, build, staged(stage)),
  };
}

async function buildInVcenter(stage: Stage, build: Build, staged: string): Promise<string> {
  const folder = builderFolder(stage, build, staged);
  const vcenter = new Vcenter(stage);
  const guest = await Guest.start(stage.gap, stage.dir, stage.dir);
  try {
    await vcenter.started();
    // The next step is the export, for which the simulator has no disks.
    const { export: _, ...builder } = vsphereBuilder(build);
    const before = await guest.etc();
    const args = writeTemplate(
      stage,
      build,
      staged,
      { builders: [{ ...builder, ssh_timeout: "90s" }], provisioners: provisioners(build, staged, folder) },
      { ...VCENTER, ...isoOf(stage, build), boot_wait: "1s", ip_settle_timeout: "1s" },
    );
    const env = { ANSIBLE_LOCAL_TEMP: join(folder, "ansible"), ANSIBLE_HOST_KEY_CHECKING: "False" };
    const building = asBuilder(stage, build, staged, ["packer", "build", "-color=false", ...args], { env });
    const booting = install(stage, vcenter, guest, staged);
    const [output, location] = await Promise.all([building, Promise.race([booting, building.then(() => booting)])]);
    for (const step of [
      "Uploading",
      "Creating VM",
      "Mounting ISO",
      "Power on VM",
      "Connected to SSH",
      "Executing shutdown command",
    ])
      if (!new RegExp(step).test(output)) throw new Error(`packer did not get to "${step}": ${output.slice(-600)}`);
    if (!output.includes("was-provisioned")) throw new Error(`nothing was provisioned: ${output.slice(-600)}`);
    const wanted = resolveVariables(build, staged)("{{user `iso_checksum`}}") || stage.config.get("iso_checksum");
    const iso = vcenter.uploads().find((it) => sha256(it) === (stage.config.get("iso_checksum") ?? wanted));
    if (iso === undefined) throw new Error("the uploaded ISO is not the one that was packed");
    const after = await guest.etc();
    const gone = (path: string) => /^\/etc\/(passwd|shadow|group|gshadow|subuid|subgid)-?$/.test(path);
    const stayed = [...after].filter(([path, sum]) => before.get(path) !== sum && !gone(path)).map(([path]) => path);
    if (stayed.length > 0) throw new Error(`switched off with ${stayed.join(" ")} still there`);
    return `ISO uploaded, machine made, CDs in, on, inst.ks=${location} typed and fetched, logged in, staged scripts run, off; nothing of the gap in its /etc`;
  } finally {
    await guest.close();
    await vcenter.close();
  }
}

/** The CAPI builder sets these of its imageconfig itself. */
function isoOf(stage: Stage, build: Build): Record<string, string> {
  if (build.flavor === "image-builder") return {};
  return {
    iso_url: `${stage.url}/isos/${stage.config.get("iso_name")}`,
    iso_checksum: stage.config.get("iso_checksum")!,
    iso_checksum_type: "sha256",
  };
}

/** What the builder runs from the staged folder in the machine: scripts, or roles that run them. */
function provisioners(build: Build, staged: string, folder: string): Record<string, unknown>[] {
  const echo = { type: "shell", inline: ["echo was-provisioned"] };
  if (build.flavor === "spectro-capi") {
    const list = (kind: string) =>
      readdirSync(join(staged, "custom_scripts", kind))
        .sort()
        .map((it) => `${OUTPUT}/custom_scripts/${kind}/${it}`);
    return [{ type: "shell", scripts: list("pre") }, echo, { type: "shell", scripts: list("post") }];
  }
  const value = resolveVariables(build, staged);
  const roles = ["node_custom_roles_pre", "node_custom_roles_post"].flatMap((it) =>
    value(`{{user \`${it}\`}}`)
      .split(" ")
      .filter((role) => role !== ""),
  );
  const include = roles.map((role) => ({ "ansible.builtin.include_role": { name: role } }));
  writeFileSync(join(folder, "node.yml"), JSON.stringify([{ hosts: "all", become: true, tasks: include }]));
  // The SSH server of Packer 1.6.6, between ansible and the machine, has only SHA-1 signatures and no SFTP.
  const options = ["HostKeyAlgorithms", "PubkeyAcceptedAlgorithms"].map((it) => `-o ${it}=+ssh-rsa`).join(" ");
  const ansible = {
    type: "ansible",
    playbook_file: "node.yml",
    user: "{{user `ssh_username`}}",
    ansible_env_vars: [`ANSIBLE_SSH_ARGS=-o IdentitiesOnly=yes ${options}`, "ANSIBLE_SSH_TRANSFER_METHOD=piped"],
  };
  return roles.length === 0 ? [echo] : [ansible, echo];
}

/** The installer: reads the typed keys, fetches the kickstart file, creates its account. Returns the file's location. */
async function install(stage: Stage, vcenter: Vcenter, guest: Guest, staged: string): Promise<string> {
  const typed = await vcenter.typed();
  const location = /inst\.ks=(\S+)/.exec(typed)?.[1];
  if (location === undefined) throw new Error(`the boot command has no inst.ks=: ${typed}`);
  const into = join(stage.dir, "typed-ks.cfg");
  rmSync(into, { force: true });
  const disc = /^hd:LABEL=([^:]+):\/(.+)$/.exec(location);
  if (disc === null) await inside(stage, ["curl", "-sf", "-o", into, location], { host: "guest" });
  else {
    const cd = vcenter.uploads().find((it) => volumeOf(it) === disc[1]);
    if (cd === undefined) throw new Error(`no CD with the label ${disc[1]} was inserted`);
    writeFileSync(into, execFileSync("bsdtar", ["-xOf", cd, disc[2]!], { stdio: ["ignore", "pipe", "ignore"] }));
  }
  const kickstart = readFileSync(into);
  if (!kickstart.equals(readFileSync(join(staged, "ks.cfg")))) throw new Error(`${location} is not the staged file`);
  await guest.install(accountOf(kickstart.toString()));
  return location;
}

/** The simulator, with the calls it received. */
class Vcenter {
  readonly #child;
  readonly #events: { event: string; code?: number; modifiers?: string[]; path?: string }[] = [];

  constructor(stage: Stage) {
    const tmp = join(stage.dir, "vcenter");
    mkdirSync(tmp, { recursive: true });
    this.#child = stage.gap.spawn("builder", [VCENTER_PROGRAM, `${BUILDER_ADDRESS}:${VCENTER_PORT}`, GUEST_ADDRESS], {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, TMPDIR: tmp },
    });
    let rest = "";
    this.#child.stdout!.on("data", (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split("\n");
      rest = lines.pop()!;
      for (const line of lines) if (line.startsWith("{")) this.#events.push(JSON.parse(line));
    });
  }

  async started(): Promise<void> {
    await this.#wait("listening", 200);
  }

  /** What was typed, once the boot command has ended with Ctrl-X or Return. */
  async typed(): Promise<string> {
    const isEnd = (it: { code?: number; modifiers?: string[] }) =>
      it.code !== undefined && (hid(it.code) === 40 || (hid(it.code) === 27 && it.modifiers?.includes("leftCtrl")));
    for (let i = 0; !this.#events.some(isEnd); i++) {
      if (i === 1200) throw new Error("no boot command was typed within 2 minutes");
      await sleep(100);
    }
    return this.#events
      .map((it) => (it.code === undefined ? "" : character(hid(it.code), it.modifiers ?? [])))
      .join("");
  }

  /** Files in the datastore. */
  uploads(): string[] {
    const path = this.#events.find((it) => it.event === "datastore")!.path!;
    return execFileSync("find", [path, "-name", "*.iso"], { encoding: "utf8" })
      .split("\n")
      .filter((it) => it !== "");
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("close", resolve));
    if (this.#child.exitCode === null && this.#child.kill()) await ended;
  }

  async #wait(event: string, tries: number): Promise<void> {
    for (let i = 0; !this.#events.some((it) => it.event === event); i++) {
      if (i === tries || this.#child.exitCode !== null) throw new Error("the simulated vCenter does not start");
      await sleep(100);
    }
  }
}

/** Usage code of the USB keyboard page, from vSphere's `usbHidCode`. @see HID Usage Tables 1.4, 10 */
const hid = (code: number) => code >>> 16;
const PLAIN = "abcdefghijklmnopqrstuvwxyz1234567890";
const SHIFTED = "ABCDEFGHIJKLMNOPQRSTUVWXYZ!@#$%^&*()";
const PUNCTUATION: Record<number, string> = {
  44: "  ",
  45: "-_",
  46: "=+",
  47: "[{",
  48: "]}",
  49: "\\|",
  51: ";:",
  52: "'\"",
  53: "`~",
  54: ",<",
  55: ".>",
  56: "/?",
};

function character(usage: number, modifiers: readonly string[]): string {
  const shifted = modifiers.some((it) => it === "leftShift" || it === "rightShift");
  if (modifiers.some((it) => /Ctrl|Alt/.test(it))) return " ";
  if (usage >= 4 && usage < 40) return (shifted ? SHIFTED : PLAIN)[usage - 4]!;
  return PUNCTUATION[usage]?.[shifted ? 1 : 0] ?? "";
}

function sha256(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

function volumeOf(iso: string): string | undefined {
  const label = readFileSync(iso).subarray(32808, 32840).toString("latin1").trim();
  return label === "" ? undefined : label;
}
