/** What follows from a scan: gaps are reported, and findings stop the command, except with --scan-report-only. */
import { formatScanReport, type ScanReport } from "../bundle/scan-report.ts";
import { AirferryError } from "../errors.ts";
import { writeAtomic } from "../io/atomic.ts";
import { formatBytes, plural } from "../io/format.ts";

const MAX_SHOWN = 100;

/** What the scan was for. */
interface Judgement {
  /** `unpack "x"`. */
  action: string;
  /** File to write the refused report to; absent: it is not kept. */
  record?: string;
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
  const first = scan.findings[0] ?? "it printed nothing";
  const more = scan.findings.length > 1 ? ` (and ${plural(scan.findings.length - 1, "more line")})` : "";
  throw new AirferryError("ERR_SCAN_FOUND", `cannot ${action}: ${scanner} found something: ${first}${more}`, {
    path: record,
    problems: scan.findings.slice(0, MAX_SHOWN).map((message) => ({ code: "ERR_SCAN_FOUND", path: "found", message })),
    hint: record === undefined ? hint : `${hint}; the whole report is in ${record}`,
  });
}
