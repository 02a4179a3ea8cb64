/**
 * `airferry doctor`: run on the build host, proves that everything the build will request from this server is available
 * and correct. Connects only to the given URL. See docs/build.md, "Doctor".
 */
import {
  checkBuilderConfig,
  checkFiles,
  checkIndex,
  checkIsos,
  checkKeys,
  checkVersions,
  checkYum,
  type ServedContext,
} from "./doctor/content-checks.ts";
import { DoctorClient } from "./doctor/doctor-client.ts";
import {
  type CheckContext,
  checkClock,
  checkHostName,
  checkPorts,
  checkReach,
  checkSpace,
} from "./doctor/host-checks.ts";
import { checkRegistry } from "./doctor/image-checks.ts";
import { checkGuestAddress, checkKickstartFile } from "./doctor/machine-checks.ts";
import { Remedy } from "./doctor/remedy.ts";
import { checkBaseUrl } from "./render/base-url.ts";

interface DoctorOptions {
  /** Base URL of the server, as the build will use it. */
  url: string;
  /** PEM of the server's CA. */
  ca?: string | undefined;
  /** Folder where the build will write; default the current one. */
  folder?: string | undefined;
  /** Where to look for docker's and podman's logins; default: the environment. */
  env?: NodeJS.ProcessEnv | undefined;
}

/** One finding, good or bad. */
interface DoctorFinding {
  check: string;
  status: "ok" | "warning" | "failed" | "skipped";
  message: string;
  /** What to do, unless it is ok. */
  remedy?: string;
}

interface DoctorReport {
  url: string;
  /** Nothing failed. */
  ok: boolean;
  findings: DoctorFinding[];
}

/**
 * In this order. Checks after `reach` are skipped when the server is unreachable, those after `index` when there is
 * none.
 */
const LOCAL: readonly [string, (context: CheckContext) => Promise<string>][] = [
  ["space", checkSpace],
  ["ports", checkPorts],
  ["name", checkHostName],
  ["reach", checkReach],
];
const SERVED: readonly [string, (context: ServedContext) => Promise<string>][] = [
  ["clock", checkClock],
  ["yum", checkYum],
  ["keys", checkKeys],
  ["iso", checkIsos],
  ["file", checkFiles],
  ["registry", checkRegistry],
  ["config", checkBuilderConfig],
  ["kickstart", checkKickstartFile],
  ["guest", checkGuestAddress],
  ["versions", checkVersions],
];

/**
 * Runs all checks, one after the other, and reports each. Never throws for what a check found.
 * @throws {AirferryError} ERR_USAGE when the URL is not one
 */
export async function doctor(
  options: DoctorOptions,
  onFinding?: (finding: DoctorFinding) => void,
): Promise<DoctorReport> {
  const url = checkBaseUrl(options.url);
  const client = new DoctorClient(url, options.ca);
  const context: CheckContext = {
    client,
    base: new URL(url),
    folder: options.folder ?? process.cwd(),
    env: options.env ?? process.env,
  };
  const findings: DoctorFinding[] = [];
  const note = (finding: DoctorFinding) => {
    findings.push(finding);
    onFinding?.(finding);
  };
  try {
    for (const [check, run] of LOCAL) note(await found(check, () => run(context)));
    if (findings.at(-1)?.status === "ok") {
      let served: ServedContext["served"] | undefined;
      const index = async () => {
        const read = await checkIndex(context);
        served = read.served;
        return read.message;
      };
      note(await found("index", index));
      if (served !== undefined) {
        const whole = { ...context, served };
        for (const [check, run] of SERVED) note(await found(check, () => run(whole)));
      }
    }
  } finally {
    client.close();
  }
  return { url, ok: findings.every((it) => it.status !== "failed"), findings };
}

async function found(check: string, run: () => Promise<string>): Promise<DoctorFinding> {
  try {
    return { check, status: "ok", message: await run() };
  } catch (error) {
    if (error instanceof Remedy) return { check, status: error.status, message: error.message, remedy: error.remedy };
    return {
      check,
      status: "failed",
      message: error instanceof Error ? error.message : String(error),
      remedy: "see the server's log; on the server run: airferry status --store DIR",
    };
  }
}
