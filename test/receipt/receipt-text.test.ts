/** The text of a receipt: one form, and whatever differs from it by a character is refused. */
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { DigestSet } from "../../src/io/digest-set.ts";
import { formatReceipt, MAX_RECEIPT_DIGESTS, parseReceipt, type Receipt } from "../../src/receipt/receipt-text.ts";

const [a, b, c] = ["a", "b", "c"].map((it) => digestOf(it)) as [
  `sha256:${string}`,
  `sha256:${string}`,
  `sha256:${string}`,
];
const receipt: Receipt = {
  keyid: "0".repeat(64),
  made: "2026-11-30T19:41:06Z",
  releases: [
    { stream: "rocky-9", epoch: 1, serial: 2, digest: a },
    { stream: "rocky-9", epoch: 1, serial: 10, digest: b },
    { stream: "rocky-9", epoch: 2, serial: 1, digest: c },
  ],
  digests: [a, b, c].sort(),
};

t.test("what is written is read back, sorted, in printable ASCII", async (t) => {
  const text = formatReceipt({ ...receipt, releases: receipt.releases.toReversed(), digests: [b, c, a] });
  t.match(text, /^[\n -~]+$/);
  t.strictSame(parseReceipt(text, "r"), receipt);
  t.equal(formatReceipt({ ...receipt, digests: new DigestSet([b, c, a]) }), text, "of a set as well");
  const { digests: _, ...short } = receipt;
  t.strictSame(parseReceipt(formatReceipt(short), "r"), short);
  t.strictSame(parseReceipt(formatReceipt({ ...short, digests: [] }), "r").digests, []);
});

t.test("nothing else is a receipt", async (t) => {
  const text = formatReceipt(receipt);
  const line = (index: number) => text.split("\n")[index] as string;
  const spoilt: [string, string][] = [
    ["empty", ""],
    ["another version", text.replace("receipt 1", "receipt 2")],
    ["no end", text.replace("end\n", "")],
    ["no newline", text.slice(0, -1)],
    ["more behind it", `${text}x\n`],
    ["a line of spaces", text.replace("made", "\nmade")],
    ["space at the end of a line", text.replace("Z\n", "Z \n")],
    ["CRLF", text.replaceAll("\n", "\r\n")],
    ["upper-case digits", text.replace(line(3).slice(-64), line(3).slice(-64).toUpperCase())],
    ["no such day", text.replace("2026-11-30", "2026-02-30")],
    ["leading zero", text.replace(" s2 ", " s02 ")],
    ["serial zero", text.replace(" s2 ", " s0 ")],
    ["a serial of ten digits", text.replace(" s2 ", " s1234567890 ")],
    ["no name of a stream", text.replace("holds rocky-9 e1 s2", "holds ../x e1 s2")],
    ["a comment", text.replace("end", "# hello\nend")],
    ["out of order", text.replace(`${line(3)}\n${line(4)}`, `${line(4)}\n${line(3)}`)],
    ["twice", text.replace(line(3), `${line(3)}\n${line(3)}`)],
    ["digests out of order", text.replace(`${line(7)}\n${line(8)}`, `${line(8)}\n${line(7)}`)],
    ["a wrong count", text.replace("digests 3", "digests 2")],
    ["a count with a zero before it", text.replace("digests 3", "digests 03")],
    ["too many", text.replace("digests 3", `digests ${MAX_RECEIPT_DIGESTS + 1}`)],
    ["no key", text.replace(/key .*\n/, "")],
    ["high bytes", text.replace("rocky-9 e1 s2", "rocky\u00a09 e1 s2")],
  ];
  for (const [name, it] of spoilt) {
    t.not(it, text, name);
    t.throws(() => parseReceipt(it, "r"), { code: "ERR_RECEIPT_INVALID" }, name);
  }
});
