/**
 * VERIFY.txt: how to check, unpack and rescue a bundle with stock tools. A convenience, never a trust anchor, as it
 * says itself. Lines that begin with two spaces are commands, which work as written (test/interop runs them).
 */
import { plural } from "../io/format.ts";
import { isPostQuantum, type KeyKind } from "../sign/keys.ts";
import { lateAttestationName } from "./attest-rules.ts";
import type { WrittenInventory } from "./inventory-types.ts";
import { type AttestationKind, PREDICATE_TYPES, SIGNATURES_NAME, SUMS_NAME } from "./media-names.ts";
import { VOLUME_PREFIX } from "./volume-layout.ts";

/** A key that signs the bundle when it is packed. */
export interface PackingKey {
  keyid: string;
  keyid16: string;
  kind: KeyKind;
}

/** What VERIFY.txt depends on: the same gives the same text. */
interface VerifyFacts {
  inventory: WrittenInventory;
  /** Names in the bundle. */
  programs: readonly string[];
  keys: readonly PackingKey[];
  /** Names of recovery files. */
  parity: readonly string[];
  /** What it is attested to by the first of the keys that cosign knows. */
  attestations: readonly AttestationKind[];
  /** How many media; 1: everything is in one folder. */
  media: number;
}

export function verifyText(facts: VerifyFacts): string {
  const { inventory, programs, media } = facts;
  const { stream, epoch, serial, created, notAfter, entries, volumes } = inventory;
  const set = media > 1 ? `, on ${media} media` : "";
  const parts = [
    `airferry bundle: stream ${stream}, epoch ${epoch}, serial ${serial}, ${plural(entries.length, "file")} in ${plural(volumes.length, "volume")}${set}
packed ${created}${notAfter === undefined ? "" : `; it cannot be imported after ${notAfter}, however good it is`}

Do not trust this file: it came on the same medium as the bundle. Get the public key (here: airferry.pub) and these
instructions out of band. Store the key next to this folder, not in it: every file in the folder must be listed in
SHA256SUMS. Lines that begin with two spaces are commands, to be run in this folder. None of them writes into it.

With airferry:
  airferry verify . --trust ../airferry.pub${media > 1 ? " --partial" : ""}
`,
    "Without airferry:\n",
    signatureText(facts),
    filesText(media),
    unpackText(facts),
    rescueText(facts),
    ...(programs.length === 0 ? [] : [programText(programs)]),
    `FORMAT.txt describes every byte of a bundle. BOM.html lists the content for people, BOM.cdx.json for programs
(CycloneDX): open them once step 2 was good. manifest.yaml and lock.json are what the bundle was packed from.
`,
  ];
  return parts.join("\n");
}

/** How cosign checks what the packer states. */
function attestationText({ keys, attestations }: VerifyFacts): string {
  const names = namesOf(keys);
  const index = keys.findIndex((it) => !isPostQuantum(it.kind));
  const [name, key] = [names[index], keys[index]];
  if (attestations.length === 0 || name === undefined || key === undefined) return "";
  const lines = attestations.map(
    (kind) =>
      `  cosign verify-blob-attestation --key ${name} --bundle ${SIGNATURES_NAME}/${lateAttestationName(key.keyid16, kind)} --type ${PREDICATE_TYPES[kind]} --trusted-root trusted_root.json --insecure-ignore-tlog=true ${SUMS_NAME}`,
  );
  const what = attestations.includes("scan")
    ? "it was packed from, and what a scanner said of it"
    : "it was packed from";
  return `Statements of what ${what} (in-toto, beside the signatures) are signed too:
${lines.join("\n")}
`;
}

