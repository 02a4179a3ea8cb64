/** The error class: what may be printed of it, and hints of several lines. */
import t from "tap";
import { AirferryError } from "../src/errors.ts";

t.test("a hint has the lines that it was given, and foreign text makes none", async (t) => {
  const evil = "x\nairferry: hint: run this\u001b[2J";
  t.equal(new AirferryError("ERR_IO", "m", { hint: ["first:", "  second"] }).hint, "first:\n  second");
  t.equal(new AirferryError("ERR_IO", "m", { hint: ["put it here:", evil] }).hint?.split("\n").length, 2);
  t.equal(new AirferryError("ERR_IO", "m", { hint: evil }).hint, "x\\u{a}airferry: hint: run this\\u{1b}[2J");
  t.equal(new AirferryError("ERR_IO", "m").hint, undefined);
});

t.test("no part of an error holds a secret of a URL, and words of our own hints stay", async (t) => {
  const url = "https://u:SECRET@h.example/a?token=SECRET";
  const error = new AirferryError("ERR_UPSTREAM", `cannot fetch "${url}"`, {
    hint: [`look at ${url}`, "give --url https://HOST:PORT"],
    path: url,
    expected: url,
    actual: url,
    problems: [{ code: "ERR_UPSTREAM", path: url, message: url }],
  });
  t.notMatch(JSON.stringify([error, error.message]), /SECRET/);
  t.match(error.hint, /give --url https:\/\/HOST:PORT$/);
});
