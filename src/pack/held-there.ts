/**
 * What a delta leaves out: content that the far side has, by its receipt, by its need file, or by the operator's word.
 * Nothing that was packed counts as delivered by itself.
 */
import { MAX_BASES } from "../bundle/format-limits.ts";
import type { Inventory } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import { type Digest, digestOf, hexOf } from "../io/digest.ts";
import { plural } from "../io/format.ts";
import { type Integrity, parseIntegrity, sha256In } from "../io/integrity.ts";
import type { PieceRun } from "../io/piece-digests.ts";
import { formatNeed, type Need, readNeed } from "../receipt/need-file.ts";
import { readReceipt } from "../receipt/receipt-file.ts";
import { readReceiptTrust } from "../receipt/receipt-keys.ts";
import { isReceiptLine, parseReceiptLine, type ShortRelease } from "../receipt/receipt-line.ts";
import { formatReceipt, type Receipt } from "../receipt/receipt-text.ts";
import { type EarlierRelease, earlierReleases, inventoryOfEarlier } from "./earlier-releases.ts";
import { type LostBuild, lostBuilds } from "./lost-builds.ts";

/** How a pack learns what is there; at most one of the first four. */
interface DeltaOptions {
  /** A receipt's file, or the line of its short form. */
  receipt?: string;
  /** Serial of a release that is there. */
  base?: number;
  /** As many of the last bundles may have been lost. */
  overlap?: number;
  /** A need file. */
  need?: string;
  /** Public keys of who may sign receipts. */
  receiptTrust: readonly string[];
  /** Folder of a trust root, whose role `receipt` counts where no key is named. */
  trustRoot?: string;
}

/** What was asked for, read and checked; nothing is looked up yet. */
export type DeltaRequest =
  | { by: "receipt"; name: string; receipt: Pick<Receipt, "releases" | "digests"> }
  | { by: "line"; name: string; release: ShortRelease }
  | { by: "base"; name: string; serial: number }
  | { by: "overlap"; name: string; count: number }
  | { by: "need"; name: string; need: Need };

/**
 * Reads what is known of the far side.
 * @throws {AirferryError} ERR_USAGE, ERR_RECEIPT_INVALID, ERR_NEED_INVALID, ERR_KEY_UNTRUSTED, ERR_SIGNATURE_MISSING,
 *   ERR_NOT_FOUND, and what {@link readReceiptTrust} throws
 */
export async function readDelta(options: DeltaOptions): Promise<DeltaRequest | undefined> {
  const { receipt, base, overlap, need, receiptTrust, trustRoot } = options;
  const given = [receipt, base, overlap, need].filter((it) => it !== undefined);
  if (given.length > 1) {
    throw new AirferryError("ERR_USAGE", "cannot pack: --for, --base, --overlap and --need exclude each other", {
      hint: "give the one that tells best what is there: a receipt, if there is one",
    });
  }
  if (base !== undefined) return { by: "base", name: `base ${base}`, serial: base };
  if (overlap !== undefined) return { by: "overlap", name: `overlap ${overlap}`, count: overlap };
  if (need !== undefined) {
    const read = await readNeed(need);
    return { by: "need", name: `need ${digestOf(formatNeed(read))}`, need: read };
  }
  if (receipt === undefined) return undefined;
  if (isReceiptLine(receipt)) {
    const release = parseReceiptLine(receipt);
    const { stream, epoch, serial, digest16 } = release;
    return { by: "line", name: `line ${stream} e${epoch} s${serial} ${digest16}`, release };
  }
  const read = await readReceipt(receipt, await readReceiptTrust(receiptTrust, trustRoot));
  return { by: "receipt", name: `receipt ${digestOf(formatReceipt(read))}`, receipt: read };
}

/** Content that is there. */
export class HeldThere {
  /** Releases of the stream that have it, oldest first. */
  readonly bases: readonly Pick<EarlierRelease, "epoch" | "serial" | "digest">[];
  readonly #sizes: ReadonlyMap<Digest, number | undefined>;
  /** By what upstream publishes of it, where that is not SHA-256. */
  readonly #others: ReadonlyMap<Integrity, Digest>;
  /** What a need file lists; with pieces only these are wrong over there. */
  readonly #listed: ReadonlyMap<Digest, readonly PieceRun[] | undefined>;

  constructor(
    sizes: ReadonlyMap<Digest, number | undefined>,
    others: ReadonlyMap<Integrity, Digest>,
    bases: HeldThere["bases"],
    listed: ReadonlyMap<Digest, readonly PieceRun[] | undefined> = new Map(),
  ) {
    this.#sizes = sizes;
    this.#others = others;
    this.bases = bases;
    this.#listed = listed;
  }

  /** Whether somebody asked for these bytes: then they are carried as they are, or pieces of them. */
  isListed(digest: Digest): boolean {
    return this.#listed.has(digest);
  }

  /** Which pieces of it are asked for; undefined if it is not asked for, or whole. */
  piecesListed(digest: Digest): readonly PieceRun[] | undefined {
    return this.#listed.get(digest);
  }

  has(digest: Digest): boolean {
    return this.#sizes.has(digest);
  }

