/**
 * Progress on stderr: a line that is redrawn on a terminal, plain lines at growing intervals elsewhere, JSON lines
 * for programs (docs/cli.md).
 */
import { formatBytes } from "../io/format.ts";
import { columnsOf, printableJson } from "../io/printable.ts";
import { formatSeconds } from "./table.ts";

export type ProgressMode = "auto" | "plain" | "json" | "none";

/** How far a piece of work is. Sizes in bytes. */
export interface ProgressState {
  done: number;
  total?: number | undefined;
  /** Of `done`: what an earlier run had, or what was here. It costs no time and counts for no rate. */
  found?: number | undefined;
  doneItems?: number | undefined;
  totalItems?: number | undefined;
  doneVolumes?: number | undefined;
  totalVolumes?: number | undefined;
  /** What it is at; safe to print. */
  path?: string | undefined;
}

export interface Progress {
  update(state: ProgressState): void;
  /** Removes the line until the next update, so that another can be printed. */
  clear(): void;
  /** Where a rerun resumes, such as `1.0 MiB of 2.0 MiB`; undefined for work that begins again. */
  kept(): string | undefined;
  /** Leaves the last state as a line, if one was shown. */
  end(): void;
}

/** The part of a stream that progress is shown on. */
export interface ProgressScreen {
  isTTY?: boolean | undefined;
  columns?: number | undefined;
  /** Asks the terminal for `columns`: the signal of a resize may come after the next line. */
  _refreshSize?(): void;
  write(text: string): unknown;
  on?(event: "resize", listener: () => void): unknown;
  off?(event: "resize", listener: () => void): unknown;
}

const BAR_INTERVAL_MS = 100;
const JSON_INTERVAL_MS = 500;
/** Until the first plain line; each is twice as long as the one before … */
const FIRST_LINE_MS = 5000;
/** … up to this. */
const MAX_LINE_INTERVAL_MS = 5 * 60_000;
/** The rate covers this many milliseconds. */
const RATE_WINDOW_MS = 8000;
/** A shorter time says nothing of the time that is left. */
const LEFT_AFTER_MS = 1500;
const MAX_BAR_COLUMNS = 30;

/** Starts to show a piece of work; `end` it. */
export function startProgress(what: string, mode: ProgressMode, screen: ProgressScreen = process.stderr): Progress {
  const isDrawn = mode === "auto" && screen.isTTY === true;
  let interval = isDrawn ? BAR_INTERVAL_MS : mode === "json" ? JSON_INTERVAL_MS : FIRST_LINE_MS;
  const rate = new Rate();
  let last = isDrawn || mode === "json" ? 0 : Date.now();
  /** Columns of the line on the screen; 0: none. */
  let shown = 0;
  let state: ProgressState | undefined;

  const columns = () => Math.max(1, screen.columns || 80);
  // A terminal that became narrower shows a long line in several rows.
  const erase = () => {
    const rows = Math.ceil(shown / columns());
    shown = 0;
    return rows > 1 ? `\r\x1b[${rows - 1}A\x1b[J` : "\r\x1b[2K";
  };
  const show = () => {
    if (state === undefined) return;
    const { bytesPerSecond, secondsLeft } = rate.of(state);
    if (mode === "json") {
      const { done, total, found, doneItems, totalItems, doneVolumes, totalVolumes, path } = state;
      const left = total === undefined ? undefined : total - done;
      const line = { event: "progress", what, done, total, left, found, bytesPerSecond, secondsLeft };
      screen.write(`${printableJson({ ...line, doneItems, totalItems, doneVolumes, totalVolumes, path })}\n`);
      return;
    }
    if (!isDrawn) {
      screen.write(`airferry: ${what}: ${amountsOf(state, bytesPerSecond, secondsLeft).join(", ")}\n`);
      return;
    }
    screen._refreshSize?.();
    const line = lineOf(what, state, bytesPerSecond, secondsLeft, columns() - 1);
    screen.write(`${shown === 0 ? "\r\x1b[2K" : erase()}${line}`);
    shown = columnsOf(line);
  };
  const redraw = () => {
    if (shown > 0) show();
  };
  if (isDrawn) screen.on?.("resize", redraw);
  return {
    update(next) {
      if (mode === "none") return;
      state = next;
      const now = Date.now();
      rate.add(now, next.done - (next.found ?? 0));
      if (now - last < interval) return;
      last = now;
      if (!isDrawn && mode !== "json") interval = Math.min(MAX_LINE_INTERVAL_MS, interval * 2);
      show();
    },
    clear() {
      if (shown > 0) screen.write(erase());
    },
    kept: () => (state?.found === undefined || state.done === 0 ? undefined : amountsOf(state, 0, undefined)[0]),
    end() {
      screen.off?.("resize", redraw);
      if (mode === "none" || state === undefined) return;
      if (mode === "json") show();
      if (shown > 0) {
        show();
        screen.write("\n");
      }
      shown = 0;
      state = undefined;
    },
  };
}

