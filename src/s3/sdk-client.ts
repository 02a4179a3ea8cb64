/**
 * The only module that loads the AWS SDK. It is imported when a bucket is opened: other commands do not pay for it.
 * Each method sends one request once, ends with its signal, and throws the SDK's errors: patience and meaning are
 * those of bucket.ts.
 */

import { pipeline, type Readable, Transform } from "node:stream";
import { rootCertificates } from "node:tls";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { nodeHttp, nodeHttps } from "../io/node-http.ts";
import type { S3Target } from "./s3-target.ts";

/** An upload in parts that was begun. */
export interface BegunUpload {
  key: string;
  id: string;
  /** RFC 3339. */
  begun: string;
}

/** What an object says of itself to whoever reads it over HTTP. */
export interface ObjectHeaders {
  contentType?: string | undefined;
  cacheControl?: string | undefined;
  /** By names in lower case, without `x-amz-meta-`; values are ASCII. */
  metadata?: Readonly<Record<string, string>> | undefined;
  /** Where a website of the bucket sends whoever asks for it: a path that begins with a slash. */
  redirect?: string | undefined;
}

/** A part that the bucket has. */
export interface StoredPart {
  number: number;
  size: number;
  etag: string;
  /** SHA-256 as base64; absent where the bucket keeps none. */
  sha256?: string | undefined;
}

/** Connections that are open at once. */
const MAX_SOCKETS = 32;
const PAGE = 1000;
/** Of an answer that is not an object: a page of names has less. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** A client of one bucket. Whoever makes it closes it. */
export class SdkClient {
  readonly #bucket: string;
  readonly #client: S3Client;
  readonly #agents: { destroy(): void }[];
  /** What the storage's clock said last, and when that was here; undefined before the first answer. */
  clock: { there: number; here: number } | undefined;

