/** The scan of a pack: over the filled volumes before they are signed, and over a bundle that exists already. */
import { join } from "node:path";
import { foldersOf } from "../bundle/check-finished.ts";
import { readContents } from "../bundle/contents.ts";
import { SCAN_FOLDER } from "../bundle/finish.ts";
import type { InventoryEntry, WrittenInventory } from "../bundle/inventory-types.ts";
import { readMedia } from "../bundle/media.ts";
import { SCAN_NAME } from "../bundle/media-names.ts";
import { formatScanReport, type ScanReport } from "../bundle/scan-report.ts";
import { VolumeSet } from "../bundle/volumes.ts";
import type { WorkFolder } from "../bundle/work-folder.ts";
import { bug } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { plural } from "../io/format.ts";
import { openBytes } from "../io/open-bytes.ts";
import { shellWord } from "../io/shell.ts";
import type { RandomAccess } from "../io/types.ts";
import { writePieces } from "../io/write-pieces.ts";
import type { ScanFile } from "../scan/scan-folder.ts";
import { slice } from "./item-bytes.ts";
import type { PackJob } from "./job.ts";
import type { LeftOutItem } from "./left-out.ts";

/**
 * Scans what a bundle carries, if the pack has a scanner. Needs room for the content, or 4 GiB of it at a time.
 * @throws {AirferryError} ERR_SCAN_FOUND, ERR_SCANNER, ERR_SPACE
 */
export async function scanPacked(
  job: PackJob,
  inventory: WrittenInventory,
  { volumes, dir }: Pick<WorkFolder, "volumes" | "dir">,
  leftOut: readonly LeftOutItem[],
): Promise<ScanReport | undefined> {
  const where = { folder: join(dir, SCAN_FOLDER), record: join(dir, SCAN_NAME) };
  if (job.scanner === undefined) return scan(job, inventory, volumes, where);
  // What the far side builds is whole here.
  await using opened = new AsyncDisposableStack();
  const built = new Map<Digest, RandomAccess>();
  for (const { digest, size, built: there } of leftOut) {
    if (there === undefined || built.has(digest)) continue;
    const { bytes, close } = await openBytes(there.file);
    opened.defer(close);
    built.set(digest, slice(bytes, there.offset, size));
  }
  return await scan(job, inventory, volumes, where, built);
}

/** Writes `scan.json`; returns its line for SHA256SUMS. */
export async function writeScan(
  dir: string,
  scanned: ScanReport | undefined,
): Promise<{ name: string; digest: Digest }[]> {
  if (scanned === undefined) return [];
  return [{ name: SCAN_NAME, digest: await writePieces(join(dir, SCAN_NAME), [formatScanReport(scanned)]) }];
}

/**
 * Scans a complete, checked bundle, if the pack has a scanner. The bundle is not changed: it keeps the report that it
 * has.
 * @throws {AirferryError} ERR_SCAN_FOUND, ERR_SCANNER, ERR_SPACE
 */
export async function scanFinished(job: PackJob, bundle: string): Promise<void> {
  if (job.scanner === undefined) return;
  const { contents } = await readContents(await readMedia(await foldersOf(bundle)));
  const { inventory, copies, scan: carried } = contents ?? bug(`"${bundle}" was checked and has no contents`);
  const volumes = VolumeSet.over(
    copies.map((it) => it[0]),
    inventory,
  );
  try {
    await scan(job, inventory, volumes, { folder: join(job.out, `.scan-${inventory.stream}`) });
  } finally {
    await volumes.close();
  }
  if (carried === undefined) job.report(`${bundle} was packed and signed before, and has no ${SCAN_NAME}`);
}

async function scan(
  job: PackJob,
  inventory: WrittenInventory,
  volumes: VolumeSet,
  { folder, record }: { folder: string; record?: string },
  built: ReadonlyMap<Digest, RandomAccess> = new Map(),
): Promise<ScanReport | undefined> {
  const judgement = {
    action: `pack "${job.workspace.file}"`,
    reportOnly: job.scanReportOnly === true,
    report: job.report,
    hint: `take what was found out of ${shellWord(job.workspace.file)} and pack again; if the finding is wrong, give a scanner that knows better with --scan, or --scan-report-only`,
  };
  const { judgeEarlierScan, judgeScan } = await import("../scan/judge-scan.ts");
  if (job.scanner === undefined) return record === undefined ? undefined : judgeEarlierScan({ ...judgement, record });
  const { scanContent } = await import("../scan/scan-content.ts");
  const seen = new Set<Digest>();
  const files: ScanFile[] = [];
  for (const { path, size, digest, offset } of inventory.entries) {
    const from = offset === undefined ? built.get(digest) : volumes.range(offset, size);
    if (from === undefined || seen.has(digest)) continue;
    seen.add(digest);
    files.push({ path, size, from });
  }
  const isLeft = ({ from, digest }: InventoryEntry) => from === "store" || (from === "recipe" && !built.has(digest));
  const left = inventory.entries.filter(isLeft).length;
  const found = await scanContent(job.scanner, files, { folder, report: job.report });
  if (left > 0) found.gaps.push(`${plural(left, "file")} that the far side has and this bundle does not carry`);
  await judgeScan(found, { ...judgement, ...(record !== undefined && { record }) });
  return found;
}
