/**
 * The `checksums:` of a manifest entry: fetches upstream's checksum file, its OpenPGP signature and the keys, verifies
 * the file, and returns what it says about the artifact. If keys are given, only signed text is trusted. See
 * docs/manifest.md, "checksums".
 */
import { open } from "node:fs/promises";
import { isAbsolute, resolve } from "node:path";
import { AirferryError } from "../errors.ts";
import type { Fetcher } from "../fetch/types.ts";
import { BY_USER } from "../http/named.ts";
import type { Established } from "../io/types.ts";
import type { ChecksumsEntry } from "../manifest/schema.ts";
import { isClearsigned, MAX_OPENPGP_KEYS_BYTES } from "../sign/openpgp-files.ts";
import type { OpenPgpKeyring } from "../sign/openpgp-keyring.ts";
import { MAX_CHECKSUMS_BYTES, type PublishedDigest, parseChecksums } from "./checksum-file.ts";
import type { NamedDocument } from "./named-documents.ts";

const MAX_SIGNATURE_BYTES = 256 * 1024;

/** A digest that upstream publishes, and why it is trusted. */
interface ResolvedDigest extends PublishedDigest {
  established: Extract<Established, "upstream-signed" | "upstream-checksum">;
  /** Primary fingerprints (upper-case hex, sorted) for `upstream-signed`. */
  signedBy?: string[];
  /** What was read for it from the network. */
  documents: NamedDocument[];
}

/**
 * Returns what upstream's checksum file says about `fileName` (its name upstream).
 * @param url where the artifact comes from, to distinguish equal names in several folders of one file
 * @throws {AirferryError} ERR_UPSTREAM_SIGNATURE when keys are given and none of them signed it; ERR_UPSTREAM_INVALID
 *   when the file says nothing usable; ERR_MANIFEST_INVALID for a missing path; and what the fetcher throws
 */
export async function resolveChecksums(
  entry: ChecksumsEntry,
  fileName: string,
  { fetcher, baseDir }: { fetcher: Fetcher; baseDir: string },
  url?: string,
): Promise<ResolvedDigest> {
  const place = (entry.url ?? entry.path) as string;
  const documents: NamedDocument[] = [];
  const read = (from: string, maxBytes: number) => readPlace(from, maxBytes, fetcher, baseDir);
  const note = (from: string, found: Buffer, how: Omit<NamedDocument, "url" | "bytes">) => {
    if (isUrl(from)) documents.push({ url: from, bytes: found, ...how });
  };
  const bytes = await read(place, MAX_CHECKSUMS_BYTES);
  const artifact = { name: fileName, url, path: place };
  if (entry.keys === undefined) {
    const text = isClearsigned(bytes) ? await clearsignedText(bytes, place) : bytes;
    note(place, bytes, { established: "first-sight" });
    return { ...parseChecksums(text, artifact), established: "upstream-checksum", documents };
  }
  const keys = await Promise.all(entry.keys.map((it) => read(it, MAX_OPENPGP_KEYS_BYTES)));
  const { readOpenPgpKeyring } = await import("../sign/openpgp-keyring.ts");
  const keyring = await readOpenPgpKeyring(keys, { fingerprints: entry.fingerprints, name: entry.keys.join(", ") });
  const signature = entry.signature === undefined ? undefined : await read(entry.signature, MAX_SIGNATURE_BYTES);
  const { text, signedBy } = await checkSignature(bytes, signature, keyring, place, fileName);
  const signed = { established: "upstream-signed", signedBy } as const;
  note(place, bytes, signed);
  if (entry.signature !== undefined && signature !== undefined) note(entry.signature, signature, signed);
  const established = entry.fingerprints === undefined ? "first-sight" : "manifest";
  for (const [index, it] of entry.keys.entries()) note(it, keys[index] as Buffer, { established });
  return { ...parseChecksums(text, artifact), ...signed, documents };
}

async function checkSignature(
  bytes: Buffer,
  signature: Buffer | undefined,
  keyring: OpenPgpKeyring,
  place: string,
  fileName: string,
): Promise<{ text: Uint8Array; signedBy: string[] }> {
  const { requireGoodSignature, verifyClearsigned, verifyDetached } = await import("../sign/openpgp-verify.ts");
  const about = `${bytes.length} bytes, checksums of "${fileName}"`;
  const clearsigned = isClearsigned(bytes);
  if (signature !== undefined) {
    const signedBy = requireGoodSignature(await verifyDetached(bytes, signature, keyring), keyring, place, about);
    // The whole file is signed, but a clear-signed file's lines are inside it.
    const text = clearsigned ? await clearsignedText(bytes, place) : bytes;
    return { text, signedBy };
  }
  if (!clearsigned) {
    const expected = "a clear-signed file, or signature: in the manifest";
    throw new AirferryError(
      "ERR_UPSTREAM_SIGNATURE",
      `cannot verify "${place}" (${about}): keys are given but nothing is signed: expected ${expected}, got plain text`,
      { path: place, expected, hint: "add signature: with the URL of the detached signature, or remove keys:" },
    );
  }
  const verdict = await verifyClearsigned(bytes, keyring, place);
  const signedBy = requireGoodSignature(verdict, keyring, place, about);
  return { text: Buffer.from(verdict.text), signedBy };
}

/** What a clear-signed file says, whoever signed it. */
async function clearsignedText(bytes: Buffer, place: string): Promise<Buffer> {
  const { readClearsigned } = await import("../sign/openpgp-verify.ts");
  return Buffer.from((await readClearsigned(bytes, place)).text);
}

function isUrl(place: string): boolean {
  return /^https?:\/\//i.test(place);
}

async function readPlace(place: string, maxBytes: number, fetcher: Fetcher, baseDir: string): Promise<Buffer> {
  if (isUrl(place)) return (await fetcher.fetchBytes({ urls: [place], named: BY_USER, maxBytes })).bytes;
  const file = isAbsolute(place) ? place : resolve(baseDir, place);
  try {
    await using handle = await open(file, "r");
    const found = await handle.stat();
    if (!found.isFile()) throw new Error("not a regular file");
    const { size } = found;
    if (size > maxBytes) throw new Error(`too large: expected at most ${maxBytes} bytes, got ${size}`);
    return await handle.readFile();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const fault = code === "ENOENT" ? "no such file" : message;
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot read "${place}": ${fault}`, {
      path: place,
      cause,
      hint: "paths in a manifest are relative to the manifest's own folder",
    });
  }
}
