/** Answers of web servers: lines of recordings, the index of a release, URLs; git repositories; what comes from inside. */
import { AirferryError } from "../../../../src/errors.ts";
import { findGitRequest, type GitRepository, parseGitIndex } from "../../../../src/io/git-index.ts";
import { advertiseRefs, handleUploadPack } from "../../../../src/io/git-upload-pack.ts";
import { checkPath } from "../../../../src/io/path-grammar.ts";
import { pktLines } from "../../../../src/io/pkt-line.ts";
import { findWebAnswer, parseWebIndex } from "../../../../src/io/web-index.ts";
import { answerLine, parseAnswer } from "../../../../src/io/web-recording.ts";
import { normalizeWebUrl } from "../../../../src/io/web-url.ts";
import { wantedLines } from "../../../../src/manifest/wanted-lines.ts";
import { formatNeed, parseNeed } from "../../../../src/receipt/need-file.ts";
import { isReceiptLine, parseReceiptLine } from "../../../../src/receipt/receipt-line.ts";
import { formatReceipt, parseReceipt } from "../../../../src/receipt/receipt-text.ts";
import type { Lock } from "../../../../src/sources/lock-document.ts";
import { webPaths } from "../../../../src/sources/web-paths.ts";
import { formatWantedUrls, parseWanted, wantedUrls } from "../../../../src/wanted/wanted-file.ts";
import { DIGEST, must, type Targets, text } from "../target.ts";

const ANSWER = `{"url":"https://h.example/a%2f/?q=1","method":"GET","status":200,"headers":{"content-type":"text/html"},"vary":{"accept":"a/b;q=0.1, */*"}`;

const OID = "a".repeat(40);
const REPOSITORY: GitRepository = {
  url: "https://h.example/r.git",
  format: "sha1",
  head: "refs/heads/main",
  refs: [
    { name: "HEAD", oid: OID },
    { name: "refs/tags/v1", oid: OID, peeled: OID },
  ],
};

/** These parsers throw plain errors, which their callers put into words; any other kind is a crash. */
function refusing<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const isFault = [Error, SyntaxError].some((it) => Object.getPrototypeOf(error) === it.prototype);
    throw isFault ? new AirferryError("ERR_MANIFEST_INVALID", (error as Error).message) : error;
  }
}

export const web: Targets = {
  wanted: {
    samples: ['{"wantedVersion":1,"dropped":0,"wanted":[{"url":"http://h/a","count":1,"method":"GET"}]}'],
    run: (data) => {
      const urls = wantedUrls(parseWanted(text(data), "wanted.json"));
      const again = formatWantedUrls(0, urls);
      must(formatWantedUrls(0, wantedUrls(parseWanted(again, "again"))) === again, "what is accepted would be written");
      const lock: Lock = { lockVersion: 1, stream: "a", time: "2026-01-01T00:00:00Z", entries: [] };
      const lines = wantedLines(urls, { apiVersion: "airferry/v1", stream: "a" }, lock, () => []);
      must(lines.length === urls.length, "each is explained");
    },
  },
  receipt: {
    samples: [
      `airferry receipt 1\nkey ${"0".repeat(64)}\nmade 2026-11-30T19:41:06Z\nholds a e1 s2 ${"1".repeat(64)}\ndigests 1\n${"2".repeat(64)}\nend\n`,
      "a e1 s2 1dc3-7bec-f6f9-9e60-0000",
      formatNeed({
        releases: [{ stream: "a", epoch: 1, serial: 2, digest: DIGEST }],
        blobs: [{ digest: DIGEST, size: 5_000_000, pieces: [{ first: 1, count: 2 }] }],
      }),
    ],
    run: (data) => {
      const given = text(data);
      if (isReceiptLine(given)) must(parseReceiptLine(given).digest16.length === 16, "a digest");
      else if (given.startsWith("{")) must(formatNeed(parseNeed(given, "need.json")) === given, "there is one form");
      else must(formatReceipt(parseReceipt(given, "receipt.txt")) === given, "there is one form");
    },
  },
  webUrl: {
    samples: ["https://h.example/a%2f", "HTTP://H:80?a=%26#b"],
    run: (data) => {
      const url = refusing(() => normalizeWebUrl(text(data)));
      must(normalizeWebUrl(url) === url, "a normal form stays as it is");
    },
  },
  webAnswer: {
    samples: [`${ANSWER},"digest":"${DIGEST}","size":1,"time":"2026-01-01T00:00:00Z"}`],
    run: (data) => {
      const answer = refusing(() => parseAnswer(text(data)));
      const line = answerLine(answer);
      must(answerLine(parseAnswer(line)) === line, "what is accepted would be written");
      const [path = ""] = webPaths([{ ...answer, body: "" }]);
      must(checkPath(path) === undefined && path.startsWith("web/"), "its path is legal");
    },
  },
  pktLines: {
    samples: ["0009ab\n0c00000001000200050"],
    run: (data) => refusing(() => pktLines(data)),
  },
  gitIndex: {
    samples: [`{"repositories":[${JSON.stringify(REPOSITORY)}]}`],
    run: (data) => {
      const [first] = refusing(() => parseGitIndex(text(data)));
      if (first === undefined) return;
      const found = findGitRequest([first], `${first.url}/git-upload-pack`);
      must(found?.repository === first, "it is found by its URL");
      must(pktLines(advertiseRefs(first, false)).length > first.refs.length, "its refs can be listed");
    },
  },
  uploadPack: {
    samples: ["0014command=ls-refs\n0001000apeel\n0000", "0012command=fetch\n0001000ddone\n0000", "0009want a\n0000"],
    run: (data) => {
      const version2 = data.includes("command=");
      const { head } = refusing(() => handleUploadPack(REPOSITORY, data, version2));
      must(pktLines(head).length > 0, "the answer is in lines");
    },
  },
  webIndex: {
    samples: [`{"answers":[${ANSWER},"path":"web/h.example/a"}]}`],
    run: (data) => {
      const index = refusing(() => parseWebIndex(text(data)));
      for (const [url, [first]] of index)
        must(findWebAnswer(index, { url, method: first?.method ?? "", ...first?.vary }) !== undefined, "it is found");
    },
  },
};