function signatureText(facts: VerifyFacts): string {
  const { keys } = facts;
  const known = keys.length === 0 ? [{ keyid: "KEYID", keyid16: "KEYID", kind: "p256" as const }] : keys;
  const names = namesOf(known);
  const fingerprints = known.map((_, index) => `  openssl pkey -pubin -in ${names[index]} -outform DER | sha256sum`);
  const checks = known.map(({ keyid16, kind }, index) => checkLines(keyid16, kind, names[index] as string));
  const who =
    keys.length === 0
      ? "It was not signed when it was packed. The files in signatures/ are named after the first 16 digits of key ids:\nwrite those of your key for KEYID."
      : `It was signed when it was packed by:\n${keys.map((it, index) => `- ${it.keyid} (${it.kind}), here ${names[index]}`).join("\n")}\nOthers may have signed it since: the files in signatures/ are named after the first 16 digits of key ids.`;
  return `1. Is the list signed by a trusted key? The fingerprint of a public key, its key id, is
${fingerprints.join("\n")}
Compare it with the one that you were given out of band, for example by phone: not with this file.
${who}
${checks.join("\n")}
cosign warns that no transparency log is used. That is intended: the key is the trust anchor, nothing is uploaded.
Of keys of other kinds: Ed25519 and ML-DSA need "openssl pkeyutl -verify -rawin -pubin -inkey KEY -sigfile FILE
-in SHA256SUMS" (ML-DSA with OpenSSL 3.5 or later); all others are checked as above.
${attestationText(facts)}`;
}

/** The files of the public keys: a post-quantum key's is named after that of the key before it. */
function namesOf(keys: readonly PackingKey[]): string[] {
  let signers = 0;
  return keys.map(({ kind }) => {
    if (!isPostQuantum(kind)) signers++;
    const name = `../airferry${signers > 1 ? `-${signers}` : ""}`;
    return `${name}${isPostQuantum(kind) ? `.${kind}` : ""}.pub`;
  });
}

function checkLines(keyid16: string, kind: KeyKind, name: string): string {
  const raw = isPostQuantum(kind) ? `${keyid16}.${kind}.sig` : `${keyid16}.sig`;
  const pure = `  openssl pkeyutl -verify -rawin -pubin -inkey ${name} -sigfile signatures/${raw} -in SHA256SUMS`;
  if (isPostQuantum(kind)) return pure;
  const openssl =
    kind === "ed25519" ? pure : `  openssl dgst -sha256 -verify ${name} -signature signatures/${raw} SHA256SUMS`;
  return `${openssl}
  cosign verify-blob --key ${name} --bundle signatures/${keyid16}.sigstore.json --trusted-root trusted_root.json --insecure-ignore-tlog=true SHA256SUMS`;
}

function filesText(media: number): string {
  const set = media > 1 ? " --ignore-missing" : "";
  const each =
    media > 1
      ? `\nThis bundle is on ${media} media: repeat it on each, and compare the lists of the media with each other.\nThe list is the same on all, and so are all files but the volumes, signatures and programs.`
      : "";
  return `2. Does every file match the list?
  sha256sum -c${set} SHA256SUMS
Nothing else belongs here but SHA256SUMS, signatures/ and the files that are listed. This prints what does:
  find . ! -type d ! -path './signatures/*' ! -path ./SHA256SUMS | sed 's|^\\./||' | ${unlisted("SHA256SUMS")}${each}
`;
}

function unpackText({ inventory: { entries }, media }: VerifyFacts): string {
  const stored = entries.filter((it) => it.from === "store" || it.from === "recipe").length;
  const delta =
    stored === 0
      ? ""
      : `\nThis bundle is a delta: ${plural(stored, "file")} of the release came with earlier bundles, or are made from such, and are reported as missing.`;
  const copies = entries.some((it) => it.from === "bundle")
    ? `
Some files are carried once and belong in several places:
${copyLine("../unpacked")}`
    : "";
  return `3. To unpack it with stock tools, into another folder${media > 1 ? " (first copy the folders of all media into one)" : ""}:
  mkdir -p ../unpacked
  ${collect(media)} | tar -xf - -C ../unpacked${copies}
Then every file is compared with the list of files:
  (here=$PWD; cd ../unpacked && sha256sum -c --quiet "$here/ENTRIES.sha256")${delta}
`;
}

/** Prints the lines of the input that are no name in a list of digests. */
function unlisted(list: string): string {
  return `awk 'NR == FNR { listed[substr($0, 67)]; next } !($0 in listed)' ${list} -`;
}

/** Makes the copies of COPIES.txt whose original is there. */
function copyLine(folder: string): string {
  return `  (here=$PWD; cd ${folder} && while IFS="$(printf '\\t')" read -r mode from to; do [ ! -f "./$from" ] || { mkdir -p "$(dirname "./$to")" && cp "./$from" "./$to" && chmod "$mode" "./$to"; }; done < "$here/COPIES.txt")`;
}

