/**
 * `receipt`: tells the packing side what a store holds, so that it packs only what is missing. All that is in it came
 * from there: names of streams, serials and digests. Takes no lock, changes nothing in the store.
 */
import { AirferryError } from "./errors.ts";
import { DigestSet } from "./io/digest-set.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { throwIfAborted } from "./io/limit.ts";
import { writeReceipt } from "./receipt/receipt-file.ts";
import { formatReceiptLine } from "./receipt/receipt-line.ts";
import { byReleaseId, MAX_RECEIPT_DIGESTS, type ReleaseId } from "./receipt/receipt-text.ts";
import { openSigner, type SignerOptions } from "./sign/signer.ts";
import { readKnownDamage } from "./store/known-damage.ts";
import { withStore } from "./store/object-store.ts";
import type { Store } from "./store/store.ts";

interface ReceiptOptions {
  /** The receipt's file; its signature is beside it. Absent: only the lines of the short form are made. */
  out?: string;
  /** Only these streams; default all. */
  streams?: readonly string[];
  /** Lists the digests of all files too. */
  digests: boolean;
  signer: SignerOptions;
  /** Called with what is left out, and why. */
  notice?: (line: string) => void;
  now?: Date;
}

interface ReceiptReport {
  /** The two files. */
  files: string[];
  made: string;
  /** keyid of the signer; null without a file. */
  keyid: string | null;
  /** Whole releases. */
  releases: ReleaseId[];
  /** Of files that are listed; null if they are not. */
  digests: number | null;
  /** The short form of the newest release of each stream. */
  lines: string[];
}

/**
 * Writes a receipt of what a store holds. Whether files are there is looked up, not hashed: `status --check` does
 * that.
 * @throws {AirferryError} ERR_NOT_FOUND for a stream that the store does not have; ERR_STORE_EMPTY; ERR_USAGE,
 *   ERR_KEY_INVALID, ERR_PASSWORD, ERR_SIGNER, ERR_STORE_INVALID, ERR_IO
 */
export async function receipt(dir: string, options: ReceiptOptions): Promise<ReceiptReport> {
  keepHeapSmall();
  return withStore(dir, (store) => receiptOf(store, dir, options));
}

async function receiptOf(store: Store, dir: string, options: ReceiptOptions): Promise<ReceiptReport> {
  const { out, signer, streams, now = new Date() } = options;
  // Before the store is read, which takes its time.
  const signs = out === undefined ? undefined : await openSigner(signer);
  const present = new DigestSet();
  await store.loadBlobs();
  const releases = await wholeReleases(store, await chosen(store, streams), present, options.notice);
  if (releases.length === 0) {
    throw new AirferryError("ERR_STORE_EMPTY", `cannot write a receipt of "${dir}": no release is complete there`, {
      path: store.dir,
      hint: "without a receipt everything is packed: airferry pack MANIFEST --key FILE",
    });
  }
  if (options.digests && present.size > MAX_RECEIPT_DIGESTS) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot list ${present.size} files in a receipt: expected at most ${MAX_RECEIPT_DIGESTS}`,
      { hint: "leave out --digests, or choose streams with --stream NAME" },
    );
  }
  const made = `${now.toISOString().slice(0, 19)}Z`;
  const text = { made, releases, ...(options.digests && { digests: present }) };
  return {
    files: out === undefined || signs === undefined ? [] : await writeReceipt(out, text, signs),
    made,
    keyid: signs?.keyid ?? null,
    releases,
    digests: options.digests ? present.size : null,
    lines: releases.filter((it, index) => releases[index + 1]?.stream !== it.stream).map(formatReceiptLine),
  };
}

async function chosen(store: Store, streams: readonly string[] | undefined): Promise<string[]> {
  const there = await store.streams();
  const strange = streams?.find((it) => !there.includes(it));
  if (strange === undefined) return there.filter((it) => streams?.includes(it) ?? true);
  throw new AirferryError("ERR_NOT_FOUND", `cannot find stream "${strange}" in "${store.dir}"`, {
    path: store.dir,
    hint: `it has ${there.join(", ") || "none"}`,
  });
}

/** Releases of which every file is there, sorted; adds the digests of all that is there to `present`. */
async function wholeReleases(
  store: Store,
  streams: readonly string[],
  present: DigestSet,
  notice: (line: string) => void = () => {},
): Promise<ReleaseId[]> {
  const whole: ReleaseId[] = [];
  const damaged = await readKnownDamage(store.dir);
  for (const stream of streams) {
    for (const name of await store.releaseNames(stream)) {
      throwIfAborted();
      try {
        let missing = 0;
        const { digest, epoch, serial } = await store.look(stream, name, ({ digest, inventory }) => {
          const { epoch, serial, entries } = inventory;
          for (let index = 0; index < entries.length; index++) {
            const it = entries.digestAt(index);
            if (present.has(it)) continue;
            if (!damaged.has(it) && store.hasBlob(it, entries.sizeAt(index))) present.add(it);
            else missing++;
          }
          return { digest, epoch, serial };
        });
        if (missing === 0) whole.push({ stream, epoch, serial, digest });
        else notice(`left out ${stream} ${name}: ${missing} of its files are missing in the store or damaged`);
      } catch (error) {
        if (!(error instanceof AirferryError)) throw error;
        notice(`left out ${stream} ${name}: ${error.message}`);
      }
    }
  }
  return whole.sort(byReleaseId);
}
