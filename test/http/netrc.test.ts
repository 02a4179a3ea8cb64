/** netrc files as curl reads them. */
import t from "tap";
import { parseNetrc, readNetrc } from "../../src/http/netrc.ts";

t.test("parseNetrc() reads what curl reads", (t) => {
  const text = [
    "# a comment with machine x login y password z",
    "machine one.example login a password b",
    "machine two.example",
    "\tlogin c",
    "\taccount ignored",
    '\tpassword "d \\"e\\" f"',
    "macdef init",
    "machine macro.example login no password no",
    "",
    "machine one.example login second password second",
    "machine hash.example login h password #notacomment",
    "default login anonymous password me@",
  ].join("\n");
  t.strictSame(
    [...parseNetrc(text)],
    [
      ["one.example", { login: "a", password: "b" }],
      ["two.example", { login: "c", password: 'd "e" f' }],
      ["hash.example", { login: "h", password: "#notacomment" }],
      ["", { login: "anonymous", password: "me@" }],
    ],
  );
  t.equal(readNetrc("/does/not/exist").size, 0);
  t.equal(parseNetrc("machine").size, 0);
  t.equal(parseNetrc("machine a login").get("a")?.login, "");
  t.end();
});
