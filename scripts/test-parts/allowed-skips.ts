/**
 * What may be skipped where every client is required (AIRFERRY_REQUIRE_CLIENTS=1): that which no script can install. A test
 * that is skipped for any other reason is a failure there.
 */
export const ALLOWED_SKIPS: readonly { reason: RegExp; why: string }[] = [
  { reason: /\bKVM\b/, why: "virtual machines with hardware support need /dev/kvm, which a container may lack" },
];

/** Tells whether a skip with this reason is no failure. */
export function isAllowedSkip(reason: string): boolean {
  return ALLOWED_SKIPS.some((it) => it.reason.test(reason));
}
