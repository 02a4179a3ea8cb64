/** Shared options of lock, plan and pack: how to reach upstream. */
import { type Command, Option } from "commander";
import { AirferryError } from "../errors.ts";
import { formatBytes } from "../io/format.ts";
import { shellWord } from "../io/shell.ts";
import type { WorkspaceOptions } from "../pack/workspace.ts";
import { positive, rewrite } from "./command.ts";
import type { Output } from "./output.ts";

/** Fewer bytes of local files are hashed before anybody wonders. */
const SHOWN_BYTES = 64 * 1024 * 1024;

export interface UpstreamFlags {
  rewrite?: { from: string; to: string }[];
  concurrency?: number;
  segments?: number;
  cache?: string;
}

export function withUpstream(command: Command): Command {
  return command
    .option(
      "--rewrite <from=to>",
      "fetch from another URL prefix or registry host; the original is recorded (repeatable)",
      rewrite,
    )
    .option("--concurrency <n>", "concurrent requests to one host", positive)
    .option("--segments <n>", "ranged requests for one large file, if the server supports it", positive)
    .addOption(new Option("--cache <dir>", "where downloads for locking are stored").env("AIRFERRY_CACHE"));
}

/** The options that the next command needs as well: a blank before each, for a shell. */
export function upstreamWords({ rewrite, cache }: UpstreamFlags): string {
  const rewrites = (rewrite ?? []).map(({ from, to }) => ` --rewrite ${shellWord(`${from}=${to}`)}`);
  const isGiven = cache !== undefined && cache !== process.env["AIRFERRY_CACHE"];
  return `${rewrites.join("")}${isGiven ? ` --cache ${shellWord(cache)}` : ""}`;
}

/** Refuses a manifest on standard input where something is written beside it. @throws {AirferryError} ERR_USAGE */
export function refuseStdin(manifest: string, verb: string, beside: string): void {
  if (manifest !== "-") return;
  throw new AirferryError(
    "ERR_USAGE",
    `cannot ${verb} standard input: ${beside} beside the manifest: expected a file`,
    {
      hint: `save it first: cat > site.yaml, then airferry ${verb} site.yaml; airferry check - and plan - read standard input`,
    },
  );
}

/** Options of the workspace of `manifest`; retries and failovers are reported as they happen. */
export function workspaceOptions(manifest: string, flags: UpstreamFlags, output: Output): WorkspaceOptions {
  output.manifest = manifest;
  return {
    ...(flags.rewrite && { rewrites: flags.rewrite }),
    ...(flags.concurrency !== undefined && { concurrency: flags.concurrency }),
    ...(flags.segments !== undefined && { segments: flags.segments }),
    ...(flags.cache !== undefined && { cacheDir: flags.cache }),
    report: (line) => output.note(line),
    onHashed: hashingProgress(output),
    onEvent: (event) => {
      if (event.type === "retry")
        output.note(
          `trying again in ${((event.delayMs ?? 0) / 1000).toFixed(1)} s: ${event.url}: ${event.reason ?? ""}`,
        );
      else if (event.type === "failover") output.note(`trying the next mirror: ${event.url}: ${event.reason ?? ""}`);
      else if (event.type === "resume") output.note(`continuing at ${formatBytes(event.bytes ?? 0)}: ${event.url}`);
    },
  };
}

/** The changes of a lock, as text. */
export function noteChanges(
  output: Output,
  changes: readonly { change: string; kind: string; name: string; path?: string; before?: string; after?: string }[],
): void {
  for (const { change, kind, name, path, before, after } of changes) {
    const what = path ?? name;
    if (change === "changed") output.note(`changed ${kind} ${what}: ${before} → ${after}`);
    else output.note(`${change} ${kind} ${what}`);
  }
}

/** Shows how far the hashing of local files is. */
function hashingProgress(output: Output): NonNullable<WorkspaceOptions["onHashed"]> {
  const show = output.progress("hashing", true);
  return (state) => {
    if (state.total < SHOWN_BYTES) return;
    show(state);
    if (state.done === state.total) output.progressDone();
  };
}
