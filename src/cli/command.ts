/** Shared parts of all command files. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { AirferryError } from "../errors.ts";
import { isUtcTime } from "../io/utc-time.ts";
import type { GlobalOptions, Output } from "./output.ts";

/** Runs the body of a command with its output; a returned number is the exit status. */
type Run = (options: GlobalOptions, body: (output: Output) => Promise<number | void>) => Promise<void>;

/** Adds one command to the program. */
export type Register = (program: Command, run: Run) => void;

/** Options that every command has. */
export function withGlobals(command: Command): Command {
  return command
    .option("--json", "print one JSON document on stdout")
    .option("-q, --quiet", "no progress and no messages, only results and errors")
    .addOption(
      new Option("--progress <mode>", "how progress is shown on stderr")
        .choices(["auto", "plain", "json", "none"])
        .default("auto"),
    );
}

/** Collects a repeatable option. */
export function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

/** Parses a positive whole number. */
export function positive(value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 1) throw new InvalidArgumentError("must be a whole number from 1 up.");
  return number;
}

/** Parses a whole number. */
export function count(value: string): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number))
    throw new InvalidArgumentError("must be a whole number from 0 up.");
  return number;
}

/** Parses `FROM=TO`, split at the first `=` that a URL can have before its query. */
export function rewrite(value: string, previous: { from: string; to: string }[] = []): { from: string; to: string }[] {
  const at = value.indexOf("=");
  if (at < 1 || at === value.length - 1) throw new InvalidArgumentError("must be FROM=TO.");
  const to = value.slice(at + 1);
  if (/^[a-z][a-z0-9+.-]*:\/\/(?:|:[^/?#]*|[^/?#]*:)@/i.test(to))
    throw new InvalidArgumentError("has an empty user or password.");
  return [...previous, { from: value.slice(0, at), to }];
}

/** `--store`, or AIRFERRY_STORE. */
export function storeOption(description = "the store inside the gap"): Option {
  return new Option("--store <dir>", description).env("AIRFERRY_STORE").makeOptionMandatory();
}

/** Description of `--store` where it may be object storage. */
export const ANY_STORE = "the store inside the gap: a folder, or s3://BUCKET/PREFIX";

/** `--cache`, for commands that read content of a store in a bucket. */
export function cacheOption(): Option {
  const description = "of a store in a bucket: folder that keeps what was read (default: in ~/.cache/airferry)";
  return new Option("--cache <dir>", description);
}

/** `--cache-size`, beside it. */
export function cacheSizeOption(): Option {
  return new Option("--cache-size <bytes>", "how much the cache may hold, 64MiB or more (default: 10GiB)");
}

/** `--user`, for commands that may run as root. */
export function userOption(): Option {
  return new Option("--user <user>", "as root: first switch permanently to NAME, UID, NAME:GROUP or UID:GID");
}

/** The note when root names no other user. */
export const ROOT_NOTE = "running as root, which is not needed: give --user NAME to limit what a fault can reach";

/** `--key`, or AIRFERRY_KEY, for commands that make one signature. A second key would be dropped silently. */
export function keyOption(description: string): Option {
  return new Option("--key <file>", description).env("AIRFERRY_KEY").argParser((value: string, previous?: string) => {
    if (previous === undefined) return value;
    throw new InvalidArgumentError(
      "It is the second --key: one run signs with one key, and `airferry sign` adds the next.",
    );
  });
}

/** `--trust`, or AIRFERRY_TRUST (paths separated by `:`). */
export function trustOption(): Option {
  return new Option(
    "--trust <file...>",
    "public keys that may sign (PEM; several keys or files), or a trust root: its file, folder or fingerprint",
  );
}

/** `--timestamp`, for commands that sign. A wrong URL is refused before hours of work. */
export function timestampOption(): Option {
  return new Option(
    "--timestamp <url>",
    "have signatures stamped by a timestamp authority (RFC 3161), which sees only their digests",
  ).argParser((value: string) => {
    const isWeb = URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);
    if (!isWeb) throw new InvalidArgumentError("must be a URL of http or https.");
    return value;
  });
}

/** Parses a time: RFC 3339 in UTC, or a date, which is its first second. */
export function instant(value: string): Date {
  const text = /^\d{4}-\d\d-\d\d$/.test(value) ? `${value}T00:00:00Z` : value;
  if (!isUtcTime(text)) throw new InvalidArgumentError("must be a time as YYYY-MM-DDTHH:MM:SSZ, or a date.");
  return new Date(text);
}

/** The trusted key files of a command. */
export function trustFiles(given: readonly string[] | undefined): string[] {
  if (given !== undefined) return [...given];
  // A fingerprint has a colon of its own.
  const parts = (process.env["AIRFERRY_TRUST"] ?? "").split(/:(?![0-9a-f]{64}(?::|$))/i);
  return parts.filter((it) => it !== "");
}

/** The trusted keys that were given. @throws {AirferryError} ERR_USAGE when there are none */
export function requireTrust(given: readonly string[] | undefined, command: string, rest = ""): string[] {
  const trust = trustFiles(given);
  if (trust.length === 0) {
    throw new AirferryError("ERR_USAGE", "cannot verify: no key to trust", {
      hint: `${command} --trust PUBLIC-KEY${rest}`,
    });
  }
  return trust;
}
