/** The short form of a receipt: typed as it was heard, and one wrong character shows. */
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { formatReceiptLine, isReceiptLine, parseReceiptLine } from "../../src/receipt/receipt-line.ts";

const release = { stream: "rocky-9", epoch: 1, serial: 42, digest: digestOf("x") };
const line = formatReceiptLine(release);

t.test("a line is read however it was typed", async (t) => {
  t.match(line, /^rocky-9 e1 s42 (?:[0-9a-f]{4}-){4}[0-9a-f]{4}$/);
  const short = { stream: "rocky-9", epoch: 1, serial: 42, digest16: release.digest.slice(7, 23) };
  const [, , , digits = ""] = line.split(" ");
  for (const it of [line, `  ${line}\n`, line.replaceAll(" ", "   "), `rocky-9 E1 S42 ${digits.toUpperCase()}`]) {
    t.ok(isReceiptLine(it), it);
    t.strictSame(parseReceiptLine(it), short, it);
  }
  for (const it of [digits.replaceAll("-", ""), digits.replaceAll("-", " ")])
    t.strictSame(parseReceiptLine(`rocky-9 e1 s42 ${it}`), short, it);
});

t.test("every wrong digit and every other serial is found out", async (t) => {
  const start = line.lastIndexOf(" ") + 1;
  for (let at = start; at < line.length; at++) {
    if (line[at] === "-") continue;
    const wrong = `${line.slice(0, at)}${line[at] === "0" ? "1" : "0"}${line.slice(at + 1)}`;
    t.throws(() => parseReceiptLine(wrong), { code: "ERR_RECEIPT_INVALID" }, wrong);
  }
  for (const it of [
    line.replace("s42", "s43"),
    line.replace("e1", "e2"),
    line.replace("9", "8"),
    "a e1 s1",
    "a e0 s1 00",
  ])
    t.throws(() => parseReceiptLine(it), { code: "ERR_RECEIPT_INVALID" }, it);
});

t.test("the name of a file is no line", async (t) => {
  for (const it of ["receipt.txt", "my receipt.txt", "/mnt/usb/e1 s1", "e1", ""]) t.notOk(isReceiptLine(it), it);
});
