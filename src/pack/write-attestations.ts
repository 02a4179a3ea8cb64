/**
 * The attestations of a pack: where the bundle came from, and what its scanner said, signed by the bundle's key. They
 * are beside the signatures, and not in SHA256SUMS: signatures of most keys are random, and a medium that is packed
 * again must have the same signed root.
 */
import { lateAttestationName } from "../bundle/attest-rules.ts";
import type { WrittenInventory } from "../bundle/inventory-types.ts";
import { type AttestationKind, SUMS_NAME } from "../bundle/media-names.ts";
import type { ScanReport } from "../bundle/scan-report.ts";
import type { SumLine } from "../bundle/sums.ts";
import { digestOf } from "../io/digest.ts";
import { isPostQuantum } from "../sign/keys.ts";
import type { Signer } from "../sign/signer.ts";

/** Which attestations a pack writes. */
export function attestationsOf(signers: readonly Signer[], scanned: ScanReport | undefined): AttestationKind[] {
  if (signers.length === 0) return [];
  return scanned === undefined ? ["provenance"] : ["provenance", "scan"];
}

/**
 * Makes them, as files of the folder `signatures`. An envelope has one signature: that of a key which cosign knows, if
 * there is one.
 * @param sums the bytes of SHA256SUMS
 * @param documents what the bundle has besides its volumes, the inventory among it
 * @throws {AirferryError} ERR_SIGNER
 */
export async function makeAttestations(
  sums: Uint8Array,
  signers: readonly Signer[],
  {
    inventory,
    documents,
    scanned,
  }: { inventory: WrittenInventory; documents: readonly SumLine[]; scanned: ScanReport | undefined },
): Promise<{ name: string; bytes: Uint8Array }[]> {
  const signer = signers.find((it) => !isPostQuantum(it.kind)) ?? signers[0];
  if (signer === undefined) return [];
  const { formatAttestation } = await import("../bundle/attestations.ts");
  const { provenancePredicate, scanPredicate } = await import("../bundle/predicates.ts");
  const subject = { name: SUMS_NAME, digest: digestOf(sums) };
  const make = async (kind: AttestationKind, predicate: unknown) => ({
    name: lateAttestationName(signer.keyid16, kind),
    bytes: Buffer.from(await formatAttestation(kind, subject, predicate, signer)),
  });
  return [
    await make("provenance", provenancePredicate(inventory, documents)),
    ...(scanned === undefined ? [] : [await make("scan", scanPredicate(scanned))]),
  ];
}