  /** The digest of content that is there; undefined if it is not, or if nothing tells. */
  find(integrity: Integrity | undefined, size: number): Digest | undefined {
    if (integrity === undefined) return undefined;
    const digest = sha256In(integrity) ?? this.#others.get(integrity);
    if (digest === undefined || !this.#sizes.has(digest)) return undefined;
    return (this.#sizes.get(digest) ?? size) === size ? digest : undefined;
  }
}

interface HeldContext {
  out: string;
  stream: string;
  /** The serial that is packed. */
  serial: number;
  report: (line: string) => void;
}

/**
 * Looks up what is there among the bundles under `--out`. Undefined: nothing is known, all of it is packed.
 * @throws {AirferryError} ERR_BASE_UNKNOWN when the bundles that would tell are not here
 */
export async function findHeld(request: DeltaRequest, context: HeldContext): Promise<HeldThere | undefined> {
  const known = await earlierReleases(context.out);
  const sizes = new Map<Digest, number | undefined>();
  const others = new Map<Integrity, Digest>();
  const chosen = chooseReleases(request, known, context);
  const listed = new Map(request.by === "need" ? request.need.blobs.map((it) => [it.digest, it.pieces]) : []);
  const isLost = (it: Digest) => listed.has(it);
  const lost: LostBuild[] = [];
  for (const it of chosen) {
    const inventory = await inventoryOfEarlier(it);
    addContent(inventory, sizes, others);
    if (request.by === "need") lost.push(...(await lostBuilds(it, inventory, isLost)));
  }
  if (request.by === "receipt")
    for (const it of request.receipt.digests ?? []) if (!sizes.has(it)) sizes.set(it, undefined);
  for (const { sources } of lost) for (const it of sources) sizes.set(it.digest, it.size);
  if (request.by === "need") takeOut(request.need, sizes, context);
  for (const { digest, pieces } of lost) {
    sizes.delete(digest);
    if (pieces !== undefined) listed.set(digest, pieces);
  }
  const own = chosen.filter((it) => it.stream === context.stream && it.serial < context.serial);
  const bases = own.filter((it, index) => own[index + 1]?.serial !== it.serial).slice(-MAX_BASES);
  return sizes.size === 0 ? undefined : new HeldThere(sizes, others, bases, listed);
}

function chooseReleases(
  request: DeltaRequest,
  known: readonly EarlierRelease[],
  { out, stream, serial, report }: HeldContext,
): EarlierRelease[] {
  const own = known.filter((it) => it.stream === stream && it.serial < serial);
  switch (request.by) {
    case "base": {
      const base = own.findLast((it) => it.serial === request.serial);
      if (base === undefined) throw notHere(`serial ${request.serial} of ${stream}`, out, own);
      return [base];
    }
    case "overlap": {
      const base = own.at(-1 - request.count);
      if (base === undefined)
        report(`packing everything: ${plural(own.length, "earlier bundle")} of ${stream} in ${out}`);
      return base === undefined ? [] : [base];
    }
    case "line": {
      const { release } = request;
      const found = known.find((it) => isNamed(it, release));
      if (found === undefined)
        throw notHere(`serial ${release.serial} of ${release.stream}, digest ${release.digest16}…`, out, own);
      return [found];
    }
    case "need": {
      const { releases } = request.need;
      const found = known.filter((it) => releases.some((release) => release.digest === it.digest));
      const [first] = releases;
      if (found.length === 0)
        throw notHere(`serial ${first?.serial} of ${first?.stream}, digest ${first?.digest}`, out, own);
      return found;
    }
    case "receipt": {
      const { releases, digests } = request.receipt;
      const found = known.filter((it) => releases.some((release) => release.digest === it.digest));
      const unknown = releases.length - found.length;
      if (found.length === 0 && digests === undefined) throw notHere("any release of the receipt", out, own);
      if (unknown > 0)
        report(`${plural(unknown, "release")} of the receipt not found in ${out}: what only they have is carried`);
      return found;
    }
  }
}

function isNamed({ stream, epoch, serial, digest }: EarlierRelease, named: ShortRelease): boolean {
  return (
    stream === named.stream &&
    epoch === named.epoch &&
    serial === named.serial &&
    hexOf(digest).startsWith(named.digest16)
  );
}

function notHere(what: string, out: string, own: readonly EarlierRelease[]): AirferryError {
  const there = own.length === 0 ? "no bundle of the stream" : `serials ${own.map((it) => it.serial).join(", ")}`;
  return new AirferryError("ERR_BASE_UNKNOWN", `cannot find ${what} in "${out}": expected its bundle, got ${there}`, {
    path: out,
    hint: "its SHA256SUMS, airferry.json and data.pieces are enough; or use a receipt with --digests, or pack everything",
  });
}

function addContent(
  { entries, catalog }: Inventory,
  sizes: Map<Digest, number | undefined>,
  others: Map<Integrity, Digest>,
): void {
  const digests = new Map<string, Digest>();
  for (const { path, digest, size } of entries) {
    sizes.set(digest, size);
    digests.set(path, digest);
  }
  for (const { path, integrity } of catalog.provenance) {
    const parsed = integrity === undefined ? undefined : parseIntegrity(integrity);
    const digest = digests.get(path);
    if (parsed !== undefined && digest !== undefined) others.set(parsed, digest);
  }
}

/** What the far side lacks of the releases. */
function takeOut({ blobs }: Need, sizes: Map<Digest, number | undefined>, { report }: HeldContext): void {
  const strange = blobs.filter((it) => !sizes.delete(it.digest)).length;
  if (strange > 0)
    report(
      `${plural(strange, "file")} of the need file are in no bundle that it names: packed if the manifest has them`,
    );
}
