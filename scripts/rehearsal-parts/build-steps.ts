/** Rows about one build of any system and flavor: its builder and its machine can use the staged files. */
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isGenuine } from "./builder-files.ts";
import type { Build } from "./builds.ts";
import { GUEST_TOOLS, Guest } from "./guest.ts";
import { accountOf, sourcesOf } from "./kickstart.ts";
import { BUILDER_ADDRESS, GUEST_ADDRESS, VCENTER_PORT } from "./network.ts";
import { AIRFERRY } from "./pack-ready.ts";
import {
  asBuilder,
  BUILDER_UID,
  builderFolder,
  filesOf,
  kickstartLocation,
  resolveVariables,
  sortVariables,
  stagedVariables,
  vsphereBuilder,
  writeTemplate,
} from "./packer.ts";
import { inside, runInside, type Stage, type Step } from "./row.ts";

/** A password that the operator sets in the environment; the CAPI builder's own is in its kickstart file. */
const SSH_PASSWORD = "Rehearsal-9.x";
/** A local user with no part in the build. */
const STRANGER_UID = "4321";
/** A user who stages without being root. */
const OPERATOR_UID = "2345";
const HTTP_PORT = "8123";

/** Where a build's folder is staged. */
export function stagedFolder(stage: Stage, build: Build): string {
  return join(stage.dir, "output", build.stream);
}

/** Rows that stage a build's folder and check it. `staged` is its path: what `stage` wrote, or a damaged copy. */
export function buildSteps(build: Build, staged: (stage: Stage) => string): Step[] {
  const kickstart = (stage: Stage) => readFileSync(join(staged(stage), "ks.cfg"), "utf8");
  const genuine = isGenuine(build.tag)
    ? `image-builder ${build.tag}`
    : `files with the traits of image-builder ${build.tag}`;
  const steps: Step[] = [
    {
      name: `${build.name}: the kickstart file is valid`,
      command: `ksvalidator -v RHEL${build.system.major} ks.cfg; curl each of its install sources`,
      needs: ["ksvalidator", "curl"],
      fetches: [/\/\.treeinfo$/],
      async run(stage) {
        const file = join(staged(stage), "ks.cfg");
        const { status, output } = await runInside(stage, ["ksvalidator", "-v", `RHEL${build.system.major}`, file]);
        // Its status counts warnings of deprecated commands, which image-builder's own file for RHEL 8 has.
        const lines = output.split("\n").filter((it) => it !== "" && !/^Checking kickstart file/.test(it));
        const errors = lines.filter((it) => !/deprecated/i.test(it));
        if (errors.length > 0) throw new Error(errors.join(" | "));
        const sources = sourcesOf(kickstart(stage));
        if (sources.length === 0) throw new Error("it installs from nowhere");
        for (const url of sources) {
          if (!url.startsWith(stage.url)) throw new Error(`it fetches ${url}, which is not this server`);
          await inside(stage, ["curl", "-sfk", "-o", "/dev/null", url], { host: "guest" });
        }
        return `of ${genuine}; ${status} deprecation warnings; ${sources.length} sources answer`;
      },
    },
    {
      name: `${build.name}: the boot command finds it`,
      command: "boot_command of the template, decoded; its inst.ks= fetched by the guest, or read from the CD",
      needs: ["curl", "python3", "xorriso", "bsdtar"],
      fetches: [],
      async run(stage) {
        const [location, bytes] = await fetchKickstart(stage, build, staged(stage));
        if (!bytes.equals(readFileSync(join(staged(stage), "ks.cfg"))))
          throw new Error(`${location} is not the staged kickstart file: ${bytes.toString().slice(0, 120)}`);
        return `inst.ks=${location}: the staged ks.cfg`;
      },
    },
    {
      name: `${build.name}: packer logs in with the kickstart's account`,
      command: "sshd with the account of ks.cfg; packer build (null builder, ssh_username, ssh_password of the build)",
      needs: ["packer", ...GUEST_TOOLS],
      fetches: [],
      async run(stage) {
        const account = accountOf(kickstart(stage));
        const guest = await Guest.start(stage.gap, stage.dir, stage.dir);
        try {
          await guest.install(account);
          const value = resolveVariables(build, staged(stage));
          const builder = {
            type: "null",
            ssh_host: GUEST_ADDRESS,
            ssh_username: "{{user `ssh_username`}}",
            // set-ssh-password.sh of image-builder's checkout replaces this with SSH_PASSWORD of the environment.
            ssh_password: value("{{user `ssh_password`}}").replace("$SSH_PASSWORD", "not-told-to-packer"),
            ssh_timeout: "20s",
            ssh_handshake_attempts: 2,
          };
          const provisioner = { type: "shell", inline: ["sudo -n id -un; echo as $(id -un)"] };
          const template = { builders: [builder], provisioners: [provisioner] };
          const args = writeTemplate(stage, build, staged(stage), template);
          const output = await asBuilder(stage, build, staged(stage), ["packer", "build", "-color=false", ...args]);
          if (!output.includes(`as ${account.name}`) || !/: root$/m.test(output)) throw new Error(output.slice(-400));
          return `as ${account.name}, and sudo asks for no password`;
        } finally {
          await guest.close();
        }
      },
    },
  ];
  if (build.flavor === "image-builder") {
    steps.push({
      name: `${build.name}: the templates accept the variables`,
      command: "packer validate (template and variable files of image-builder, packer-vars.json)",
      needs: ["packer"],
      fetches: [],
      async run(stage) {
        const variables = stagedVariables(build, staged(stage));
        const { read, earlier, never } = sortVariables(build, Object.keys(variables));
        if (never.length > 0) throw new Error(`nothing in ${genuine} reads ${never.join(", ")}`);
        const odd = Object.entries(variables).filter(([, value]) => typeof value !== "string");
        if (odd.length > 0) throw new Error(`not strings: ${odd.map(([name]) => name).join(", ")}`);
        const args = writeTemplate(stage, build, staged(stage), { builders: [vsphereBuilder(build)] }, VCENTER);
        await asBuilder(stage, build, staged(stage), ["packer", "validate", ...args]);
        const rest = earlier.length === 0 ? "" : `; read by earlier versions alone: ${earlier.join(", ")}`;
        return `${read.length} variables read by ${genuine}${rest}`;
      },
    });
  }
  return steps;
}

