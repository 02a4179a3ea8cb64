/**
 * One row of the rehearsal: a command in the build host's namespace, its result, and what it fetched according to the
 * server's access log.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { clientPath } from "../../test/fixtures/clients.ts";
import type { Gap, Host } from "./network.ts";

interface Fetched {
  method: string;
  path: string;
  status: number;
  bytes: number;
  range?: string;
}

export interface Row {
  name: string;
  command: string;
  result: "ok" | "failed" | "skipped";
  /** Why it failed or was skipped, or what was observed. */
  detail: string;
  seconds: number;
  fetched: Fetched[];
  bytes: number;
}

interface Ran {
  status: number;
  output: string;
}

/** The input of a step. */
export interface Stage {
  gap: Gap;
  /** Base URL of the server, as the build host sees it. */
  url: string;
  dir: string;
  store: string;
  log: string;
  /** The rendered imageconfig's values; none for image-builder. */
  config: Map<string, string>;
  /** The packed manifest's text. */
  manifest: string;
  /** Flags of `doctor` and `stage` for this URL: `--ca FILE`. */
  flags: string[];
}

/** One step. `run` returns what it observed, or throws. */
export interface Step {
  name: string;
  command: string;
  /** Programs that it calls. */
  needs: string[];
  /** Patterns of paths that it must have fetched; each at least once. */
  fetches: RegExp[];
  run(stage: Stage): Promise<string>;
}

export interface RunOptions {
  env?: Record<string, string>;
  /** Milliseconds; default 3 minutes. */
  timeoutMs?: number;
  /** Whose network it runs in; default the build host's. */
  host?: Host;
}

/** Runs a command in the build host's namespace; throws with the end of its output unless it ends with 0. */
export async function inside(stage: Stage, command: readonly string[], options: RunOptions = {}): Promise<string> {
  const ran = await runInside(stage, command, options);
  if (ran.status !== 0) {
    const lines = ran.output.split("\n").filter((it) => !/^[\s=>]*(\w+:)?\s*$/.test(it));
    throw new Error(`${command[0]} ended with ${ran.status}: ${lines.slice(-24).join(" | ").slice(-2400)}`);
  }
  return ran.output;
}

/** The same, whatever the status. Stopped after `timeoutMs` (default 3 minutes): status -1. */
export async function runInside(
  stage: Stage,
  command: readonly string[],
  options: RunOptions & { until?: RegExp } = {},
): Promise<Ran> {
  const child = stage.gap.spawn(options.host ?? "builder", command, {
    cwd: stage.dir,
    env: { ...process.env, LC_ALL: "C.UTF-8", HOME: stage.dir, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  const stop = () => {
    try {
      process.kill(-child.pid!, "SIGKILL");
    } catch {
      // It has ended.
    }
  };
  const take = (chunk: Buffer) => {
    output += chunk.toString();
    if (options.until?.test(output)) stop();
  };
  child.stdout!.on("data", take);
  child.stderr!.on("data", take);
  const timer = setTimeout(stop, options.timeoutMs ?? 180_000);
  const status = await new Promise<number>((resolve) => {
    child.on("error", () => resolve(127));
    child.on("close", (code) => resolve(code ?? -1));
  });
  clearTimeout(timer);
  return { status, output };
}

/** Runs one step and returns its row. */
export async function runStep(step: Step, stage: Stage): Promise<Row> {
  const row: Row = {
    name: step.name,
    command: step.command,
    result: "ok",
    detail: "",
    seconds: 0,
    fetched: [],
    bytes: 0,
  };
  const missing = step.needs.filter((name) => clientPath(name) === undefined);
  if (missing.length > 0) {
    const required = process.env.AIRFERRY_REQUIRE_CLIENTS === "1";
    return { ...row, result: required ? "failed" : "skipped", detail: `${missing.join(", ")} is not installed` };
  }
  const before = await logLines(stage.log);
  const started = performance.now();
  try {
    row.detail = await step.run(stage);
  } catch (error) {
    row.result = "failed";
    row.detail = (error as Error).message;
  }
  row.seconds = Math.round((performance.now() - started) / 100) / 10;
  const lines = (await logLines(stage.log)).slice(before.length);
  row.fetched = lines.map((line) => {
    const { method, path, status, bytes, range } = JSON.parse(line) as Fetched;
    return { method, path, status, bytes, ...(range && { range }) };
  });
  row.bytes = row.fetched.reduce((sum, it) => sum + it.bytes, 0);
  for (const pattern of step.fetches) {
    if (row.result === "ok" && !row.fetched.some((it) => pattern.test(it.path) && it.status < 400)) {
      row.result = "failed";
      row.detail = `nothing that matches ${pattern} was fetched; ${row.detail}`;
    }
  }
  return row;
}

/** Lines of the access log, once it has been written. */
async function logLines(file: string): Promise<string[]> {
  await sleep(150);
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .filter((it) => it !== "");
  } catch {
    return [];
  }
}
