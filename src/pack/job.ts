/** A running pack: its options and the state shared by its steps. */
import type { Program } from "../bundle/carried-programs.ts";
import { type Finding, findingLine, refuseFindings } from "../io/findings.ts";
import { HashPool } from "../io/hash-pool.ts";
import { takeLock } from "../io/process-lock.ts";
import { readState, type State } from "../manifest/pack-state.ts";
import type { Scanner } from "../scan/scanner.ts";
import type { Signer } from "../sign/signer.ts";
import type { CarriedRootFile } from "./carried-root.ts";
import type { DeltaRequest } from "./held-there.ts";
import type { RpmSigner } from "./lay-out.ts";
import type { ParityShares } from "./pack-parity.ts";
import type { Workspace } from "./workspace.ts";

export interface PackOptions extends ParityShares {
  out: string;
  /** Empty: an unsigned bundle, which unpack refuses until it is signed. */
  signers: readonly Signer[];
  rpmSigner?: RpmSigner;
  /** Bytes. */
  volumeSize: number;
  /** Volumes per medium, with one folder for each. */
  volumesPerMedium?: number;
  frozen: boolean;
  /** Programs to bring in bin/. */
  programs: readonly Program[];
  /** The trust root to bring inside. */
  trustRoot?: readonly CarriedRootFile[];
  /** Pack even if something will not work inside; default false. */
  allowFindings?: boolean;
  serial?: number;
  /** Command of a scanner that looks at the content before it is signed. */
  scan?: string;
  /** What the scanner finds is recorded and does not stop the pack. */
  scanReportOnly?: boolean;
  /** What the far side has, which is left out; absent: everything is packed. */
  delta?: DeltaRequest;
  /** Concurrent items. */
  concurrency: number;
  report?: (line: string) => void;
  progress?: (progress: PackProgress) => void;
  /** Called while parity is computed, with bytes. */
  parityProgress?: (done: number, total: number) => void;
}

/** Progress of filling a bundle. */
interface PackProgress {
  /** Of the items that are in place, and of parts; the last report of an interrupted pack is what a rerun finds. */
  doneBytes: number;
  totalBytes: number;
  /** Of `doneBytes`: what an earlier run left here. */
  foundBytes: number;
  doneItems: number;
  totalItems: number;
  /** Volumes whose items are all in place. */
  doneVolumes: number;
  totalVolumes: number;
  /** The most recent item. */
  path: string;
}

/** State shared by the steps of one pack. The caller who opens it closes it. */
export interface PackJob extends Omit<PackOptions, "report">, AsyncDisposable {
  readonly workspace: Workspace;
  readonly pool: HashPool;
  /** The recorded state of earlier packs of this manifest. */
  readonly state: State | undefined;
  readonly scanner: Scanner | undefined;
  /** All findings so far. */
  readonly findings: readonly Finding[];
  /** Reports findings, and refuses what cannot work. @throws {AirferryError} ERR_FINDINGS */
  found(findings: readonly Finding[]): void;
  /** Reports one line of text. */
  report(line: string): void;
}

/**
 * Starts a pack: one per manifest at a time, wherever it writes, since two would give the same serial to different
 * bundles.
 * @throws {AirferryError} ERR_BUSY, ERR_IO; ERR_SCANNER when the scanner cannot be started
 */
export async function openJob(workspace: Workspace, options: PackOptions): Promise<PackJob> {
  await using opened = new AsyncDisposableStack();
  const scanner =
    options.scan === undefined ? undefined : await (await import("../scan/scanner.ts")).openScanner(options.scan);
  const pool = opened.adopt(new HashPool(), (it) => it.close());
  opened.adopt(await takeLock(`${workspace.paths.state}.lock`, workspace.file), (it) => it.release());
  const state = await readState(workspace.paths.state);
  const report = options.report ?? (() => {});
  const findings: Finding[] = [];
  const found = (more: readonly Finding[]): void => {
    findings.push(...more);
    const told = options.allowFindings === true ? more : more.filter((it) => it.level === "warning");
    for (const it of told) report(findingLine(it));
    if (options.allowFindings !== true) refuseFindings(more, workspace.file);
  };
  const whole = opened.move();
  const close = () => whole.disposeAsync();
  return { ...options, workspace, pool, state, scanner, findings, found, report, [Symbol.asyncDispose]: close };
}