  /** @param ca certificates (PEM) besides the usual ones */
  constructor({ bucket, endpoint, region }: S3Target, limits: { connectMs: number; idleMs: number }, ca?: string) {
    this.#bucket = bucket;
    const options = { keepAlive: true, maxSockets: MAX_SOCKETS, scheduling: "lifo" as const };
    const httpAgent = new nodeHttp.Agent(options);
    const httpsAgent = new (nodeHttps().Agent)(
      ca === undefined ? options : { ...options, ca: [...rootCertificates, ca] },
    );
    this.#agents = [httpAgent, httpsAgent];
    this.#client = new S3Client({
      ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
      ...(region !== undefined && { region }),
      // One attempt: bucket.ts tries again, and knows what may be sent twice.
      maxAttempts: 1,
      requestHandler: { httpAgent, httpsAgent, connectionTimeout: limits.connectMs, socketTimeout: limits.idleMs },
      // What is uploaded has the SHA-256 that airferry gives; what is downloaded is checked against a signed digest.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      logger: { trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    });
    // The digest that is sent anyway signs the body: it need not be hashed once more.
    this.#client.middlewareStack.add(
      (next) => (args) => {
        const { headers } = args.request as { headers: Record<string, string> };
        const sha256 = headers["x-amz-checksum-sha256"];
        if (sha256 !== undefined && args.request && !("x-amz-content-sha256" in headers))
          headers["x-amz-content-sha256"] = Buffer.from(sha256, "base64").toString("hex");
        return next(args);
      },
      { step: "build", name: "airferryBodyDigest", priority: "low" },
    );
    this.#watchClock();
    this.#boundAnswers();
  }

  /** The SDK collects answers in memory, however long they are. */
  #boundAnswers(): void {
    this.#client.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const result = await next(args);
          const response = result.response as { statusCode: number; body?: Readable; headers: Record<string, string> };
          const isObject = commandName === "GetObjectCommand" && response.statusCode < 300;
          const isShort = Number(response.headers["content-length"]) <= MAX_ANSWER_BYTES;
          if (!isObject && !isShort && response.body !== undefined) response.body = bounded(response.body);
          return result;
        },
      { step: "deserialize", name: "airferryBoundAnswers", priority: "low" },
    );
  }

  #watchClock(): void {
    this.#client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        const { headers } = result.response as { headers?: Record<string, string> };
        const there = Date.parse(headers?.date ?? "");
        if (!Number.isNaN(there)) this.clock = { there, here: performance.now() };
        return result;
      },
      { step: "deserialize", name: "airferryClock", priority: "low" },
    );
  }

  /** Throws away all connections. */
  close(): void {
    this.#client.destroy();
    for (const it of this.#agents) it.destroy();
  }

  async get(key: string, range: string | undefined, etag: string | undefined, abortSignal: AbortSignal) {
    const input = { Bucket: this.#bucket, Key: key, ...(range && { Range: range }), ...(etag && { IfMatch: etag }) };
    const { Body, ContentLength, ETag, LastModified } = await this.#client.send(new GetObjectCommand(input), {
      abortSignal,
    });
    const body = Body as Readable | undefined;
    return { body, length: ContentLength, etag: ETag, modified: LastModified };
  }

  async head(key: string, abortSignal: AbortSignal) {
    const input = { Bucket: this.#bucket, Key: key, ChecksumMode: "ENABLED" as const };
    const found = await this.#client.send(new HeadObjectCommand(input), { abortSignal });
    const { ContentLength, ETag, ChecksumSHA256, LastModified } = found;
    const { ContentType, CacheControl, Metadata, WebsiteRedirectLocation } = found;
    const headers: ObjectHeaders = {
      contentType: ContentType,
      cacheControl: CacheControl,
      metadata: Metadata,
      redirect: WebsiteRedirectLocation,
    };
    return { size: ContentLength, etag: ETag, sha256: ChecksumSHA256, modified: LastModified, headers };
  }

  async list(prefix: string, token: string | undefined, delimiter: string | undefined, abortSignal: AbortSignal) {
    const input = { Bucket: this.#bucket, Prefix: prefix, MaxKeys: PAGE };
    const page = await this.#client.send(
      new ListObjectsV2Command({
        ...input,
        ...(token !== undefined && { ContinuationToken: token }),
        ...(delimiter !== undefined && { Delimiter: delimiter }),
      }),
      { abortSignal },
    );
    return {
      objects: (page.Contents ?? []).map(({ Key, Size, ETag, LastModified }) => ({
        key: Key ?? "",
        size: Size ?? 0,
        etag: ETag ?? "",
        modified: LastModified,
      })),
      folders: (page.CommonPrefixes ?? []).map((it) => it.Prefix ?? ""),
      next: page.IsTruncated === true ? page.NextContinuationToken : undefined,
    };
  }

  async put(
    key: string,
    body: Uint8Array,
    sha256: string,
    condition: { etag: string } | "absent" | undefined,
    abortSignal: AbortSignal,
    headers?: ObjectHeaders,
  ): Promise<string> {
    const when =
      condition === undefined ? {} : condition === "absent" ? { IfNoneMatch: "*" } : { IfMatch: condition.etag };
    const input = { Bucket: this.#bucket, Key: key, Body: body, ContentLength: body.length, ChecksumSHA256: sha256 };
    const all = { ...input, ...when, ...headerInput(headers) };
    const { ETag } = await this.#client.send(new PutObjectCommand(all), { abortSignal });
    return ETag ?? "";
  }

  async createUpload(key: string, abortSignal: AbortSignal, headers?: ObjectHeaders): Promise<string> {
    const input = { Bucket: this.#bucket, Key: key, ChecksumAlgorithm: "SHA256" as const, ...headerInput(headers) };
    const { UploadId } = await this.#client.send(new CreateMultipartUploadCommand(input), { abortSignal });
    return UploadId ?? "";
  }

  async putPart(
    { key, id }: Pick<BegunUpload, "key" | "id">,
    number: number,
    body: Uint8Array,
    sha256: string,
    abortSignal: AbortSignal,
  ): Promise<StoredPart> {
    const of = { Bucket: this.#bucket, Key: key, UploadId: id, PartNumber: number };
    const input = { ...of, Body: body, ContentLength: body.length, ChecksumSHA256: sha256 };
    const { ETag, ChecksumSHA256 } = await this.#client.send(new UploadPartCommand(input), { abortSignal });
    return { number, size: body.length, etag: ETag ?? "", sha256: ChecksumSHA256 };
  }

  /** Unfinished uploads of keys that begin so, at most a page of them. */
  async listUploads(prefix: string, abortSignal: AbortSignal): Promise<BegunUpload[]> {
    const input = { Bucket: this.#bucket, Prefix: prefix, MaxUploads: PAGE };
    const { Uploads = [] } = await this.#client.send(new ListMultipartUploadsCommand(input), { abortSignal });
    const own = Uploads.filter((it) => it.Key?.startsWith(prefix) === true && it.UploadId !== undefined);
    return own.map(({ Key = "", UploadId = "", Initiated }) => ({
      key: Key,
      id: UploadId,
      begun: Initiated?.toISOString() ?? "",
    }));
  }

  /** Parts of an unfinished upload behind the given number, at most a page of them. */
  async listParts({ key, id }: Pick<BegunUpload, "key" | "id">, after: number, abortSignal: AbortSignal) {
    const input = { Bucket: this.#bucket, Key: key, UploadId: id, MaxParts: PAGE };
    const page = await this.#client.send(
      new ListPartsCommand({ ...input, ...(after > 0 && { PartNumberMarker: String(after) }) }),
      { abortSignal },
    );
    const parts = (page.Parts ?? []).map(
      ({ PartNumber = 0, Size = 0, ETag = "", ChecksumSHA256 }): StoredPart => ({
        number: PartNumber,
        size: Size,
        etag: ETag,
        sha256: ChecksumSHA256,
      }),
    );
    return { parts, isLast: page.IsTruncated !== true };
  }

  /** Returns the composite checksum, where the bucket says one. */
  async completeUpload(
    { key, id }: Pick<BegunUpload, "key" | "id">,
    parts: readonly StoredPart[],
    abortSignal: AbortSignal,
  ): Promise<string | undefined> {
    const Parts = parts.map(({ number, etag, sha256 }) => ({
      PartNumber: number,
      ETag: etag,
      ...(sha256 !== undefined && { ChecksumSHA256: sha256 }),
    }));
    const input = { Bucket: this.#bucket, Key: key, UploadId: id, MultipartUpload: { Parts } };
    const { ChecksumSHA256 } = await this.#client.send(new CompleteMultipartUploadCommand(input), { abortSignal });
    return ChecksumSHA256;
  }

  async abortUpload({ key, id }: Pick<BegunUpload, "key" | "id">, abortSignal: AbortSignal): Promise<void> {
    await this.#client.send(new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key: key, UploadId: id }), {
      abortSignal,
    });
  }

  /** Deletes at most a page of keys. Returns those that were not deleted, and why. */
  async removeMany(keys: readonly string[], abortSignal: AbortSignal) {
    const Delete = { Objects: keys.map((Key) => ({ Key })), Quiet: true };
    const input = { Bucket: this.#bucket, Delete, ChecksumAlgorithm: "SHA256" as const };
    const { Errors = [] } = await this.#client.send(new DeleteObjectsCommand(input), { abortSignal });
    return Errors.map(({ Key, Code, Message }) => ({ key: Key ?? "", code: Code ?? "", message: Message ?? "" }));
  }

  /** A URL that anybody may read the object with, for so many seconds. */
  presign(key: string, seconds: number, headers: { contentType?: string; cacheControl?: string }): Promise<string> {
    const command = new GetObjectCommand({
      Bucket: this.#bucket,
      Key: key,
      ...(headers.contentType !== undefined && { ResponseContentType: headers.contentType }),
      ...(headers.cacheControl !== undefined && { ResponseCacheControl: headers.cacheControl }),
    });
    return getSignedUrl(this.#client, command, { expiresIn: seconds });
  }
}

function headerInput({ contentType, cacheControl, metadata, redirect }: ObjectHeaders = {}) {
  return {
    ...(contentType !== undefined && { ContentType: contentType }),
    ...(cacheControl !== undefined && { CacheControl: cacheControl }),
    ...(metadata !== undefined && { Metadata: { ...metadata } }),
    ...(redirect !== undefined && { WebsiteRedirectLocation: redirect }),
  };
}

function bounded(body: Readable): Readable {
  let seen = 0;
  const count = new Transform({
    transform(bytes: Buffer, _, done) {
      seen += bytes.length;
      if (seen <= MAX_ANSWER_BYTES) done(null, bytes);
      else done(new Error(`its answer is longer than ${MAX_ANSWER_BYTES} bytes`));
    },
  });
  // Whoever reads it hears of a fault.
  return pipeline(body, count, () => {});
}
