/**
 * Git repositories over smart HTTP, read-only: `/git/HOST/PATH`, cloned by the URL that upstream has behind `/git/`.
 * Everything is answered from the refs and the one pack of a repository; no git runs. docs/serve.md, "Git".
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import {
  findGitRequest,
  GIT_INDEX,
  type GitRepository,
  MAX_GIT_INDEX_BYTES,
  parseGitIndex,
} from "../../io/git-index.ts";
import {
  advertiseRefs,
  handleUploadPack,
  isVersion2,
  SIDE_BAND_BYTES,
  sideBandHead,
} from "../../io/git-upload-pack.ts";
import { FLUSH } from "../../io/pkt-line.ts";
import { normalizeWebUrl } from "../../io/web-url.ts";
import type { Release } from "../../store/types.ts";
import type { Mount, ServeContext, ServerRequest, TreeView } from "../http/context.ts";
import { forgetLater } from "../http/forget-later.ts";
import type { SharedFile } from "../http/handles.ts";
import { sendGenerated, sendNotFound, sendText } from "../http/text-responses.ts";

/** Largest request, as sent and decompressed: what a client has and wants. */
const MAX_REQUEST_BYTES = 8 * 1024 * 1024;
/** Repositories that a 404 names. */
const MOST_HINTS = 20;
/** Bytes of requests of all clients that are being read. */
const MAX_READING_BYTES = 4 * MAX_REQUEST_BYTES;
const NO_CACHE = { "Cache-Control": "no-cache" };
const decompress = promisify(gunzip);

interface Carried {
  release: Release;
  repositories: readonly GitRepository[];
}

/** Finds and answers what git asks for; one for all handlers of a kind. */
export class GitAnswers {
  readonly #known = new WeakMap<TreeView, Promise<Carried[]>>();
  readonly #reading: Reading = { bytes: 0, turn: Promise.resolve() };

