/** A result of the benchmark: one line of the table. */

export interface Row {
  job: string;
  /** What airferry did, with its unit. */
  airferry: string;
  /** What the peer did in the same run. */
  peer: string;
  /** airferry against the peer; below 1 is faster for times, above 1 is faster for rates: `required` says which. */
  ratio: number;
  /** `≤ 1.3` or `≥ 0.8`. */
  required: string;
  note?: string;
}

/** Whether a ratio meets its requirement. */
export function isMet({ ratio, required }: Row): boolean {
  const [, sign, limit] = /^([≤≥])\s*([\d.]+)/.exec(required) ?? [];
  return sign === "≤" ? ratio <= Number(limit) : sign === "≥" ? ratio >= Number(limit) : true;
}