/** Variables that the operator sets besides the staged ones. */
export const VCENTER = {
  vcenter_server: `${BUILDER_ADDRESS}:${VCENTER_PORT}`,
  insecure_connection: "true",
  username: "user",
  password: "pass",
  datacenter: "DC0",
  cluster: "DC0_C0",
  datastore: "LocalDS_0",
  network: "VM Network",
};

/**
 * The row that stages a build's folder as root with the strictest umask, and then tries what each local user can do
 * with it.
 */
export function stagingStep(build: Build): Step {
  return {
    name: `${build.name}: stage`,
    command: `umask 077; airferry stage output --store STORE --url URL; then as uid ${BUILDER_UID} and as a stranger`,
    needs: ["setpriv"],
    fetches: [],
    async run(stage) {
      const output = stagedFolder(stage, build);
      rmSync(output, { recursive: true, force: true });
      mkdirSync(join(stage.dir, "output"), { recursive: true });
      chmodSync(join(stage.dir, "output"), 0o755);
      const env = {
        AIRFERRY_VCENTER_USER: "user",
        AIRFERRY_VCENTER_PASSWORD: "pass",
        ...(build.flavor === "image-builder" ? { AIRFERRY_SSH_PASSWORD: SSH_PASSWORD } : {}),
      };
      const command = [AIRFERRY, "stage", output, "--store", stage.store, "--url", stage.url, ...stage.flags];
      await inside(stage, ["sh", "-c", 'umask 077; exec "$@"', "-", ...command], { env });
      // Files with values of the environment; the password in a complete kickstart file is public.
      const isTemplate = /\/ks\.cfg\.tmpl$/m.test(build.manifest);
      const secrets =
        build.flavor === "spectro-capi" ? ["imageconfig"] : isTemplate ? ["packer-vars.json", "ks.cfg"] : [];
      const asUser = (uid: string, script: string) =>
        runInside(stage, [
          "setpriv",
          `--reuid=${uid}`,
          `--regid=${uid}`,
          "--clear-groups",
          "sh",
          "-c",
          script,
          "-",
          output,
        ]);
      const unreadable = await asUser(
        BUILDER_UID,
        'cd "$1" && find . -type f ! -readable; find . -type d ! -executable',
      );
      if (unreadable.status !== 0 || unreadable.output.trim() !== "")
        throw new Error(`uid ${BUILDER_UID} cannot read: ${unreadable.output.trim()}`);
      const result = await asUser(
        BUILDER_UID,
        'mkdir "$1/rehearsed" && echo ova >"$1/rehearsed/x" && rm -r "$1/rehearsed"',
      );
      if (result.status !== 0) throw new Error(`uid ${BUILDER_UID} cannot write its result: ${result.output.trim()}`);
      for (const secret of secrets) {
        const theft = await asUser(STRANGER_UID, `cat "$1/${secret}"`);
        if (theft.status === 0) throw new Error(`uid ${STRANGER_UID} reads ${secret}`);
      }
      const swap = await asUser(STRANGER_UID, 'mv "$1/ks.cfg" "$1/ks.old" || rm -f "$1/ks.cfg" || echo x >"$1/new"');
      if (swap.status === 0) throw new Error(`uid ${STRANGER_UID} changes the folder`);
      const files = execFileSync("find", [output, "-type", "f"], { encoding: "utf8" }).trim().split("\n");
      return `${files.length} files; uid ${BUILDER_UID} reads them and writes its result; a stranger cannot read ${secrets.join(", ") || "secrets (there are none)"} nor change anything`;
    },
  };
}

