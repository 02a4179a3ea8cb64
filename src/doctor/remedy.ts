/** A fault with its remedy; `warning` when the build may still work, `skipped` when there is nothing to check. */
export class Remedy extends Error {
  readonly remedy: string;
  readonly status: "failed" | "warning" | "skipped";

  constructor(message: string, remedy: string, status: "failed" | "warning" | "skipped" = "failed") {
    super(message);
    this.remedy = remedy;
    this.status = status;
  }
}

/** Faults of one check to name; the others are counted. */
const MAX_NAMED = 10;

/** Throws all faults of a check as one. @throws {Remedy} unless there are none */
export function throwFaults(faults: Iterable<string>, remedy: string): void {
  const all = [...faults];
  if (all.length === 0) return;
  const named = all.slice(0, MAX_NAMED);
  throw new Remedy(
    `${named.join("; ")}${all.length > named.length ? `; and ${all.length - named.length} more` : ""}`,
    remedy,
  );
}
