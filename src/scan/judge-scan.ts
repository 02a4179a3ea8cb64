/** What follows from a scan: gaps are reported, and findings stop the command, except with --scan-report-only. */
import { stat } from "node:fs/promises";
import { formatScanReport, MAX_SCAN_BYTES, parseScanReport, type ScanReport } from "../bundle/scan-report.ts";
import { AirferryError } from "../errors.ts";
import { ifThere, writeAtomic } from "../io/atomic.ts";
import { formatBytes, plural } from "../io/format.ts";
import { readSmall } from "../io/safe-open.ts";

const MAX_SHOWN = 100;

/** What the scan was for. */
interface Judgement {
  /** `unpack "x"`. */
  action: string;
  /** File to write the refused report to; absent: it is not kept. */
  record?: string | undefined;
  reportOnly: boolean;
  report: (line: string) => void;
  /** What to do about a finding. */
  hint: string;
}

/** @throws {AirferryError} ERR_SCAN_FOUND with the findings as `problems`, after the report was written */
export async function judgeScan(
  scan: ScanReport,
  { action, record, reportOnly, report, hint }: Judgement,
): Promise<void> {
  for (const it of scan.gaps) report(`scan: ${it}`);
  const scanner = scan.version ?? scan.command[0];
  const what = `${plural(scan.files, "file")}, ${formatBytes(scan.bytes)}`;
  if (scan.result === "clean") return report(`scanned ${what}, with ${scanner}: nothing found`);
  if (reportOnly) {
    for (const it of scan.findings) report(`found: ${it}`);
    return report(`scanned ${what}, with ${scanner}: found something, and goes on (--scan-report-only)`);
  }
  if (record !== undefined) await writeAtomic(record, formatScanReport(scan));
  throw refusal(scan, { action, record, hint });
}

/**
 * What an earlier run refused is not let through by a run without a scanner, except with --scan-report-only: that
 * returns the earlier report. Undefined where no scan has refused this content.
 * @param judgement its `record` is what the earlier run wrote
 * @throws {AirferryError} ERR_SCAN_FOUND
 */
export async function judgeEarlierScan({
  action,
  record,
  reportOnly,
  report,
  hint,
}: Judgement & { record: string }): Promise<ScanReport | undefined> {
  if ((await ifThere(record, stat(record))) === undefined) return undefined;
  const bytes = await readSmall(record, MAX_SCAN_BYTES);
  const scan = parseScanReport(bytes);
  // Left by a run that ended just before it had finished.
  if (scan?.result === "clean") return undefined;
  if (scan !== undefined && reportOnly) {
    report(`not scanned again: an earlier scan found something, and this goes on (--scan-report-only)`);
    return scan;
  }
  throw refusal(scan, { action, record, hint, earlier: "an earlier scan was refused, and this run has no --scan: " });
}

function refusal(
  scan: ScanReport | undefined,
  { action, record, hint, earlier = "" }: Pick<Judgement, "action" | "record" | "hint"> & { earlier?: string },
): AirferryError {
  const findings = scan?.findings ?? [];
  const scanner = scan?.version ?? scan?.command[0] ?? "the scanner";
  const first = findings[0] ?? "it printed nothing";
  const more = findings.length > 1 ? ` (and ${plural(findings.length - 1, "more line")})` : "";
  return new AirferryError(
    "ERR_SCAN_FOUND",
    `cannot ${action}: ${earlier}${scanner} found something: ${first}${more}`,
    {
      path: record,
      problems: findings.slice(0, MAX_SHOWN).map((message) => ({ code: "ERR_SCAN_FOUND", path: "found", message })),
      hint: record === undefined ? hint : `${hint}; the whole report is in ${record}`,
    },
  );
}
