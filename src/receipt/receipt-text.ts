/**
 * A receipt: what a store holds, as text that a person reads before it crosses back. Its form leaves no choice: the
 * same content is the same bytes, and whatever differs from them by a character is refused. docs/deltas.md, "Receipts".
 */
import { AirferryError } from "../errors.ts";
import { type Digest, hexOf, parseHex } from "../io/digest.ts";
import { DigestSet } from "../io/digest-set.ts";
import { isStreamName } from "../io/path-grammar.ts";
import { compareUtf8 } from "../io/text.ts";

/** A release, by what names it wherever it is. */
export interface ReleaseId {
  stream: string;
  epoch: number;
  serial: number;
  /** Of its SHA256SUMS. */
  digest: Digest;
}

/** What a receipt says. */
export interface Receipt {
  /** keyid of its signer. */
  keyid: string;
  /** `YYYY-MM-DDTHH:MM:SSZ` */
  made: string;
  /** Releases of which every file is there; sorted, none twice. */
  releases: readonly ReleaseId[];
  /** Of files that are there, if they are listed one by one; sorted, none twice. */
  digests?: readonly Digest[];
}

/** A million digests fit. */
export const MAX_RECEIPT_BYTES = 64 * 1024 * 1024;
export const MAX_RECEIPT_DIGESTS = 900_000;
const MAX_RELEASES = 10_000;
const BLOCK_LINES = 4096;

const TITLE = "airferry receipt 1";
const KEY = /^key ([0-9a-f]{64})$/;
const MADE = /^made (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$/;
const HOLDS = /^holds (\S{1,64}) e([1-9]\d{0,8}) s([1-9]\d{0,8}) ([0-9a-f]{64})$/;
const DIGESTS = /^digests (0|[1-9]\d{0,6})$/;

/** A receipt to be written: of digests, there may be a set that takes less memory than a list. */
export interface WrittenReceipt extends Omit<Receipt, "digests"> {
  digests?: readonly Digest[] | DigestSet;
}

/** The bytes of a receipt. Releases and digests are sorted here. */
export function formatReceipt({ keyid, made, releases, digests }: WrittenReceipt): string {
  const holds = [...releases]
    .sort(byReleaseId)
    .map(({ stream, epoch, serial, digest }) => `holds ${stream} e${epoch} s${serial} ${hexOf(digest)}`);
  const listed =
    digests === undefined
      ? []
      : digests instanceof DigestSet
        ? [`digests ${digests.size}`, ...blocksOf(digests)]
        : [`digests ${digests.length}`, ...digests.map(hexOf).sort()];
  return [TITLE, `key ${keyid}`, `made ${made}`, ...holds, ...listed, "end", ""].join("\n");
}

/** Lines, many in one text: half a million texts would take three times the memory. */
function* blocksOf(digests: DigestSet): Generator<string, void> {
  let lines: string[] = [];
  for (const it of digests.sorted()) {
    if (lines.push(hexOf(it)) < BLOCK_LINES) continue;
    yield lines.join("\n");
    lines = [];
  }
  if (lines.length > 0) yield lines.join("\n");
}

/**
 * Parses a receipt, which is not believed yet.
 * @throws {AirferryError} ERR_RECEIPT_INVALID for anything that {@link formatReceipt} would not write
 */
export function parseReceipt(text: string, file: string): Receipt {
  const invalid = (fault: string) => receiptInvalid(file, fault);
  const lines = text.split("\n");
  let at = 0;
  const next = (form: RegExp, expected: string): string[] => {
    const [, ...found] = form.exec(lines[at] ?? "") ?? [];
    if (found.length === 0) throw invalid(`line ${at + 1}: expected "${expected}"`);
    at++;
    return found;
  };
  if (lines[0] !== TITLE) throw invalid(`line 1: expected "${TITLE}"`);
  at = 1;
  const [keyid = ""] = next(KEY, "key KEYID");
  const [made = ""] = next(MADE, "made YYYY-MM-DDTHH:MM:SSZ");
  if (new Date(Date.parse(made) || 0).toISOString().slice(0, 19) !== made.slice(0, 19))
    throw invalid("line 3: not a date and time that exist");
  const releases: ReleaseId[] = [];
  while (lines[at]?.startsWith("holds ")) {
    const [stream = "", epoch, serial, hex = ""] = next(HOLDS, "holds STREAM eEPOCH sSERIAL DIGEST");
    const digest = parseHex(hex);
    if (digest === undefined || !isStreamName(stream)) throw invalid(`line ${at}: not the name of a stream`);
    releases.push({ stream, epoch: Number(epoch), serial: Number(serial), digest });
    if (releases.length > MAX_RELEASES) throw invalid(`more than ${MAX_RELEASES} releases`);
  }
  const digests = lines[at]?.startsWith("digests ") ? readDigests(next(DIGESTS, "digests COUNT")) : undefined;
  function readDigests([count]: string[]): Digest[] {
    const list: Digest[] = [];
    if (Number(count) > MAX_RECEIPT_DIGESTS) throw invalid(`more than ${MAX_RECEIPT_DIGESTS} digests`);
    for (let left = Number(count); left > 0; left--, at++) {
      const digest = parseHex(lines[at] ?? "");
      if (digest === undefined) throw invalid(`line ${at + 1}: expected 64 lower-case hex digits`);
      if (list.length > 0 && digest <= (list.at(-1) as Digest)) throw invalid(`line ${at + 1}: not in order`);
      list.push(digest);
    }
    return list;
  }
  if (lines[at] !== "end" || lines[at + 1] !== "" || lines.length !== at + 2)
    throw invalid(`line ${at + 1}: expected "end", and nothing after it`);
  const twice = releases.findIndex((it, index) => index > 0 && byReleaseId(it, releases[index - 1] ?? it) <= 0);
  if (twice > 0) throw invalid(`line ${twice + 4}: not in order`);
  const receipt = { keyid, made, releases, ...(digests !== undefined && { digests }) };
  if (formatReceipt(receipt) !== text) throw invalid("not in the form that airferry receipt writes");
  return receipt;
}

/** By stream, epoch, serial. */
export function byReleaseId(a: ReleaseId, b: ReleaseId): number {
  return compareUtf8(a.stream, b.stream) || a.epoch - b.epoch || a.serial - b.serial;
}

/** A receipt that is not what the far side wrote. */
export function receiptInvalid(file: string, fault: string, cause?: unknown): AirferryError {
  return new AirferryError("ERR_RECEIPT_INVALID", `cannot use receipt "${file}": ${fault}`, {
    path: file,
    cause,
    hint: "do not pack by it: have the far side write it again, and compare the two; or name what is there yourself with --base SERIAL",
  });
}
