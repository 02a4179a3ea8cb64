/** VERIFY.txt: how to check a bundle with stock tools. A convenience, never a trust anchor, as it says itself. */
import { plural } from "../io/format.ts";
import type { WrittenInventory } from "./inventory-types.ts";

/** The same inventory and programs (names in the bundle) give the same text. */
export function verifyText(inventory: WrittenInventory, programs: readonly string[]): string {
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

BOM.html lists the content for people, BOM.cdx.json for programs (CycloneDX): open them once step 2 was good.

To look inside, or to unpack with stock tools only:
  cat data.tar.* | tar -tvf -
  cat data.tar.* | tar -xf - -C /some/folder
${programs.length === 0 ? "" : programText(programs)}`;
}

/** How to start a program of the bundle: it is checked where it was copied to, since a medium may read differently. */
function programText(programs: readonly string[]): string {
  const [first = "", ...others] = programs.toSorted((a, b) => Number(b.endsWith("-x64")) - Number(a.endsWith("-x64")));
  const other = others.map((it) => `.\nOn aarch64 hosts write ${it} in both lines`).join("");
  return `
airferry itself is in bin/, for hosts without it: one file, which needs only the C and C++ libraries. Check
the signature as in step 1. Then copy the program and check the copy, as root${other}:
  install -m 755 ${first} /usr/local/bin/airferry
  sed -n 's|  ${first}$|  /usr/local/bin/airferry|p' SHA256SUMS | sha256sum -c -
When that says OK, start it:
  airferry verify . --trust ../airferry.pub
  airferry unpack . --trust ../airferry.pub --store /srv/airferry
  airferry serve --store /srv/airferry
`;
}
