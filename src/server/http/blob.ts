/**
 * The only way to send content: every handler passes it to {@link sendBlob}, which implements GET and HEAD, validators,
 * preconditions, single and multiple ranges, and sends with constant memory. See RFC 9110, sections 8, 13, 14.
 */
import { randomBytes } from "node:crypto";
import type { InventoryEntry } from "../../bundle/inventory-types.ts";
import type { Extent, RandomAccess } from "../../io/types.ts";
import type { StoreReader } from "../../store/types.ts";
import { contentTypeOf } from "./content-type.ts";
import type { ServerRequest } from "./context.ts";
import { asGuarded, freshnessOf, REVALIDATED } from "./freshness.ts";
import { type ByteRange, checkPreconditions, parseRanges } from "./ranges.ts";
import { damagedFile } from "./read-check.ts";
import { type Reader, readFile, readRandomAccess } from "./reader.ts";
import type { Resources } from "./resources.ts";
import { ClientGone, ResponseWriter } from "./response-writer.ts";
import { MAX_SMALL_BYTES } from "./small-files.ts";
import { CONTENT_POLICY } from "./text-responses.ts";

/** Content to send: a file (whole, or consecutive parts of it), memory, or a reader. */
export interface BlobContent {
  file?: string;
  /** With `file`: the parts of the content. Their sizes add up to `size`. */
  extents?: readonly Extent[];
  bytes?: Uint8Array;
  source?: RandomAccess;
  size: number;
  /** Identifies the bytes: `sha256:…`, or any other string without quotes that no other bytes at this URL ever have. */
  digest: string;
  /** The opaque part of its ETag; default is `digest`. */
  etag?: string;
  contentType: string;
  /** The Cache-Control; default {@link REVALIDATED}; null: `headers` say it, or nothing does. */
  cache?: string | null;
  /** The Content-Security-Policy; default {@link CONTENT_POLICY}. */
  policy?: string;
  /** Those who ask for it follow redirects, so that they may be sent elsewhere for it. */
  mayRedirect?: boolean;
  /** Further headers of a 200 or 206. */
  headers?: Readonly<Record<string, string>>;
}

/** An entry of the tree as content. */
export function entryContent(entry: InventoryEntry, store: StoreReader): BlobContent {
  return {
    file: store.blobPath(entry.digest),
    size: entry.size,
    digest: entry.digest,
    contentType: contentTypeOf(entry.path),
    cache: freshnessOf(entry.path, entry.digest),
    mayRedirect: REDIRECTED.test(entry.path),
  };
}

/** Not ISOs: installers and what boots from a network do not follow. */
const REDIRECTED = /^(?:files|rpms)\//;

/** Larger content is written to the socket in parts, even from memory: TLS copies what it gets. */
const MAX_AT_ONCE_BYTES = 1024 * 1024;
const REPEATED = /^(?:cache-control|vary|expires|docker-content-digest)$/i;

/**
 * Answers a GET or HEAD with content, or the requested part of it: 200, 206, 304, 412 or 416. Resolves when the
 * response is complete or the client has disconnected. An unreadable or short file gives 500 if nothing was sent yet;
 * otherwise the connection must be cut, so that no client mistakes a part for the whole: the router does both.
 * @throws faults of the content, whether or not something was sent; never for a disconnected client
 */
export async function sendBlob(request: ServerRequest, content: BlobContent): Promise<void> {
  const { headers } = request.req;
  const etag = etagOf(content);
  const allowed = checkPreconditions(headers, etag);
  if (allowed !== 200) {
    endEmpty(request, allowed, ["ETag", etag, ...cachingOf(request, content)]);
    return;
  }
  // RFC 9110, 14.2: only GET has ranges.
  const ranges = request.head ? undefined : parseRanges(headers, etag, content.size);
  if (ranges === "unsatisfiable") {
    endEmpty(request, 416, ["Content-Range", `bytes */${content.size}`, "Accept-Ranges", "bytes", "ETag", etag]);
    return;
  }
  if (!request.head && (await sendElsewhere(request, content, etag))) return;
  if (ranges === undefined) {
    await sendWhole(request, content, etag);
    return;
  }
  const [only, more] = ranges;
  if (only !== undefined && more === undefined) await sendRange(request, content, etag, only);
  else await sendRanges(request, content, etag, ranges);
}

