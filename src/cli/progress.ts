/**
 * Progress on stderr: a bar with bytes, rate and time left on a terminal, plain lines at intervals elsewhere, JSON
 * lines for programs.
 */
import { formatBytes } from "../io/format.ts";
import { printableJson } from "../io/printable.ts";
import { formatSeconds } from "./table.ts";

export type ProgressMode = "auto" | "plain" | "json" | "none";

export interface Progress {
  update(done: number, total: number | undefined, detail?: string): void;
  /** Removes the bar until the next update, so that a line can be printed. */
  clear(): void;
  end(): void;
}

const BAR_INTERVAL_MS = 100;
const LINE_INTERVAL_MS = 5000;
/** The rate covers this many milliseconds. */
const RATE_WINDOW_MS = 8000;

export function startProgress(what: string, mode: ProgressMode): Progress {
  const terminal = mode === "auto" && process.stderr.isTTY === true;
  const interval = terminal || mode === "json" ? BAR_INTERVAL_MS * (mode === "json" ? 5 : 1) : LINE_INTERVAL_MS;
  const started = Date.now();
  const samples: { at: number; done: number }[] = [];
  let last = 0;
  let shown = false;
  let final: [number, number | undefined, string | undefined] | undefined;

  const rateOf = (now: number, done: number): number => {
    while (samples.length > 2 && now - (samples[0] as { at: number }).at > RATE_WINDOW_MS) samples.shift();
    samples.push({ at: now, done });
    const first = samples[0] as { at: number; done: number };
    return now > first.at ? Math.max(0, ((done - first.done) * 1000) / (now - first.at)) : 0;
  };
  const show = (now: number, done: number, total: number | undefined, detail: string | undefined) => {
    const rate = rateOf(now, done);
    const left = total !== undefined && rate > 0 ? Math.max(0, Math.round((total - done) / rate)) : undefined;
    if (mode === "json") {
      process.stderr.write(
        `${printableJson({ event: "progress", what, done, total, bytesPerSecond: Math.round(rate), secondsLeft: left, path: detail })}\n`,
      );
      return;
    }
    const amount = total === undefined ? formatBytes(done) : `${formatBytes(done)} of ${formatBytes(total)}`;
    const tail = `${amount}  ${formatBytes(rate)}/s${left === undefined ? "" : `  ${formatSeconds(left)} left`}`;
    if (!terminal) {
      process.stderr.write(`airferry: ${what}: ${tail}\n`);
      return;
    }
    const width = process.stderr.columns ?? 80;
    const share = total ? Math.min(1, done / total) : 0;
    const barWidth = Math.max(0, Math.min(30, width - what.length - tail.length - 8));
    const bar = barWidth > 4 && total ? `[${"#".repeat(Math.round(share * barWidth)).padEnd(barWidth, "-")}] ` : "";
    const text = `${what} ${bar}${tail}`;
    const room = width - text.length - 3;
    const name =
      detail !== undefined && room > 12 ? `  ${detail.length > room ? `…${detail.slice(1 - room)}` : detail}` : "";
    process.stderr.write(`\r\x1b[2K${(text + name).slice(0, width - 1)}`);
    shown = true;
  };
  return {
    update(done, total, detail) {
      if (mode === "none") return;
      final = [done, total, detail];
      // The rate counts from the first bytes, even if the first line is late.
      if (samples.length === 0) samples.push({ at: started, done });
      const now = Date.now();
      if (now - last < interval || (!terminal && mode !== "json" && now - started < LINE_INTERVAL_MS)) return;
      last = now;
      show(now, done, total, detail);
    },
    clear() {
      if (shown) process.stderr.write("\r\x1b[2K");
      shown = false;
    },
    end() {
      if (mode === "none" || final === undefined) return;
      if (mode === "json") show(Date.now(), ...final);
      if (shown) {
        show(Date.now(), ...final);
        process.stderr.write("\n");
      }
      shown = false;
      final = undefined;
    },
  };
}