  /** Everything that is carried, read once for each view. */
  carried(view: TreeView, request: ServerRequest, context: ServeContext): Promise<Carried[]> {
    const known = this.#known.get(view);
    if (known !== undefined) return known;
    const reading = carriedIn(view, request, context, () => forgetLater(this.#known, view));
    this.#known.set(view, reading);
    return reading;
  }

  /** Answers a request for the first of these URLs, in normal form, that a repository has; false, if none has. */
  async answer(
    request: ServerRequest,
    context: ServeContext,
    view: TreeView,
    urls: readonly string[],
  ): Promise<boolean> {
    const isPost = request.req.method === "POST";
    if (!isPost && request.req.method !== "GET") return false;
    if (!urls.some((it) => /\/(?:info\/refs\?|git-upload-pack$)/.test(it))) return false;
    const carried = await this.carried(view, request, context);
    for (const url of urls) {
      for (const { release, repositories } of carried) {
        if (request.stream !== undefined && request.stream !== release.stream) continue;
        const found = findGitRequest(repositories, url);
        if (found === undefined || isPost !== (found.service === "git-upload-pack")) continue;
        if (isPost) await sendPack(request, context, release, found.repository, this.#reading);
        else sendRefs(request, found.repository);
        return true;
      }
    }
    return false;
  }
}

function sendRefs(request: ServerRequest, repository: GitRepository): void {
  const type = "application/x-git-upload-pack-advertisement";
  const refs = advertiseRefs(repository, isVersion2(headerOf(request)));
  sendGenerated(request, 200, type, refs, { ...NO_CACHE, Vary: "Git-Protocol" });
}

/** Answers below `/git`; other methods too, since git asks with POST. */
export function gitMount(git = new GitAnswers()): Mount {
  return {
    prefix: "/git",
    anyMethod: true,
    async handle(request, context) {
      const { req, path, query } = request;
      const view = await context.view();
      const place = `${path.slice("/git/".length)}${req.url?.includes("?") ? `?${query}` : ""}`;
      const urls = ["https", "http"].flatMap((it) => normalOf(`${it}://${place}`) ?? []);
      if (await git.answer(request, context, view, urls)) return true;
      const isOther = req.method !== "GET" && !request.head && req.method !== "POST";
      if (isOther) return false;
      const all = (await git.carried(view, request, context)).flatMap((it) => it.repositories);
      const hint = "git clones by the URL that upstream has, without its scheme, behind /git/; there are:";
      const known = all.slice(0, MOST_HINTS).map((it) => `/git/${it.url.replace(/^https?:\/\//, "")}`);
      sendNotFound(request, all.length === 0 ? [] : [hint, ...known]);
      return true;
    },
  };
}

/** The repositories of all releases. An index that cannot be read is reported, and is none: then `failed` is called. */
async function carriedIn(
  view: TreeView,
  request: ServerRequest,
  context: ServeContext,
  failed: () => void,
): Promise<Carried[]> {
  const carried: Carried[] = [];
  for (const release of view.releases) {
    const entry = release.entries.get(GIT_INDEX);
    if (entry === undefined) continue;
    try {
      if (entry.size > MAX_GIT_INDEX_BYTES) throw new Error(`${GIT_INDEX} is larger than ${MAX_GIT_INDEX_BYTES} bytes`);
      const bytes = await request.resources.files.readWhole(context.store.blobPath(entry.digest));
      carried.push({ release, repositories: parseGitIndex(bytes.toString("utf8")) });
    } catch (error) {
      context.tellFault(error);
      failed();
    }
  }
  return carried;
}

function normalOf(url: string): string | undefined {
  try {
    return normalizeWebUrl(encodeURI(url));
  } catch {
    return undefined;
  }
}

function headerOf({ req }: ServerRequest): string | undefined {
  const value = req.headers["git-protocol"];
  return typeof value === "string" ? value : undefined;
}

async function sendPack(
  request: ServerRequest,
  { store }: ServeContext,
  release: Release,
  repository: GitRepository,
  reading: Reading,
): Promise<void> {
  const { res, resources } = request;
  const answer = await answerOf(request, repository, reading);
  if (answer === "large") return sendText(request, 413, `413: the request is larger than ${MAX_REQUEST_BYTES} bytes`);
  if (answer === "busy") return sendText(request, 503, "503: too many large requests at once", { "Retry-After": "5" });
  if ("fault" in answer) return sendText(request, 400, `400: the request ${answer.fault}`);
  const { head, pack } = answer;
  const type = "application/x-git-upload-pack-result";
  if (pack === "none") return sendGenerated(request, 200, type, head, NO_CACHE);
  const entry = repository.path === undefined ? undefined : release.entries.get(repository.path);
  if (entry === undefined) return sendNotFound(request, ["the repository is empty"]);
  const file = await resources.files.open(store.blobPath(entry.digest));
  try {
    const isFramed = pack === "side-band";
    if (entry.size > 0) await file.prepare(0, entry.size);
    const framing = isFramed ? Math.ceil(entry.size / SIDE_BAND_BYTES) * 5 + FLUSH.length : 0;
    res.writeHead(200, {
      "Content-Type": type,
      "Content-Length": head.length + entry.size + framing,
      "X-Content-Type-Options": "nosniff",
      ...NO_CACHE,
    });
    await pipeline(Readable.from(piecesOf(request, head, file, entry.size, isFramed)), res);
  } catch (error) {
    // A client that went away is no fault.
    if (!res.destroyed) throw error;
  } finally {
    file.release();
  }
}

const LIMITED = { maxOutputLength: MAX_REQUEST_BYTES };

/** One line of a side band at a time: with a thousand slow clients each has no more than that waiting. */
async function* piecesOf(
  request: ServerRequest,
  head: Buffer,
  file: SharedFile,
  size: number,
  isFramed: boolean,
): AsyncGenerator<Buffer> {
  const send = (bytes: Buffer) => {
    request.sent += bytes.length;
    return bytes;
  };
  yield send(head);
  for (let position = 0; position < size; ) {
    const length = Math.min(SIDE_BAND_BYTES, size - position);
    const start = isFramed ? sideBandHead(length) : EMPTY;
    const bytes = Buffer.allocUnsafe(start.length + length);
    start.copy(bytes);
    const count = await file.fill(bytes.subarray(start.length), length, position);
    if (count < length) throw new Error("the pack ended early");
    position += length;
    yield send(bytes);
  }
  if (isFramed) yield send(FLUSH);
}

const EMPTY = Buffer.alloc(0);

/** How much of all clients is in memory. */
interface Reading {
  bytes: number;
  /** The request that is decompressed now: one at a time, since a small one can become large. */
  turn: Promise<unknown>;
}

/** What a request is answered with; its bytes count until that is known. */
async function answerOf(
  request: ServerRequest,
  repository: GitRepository,
  reading: Reading,
): Promise<ReturnType<typeof handleUploadPack> | { fault: string } | "large" | "busy"> {
  const { req } = request;
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of req as AsyncIterable<Buffer>) {
      size += chunk.length;
      reading.bytes += chunk.length;
      if (size > MAX_REQUEST_BYTES) return "large";
      if (reading.bytes > MAX_READING_BYTES) return "busy";
      chunks.push(chunk);
    }
    const body = Buffer.concat(chunks);
    const answer = (plain: Buffer) => handleUploadPack(repository, plain, isVersion2(headerOf(request)));
    if (req.headers["content-encoding"] !== "gzip") return answer(body);
    const turn = reading.turn.then(async () => answer(await decompress(body, LIMITED)));
    reading.turn = turn.catch(() => {});
    return await turn;
  } catch (error) {
    return { fault: (error as Error).message };
  } finally {
    reading.bytes -= size;
  }
}