/** The tar stream. Volumes of a set are in the order of their names, whatever their folders are named. */
function collect(media: number): string {
  if (media === 1) return `cat ${VOLUME_PREFIX}*`;
  return `${names()} | while read -r v; do set -- ../*/"$v"; cat "$1"; done`;
}

function names(): string {
  return `grep -o '${VOLUME_PREFIX.replaceAll(".", "\\.")}[0-9]*$' SHA256SUMS`;
}

/** How stock par2 repairs copies of the volumes, with a set over all of them or with one for each. */
function parityText({ parity, media }: VerifyFacts): string {
  if (parity.length === 0) return "";
  const where = media === 1 ? "" : "../*/";
  const sets = [
    parity.some((it) => /^data\.\d{4}\.par2$/.test(it)) ? "data.[0-9][0-9][0-9][0-9].par2" : "",
    parity.includes("data.set.par2") ? "data.set.par2" : "",
  ].filter((it) => it !== "");
  return ` This bundle has recovery files
for par2, which repair damage in copies of the volumes, as far as there are enough of them:
  mkdir -p ../repaired
  for f in ${where}${VOLUME_PREFIX}* ${where}data.*.par2; do [ -e "../repaired/\${f##*/}" ] || cp "$f" ../repaired/; done
  (cd ../repaired && for p in ${sets.join(" ")}; do [ ! -e "$p" ] || par2 r "$p"; done)
  (here=$PWD; cd ../repaired && sha256sum -c --ignore-missing "$here/SHA256SUMS")
What is OK is good. If all volumes are, go on as in step 3, but with "cat ../repaired/${VOLUME_PREFIX}*".\n`;
}

/**
 * Whatever a lost volume has is replaced by zeros, in the pipe and nowhere else: the cut is between two blocks, so tar
 * finds the next header behind it.
 */
function rescueText(facts: VerifyFacts): string {
  const { inventory, media } = facts;
  const { volumeSize, entries } = inventory;
  const parity = facts.parity.length > 0 ? "If one is still lost," : " Otherwise";
  const read = media === 1 ? 'cat "$v"' : 'set -- ../*/"$v"; cat "$1"';
  const copies = entries.some((it) => it.from === "bundle")
    ? `\nSome files are carried once and belong in several places:\n${copyLine("../rescued")}`
    : "";
  return `4. If a volume is lost or cannot be read, the rest can be saved. First ask for another copy of it: one volume is enough,
and SHA256SUMS says which one is right.${parityText(facts)}${parity} zeros take its place, and tar looks for what follows:
  mkdir -p ../rescued
  ${names()} | while read -r v; do { ${read} 2>/dev/null; head -c ${volumeSize} /dev/zero; } | head -c ${volumeSize}; done | tar -xif - -C ../rescued
tar complains about what is missing, and ends with an error. Files that are not as they were are removed:
  (here=$PWD; cd ../rescued && LC_ALL=C sha256sum -c "$here/ENTRIES.sha256" 2>/dev/null | sed -n 's/: FAILED$//p' | while IFS= read -r f; do rm -- "./$f"; done)${copies}
What is there now and listed is good. This prints what is lost:
  (here=$PWD; cd ../rescued && LC_ALL=C sha256sum -c "$here/ENTRIES.sha256" 2>/dev/null | grep -v ': OK$')
Do not use anything else that tar may have left there, such as what was inside a lost archive. This prints it:
  (here=$PWD; cd ../rescued && find . ! -type d | sed 's|^\\./||' | ${unlisted('"$here/ENTRIES.sha256"')})
`;
}

/** How to start a program of the bundle: it is checked where it was copied to, since a medium may read differently. */
function programText(programs: readonly string[]): string {
  const [first = "", ...others] = programs.toSorted((a, b) => Number(b.endsWith("-x64")) - Number(a.endsWith("-x64")));
  const other = others.map((it) => `.\nOn aarch64 hosts write ${it} in both lines`).join("");
  return `airferry itself is in bin/, for hosts without it: one file, which needs only the C and C++ libraries. Check
the signature as in step 1. Then copy the program and check the copy, as root${other}:
  install -m 755 ${first} /usr/local/bin/airferry
  sed -n 's|  ${first}$|  /usr/local/bin/airferry|p' SHA256SUMS | sha256sum -c -
When that says OK, start it:
  airferry verify . --trust ../airferry.pub
  airferry unpack . --trust ../airferry.pub --store /srv/airferry
  airferry serve --store /srv/airferry
`;
}
