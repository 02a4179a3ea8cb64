/**
 * Answers clones and fetches of a repository that never changes, from its refs and its one pack, without git. Every
 * answer to a fetch is the whole pack: depth and filters are ignored, and the client gets more than it asked for, which
 * is valid. gitprotocol-v2(5), gitprotocol-pack(5), gitprotocol-http(5). No I/O.
 */
import type { GitRepository } from "./git-index.ts";
import { DELIMITER, FLUSH, lineText, pktHead, pktLine, pktLines } from "./pkt-line.ts";

const AGENT = "agent=airferry";

/** What a `git-upload-pack` request is answered with. */
interface UploadPackAnswer {
  /** Before the pack; the whole answer without one. */
  head: Buffer;
  /** Whether the pack follows, and how: in side bands, with `0000` behind it, or as it is. */
  pack: "none" | "side-band" | "plain";
}

/** Whether a client's `Git-Protocol` header asks for version 2. */
export function isVersion2(header: string | undefined): boolean {
  return (header ?? "").split(":").includes("version=2");
}

/** The answer to `info/refs?service=git-upload-pack`. */
export function advertiseRefs(repository: GitRepository, version2: boolean): Buffer {
  const { format, head, refs } = repository;
  const start = [pktLine("# service=git-upload-pack\n"), FLUSH];
  if (version2) {
    const capabilities = ["version 2", AGENT, "ls-refs=unborn", "fetch=shallow filter", `object-format=${format}`];
    return Buffer.concat([...start, ...capabilities.map((it) => pktLine(`${it}\n`)), FLUSH]);
  }
  const symref = head === undefined ? "" : ` symref=HEAD:${head}`;
  const capabilities = `side-band-64k ofs-delta no-progress include-tag${symref} object-format=${format} ${AGENT}`;
  const rows = inOrder(repository).flatMap(({ name, oid, peeled }) => [
    `${oid} ${name}`,
    ...(peeled === undefined ? [] : [`${peeled} ${name}^{}`]),
  ]);
  if (refs.length === 0) rows.push(`${"0".repeat(format === "sha1" ? 40 : 64)} capabilities^{}`);
  const lines = rows.map((it, index) => pktLine(index === 0 ? `${it}\0${capabilities}\n` : `${it}\n`));
  return Buffer.concat([...start, ...lines, FLUSH]);
}

/** HEAD first. */
function inOrder({ refs }: GitRepository) {
  return [...refs.filter((it) => it.name === "HEAD"), ...refs.filter((it) => it.name !== "HEAD")];
}

/** The answer to a body that was posted to `git-upload-pack`. @throws {Error} with a readable fault */
export function handleUploadPack(repository: GitRepository, body: Buffer, version2: boolean): UploadPackAnswer {
  const lines = pktLines(body).map(lineText);
  if (!version2) return answerVersion0(lines);
  switch (lines[0]) {
    case "command=ls-refs":
      return { head: listRefs(repository, lines), pack: "none" };
    case "command=fetch":
      return answerFetch(lines);
    default:
      throw new Error("is no command that is answered here: expected ls-refs or fetch");
  }
}

function listRefs(repository: GitRepository, lines: readonly string[]): Buffer {
  const asked = new Set(lines);
  const prefixes = new Set<string>();
  for (const it of asked) if (it.startsWith("ref-prefix ")) prefixes.add(it.slice("ref-prefix ".length));
  const { head } = repository;
  const rows = inOrder(repository).filter(({ name }) => prefixes.size === 0 || beginsWithOne(name, prefixes));
  const texts = rows.map(({ name, oid, peeled }) => {
    const symref = name === "HEAD" && head !== undefined && asked.has("symrefs") ? ` symref-target:${head}` : "";
    return `${oid} ${name}${symref}${peeled !== undefined && asked.has("peel") ? ` peeled:${peeled}` : ""}\n`;
  });
  const isUnborn = head !== undefined && repository.refs.length === 0 && asked.has("unborn");
  if (isUnborn) texts.push(`unborn HEAD symref-target:${head}\n`);
  return Buffer.concat([...texts.map(pktLine), FLUSH]);
}

/** As fast for half a million prefixes, which a small request can have, as for one. */
function beginsWithOne(name: string, prefixes: ReadonlySet<string>): boolean {
  for (let length = 0; length <= name.length; length++) if (prefixes.has(name.slice(0, length))) return true;
  return false;
}

function answerFetch(lines: readonly string[]): UploadPackAnswer {
  const parts: Buffer[] = [];
  const isNegotiating = !lines.includes("done") && lines.some((it) => it.startsWith("have "));
  // Whatever the client has: everything is coming.
  if (isNegotiating) parts.push(pktLine("acknowledgments\n"), pktLine("ready\n"), DELIMITER);
  const shallow = lines.flatMap((it) => (it.startsWith("shallow ") ? [it.slice("shallow ".length)] : []));
  if (shallow.length > 0)
    parts.push(pktLine("shallow-info\n"), ...shallow.map((it) => pktLine(`unshallow ${it}\n`)), DELIMITER);
  return { head: Buffer.concat([...parts, pktLine("packfile\n")]), pack: "side-band" };
}

function answerVersion0(lines: readonly string[]): UploadPackAnswer {
  const [first = ""] = lines;
  if (!first.startsWith("want ")) throw new Error("wants nothing");
  if (lines.some((it) => it.startsWith("deepen")))
    throw new Error("asks for a part of the history, which needs version 2 of the protocol");
  const pack = / side-band-64k\b/.test(first) ? "side-band" : "plain";
  return { head: pktLine("NAK\n"), pack };
}

/** Most bytes of a pack in one line. */
export const SIDE_BAND_BYTES = 65_515;
const DATA_BAND = Buffer.from([1]);

/** What stands before so many bytes of a pack in a line of the data's side band; at most {@link SIDE_BAND_BYTES}. */
export function sideBandHead(size: number): Buffer {
  return Buffer.concat([pktHead(size + 1), DATA_BAND]);
}
