/**
 * Where the bytes of one item come from: the download cache, recordings, earlier bundles and interrupted packs first,
 * then the source in the lock: the folder beside it, a file on this host, or upstream. All are checked in the same way.
 */

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { ItemWriter } from "../bundle/item-writer.ts";
import type { WorkFolder } from "../bundle/work-folder.ts";
import { AirferryError } from "../errors.ts";
import { fetchChecked } from "../fetch/checked.ts";
import type { Digest } from "../io/digest.ts";
import { sha256In } from "../io/integrity.ts";
import { throwIfAborted } from "../io/limit.ts";
import { openBytes } from "../io/open-bytes.ts";
import { redactUrl } from "../io/redact.ts";
import { shellWord } from "../io/shell.ts";
import type { RandomAccess } from "../io/types.ts";
import { bodyPath } from "../io/web-recording.ts";
import { LockFolder } from "../manifest/lock-folder.ts";
import type { Codec } from "../sources/archive/inflate.ts";
import type { InflatedFiles } from "../sources/archive/inflated-file.ts";
import { localPath } from "../sources/local-path.ts";
import { compressedFile } from "./fill-order.ts";
import { checkedDigest, copyChecked, gathered, slice } from "./item-bytes.ts";
import { allFailed, cannotPack, isPlaceFault, namingItem, unreadable, wrongDigest } from "./item-faults.ts";
import type { PackJob } from "./job.ts";
import type { LaidItem } from "./lay-out.ts";
import type { SizedItem } from "./left-out.ts";
import { findReusable, type Reusable } from "./reuse.ts";

/** All sources of bytes of one pack. The caller disposes of it. */
export class ItemSources implements AsyncDisposable {
  /** Artifacts from the download cache. */
  readonly cached: Digest[] = [];
  readonly #job: PackJob;
  readonly #lockFolder: LockFolder;
  /** Once there is a compressed archive. */
  #inflated: InflatedFiles | undefined;
  #reusable: Reusable | undefined;

  constructor(job: PackJob) {
    this.#job = job;
    this.#lockFolder = new LockFolder(job.workspace.paths.kept);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reusable?.close();
    await this.#inflated?.[Symbol.asyncDispose]();
  }

  /** Looks for the bytes of `wanted` in bundles and work folders under `--out`. */
  async findReusable(stream: string, work: WorkFolder, wanted: readonly SizedItem[]): Promise<void> {
    this.#reusable = await findReusable(this.#job.out, stream, work, wanted);
  }

  /** Closes the compressed archive that an item was read from: nothing more of it is needed. */
  async closeArchive({ source }: LaidItem): Promise<void> {
    const archive = compressedFile(source);
    if (archive !== undefined) await this.#inflated?.close(archive);
  }

