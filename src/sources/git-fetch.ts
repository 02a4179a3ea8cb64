/**
 * Fetches a git repository over smart HTTP without git: its branches and tags, and one pack with everything they lead
 * to. Protocol version 2; the pack's own sum is checked. gitprotocol-v2(5), gitprotocol-http(5).
 */
import { createHash } from "node:crypto";
import { AirferryError } from "../errors.ts";
import type { Fetcher } from "../fetch/types.ts";
import { BY_USER } from "../http/named.ts";
import { type GitRef, type GitRepository, isGitRef, isGitRefName, MAX_GIT_REFS } from "../io/git-index.ts";
import { DELIMITER, FLUSH, lineText, type PktLine, pktLine, pktLines } from "../io/pkt-line.ts";
import { printable } from "../io/printable.ts";
import { redactUrl } from "../io/redact.ts";

/** Largest list of refs. */
const MAX_REFS_BYTES = 32 * 1024 * 1024;
const PREFIXES = ["HEAD", "refs/heads/", "refs/tags/"];
const VERSION_2 = { "Git-Protocol": "version=2" };

type FetchedRepository = Pick<GitRepository, "format" | "head" | "refs"> & { pack?: Buffer };

/**
 * Fetches it. `login` is an Authorization header for its server.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for what is not git's protocol version 2; ERR_UPSTREAM*
 */
export async function fetchGit(
  url: string,
  fetcher: Fetcher,
  maxBytes: number,
  login?: string | undefined,
): Promise<FetchedRepository> {
  const own = { ...VERSION_2, ...(login !== undefined && { Authorization: login }) };
  const { format, tellsUnborn } = await readCapabilities(url, fetcher, own);
  const ask = async (lines: readonly (string | Buffer)[], limit: number) => {
    const body = Buffer.concat([...lines.map((it) => (typeof it === "string" ? pktLine(`${it}\n`) : it)), FLUSH]);
    const headers = {
      ...own,
      "Content-Type": "application/x-git-upload-pack-request",
      Accept: "application/x-git-upload-pack-result",
    };
    const urls = [`${url}/git-upload-pack`];
    const target = { urls, named: BY_USER, maxBytes: limit, method: "POST" as const, body, headers };
    return parsed(url, (await fetcher.fetchBytes(target)).bytes);
  };
  const prefixes = PREFIXES.map((it) => `ref-prefix ${it}`);
  const listed = await ask(
    [
      "command=ls-refs",
      `object-format=${format}`,
      DELIMITER,
      "peel",
      "symrefs",
      ...(tellsUnborn ? ["unborn"] : []),
      ...prefixes,
    ],
    MAX_REFS_BYTES,
  );
  const { head, refs } = readRefs(url, listed, format);
  const found = { format, ...(head !== undefined && { head }), refs };
  if (refs.length === 0) return found;
  const wants = [...new Set(refs.map((it) => it.oid))].map((it) => `want ${it}`);
  const options = ["no-progress", "ofs-delta", "include-tag"];
  const answer = await ask(
    ["command=fetch", `object-format=${format}`, DELIMITER, ...options, ...wants, "done"],
    maxBytes,
  );
  return { ...found, pack: readPack(url, answer, format) };
}

async function readCapabilities(url: string, fetcher: Fetcher, headers: Record<string, string>) {
  const urls = [`${url}/info/refs?service=git-upload-pack`];
  const { bytes } = await fetcher.fetchBytes({ urls, named: BY_USER, maxBytes: MAX_REFS_BYTES, headers });
  const lines = parsed(url, bytes).map(lineText);
  if (!lines.includes("version 2"))
    throw invalid(url, "it does not speak version 2 of git's protocol", "check that the URL is that of a repository");
  const format = lines.find((it) => it.startsWith("object-format="))?.slice("object-format=".length) ?? "sha1";
  if (format !== "sha1" && format !== "sha256") throw invalid(url, "its object format is unknown");
  return { format, tellsUnborn: lines.some((it) => /^ls-refs=.*\bunborn\b/.test(it)) } as const;
}

function parsed(url: string, bytes: Buffer): PktLine[] {
  try {
    return pktLines(bytes);
  } catch (error) {
    throw invalid(url, `the answer ${(error as Error).message}`, "check that the URL is that of a git repository");
  }
}

function readRefs(url: string, lines: readonly PktLine[], format: GitRepository["format"]) {
  const refs: GitRef[] = [];
  let head: string | undefined;
  for (const line of lines) {
    if (typeof line === "string") continue;
    const [oid = "", name = "", ...attributes] = lineText(line).split(" ");
    if (oid === "unborn" && name === "HEAD") {
      head = branchIn(attributes);
      continue;
    }
    const peeled = attributeOf("peeled:", attributes);
    const ref = { name, oid, ...(peeled !== undefined && { peeled }) };
    if (!isGitRef(ref, format)) throw invalid(url, `it has a ref that cannot be carried: "${printable(name, 100)}"`);
    if (name === "HEAD") head = branchIn(attributes);
    refs.push(ref);
    if (refs.length > MAX_GIT_REFS) throw invalid(url, `it has more than ${MAX_GIT_REFS} branches and tags`);
  }
  return { head, refs: refs.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

function attributeOf(key: string, attributes: readonly string[]): string | undefined {
  return attributes.find((it) => it.startsWith(key))?.slice(key.length);
}

/** The branch that HEAD is, if it is one. */
function branchIn(attributes: readonly string[]): string | undefined {
  const target = attributeOf("symref-target:", attributes);
  return target?.startsWith("refs/heads/") && isGitRefName(target) ? target : undefined;
}

/** The pack, without its side band. */
function readPack(url: string, lines: readonly PktLine[], format: GitRepository["format"]): Buffer {
  const start = lines.findIndex((it) => typeof it !== "string" && lineText(it) === "packfile");
  const parts: Buffer[] = [];
  for (const line of start < 0 ? [] : lines.slice(start + 1)) {
    if (typeof line === "string") break;
    if (line[0] === 1) parts.push(line.subarray(1));
    else if (line[0] === 3)
      throw invalid(url, `it refuses: ${printable(line.subarray(1).toString("utf8"), 200).trim()}`);
  }
  const pack = Buffer.concat(parts);
  const sumBytes = format === "sha1" ? 20 : 32;
  const content = pack.subarray(0, Math.max(0, pack.length - sumBytes));
  const isPack = content.subarray(0, 4).equals(Buffer.from("PACK")) && content.length >= 12;
  if (!isPack || !createHash(format).update(content).digest().equals(pack.subarray(content.length)))
    throw invalid(url, "its pack is torn");
  return pack;
}

function invalid(
  url: string,
  fault: string,
  hint = "run it again; else clone it with git to see what is wrong",
): AirferryError {
  const shown = redactUrl(url);
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot fetch repository "${shown}": ${fault}`, {
    path: shown,
    hint,
  });
}
