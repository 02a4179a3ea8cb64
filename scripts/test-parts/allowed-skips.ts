/**
 * Skips that are allowed even if every client is required (AIRFERRY_REQUIRE_CLIENTS=1), because no script can install
 * what they need. Any other skip is then a failure.
 */
const ALLOWED_SKIPS: readonly { reason: RegExp; why: string }[] = [
  {
    reason: /^the large fixtures \(\.\.\/shared/,
    why: "36 MB of other projects' repositories; test/fixtures/data has what shows each kind",
  },
  { reason: /^the suite is not built: scripts\/conformance$/, why: "it needs Go, and minutes: scripts/conformance" },
  {
    reason: /^the API server is not built: scripts\/lib\/kubernetes\.sh$/,
    why: "Go builds it in minutes, of a hundred modules that a machine may not get; test/scripts/chart.test.ts has the schemas",
  },
  { reason: /^the mirror does not have them$/, why: "a source package that left the mirror: the other images stay" },
  {
    reason: /^its registry does not answer$/,
    why: "the machine's own, elsewhere; the lab's registries have the same clients",
  },
];

/** Returns whether a skip with this reason is not a failure. */
export function isAllowedSkip(reason: string): boolean {
  return ALLOWED_SKIPS.some((it) => it.reason.test(reason));
}
