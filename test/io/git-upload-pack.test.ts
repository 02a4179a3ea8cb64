import t from "tap";
import type { GitRepository } from "../../src/io/git-index.ts";
import { advertiseRefs, handleUploadPack, isVersion2, sideBandHead } from "../../src/io/git-upload-pack.ts";
import { DELIMITER, FLUSH, lineText, pktLine, pktLines } from "../../src/io/pkt-line.ts";

const [A, B] = ["a".repeat(40), "b".repeat(40)];
const REPOSITORY: GitRepository = {
  url: "https://h.example/r.git",
  format: "sha1",
  head: "refs/heads/main",
  refs: [
    { name: "refs/heads/main", oid: A },
    { name: "HEAD", oid: A },
    { name: "refs/tags/v1", oid: B, peeled: A },
  ],
};
const message = (...lines: (string | Buffer)[]) =>
  Buffer.concat([...lines.map((it) => (typeof it === "string" ? pktLine(`${it}\n`) : it)), FLUSH]);
const texts = (bytes: Buffer) => pktLines(bytes).map(lineText);
const ask = (lines: (string | Buffer)[], version2 = true, of = REPOSITORY) => {
  const { head, pack } = handleUploadPack(of, message(...lines), version2);
  return [...texts(head), pack];
};

t.test("refs are listed as the client asks for them", async (t) => {
  t.strictSame(
    ask(["command=ls-refs", "agent=git/2", DELIMITER, "peel", "symrefs", "ref-prefix HEAD", "ref-prefix refs/tags/"]),
    [`${A} HEAD symref-target:refs/heads/main`, `${B} refs/tags/v1 peeled:${A}`, "flush", "none"],
  );
  t.strictSame(ask(["command=ls-refs"]), [`${A} HEAD`, `${A} refs/heads/main`, `${B} refs/tags/v1`, "flush", "none"]);
  const empty = { ...REPOSITORY, refs: [] };
  t.strictSame(ask(["command=ls-refs", DELIMITER, "unborn"], true, empty), [
    "unborn HEAD symref-target:refs/heads/main",
    "flush",
    "none",
  ]);
  const [service, , first, ...rest] = texts(advertiseRefs(REPOSITORY, false));
  t.equal(service, "# service=git-upload-pack");
  t.match(first, new RegExp(`^${A} HEAD\0side-band-64k .*symref=HEAD:refs/heads/main `));
  t.strictSame(rest, [`${A} refs/heads/main`, `${B} refs/tags/v1`, `${A} refs/tags/v1^{}`, "flush"]);
  t.match(texts(advertiseRefs(empty, false))[2], /^0{40} capabilities\^\{\}\0/);
  t.match(texts(advertiseRefs(REPOSITORY, true)), ["# service=git-upload-pack", "flush", "version 2"]);
  t.ok(isVersion2("version=2") && isVersion2("a:version=2"));
  t.notOk(isVersion2(undefined) || isVersion2("version=1") || isVersion2("version=20"));
});

t.test("every fetch is answered with the whole pack", async (t) => {
  t.strictSame(ask(["command=fetch", DELIMITER, `want ${A}`, "done"]), ["packfile", "side-band"]);
  const acknowledged = ["acknowledgments", "ready", "delimiter"];
  t.strictSame(ask(["command=fetch", DELIMITER, `want ${A}`, `have ${B}`]), [...acknowledged, "packfile", "side-band"]);
  t.strictSame(ask(["command=fetch", DELIMITER, `want ${A}`, `shallow ${B}`, "done"]), [
    "shallow-info",
    `unshallow ${B}`,
    "delimiter",
    "packfile",
    "side-band",
  ]);
  t.strictSame(ask([`want ${A} side-band-64k ofs-delta`, FLUSH, "done"], false), ["NAK", "side-band"]);
  t.strictSame(ask([`want ${A}`, FLUSH, "done"], false), ["NAK", "plain"]);
  t.throws(() => ask([`want ${A} shallow`, "deepen 1", FLUSH, "done"], false), /version 2/);
  t.throws(() => ask([], false), /wants nothing/);
  t.throws(() => ask(["command=object-info"]), /no command/);
  t.strictSame(pktLines(Buffer.concat([sideBandHead(4), Buffer.from("PACK")])), [Buffer.from("\u0001PACK")]);
});

t.test("pktLines() refuses what is not in lines", async (t) => {
  t.strictSame(pktLines(Buffer.from("00000001000200040005a")), [
    "flush",
    "delimiter",
    "end",
    Buffer.alloc(0),
    Buffer.from("a"),
  ]);
  const wrong = ["0", "000", "zzzz", "0003", "0006a", "ffff", " 004", "+004", "-001"];
  for (const it of [...wrong, `fff5${"a".repeat(70_000)}`])
    t.throws(() => pktLines(Buffer.from(it)), /lines|torn/, it.slice(0, 8));
  t.throws(() => pktLines(Buffer.from("0004".repeat(500_001))), /more than/);
});

t.test("a small request with very many prefixes takes no longer than its lines", async (t) => {
  const oid = "c".repeat(40);
  const refs = Array.from({ length: 5000 }, (_, at) => ({ name: `refs/tags/v${at}`, oid, peeled: oid }));
  const lines = Array.from({ length: 100_000 }, (_, at) => pktLine(`ref-prefix x${at}`));
  const body = Buffer.concat([pktLine("command=ls-refs\n"), ...lines, pktLine("ref-prefix refs/tags/v499\n")]);
  const started = process.cpuUsage();
  const { head } = handleUploadPack({ ...REPOSITORY, refs }, body, true);
  t.ok(process.cpuUsage(started).user < 2_000_000);
  t.equal(pktLines(head).length, 12, "v499, v4990 to v4999, and the end");
});
