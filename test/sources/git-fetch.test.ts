/** Upstreams that lie when a git repository is fetched. */
import { createHash } from "node:crypto";
import t from "tap";
import { createFetcher } from "../../src/fetch/fetcher.ts";
import { FLUSH, pktLine } from "../../src/io/pkt-line.ts";
import { fetchGit } from "../../src/sources/git-fetch.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const OID = "a".repeat(40);
const lines = (...all: (string | Buffer)[]) => Buffer.concat([...all.map((it) => pktLine(it)), FLUSH]);
const CAPABILITIES = Buffer.concat([
  lines("# service=git-upload-pack\n"),
  lines("version 2\n", "ls-refs=unborn\n", "fetch\n", "object-format=sha1\n"),
]);
const REFS = lines(`${OID} HEAD symref-target:refs/heads/main\n`, `${OID} refs/heads/main\n`);

function packOf(content: string): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([bytes, createHash("sha1").update(bytes).digest()]);
}

const PACK = packOf("PACK\0\0\0\u0002\0\0\0\0");
const banded = (pack: Buffer, band = 1) => pktLine(Buffer.concat([Buffer.from([band]), pack]));
const WHOLE = Buffer.concat([pktLine("packfile\n"), banded(Buffer.from("counting"), 2), banded(PACK), FLUSH]);

async function fetched(t: { teardown(of: () => unknown): void }, bodies: (Buffer | string)[], maxBytes = 100_000) {
  const asked: string[] = [];
  const upstream = await startUpstream({
    handler(request, response, body) {
      const at = request.url?.includes("info/refs") ? 0 : body.includes("command=ls-refs") ? 1 : 2;
      asked.push(`${request.headers["git-protocol"]} ${body.toString("latin1")}`);
      response.end(bodies[at]);
      return true;
    },
  });
  const fetcher = createFetcher({ retries: 1, netrc: false, env: {} });
  t.teardown(() => Promise.all([fetcher.close(), upstream.close()]));
  return { found: fetchGit(`${upstream.url}/r.git`, fetcher, maxBytes), asked };
}

t.test("a repository is its refs and one pack, whose sum is checked", async (t) => {
  const { found, asked } = await fetched(t, [CAPABILITIES, REFS, WHOLE]);
  t.strictSame(await found, {
    format: "sha1",
    head: "refs/heads/main",
    refs: [
      { name: "HEAD", oid: OID },
      { name: "refs/heads/main", oid: OID },
    ],
    pack: PACK,
  });
  t.ok(asked.length === 3 && asked.every((it) => it.startsWith("version=2 ")));
  t.match(asked[2], `want ${OID}`);
  const empty = await fetched(t, [CAPABILITIES, lines("unborn HEAD symref-target:refs/heads/trunk\n"), ""]);
  t.strictSame(await empty.found, { format: "sha1", head: "refs/heads/trunk", refs: [] });
});

t.test("what is not a repository is refused", async (t) => {
  const broken = Buffer.from(PACK);
  broken[6] = 9;
  const cases: [bodies: (Buffer | string)[], fault: RegExp][] = [
    [["<html>login"], /not in lines/],
    [[""], /version 2/],
    [[lines("# service=git-upload-pack\n", `${OID} HEAD\0side-band\n`)], /version 2/],
    [[CAPABILITIES.toString("latin1").replace("sha1", "sha9")], /object format/],
    [[CAPABILITIES, "0010torn"], /torn line/],
    [[CAPABILITIES, lines(`${OID} refs/heads/../../etc\n`)], /ref that cannot/],
    [[CAPABILITIES, lines(`${OID} refs/heads/\u001b[2J\n`)], /ref that cannot/],
    [[CAPABILITIES, lines("abc refs/heads/main\n")], /ref that cannot/],
    [[CAPABILITIES, REFS, ""], /torn/],
    [[CAPABILITIES, REFS, lines("packfile\n")], /torn/],
    [[CAPABILITIES, REFS, Buffer.concat([pktLine("packfile\n"), banded(broken), FLUSH])], /torn/],
    [[CAPABILITIES, REFS, Buffer.concat([pktLine("packfile\n"), banded(PACK.subarray(0, 20)), FLUSH])], /torn/],
    [
      [CAPABILITIES, REFS, Buffer.concat([pktLine("packfile\n"), banded(Buffer.from("no\u001b[2J"), 3)])],
      /refuses: no\\u\{1b\}/,
    ],
  ];
  for (const [bodies, fault] of cases) {
    const { found } = await fetched(t, bodies);
    await t.rejects(found, { code: "ERR_UPSTREAM_INVALID", message: fault }, String(fault));
  }
  const large = await fetched(t, [CAPABILITIES, REFS, WHOLE], 50);
  await t.rejects(large.found, { code: /ERR_UPSTREAM_SIZE|ERR_SIZE_LIMIT/ });
});
