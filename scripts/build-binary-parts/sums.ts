/** SHA256SUMS of a folder of release files, and its signature in the forms that openssl and cosign check. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatSums } from "../../src/bundle/sums.ts";
import { digestOf } from "../../src/io/digest.ts";
import { passphraseFrom } from "../../src/sign/private-key.ts";
import { openSigner, signatureFiles } from "../../src/sign/signer.ts";

/** Writes `SHA256SUMS` over the names, and `SHA256SUMS.sig` and `SHA256SUMS.sigstore.json` if there is a key. */
export async function writeSums(folder: string, names: readonly string[], key: string | undefined): Promise<string[]> {
  const sums = formatSums(names.map((name) => ({ name, digest: digestOf(readFileSync(join(folder, name))) })));
  const files = new Map<string, Uint8Array>([["SHA256SUMS", sums]]);
  if (key !== undefined) {
    const signer = await openSigner({ key, passphrase: passphraseFrom(process.env) });
    for (const { name, bytes } of await signatureFiles(sums, signer)) {
      files.set(`SHA256SUMS${name.slice(name.indexOf("."))}`, bytes);
    }
  }
  for (const [name, bytes] of files) {
    writeFileSync(join(folder, name), bytes);
    chmodSync(join(folder, name), 0o644);
  }
  return [...files.keys()];
}
