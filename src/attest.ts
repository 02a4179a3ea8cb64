/**
 * The verb `attest`: states something about a finished bundle, signed by a key of its own: that a scanner looked at it,
 * or where it came from. Changes nothing that is signed; the statement is beside the signatures. docs/format.md,
 * "Attestations".
 */
import { lateAttestationName } from "./bundle/attest-rules.ts";
import { factsOf, formatAttestation } from "./bundle/attestations.ts";
import { bytesToCheck, checkContent } from "./bundle/check-content.ts";
import { type Contents, readContents } from "./bundle/contents.ts";
import { readMedia } from "./bundle/media.ts";
import { type AttestationKind, SUMS_NAME } from "./bundle/media-names.ts";
import { provenancePredicate, scanPredicate } from "./bundle/predicates.ts";
import type { ScanReport } from "./bundle/scan-report.ts";
import { addBesideSignatures, readSignedRoot } from "./bundle/signatures.ts";
import { volumeName } from "./bundle/volume-layout.ts";
import { VolumeSet } from "./bundle/volumes.ts";
import { AirferryError, type Problem } from "./errors.ts";
import { type Digest, digestOf } from "./io/digest.ts";
import { plural } from "./io/format.ts";
import { HashPool } from "./io/hash-pool.ts";
import { parseJson } from "./io/json.ts";
import { readNamed } from "./io/named-file.ts";
import { printable } from "./io/printable.ts";
import { shellWord } from "./io/shell.ts";
import type { ScanFile } from "./scan/scan-folder.ts";
import { isPostQuantum } from "./sign/keys.ts";
import { openSigners, type SignerOptions } from "./sign/signer.ts";
import { MAX_SIGNATURE_BYTES } from "./sign/sigstore-bundle.ts";

/** As an attestation, in base64 and with what is around it, it stays below the limit of signature files. */
const MAX_PREDICATE_BYTES = 128 * 1024;

interface AttestOptions extends SignerOptions {
  type: AttestationKind;
  /** File with the predicate, in JSON. */
  predicate?: string | undefined;
  /** Command of a scanner, which looks at everything that the bundle carries first. */
  scan?: string | undefined;
  /** A folder that does not exist, on a file system with room for content: where the scanner looks. */
  folder: string;
  report?: (line: string) => void;
  /** Called with bytes as they are hashed, and the total. */
  progress?: (bytes: number, total: number) => void;
}

interface AttestResult {
  stream: string;
  epoch: number;
  serial: number;
  /** Of SHA256SUMS. */
  digest: Digest;
  type: AttestationKind;
  keyid: string;
  /** What the scanner said, if one was run. */
  scan: ScanReport | null;
  /** Paths written. */
  files: string[];
}

/**
 * Writes an attestation by one key into the bundle's folder, or each of its media; an earlier one of this key and type
 * is replaced. With a scanner it is written whatever is found.
 * @throws {AirferryError} ERR_SCAN_FOUND after it was written; ERR_USAGE for a predicate that is none of this type;
 *   ERR_SCANNER; what {@link readSignedRoot} and {@link openSigners} throw; with a scanner every problem of the bundle
 */
export async function attest(bundle: string, options: AttestOptions): Promise<AttestResult> {
  const { type, predicate, scan, report = () => {} } = options;
  if (predicate !== undefined && scan !== undefined)
    throw usage("expected one of --predicate and --scan", `${commandOf(bundle, type)} --scan COMMAND --key FILE`);
  if (type === "provenance" && scan !== undefined)
    throw usage("a scanner says nothing of provenance", `${commandOf(bundle, "scan")} --scan COMMAND --key FILE`);
  if (type === "scan" && predicate === undefined && scan === undefined)
    throw usage("nothing says what a scanner found", `${commandOf(bundle, type)} --scan COMMAND --key FILE`);
  const root = await readSignedRoot(bundle);
  const given = predicate === undefined ? undefined : await readPredicate(predicate, type);
  const scanner = scan === undefined ? undefined : await (await import("./scan/scanner.ts")).openScanner(scan);
  const signers = await openSigners(options);
  const signer = signers.find((it) => !isPostQuantum(it.kind)) ?? signers[0];
  if (signer === undefined) throw usage("no key to sign with", `${commandOf(bundle, type)} --key FILE`);
  let scanned: ScanReport | undefined;
  if (scanner !== undefined) {
    const { scanContent } = await import("./scan/scan-content.ts");
    scanned = await withContents(bundle, options, async ({ inventory }, volumes) => {
      const seen = new Set<Digest>();
      const files: ScanFile[] = [];
      for (const { path, size, digest, offset } of inventory.entries) {
        if (offset === undefined || seen.has(digest)) continue;
        seen.add(digest);
        files.push({ path, size, from: volumes.range(offset, size) });
      }
      const found = await scanContent(scanner, files, { folder: options.folder, report });
      const left = inventory.entries.filter((it) => !seen.has(it.digest)).length;
      if (left > 0) found.gaps.push(`${plural(left, "file")} that this bundle does not carry`);
      return found;
    });
  }
  const stated = given ?? (scanned === undefined ? await ownProvenance(bundle) : scanPredicate(scanned));
  const text = await formatAttestation(type, { name: SUMS_NAME, digest: digestOf(root.sums) }, stated, signer);
  if (text.length > MAX_SIGNATURE_BYTES)
    throw usage(`it has ${text.length} bytes: expected at most ${MAX_SIGNATURE_BYTES}`, "give a shorter --predicate");
  const files = await addBesideSignatures(root, lateAttestationName(signer.keyid16, type), Buffer.from(text));
  for (const it of scanned?.gaps ?? []) report(`scan: ${it}`);
  if (scanned?.result === "found") throw foundSomething(bundle, scanned, files);
  const { stream, epoch, serial } = root.identity;
  return {
    stream,
    epoch,
    serial,
    digest: digestOf(root.sums),
    type,
    keyid: signer.keyid,
    scan: scanned ?? null,
    files,
  };
}

