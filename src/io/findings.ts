/**
 * Findings: well-formed content that will not work inside, such as a builder whose Kubernetes was not packed. `lock`,
 * `plan` and `pack` report them; `pack` refuses level `error` (exit 2) without `--allow-findings`.
 *
 * To add one, return it where it can be detected first:
 * - from the lock alone: `SourceKind.findings` of the kind of source, or `checkBuilder` for `builder:`;
 * - from the bytes: `PlanItem.look`, which `pack` calls when their digest is right, and again at each rerun.
 * Nothing else is needed: reporting, refusing and allowing are common to all.
 */
import { AirferryError } from "../errors.ts";
import type { Kind } from "./types.ts";

/** One mismatch, with what to change. */
export interface Finding {
  /** `error`: it cannot work, and `pack` refuses; `warning`: it may. */
  level: "error" | "warning";
  /** Its origin: the manifest or its `builder:`, or a kind of source. */
  area: "builder" | "manifest" | Kind;
  /** Its subject: a key of the manifest, an entry, a component, a path in the bundle. */
  subject: string;
  message: string;
  /** What to do about it, as an imperative. */
  remedy: string;
}

/** One line of text. */
export function findingLine({ area, level, message, remedy }: Finding): string {
  return `${area}: ${level}: ${message}; ${remedy}`;
}

/** The findings that `pack` refuses. */
export function errorsIn(findings: readonly Finding[]): Finding[] {
  return findings.filter((it) => it.level === "error");
}

/**
 * Refuses findings of level `error`, all of them at once.
 * @param file the manifest, for the message
 * @throws {AirferryError} ERR_FINDINGS
 */
export function refuseFindings(findings: readonly Finding[], file: string): void {
  const errors = errorsIn(findings);
  if (errors.length === 0) return;
  const what = errors.length === 1 ? "a finding says" : `${errors.length} findings say`;
  throw new AirferryError("ERR_FINDINGS", `cannot pack "${file}": ${what} that it cannot work inside the gap`, {
    path: file,
    problems: errors.map((it) => ({ code: "ERR_FINDINGS", path: it.subject, message: findingLine(it) })),
    hint: "fix them; to pack anyway, add --allow-findings",
  });
}
