/** The end of a command, as text that is pasted into a ticket: what, how much, how long, how verified, what next. */
import type { EstablishedCounts } from "../io/established.ts";
import { formatBytes, plural } from "../io/format.ts";
import { shellWord, shellWords } from "../io/shell.ts";
import { formatSeconds } from "./table.ts";

export interface Summary {
  /** What was done, and how much. */
  did: string;
  /** What it was done to, such as `stream rocky-9, serial 3`. */
  of?: string | undefined;
  /** How the result was verified. */
  verified?: string | undefined;
  /** What is still lacking, in a word: `unsigned`. */
  lacking?: string | undefined;
  /** The next command, complete. */
  next?: string | undefined;
}

/** Its two to four lines; `seconds` is how long it took. */
export function summaryLines({ did, of, verified, lacking, next }: Summary, seconds: number): string[] {
  return [
    did,
    `${of === undefined ? "" : `${of}; `}took ${formatTook(seconds)}`,
    ...(verified === undefined ? [] : [verified]),
    ...(next === undefined ? [] : [`${lacking === undefined ? "" : `${lacking}; `}next: ${next}`]),
  ];
}

/** `0.4 s`, `12.3 s`; from a minute on as {@link formatSeconds}. */
function formatTook(seconds: number): string {
  return seconds < 59.95 ? `${seconds.toFixed(1)} s` : formatSeconds(Math.round(seconds));
}

/** `digests: 3 upstream-signed, 0 first-sight`: leaps of faith are counted even if there are none. */
export function digestsText(counts: EstablishedCounts): string {
  const { "first-sight": firstSight = 0, generated, ...stronger } = counts;
  const ways = Object.entries({ ...stronger, "first-sight": firstSight, ...(generated && { generated }) });
  return `digests: ${ways.map(([way, count]) => `${count} ${way}`).join(", ")}`;
}

/** `1 good signature, 1 needed`. */
export function signaturesText(good: number, threshold: number): string {
  return `${plural(good, "good signature")}, ${threshold} needed`;
}

/** `1.2 GiB and 3 of unknown size`. */
export function amountText(bytes: number, unknownSizes: number): string {
  return `${formatBytes(bytes)}${unknownSizes > 0 ? ` and ${unknownSizes} of unknown size` : ""}`;
}

/** `--store DIR` for a command of which only the environment may know the store. */
export function storeFlag(): string {
  const store = process.env["AIRFERRY_STORE"];
  return `--store ${store ? shellWord(store) : "DIR"}`;
}

/** `airferry VERB BUNDLE… --trust KEY…`; without any where the store says whom to trust. */
export function trusting(verb: string, bundles: readonly string[], trust: readonly string[]): string {
  return `airferry ${verb} ${shellWords(bundles)}${trust.length === 0 ? "" : ` --trust ${shellWords(trust)}`}`;
}