/** Sends a client to where large content is, if that is elsewhere. What is behind a login stays here. */
async function sendElsewhere(request: ServerRequest, content: BlobContent, etag: string): Promise<boolean> {
  const { redirect } = request.resources;
  const { file, size, mayRedirect } = content;
  if (redirect === undefined || mayRedirect !== true || file === undefined || size < redirect.above) return false;
  if (request.isGuarded === true) return false;
  // Without the bucket what is in the cache is served.
  const url = await redirect.urlOf(file).catch(() => undefined);
  if (url === undefined) return false;
  const head = [
    "Location",
    url,
    "ETag",
    etag,
    "Cache-Control",
    "no-store",
    ...Object.entries(content.headers ?? {}).flat(),
  ];
  endEmpty(request, 307, head);
  return true;
}

async function sendWhole(request: ServerRequest, content: BlobContent, etag: string): Promise<void> {
  const head = headOf(request, content, etag, content.size, content.contentType);
  if (request.head) {
    await checkPresent(content, request.resources);
    request.res.writeHead(200, head).end();
    return;
  }
  const bytes = content.bytes ?? (await smallFile(content, request.resources));
  if (bytes !== undefined && bytes.length <= MAX_AT_ONCE_BYTES) {
    request.sent = bytes.length;
    request.res.writeHead(200, head).end(bytes);
    if (content.bytes !== undefined) request.resources.waiting.hold(request.res, bytes.length);
    return;
  }
  await transfer(request, content, { start: 0, end: content.size }, async (out) => {
    request.res.writeHead(200, head);
    await out.send(0, content.size);
  });
}

async function sendRange(request: ServerRequest, content: BlobContent, etag: string, range: ByteRange): Promise<void> {
  const head = headOf(request, content, etag, range.end - range.start, content.contentType);
  head.push("Content-Range", `bytes ${range.start}-${range.end - 1}/${content.size}`);
  const bytes = content.bytes ?? (await smallFile(content, request.resources));
  if (bytes !== undefined && range.end - range.start <= MAX_AT_ONCE_BYTES) {
    request.sent = range.end - range.start;
    request.res.writeHead(206, head).end(bytes.subarray(range.start, range.end));
    if (content.bytes !== undefined) request.resources.waiting.hold(request.res, bytes.length);
    return;
  }
  await transfer(request, content, range, async (out) => {
    request.res.writeHead(206, head);
    await out.send(range.start, range.end);
  });
}

/** @see RFC 9110, 14.6 (multipart/byteranges) */
async function sendRanges(request: ServerRequest, content: BlobContent, etag: string, ranges: readonly ByteRange[]) {
  const boundary = `airferry-${randomBytes(12).toString("hex")}`;
  const parts = ranges.map((range) => ({
    ...range,
    head: Buffer.from(
      `\r\n--${boundary}\r\nContent-Type: ${content.contentType}\r\n` +
        `Content-Range: bytes ${range.start}-${range.end - 1}/${content.size}\r\n\r\n`,
    ),
  }));
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const length = parts.reduce((sum, part) => sum + part.head.length + part.end - part.start, tail.length);
  const head = headOf(request, content, etag, length, `multipart/byteranges; boundary=${boundary}`);
  await transfer(request, content, ranges[0] ?? { start: 0, end: 0 }, async (out) => {
    request.res.writeHead(206, head);
    for (const part of parts) {
      await out.write(part.head);
      await out.send(part.start, part.end);
    }
    await out.write(tail);
  });
}

function etagOf({ etag, digest }: BlobContent): string {
  return `"${etag ?? digest}"`;
}

