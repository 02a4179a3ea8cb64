/** The attestations of a pack: where the bundle came from, and what its scanner said, signed by the bundle's key. */
import { join } from "node:path";
import type { WrittenInventory } from "../bundle/inventory-types.ts";
import { type AttestationKind, attestationName, INVENTORY_NAME } from "../bundle/media-names.ts";
import type { ScanReport } from "../bundle/scan-report.ts";
import type { SumLine } from "../bundle/sums.ts";
import { bug } from "../errors.ts";
import { writePieces } from "../io/write-pieces.ts";
import { isPostQuantum } from "../sign/keys.ts";
import type { Signer } from "../sign/signer.ts";

/** Which attestations a pack writes. */
export function attestationsOf(signers: readonly Signer[], scanned: ScanReport | undefined): AttestationKind[] {
  if (signers.length === 0) return [];
  return scanned === undefined ? ["provenance"] : ["provenance", "scan"];
}

/**
 * Writes them into a bundle's folder; returns their lines of SHA256SUMS. An envelope has one signature: that of a key
 * which cosign knows, if there is one.
 * @param documents what the bundle has besides its volumes, the inventory among it
 * @throws {AirferryError} ERR_SIGNER, ERR_IO
 */
export async function writeAttestations(
  dir: string,
  signers: readonly Signer[],
  {
    inventory,
    documents,
    scanned,
  }: { inventory: WrittenInventory; documents: readonly SumLine[]; scanned: ScanReport | undefined },
): Promise<SumLine[]> {
  const signer = signers.find((it) => !isPostQuantum(it.kind)) ?? signers[0];
  if (signer === undefined) return [];
  const { formatAttestation } = await import("../bundle/attestations.ts");
  const { provenancePredicate, scanPredicate } = await import("../bundle/predicates.ts");
  const subject = documents.find((it) => it.name === INVENTORY_NAME) ?? bug("a bundle has no inventory");
  const write = async (kind: AttestationKind, predicate: unknown): Promise<SumLine> => {
    const name = attestationName(kind);
    const text = await formatAttestation(kind, subject, predicate, signer);
    return { name, digest: await writePieces(join(dir, name), [text]) };
  };
  return [
    await write("provenance", provenancePredicate(inventory, documents)),
    ...(scanned === undefined ? [] : [await write("scan", scanPredicate(scanned))]),
  ];
}
