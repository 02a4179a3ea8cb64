/** `scan.json`: what a scanner said about the content before a bundle was signed. docs/format.md, "Scan". */
import { z } from "zod";
import { parseNote } from "../io/own-file.ts";

export const SCAN_MEDIA_TYPE = "application/vnd.airferry.scan.v1+json";

/** Shape of the record, also in import.json of a store. Unknown members are ignored. */
export const scanReportSchema = z.object({
  mediaType: z.literal(SCAN_MEDIA_TYPE),
  /** The words of the command, `{}` for the folder. */
  command: z.array(z.string()),
  /** First line of what it says to `--version`; null: nothing. */
  version: z.string().nullable(),
  host: z.string(),
  started: z.iso.datetime(),
  finished: z.iso.datetime(),
  result: z.enum(["clean", "found"]),
  /** Files that it was given, members of ISOs among them, and their bytes. */
  files: z.int(),
  bytes: z.int(),
  /** Paths of the ISOs that were scanned by member. */
  images: z.array(z.string()),
  /** What it may not have seen: files of 2 GiB and more, unreadable images. At most 100 lines. */
  gaps: z.array(z.string()),
  /** Its output where it found something: at most 200 lines. */
  findings: z.array(z.string()),
  /** It printed more than `findings` has. */
  truncated: z.boolean(),
});

/** A longer file was not written by airferry: the lists are bounded, and so are their lines. */
export const MAX_SCAN_BYTES = 1024 * 1024;

/** Result of a scan. */
export type ScanReport = z.output<typeof scanReportSchema>;

/** Parses `scan.json`; undefined for what no airferry wrote. */
export function parseScanReport(bytes: Buffer): ScanReport | undefined {
  return parseNote(scanReportSchema, bytes.toString());
}

/** The file's text. */
export function formatScanReport(report: ScanReport): string {
  return `${JSON.stringify(report, undefined, 2)}\n`;
}
