/** VERIFY.txt: how to check a bundle with stock tools. A convenience, never a trust anchor, as it says itself. */
import { plural } from "../io/format.ts";
import type { Inventory } from "./inventory-types.ts";

/** The same inventory gives the same text. */
export function verifyText(inventory: Inventory): string {
  const { stream, serial, entries, volumes } = inventory;
  return `airferry bundle: stream ${stream}, serial ${serial}, ${plural(entries.length, "file")} in ${plural(volumes.length, "volume")}

Do not trust this file: it came on the same medium as the bundle. Get the public key (here: airferry.pub) and these
instructions out of band, and compare the key's fingerprint, for example by phone. Store the key next to this
folder, not in it: every file in the folder must be listed in SHA256SUMS.

With airferry, in this folder:
  airferry verify . --trust ../airferry.pub

Without airferry, in this folder:
1. Is the list signed by a trusted key? Each signer has two files in signatures/, named after the start of its key id.
   cosign verify-blob --key ../airferry.pub --bundle signatures/KEYID.sigstore.json \\
     --trusted-root trusted_root.json --insecure-ignore-tlog=true SHA256SUMS
   openssl dgst -sha256 -verify ../airferry.pub -signature signatures/KEYID.sig SHA256SUMS
   (cosign warns that no transparency log is used. That is intended: the key is the trust anchor, nothing is uploaded.)
2. Does every file match the list? On a single medium of a set, add --ignore-missing.
   sha256sum -c SHA256SUMS
3. Is there nothing else in the folder? Only SHA256SUMS, signatures/ and the files listed in it belong here.

To look inside, or to unpack with stock tools only:
  cat data.tar.* | tar -tvf -
  cat data.tar.* | tar -xf - -C /some/folder
`;
}