/** The row that stages as an ordinary user, who is not the builder's: without secrets that works, with them it is refused. */
export function ordinaryStagingStep(build: Build): Step {
  return {
    name: `${build.name}: stage as an ordinary user`,
    command: `as uid ${OPERATOR_UID}: airferry stage output --store STORE --url URL; then as uid ${BUILDER_UID}`,
    needs: ["setpriv"],
    fetches: [],
    async run(stage) {
      const home = join(stage.dir, "operator");
      mkdirSync(home, { recursive: true });
      chownSync(home, Number(OPERATOR_UID), Number(OPERATOR_UID));
      const output = join(home, "output");
      // A test runner may have its loader in the environment, and another user cannot write the loader's files.
      const as = (uid: string) => [
        "env",
        "-u",
        "NODE_OPTIONS",
        "setpriv",
        `--reuid=${uid}`,
        `--regid=${uid}`,
        "--clear-groups",
      ];
      const command = [...as(OPERATOR_UID), AIRFERRY, "stage", output, "--store", stage.store, "--url", stage.url];
      const refused = await runInside(stage, command, { env: { HOME: home, AIRFERRY_VCENTER_PASSWORD: "pass" } });
      if (build.flavor === "spectro-capi") {
        if (refused.status !== 2 || !refused.output.includes(`--builder-uid ${OPERATOR_UID}`))
          throw new Error(`status ${refused.status}: ${refused.output.slice(-600)}`);
        return "a password that only everybody could read is refused, with the way out";
      }
      if (refused.status !== 0) throw new Error(`status ${refused.status}: ${refused.output.slice(-600)}`);
      const script = 'cd "$1" && find . -type f ! -readable && mkdir rehearsed && ! rm -f ks.cfg 2>/dev/null';
      const used = await runInside(stage, [...as(BUILDER_UID), "sh", "-c", script, "-", output]);
      if (used.status !== 0 || used.output.trim() !== "") throw new Error(`uid ${BUILDER_UID}: ${used.output}`);
      return `uid ${BUILDER_UID} reads all of it, writes its result, and replaces nothing`;
    },
  };
}

/** Fetches what the boot command names, as the machine does. */
async function fetchKickstart(stage: Stage, build: Build, staged: string): Promise<[string, Buffer]> {
  const location = kickstartLocation(build, staged);
  const value = resolveVariables(build, staged);
  const folder = builderFolder(stage, build, staged);
  const into = join(stage.dir, "fetched-ks.cfg");
  rmSync(into, { force: true });
  const disc = /^hd:LABEL=([^:]+):\/(.+)$/.exec(location);
  if (disc !== null) {
    const label = value("{{user `cd_label`}}");
    if (label !== disc[1]) throw new Error(`inst.ks=${location}, and packer's CD is called "${label}"`);
    const files = filesOf(value("{{user `cd_content_location`}}"), folder, staged);
    const tree = join(stage.dir, "cd");
    rmSync(tree, { recursive: true, force: true });
    mkdirSync(tree);
    for (const it of files) copyFileSync(it, join(tree, it.slice(it.lastIndexOf("/") + 1)));
    const image = join(stage.dir, "cd.iso");
    execFileSync("xorriso", ["-as", "genisoimage", "-quiet", "-r", "-J", "-volid", label, "-o", image, tree], {
      stdio: "ignore",
    });
    writeFileSync(into, execFileSync("bsdtar", ["-xOf", image, disc[2]!], { stdio: ["ignore", "pipe", "ignore"] }));
    return [location, readFileSync(into)];
  }
  const url = location
    .replace(/\{\{\s*\.HTTPIP\s*\}\}/, BUILDER_ADDRESS)
    .replace(/\{\{\s*\.HTTPPort\s*\}\}/, HTTP_PORT);
  if (!url.startsWith("http://")) throw new Error(`inst.ks=${location}`);
  const [root] = filesOf(value("{{user `http_directory`}}"), folder, staged);
  if (root === undefined) throw new Error(`http_directory ${value("{{user `http_directory`}}")} is missing`);
  const serve = ["python3", "-m", "http.server", "--bind", BUILDER_ADDRESS, "--directory", root, HTTP_PORT];
  const server = stage.gap.spawn("builder", serve, { stdio: "ignore" });
  try {
    const retry = ["--retry", "20", "--retry-connrefused", "--retry-delay", "0", "--retry-max-time", "10"];
    await inside(stage, ["curl", "-sf", ...retry, "-o", into, url], { host: "guest" });
  } finally {
    server.kill();
  }
  return [location, readFileSync(into)];
}