/** Reads the contents of a bundle that is whole and as it says. Whom it is signed by is not for a scanner to judge. */
async function withContents<T>(
  bundle: string,
  { progress = () => {} }: AttestOptions,
  work: (contents: Contents, volumes: VolumeSet) => Promise<T>,
): Promise<T> {
  const contents = await contentsOf(bundle);
  const { copies, inventory } = contents;
  const total = bytesToCheck(contents);
  const pool = HashPool.sizedFor(total);
  try {
    refuse(bundle, await checkContent(contents, pool, (bytes) => progress(bytes, total)));
  } finally {
    await pool.close();
  }
  const volumes = VolumeSet.over(
    copies.map((it) => it[0]),
    inventory,
  );
  try {
    return await work(contents, volumes);
  } finally {
    await volumes.close();
  }
}

async function contentsOf(bundle: string, isWhole = true): Promise<Contents> {
  const media = await readMedia([bundle]);
  const { contents, problems } = await readContents(media);
  const missing = (contents?.copies ?? []).flatMap((it, index): Problem[] => {
    const path = volumeName(index);
    return it.length > 0 ? [] : [{ code: "ERR_BUNDLE_INCOMPLETE", path, message: `"${path}" is missing` }];
  });
  refuse(bundle, [...media.problems, ...problems, ...(isWhole ? missing : [])]);
  if (contents === undefined) throw new Error("a bundle without contents has no problem");
  return contents;
}

/** What airferry itself states about where a bundle came from. */
async function ownProvenance(bundle: string): Promise<unknown> {
  const { inventory, documents } = await contentsOf(bundle, false);
  return provenancePredicate(inventory, documents);
}

async function readPredicate(file: string, type: AttestationKind): Promise<unknown> {
  const bytes = await readNamed(file).catch((cause: NodeJS.ErrnoException) => {
    const isMissing = cause.code === "ENOENT";
    throw new AirferryError(
      isMissing ? "ERR_NOT_FOUND" : "ERR_IO",
      `cannot read predicate "${file}": ${cause.message}`,
      {
        path: file,
        hint: "give a file with the predicate in JSON",
        cause,
      },
    );
  });
  const hint = "docs/scanning.md has a predicate of each type; or leave it to airferry: --type scan --scan COMMAND";
  if (bytes.length > MAX_PREDICATE_BYTES)
    throw usage(`"${file}" is too large: expected at most ${MAX_PREDICATE_BYTES} bytes, got ${bytes.length}`, hint);
  let value: unknown;
  try {
    value = parseJson(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    factsOf(type, value, file);
  } catch (cause) {
    throw usage(`"${file}" has no predicate of a ${type}: ${printable((cause as Error).message, 200)}`, hint);
  }
  return value;
}

function foundSomething(bundle: string, { findings, version, command }: ScanReport, files: string[]): AirferryError {
  const [first = "it printed nothing"] = findings;
  return new AirferryError(
    "ERR_SCAN_FOUND",
    `cannot call "${bundle}" clean: ${version ?? command[0]} found something: ${first}; that is attested in ${files[0]}`,
    {
      path: bundle,
      problems: findings.slice(0, 100).map((message) => ({ code: "ERR_SCAN_FOUND", path: "found", message })),
      hint: `where its rule asks for scans, it will not be imported; if the finding is wrong, scan with what knows better: ${commandOf(bundle, "scan")} --scan COMMAND --key FILE`,
    },
  );
}

/** Throws one error for all problems, with the code of the first. */
function refuse(bundle: string, problems: readonly Problem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  throw new AirferryError(first.code, `cannot attest "${bundle}": ${first.message}${more}`, {
    path: first.path,
    problems,
    hint: `for details run: airferry verify ${shellWord(bundle)} --trust KEY`,
  });
}

function commandOf(bundle: string, type: AttestationKind): string {
  return `airferry attest ${shellWord(bundle)} --type ${type}`;
}

function usage(fault: string, hint: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot attest: ${fault}`, { hint });
}