  /** Local bytes with this digest. They are checked like any others. */
  async near(item: SizedItem): Promise<{ bytes: RandomAccess; close(): Promise<void> } | undefined> {
    if (item.source.from === "kept") return undefined;
    const digest = sha256In(item.integrity);
    const cached = digest && (await this.#job.workspace.cache.file(digest));
    if (cached) {
      const opened = await openBytes(cached);
      if (opened.bytes.size === item.size) {
        this.cached.push(digest);
        return opened;
      }
      // Not the whole download: its bytes would not fit in their place.
      await opened.close();
    }
    if (item.source.from === "url") {
      const recorded = digest && (await this.#recorded(digest, item.size));
      if (recorded !== undefined) return recorded;
    }
    return item.source.from === "url" || compressedFile(item.source) !== undefined
      ? this.#reusable?.find(item)
      : undefined;
  }

  /** A body with this digest of one of the manifest's recordings, whatever it was asked for as. */
  async #recorded(digest: Digest, size: number): Promise<{ bytes: RandomAccess; close(): Promise<void> } | undefined> {
    const { manifest, paths, unpacked } = this.#job.workspace;
    for (const { recording } of manifest.web ?? []) {
      if (recording === undefined) continue;
      const folder = localPath(recording, { baseDir: paths.baseDir, unpacked });
      const opened = await openBytes(join(folder, bodyPath(digest))).catch(() => undefined);
      if (opened?.bytes.size === size) return opened;
      await opened?.close();
    }
    return undefined;
  }

  /**
   * Fills an item from the locked source; if that fails, from its alternatives. `accept` gets the SHA-256 of the bytes
   * once it is right, with their source, and may still refuse them.
   */
  async fill(
    item: LaidItem,
    writer: ItemWriter,
    accept: (digest: Digest, source: LaidItem["source"]) => Promise<void>,
  ): Promise<void> {
    const failed: AirferryError[] = [];
    for (const source of [item.source, ...(item.others ?? [])]) {
      const earlier = failed.at(-1);
      if (earlier !== undefined) {
        this.#job.report(`${earlier.message}; trying another source`);
        if (writer.position >= item.size) await writer.restart();
      }
      try {
        await accept(await this.#fillFrom(source, item, writer), source);
        return;
      } catch (error) {
        if (!isPlaceFault(error)) throw error;
        failed.push(error);
      }
    }
    throw allFailed(failed);
  }

  async #fillFrom(source: LaidItem["source"], item: LaidItem, writer: ItemWriter): Promise<Digest> {
    let fault: string;
    switch (source.from) {
      case "kept":
        if (writer.position > 0) await writer.restart();
        await writer.write(await namingItem(item, this.#lockFolder.get(source.digest)));
        fault = "the lock changed";
        break;
      case "file": {
        const digest = await this.#copyFile(item, source, writer);
        if (digest !== undefined) return digest;
        // Until now, the archive's claims about its blobs were trusted.
        fault = `"${source.file}" ${source.offset === undefined ? "" : "does not match its own index, or "}changed since it was locked`;
        throw await this.#wrongDigest(item, writer, `: ${fault}`);
      }
      case "url":
        return this.#fetch(item, source, writer);
      case "generated":
        throw new AirferryError("ERR_INTERNAL", `cannot fill "${item.path}": it is generated`);
    }
    const digest = await checkedDigest(item, writer);
    if (digest === undefined) throw await this.#wrongDigest(item, writer, `: ${fault}`);
    return digest;
  }

  /** One GET, and more if its bytes are wrong: see fetchChecked. */
  async #fetch(
    item: LaidItem,
    source: Extract<LaidItem["source"], { from: "url" }>,
    writer: ItemWriter,
  ): Promise<Digest> {
    const sink = {
      get position() {
        return writer.position;
      },
      get validator() {
        return writer.validator;
      },
      lend: () => writer.lend(),
      write: (chunk: Uint8Array) => writer.write(chunk),
      restart: () => writer.restart(),
      began: (response: Parameters<ItemWriter["began"]>[0]) => writer.began(response),
    };
    const { urls, named, auth, etag } = source;
    const target = { urls, named, size: item.size, integrity: item.integrity, auth, etag };
    const checked: { digest?: Digest | undefined } = {};
    const check = async (from: string) => {
      checked.digest = await checkedDigest(item, writer);
      return checked.digest === undefined ? this.#wrongDigest(item, writer, ` from ${from}`) : undefined;
    };
    const onAgain = (next: readonly string[]) =>
      this.#job.report(
        `fetching ${item.path} once more from ${next.length === 1 ? redactUrl(next[0] ?? "") : `${next.length} places`}: its digest was wrong`,
      );
    await namingItem(item, fetchChecked(this.#job.workspace.fetcher, target, sink, { check, onAgain }));
    if (checked.digest === undefined) throw await this.#wrongDigest(item, writer, "");
    return checked.digest;
  }

  async #copyFile(
    item: LaidItem,
    { file, offset, codec, extents }: Extract<LaidItem["source"], { from: "file" }>,
    writer: ItemWriter,
  ): Promise<Digest | undefined> {
    if (codec !== undefined) {
      if (writer.position > 0) await writer.restart();
      await this.#inflate(item, file, codec, offset ?? 0, writer);
      return checkedDigest(item, writer);
    }
    const source = await openBytes(file).catch((cause: NodeJS.ErrnoException) => {
      throw unreadable(item, file, cause);
    });
    try {
      if (offset === undefined && extents === undefined && source.bytes.size !== item.size) {
        throw new AirferryError(
          "ERR_UPSTREAM_SIZE",
          `${cannotPack(item)}: "${file}" changed since it was locked: expected ${item.size} bytes, got ${source.bytes.size}`,
          { path: file, hint: `if that is intended: airferry lock ${shellWord(this.#job.workspace.file)} --update` },
        );
      }
      const whole = extents === undefined ? source.bytes : gathered(source.bytes, extents);
      const bytes = offset === undefined ? whole : slice(whole, offset, item.size);
      return await copyChecked(item, writer, bytes, { url: pathToFileURL(file).href, etag: source.version });
    } finally {
      await source.close();
    }
  }

  /** From a compressed archive: everything before is skipped, and no more is read than the lock requires. */
  async #inflate(item: LaidItem, file: string, codec: Codec, offset: number, writer: ItemWriter): Promise<void> {
    const { InflatedFiles } = await import("../sources/archive/inflated-file.ts");
    this.#inflated ??= new InflatedFiles();
    const bytes = this.#inflated.take(file, codec, offset, item.size)[Symbol.asyncIterator]();
    const next = () =>
      bytes.next().catch((cause: unknown) => {
        throw cause instanceof AirferryError ? cause : unreadable(item, file, cause as NodeJS.ErrnoException);
      });
    try {
      for (let it = await namingItem(item, next()); !it.done; it = await namingItem(item, next())) {
        throwIfAborted();
        await writer.write(it.value);
      }
    } finally {
      await bytes.return(undefined);
    }
  }

  async #wrongDigest(item: LaidItem, writer: ItemWriter, where: string): Promise<AirferryError> {
    return wrongDigest(item, await writer.digests(), writer.position, where, this.#job.workspace.file);
  }
}