/** Names and values in turn, as `writeHead` takes them. */
function headOf(
  request: Pick<ServerRequest, "isGuarded">,
  content: BlobContent,
  etag: string,
  length: number,
  contentType: string,
): string[] {
  const head = [
    "Content-Type",
    contentType,
    "Content-Length",
    String(length),
    "ETag",
    etag,
    "Accept-Ranges",
    "bytes",
    "X-Content-Type-Options",
    "nosniff",
    "Content-Security-Policy",
    content.policy ?? CONTENT_POLICY,
  ];
  const { cache = REVALIDATED } = content;
  if (cache !== null) head.push("Cache-Control", asGuarded(cache, request));
  if (content.headers !== undefined) head.push(...Object.entries(content.headers).flat());
  return head;
}

/** What a 304 repeats for caches. @see RFC 9110, 15.4.5 */
function cachingOf(request: ServerRequest, { cache = REVALIDATED, headers = {} }: BlobContent): string[] {
  const repeated = Object.entries(headers).filter(([name]) => REPEATED.test(name));
  return [...(cache === null ? [] : ["Cache-Control", asGuarded(cache, request)]), ...repeated.flat()];
}

/** The header fields of a 200 with the whole content, as lines that each end in CRLF. */
export function formatHead(content: BlobContent): string {
  const head = headOf({}, content, etagOf(content), content.size, content.contentType);
  let lines = "";
  for (let i = 0; i < head.length; i += 2) lines += `${head[i]}: ${head[i + 1]}\r\n`;
  return lines;
}

function endEmpty(request: ServerRequest, status: number, head: string[]): void {
  // A 304 has no Content-Length; RFC 9110, 8.6.
  if (status !== 304) head.push("Content-Length", "0");
  request.res.writeHead(status, head).end();
}

/** The bytes of a whole file, when it is small. */
async function smallFile({ file, size, digest, extents }: BlobContent, { small }: Resources) {
  if (file === undefined || extents !== undefined || size > MAX_SMALL_BYTES) return undefined;
  return small.load(small.at(file, size, digest));
}

/** What HEAD promises must be available for GET. */
async function checkPresent({ file, size, extents }: BlobContent, { files }: Resources): Promise<void> {
  if (file === undefined || extents !== undefined) return;
  const handle = await files.open(file, size);
  handle.release();
  if (handle.size !== size) throw damagedFile({ path: file }, `expected ${size} bytes, got ${handle.size}`);
}

/**
 * Opens the content, lets `send` write the response from it, ends the response and releases everything.
 * @param first what is sent first
 */
async function transfer(
  request: ServerRequest,
  content: BlobContent,
  first: ByteRange,
  send: (out: ResponseWriter) => Promise<void>,
) {
  const reader = await openReader(content, request.resources);
  const out = new ResponseWriter(request, reader);
  try {
    if (first.start < content.size) await reader.prepare?.(first.start, first.end);
    await send(out);
    request.res.end();
  } catch (error) {
    // A client may disconnect at any time; the router reports faults of this side.
    if (!(error instanceof ClientGone)) throw error;
    request.res.destroy();
  } finally {
    out.close();
    reader.release();
  }
}

async function openReader(content: BlobContent, { files }: Resources): Promise<Reader> {
  if (content.bytes !== undefined) return readRandomAccess(fromMemory(content.bytes));
  if (content.source !== undefined) return readRandomAccess(content.source);
  if (content.file === undefined) throw new TypeError("a BlobContent needs file, bytes or source");
  const file = await files.open(content.file, content.extents === undefined ? content.size : undefined);
  if (content.extents === undefined && file.size !== content.size) {
    file.release();
    throw damagedFile({ path: content.file }, `expected ${content.size} bytes, got ${file.size}`);
  }
  return readFile(file, content.size, content.extents);
}

function fromMemory(bytes: Uint8Array): RandomAccess {
  return {
    size: bytes.length,
    read: async (position, length) => bytes.subarray(position, Math.min(position + length, bytes.length)),
  };
}
