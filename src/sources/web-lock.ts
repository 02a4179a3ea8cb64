/**
 * Locks `web:`: asks for URLs that were written by hand, and reads recordings. The answers of all entries are arranged
 * together, since their paths must not collide and no request may have two answers.
 */
import { stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { BY_USER } from "../http/named.ts";
import { ifThere, systemFault } from "../io/atomic.ts";
import { type Digest, digestOf, parseHex } from "../io/digest.ts";
import { parseBytes, plural } from "../io/format.ts";
import { gitFile, type RecordedRepository, readGitRecording } from "../io/git-recording.ts";
import { digestsOfFile } from "../io/hash-file.ts";
import { type Integrity, parseWholeIntegrity } from "../io/integrity.ts";
import { mapLimited } from "../io/limit.ts";
import { openRegular } from "../io/safe-open.ts";
import { answerKey, keptHeaders, type WebAnswer } from "../io/web-answer.ts";
import { answersFile, bodyPath, type RecordedAnswer, readRecording } from "../io/web-recording.ts";
import { normalizeWebUrl } from "../io/web-url.ts";
import { requestDigest } from "../manifest/request.ts";
import type { WebEntry } from "../manifest/schema.ts";
import { verifyBound } from "./artifact.ts";
import { lockGit } from "./git-lock.ts";
import { localPath } from "./local-path.ts";
import type { LockedOf } from "./lock-document.ts";
import type { LockedArtifact } from "./locked-artifact.ts";
import { mapEntries } from "./map-entries.ts";
import type { LockContext } from "./types.ts";
import { arrange } from "./web-arrange.ts";
import { grantsAccess } from "./web-bodies.ts";
import { hostOf } from "./web-paths.ts";

type LockedWeb = LockedOf<"web">;

/** An answer and its body, whose path is not chosen yet; no body: it is empty. */
interface Found {
  answer: WebAnswer;
  body?: Omit<LockedArtifact, "path">;
}

/** Bodies of a recording that are looked at together. */
const LOOK_TOGETHER = 16;

/**
 * Locks all entries. @throws {AirferryError} ERR_MANIFEST_INVALID for a recording that cannot be read; ERR_UPSTREAM*
 */
export async function lockWeb(context: LockContext<"web">): Promise<LockedWeb[]> {
  const entries = context.manifest.web ?? [];
  const locked = new Map<WebEntry, LockedWeb>();
  const byHand = entries.filter((it) => it.recording === undefined);
  const asked = await mapEntries("web", byHand, nameOf, context, async (entry) => {
    if (entry.git !== undefined) return lockGit(entry, entry.git, context);
    return lockedOf(entry, await mapLimited(entry.urls ?? [], LOOK_TOGETHER, (it) => ask(it, entry, context)));
  });
  for (const [index, entry] of byHand.entries()) locked.set(entry, asked[index] as LockedWeb);
  for (const entry of entries) if (!locked.has(entry)) locked.set(entry, await lockRecorded(entry, context));
  return arrange(
    entries.map((it) => locked.get(it) as LockedWeb),
    context,
  );
}

/** Bodies are numbered: {@link arrange} names them once all entries are known. */
function lockedOf(entry: WebEntry, found: readonly Found[], recording?: Digest): LockedWeb {
  return {
    kind: "web",
    name: entry.name,
    request: requestDigest(entry),
    artifacts: found.flatMap(({ body }, index) => (body === undefined ? [] : [{ ...body, path: `web/${index}` }])),
    detail: {
      answers: found.map(({ answer, body }, index) => ({ ...answer, ...(body && { path: `web/${index}` }) })),
      ...(recording && { recording }),
    },
  };
}

const nameOf = ({ name }: WebEntry) => name;

type Asked = NonNullable<WebEntry["urls"]>[number];

async function ask(item: Asked, entry: WebEntry, context: LockContext): Promise<Found> {
  const { url, sha256, integrity: sri } = typeof item === "string" ? { url: item } : item;
  const integrity = sha256 === undefined ? sri && parseWholeIntegrity(sri) : parseHex(sha256.toLowerCase());
  const target = { urls: [url], named: BY_USER };
  const bound = entry.max_size === undefined ? undefined : parseBytes(entry.max_size);
  const known = integrity ? await context.fetcher.head(target) : undefined;
  const isFirst = integrity === undefined && context.pinFirstSight;
  if (isFirst) context.report(`pinning ${url} on first sight: no digest is given`);
  const pinned = isFirst ? await context.download(target, bound === undefined ? {} : { maxBytes: bound }) : undefined;
  const answered = known ?? pinned ?? (await context.fetcher.head(target));
  const { size, etag, contentType, lastModified } = answered;
  verifyBound(entry, url, size, integrity !== undefined);
  const headers = keptHeaders({ "content-type": contentType, etag, "last-modified": lastModified });
  const answer: WebAnswer = { url: normalizeWebUrl(url), method: "GET", status: 200, headers };
  if (size === 0) return { answer };
  const digest = integrity || pinned?.digest;
  return {
    answer,
    body: {
      urls: [url],
      established: integrity ? "manifest" : "first-sight",
      ...(size !== undefined && { size }),
      ...(digest && { integrity: digest }),
      ...(etag && { etag }),
    },
  };
}

/** Reads a recording, unless it is the one that is locked: it may have grown since. */
async function lockRecorded(entry: WebEntry, context: LockContext<"web">): Promise<LockedWeb> {
  const given = entry.recording ?? "";
  const folder = localPath(given, context);
  const previous = context.previous.get(entry.name);
  const isSame = previous?.request === requestDigest(entry) && !context.update("web", entry.name);
  const file = answersFile(folder);
  const there = await ifThere(file, stat(file));
  const size = there?.isFile() ? there.size : undefined;
  // Gone since it was locked: earlier bundles may have its bodies, which the lock names.
  if (isSame && size === undefined) return previous;
  const now = isSame && size !== undefined ? await stateOf(folder, size) : undefined;
  if (isSame && previous.detail.recording === now) return previous;
  context.report(`reading recording ${given}`);
  const fail = (cause: NodeJS.ErrnoException) => {
    throw unreadable(entry, given, cause);
  };
  const recording = await readRecording(folder).catch(fail);
  const git = await readGitRecording(folder).catch(fail);
  if (git.unused > 0) context.report(`left out ${plural(git.unused, "line")} of ${given}/git.jsonl: no repository`);
  for (const [fault, count] of recording.unused) leftOut(context, given, count, fault);
  const hosts = entry.hosts && new Set(entry.hosts.map((it) => it.toLowerCase().replace(/\.(?=:\d+$|$)/, "")));
  const isWanted = ({ url }: Pick<WebAnswer, "url">) => {
    const host = hostOf(url);
    return hosts === undefined || hosts.has(host) || hosts.has(host.replace(/:\d+$/, ""));
  };
  const wanted = withoutEchoes(recording.answers.filter(isWanted));
  const found = await mapLimited(wanted, LOOK_TOGETHER, (it) => bodyOf(it, given, folder));
  const faults = new Map<string, number>();
  for (const it of found) if (typeof it === "string") faults.set(it, (faults.get(it) ?? 0) + 1);
  for (const [fault, count] of faults) leftOut(context, given, count, fault);
  const carried = found.filter((it) => typeof it !== "string");
  const locked = lockedOf(entry, carried, joined(recording.digest, git.digest));
  const repositories = await mapLimited(git.repositories.filter(isWanted), LOOK_TOGETHER, (it) =>
    packOf(it, given, folder, context),
  );
  return withRepositories(
    locked,
    repositories.filter((it) => it !== undefined),
  );
}

/** Of both files of a recording: when one changes, the entry is locked again. */
function joined(answers: Digest, git: Digest | undefined): Digest {
  return git === undefined ? answers : digestOf(`${answers}\n${git}\n`);
}

async function stateOf(folder: string, size: number): Promise<Digest> {
  const answers = (await digestsOfFile(answersFile(folder), size, [])).digests.sha256;
  const file = gitFile(folder);
  const git = await ifThere(file, stat(file));
  return joined(answers, git?.isFile() ? (await digestsOfFile(file, git.size, [])).digests.sha256 : undefined);
}

/** A repository that can be carried: its pack is there, or it has none. */
async function packOf(
  { pack, time: _, ...repository }: RecordedRepository,
  given: string,
  folder: string,
  { report }: LockContext,
): Promise<{ repository: Repository; body?: Omit<LockedArtifact, "path"> } | undefined> {
  if (pack === undefined) return { repository };
  const found = await sizeOf(`${folder}/${bodyPath(pack.digest)}`);
  if (found !== pack.size) {
    report(`left out repository ${repository.url} of ${given}: its pack is not in the recording`);
    return undefined;
  }
  const integrity: Integrity = pack.digest;
  return {
    repository,
    body: { file: `${given}/${bodyPath(pack.digest)}`, size: pack.size, integrity, established: "first-sight" },
  };
}

type Repository = NonNullable<LockedWeb["detail"]["git"]>[number];

function withRepositories(
  locked: LockedWeb,
  found: readonly { repository: Repository; body?: Omit<LockedArtifact, "path"> }[],
): LockedWeb {
  if (found.length === 0) return locked;
  const packs = found.map(({ body }, index) => (body === undefined ? [] : [{ ...body, path: `web/git-${index}` }]));
  const git = found.map(({ repository, body }, index) => ({
    ...repository,
    ...(body && { path: `web/git-${index}` }),
  }));
  return { ...locked, artifacts: [...locked.artifacts, ...packs.flat()], detail: { ...locked.detail, git } };
}

/** Of a regular file. What a link leads to is not of the recording, which may be somebody else's. */
async function sizeOf(file: string): Promise<number | undefined> {
  const found = await openRegular(file).catch((error: AirferryError) => {
    if (error.code !== "ERR_NOT_FOUND" && error.code !== "ERR_PATH_UNSAFE") throw error;
    return undefined;
  });
  await found?.handle.close();
  return found?.size;
}

function leftOut({ report }: LockContext, recording: string, count: number, fault: string): void {
  report(`left out ${plural(count, "answer")} of ${recording}: ${count === 1 ? "it" : "each"} ${fault}`);
}

function unreadable({ name }: WebEntry, given: string, cause: NodeJS.ErrnoException): AirferryError {
  const fault = cause.code === "ENOENT" ? "no such recording" : cause.code ? systemFault(cause) : cause.message;
  return new AirferryError("ERR_MANIFEST_INVALID", `cannot lock web "${name}": ${fault}: "${given}"`, {
    path: given,
    hint: "name the folder with answers.jsonl, relative to the manifest's own folder",
    cause,
  });
}

/** Without answers to HEAD that the answer to GET gives too. */
function withoutEchoes(answers: readonly RecordedAnswer[]): RecordedAnswer[] {
  const gets = new Map(answers.filter((it) => it.method === "GET").map((it) => [answerKey(it), it.status]));
  return answers.filter((it) => it.method !== "HEAD" || gets.get(answerKey({ ...it, method: "GET" })) !== it.status);
}

/** An answer with its body; else why it cannot be carried. */
async function bodyOf(recorded: RecordedAnswer, given: string, folder: string): Promise<Found | string> {
  const { digest, size, redirects: _, time: __, ...answer } = recorded;
  if (size === 0 || answer.method === "HEAD") return { answer };
  const file = `${folder}/${bodyPath(digest)}`;
  const found = await sizeOf(file);
  if (found === undefined) return "has no body in the recording";
  if (found !== size) return `has a body of another size than was recorded`;
  if (await grantsAccess(file, size, answer.headers["content-type"])) return "holds a token that grants access";
  const integrity: Integrity = digest;
  return { answer, body: { file: `${given}/${bodyPath(digest)}`, size, integrity, established: "first-sight" } };
}