/** Bytes a second over the last seconds, and what is left at that rate. */
class Rate {
  readonly #samples: { at: number; moved: number }[] = [];

  /** The rate counts from the first report, so that what was found costs nothing. */
  add(at: number, moved: number): void {
    const samples = this.#samples;
    while (samples.length > 2 && at - (samples[1] as { at: number }).at > RATE_WINDOW_MS) samples.shift();
    const last = samples.at(-1);
    // Ten samples a second are enough, whatever the number of reports.
    if (samples.length > 1 && last !== undefined && at - last.at < BAR_INTERVAL_MS) last.moved = moved;
    else samples.push({ at, moved });
  }

  of({ done, total }: ProgressState): { bytesPerSecond: number; secondsLeft: number | undefined } {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at === first.at)
      return { bytesPerSecond: 0, secondsLeft: undefined };
    // A download that stands still has no new samples: time goes on.
    const time = Date.now() - first.at;
    const bytesPerSecond = Math.max(0, Math.round(((last.moved - first.moved) * 1000) / time));
    const isKnown = total !== undefined && bytesPerSecond > 0 && time >= LEFT_AFTER_MS;
    return {
      bytesPerSecond,
      secondsLeft: isKnown ? Math.max(0, Math.round((total - done) / bytesPerSecond)) : undefined,
    };
  }
}

/** All amounts, most important first. */
function amountsOf(state: ProgressState, bytesPerSecond: number, secondsLeft: number | undefined): string[] {
  const { done, total, doneItems, totalItems, doneVolumes, totalVolumes = 1 } = state;
  return [
    total === undefined ? formatBytes(done) : `${formatBytes(done)} of ${formatBytes(total)}`,
    `${formatBytes(bytesPerSecond)}/s`,
    ...(secondsLeft === undefined ? [] : [`${formatSeconds(secondsLeft)} left`]),
    ...(doneItems === undefined || totalItems === undefined ? [] : [`${doneItems} of ${totalItems} items`]),
    ...(doneVolumes === undefined || totalVolumes < 2 ? [] : [`${doneVolumes} of ${totalVolumes} volumes`]),
  ];
}

/** One line of at most so many columns: what does not fit is left out, least important first. */
function lineOf(
  what: string,
  state: ProgressState,
  bytesPerSecond: number,
  secondsLeft: number | undefined,
  columns: number,
): string {
  const { done, total, path } = state;
  const share = total === undefined || total === 0 ? undefined : Math.min(1, Math.max(0, done / total));
  const percent = share === undefined ? formatBytes(done) : `${Math.floor(share * 100)}%`;
  const amounts = amountsOf(state, bytesPerSecond, secondsLeft);
  const [, rate = "", left = ""] = amounts;
  const short = [percent, rate, left.replace(/ left$/, "")].filter((it) => it !== "").join("  ");
  const candidates = [
    ...amounts.slice(1).map((_, index) => `${what} ${amounts.slice(0, amounts.length - index).join("  ")}`),
    `${what} ${short}`,
    short,
    `${percent}  ${rate}`,
    percent,
  ];
  const text = candidates.find((it) => columnsOf(it) <= columns) ?? percent.slice(0, columns);
  let room = columns - columnsOf(text);
  const barColumns = Math.min(MAX_BAR_COLUMNS, room - 3);
  const isWhole = text === candidates[0];
  if (share === undefined || barColumns < 5 || !isWhole) return text;
  const bar = `[${"#".repeat(Math.round(share * barColumns)).padEnd(barColumns, "-")}]`;
  room -= barColumns + 3;
  const name = path === undefined || path === "" || room < 12 ? "" : `  ${endOf(path, room - 2)}`;
  return `${what} ${bar} ${text.slice(what.length + 1)}${name}`;
}

/** The end of a text in at most so many columns, with an ellipsis if it is cut. */
function endOf(text: string, columns: number): string {
  if (columnsOf(text) <= columns) return text;
  let end = "";
  let used = 1;
  for (const { segment } of [...new Intl.Segmenter().segment(text)].reverse()) {
    used += columnsOf(segment);
    if (used > columns) break;
    end = segment + end;
  }
  return `…${end}`;
}
