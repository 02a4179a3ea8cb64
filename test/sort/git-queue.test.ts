/** src/sort/git-queue.ts: each repository once, one after another, and a failure that stops no other. */
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import type { Fetcher } from "../../src/fetch/types.ts";
import { FLUSH, pktLine } from "../../src/io/pkt-line.ts";
import { GitQueue } from "../../src/sort/git-queue.ts";

const CAPABILITIES = Buffer.concat([pktLine("version 2\n"), pktLine("ls-refs=unborn\n"), FLUSH]);

/** Repositories without objects; those that are named `bad` are refused. */
function fetcherOf(asked: string[]): Fetcher {
  const unused = () => Promise.reject(new Error("nobody asks this"));
  return {
    head: unused,
    fetchInto: unused,
    close: async () => {},
    async fetchBytes({ urls: [url = ""], headers, method = "GET" }) {
      asked.push(`${method} ${url} ${headers?.Authorization ?? "-"}`);
      if (url.includes("/bad/")) throw new AirferryError("ERR_UPSTREAM", "cannot fetch: 500");
      const bytes = method === "GET" ? CAPABILITIES : Buffer.concat([pktLine("unborn HEAD\n"), FLUSH]);
      return { url, finalUrl: url, askedUrl: url, status: 200, headers: {}, bytes, acceptRanges: false };
    },
  };
}

t.test("each repository is fetched once, with the login of whoever cloned it", async (t) => {
  const asked: string[] = [];
  const added: string[] = [];
  const reports: string[] = [];
  const queue = new GitQueue({
    fetcher: fetcherOf(asked),
    add: async ({ url }, pack) => void added.push(`${url} ${pack?.length ?? "empty"}`),
    report: (line) => reports.push(line),
  });
  queue.add("https://h.example/a", "Basic eDp5");
  queue.add("https://h.example/bad/b", undefined);
  queue.add("https://h.example/a", undefined);
  queue.add("https://h.example/c", undefined);
  await queue.settled();
  t.strictSame(added, ["https://h.example/a empty", "https://h.example/c empty"]);
  t.strictSame(asked.slice(0, 3), [
    "GET https://h.example/a/info/refs?service=git-upload-pack Basic eDp5",
    "POST https://h.example/a/git-upload-pack Basic eDp5",
    "GET https://h.example/bad/b/info/refs?service=git-upload-pack -",
  ]);
  t.strictSame(reports, ["cannot fetch: 500; the manifest names it under git:, and pack tries again"]);
});
