/** VERIFY.txt: how to check a bundle with stock tools. A convenience, never a trust anchor, and it says so. */
import { plural } from "../io/format.ts";
import type { Inventory } from "./inventory-types.ts";

/** The same inventory gives the same text. */
export function verifyText(inventory: Inventory): string {
  const { stream, serial, entries, volumes } = inventory;
  return `airferry bundle: stream ${stream}, serial ${serial}, ${plural(entries.length, "file")} in ${plural(volumes.length, "volume")}

Do not trust this file. It came on the same medium as what it describes. Get the public key (here: airferry.pub)
and these instructions by another way, and compare the key's fingerprint by voice or on paper. Keep the key
beside this folder, not in it: what is in it must be listed in SHA256SUMS.

With airferry, in this folder:
  airferry verify . --trust ../airferry.pub

Without airferry, in this folder:
1. Is the list signed by a key you trust? Each signer has two files in signatures/, named by the start of its key id.
   cosign verify-blob --key ../airferry.pub --bundle signatures/KEYID.sigstore.json \\
     --trusted-root trusted_root.json --insecure-ignore-tlog=true SHA256SUMS
   openssl dgst -sha256 -verify ../airferry.pub -signature signatures/KEYID.sig SHA256SUMS
   (cosign warns that no transparency log is used: that is meant so. The key is the anchor, and nothing is uploaded.)
2. Is everything as listed? On a single medium of a set, add --ignore-missing.
   sha256sum -c SHA256SUMS
3. Is there nothing else? Only SHA256SUMS, signatures/ and the files that it lists belong here.

To look inside, or to unpack with stock tools only:
  cat data.tar.* | tar -tvf -
  cat data.tar.* | tar -xf - -C /some/folder
`;
}
