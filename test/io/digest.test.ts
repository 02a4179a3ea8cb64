import { createHash } from "node:crypto";
import t from "tap";
import {
  type AnyDigest,
  algorithmOf,
  algorithmOfLength,
  digestOf,
  EMPTY_DIGEST,
  hexOf,
  isDigest,
  parseDigest,
  parseHex,
  RunningDigest,
} from "../../src/io/digest.ts";

const hex = "0123456789abcdef".repeat(8);
const lengths = new Map([
  ["md5", 32],
  ["sha1", 40],
  ["sha224", 56],
  ["sha256", 64],
  ["sha384", 96],
  ["sha512", 128],
]);

t.test("parseDigest() takes each algorithm at its length and gives the same text back", async (t) => {
  for (const [algorithm, digits] of lengths) {
    const text = `${algorithm}:${hex.slice(0, digits)}`;
    t.equal(parseDigest(text), text);
    t.equal(parseHex(hex.slice(0, digits), algorithm), text);
    t.equal(algorithmOf(text as AnyDigest), algorithm);
    t.equal(hexOf(text as AnyDigest), hex.slice(0, digits));
    t.equal(algorithmOfLength(digits), algorithm);
  }
  t.equal(algorithmOfLength(63), undefined);
});

t.test("parseDigest() and isDigest() refuse everything else", async (t) => {
  const good = `sha256:${hex.slice(0, 64)}`;
  const bad = new Map([
    ["", "nothing"],
    [good.toUpperCase(), "upper case"],
    [`sha256:${hex.slice(0, 63)}A`, "an upper-case digit"],
    [good.slice(0, -1), "a digit less"],
    [`${good}0`, "a digit more"],
    [`${good}\n`, "a newline"],
    [` ${good}`, "a blank"],
    [good.slice(7), "bare hex"],
    [good.replace(":", "-"), "SRI's separator"],
    [good.replace("sha256", "sha512"), "another algorithm's length"],
    [`toString:${hex.slice(0, 64)}`, "a name of every object"],
    [`__proto__:${hex.slice(0, 64)}`, "the prototype"],
    [`:${hex.slice(0, 64)}`, "no algorithm"],
  ]);
  for (const [text, why] of bad) {
    t.equal(parseDigest(text), undefined, why);
    t.notOk(isDigest(text), why);
  }
  for (const value of [undefined, null, 1, {}, [good]]) t.notOk(isDigest(value));
  t.ok(isDigest(good));
  t.notOk(isDigest(`sha1:${hex.slice(0, 40)}`), "only SHA-256 is the digest of something inside");
  t.equal(parseHex(hex.slice(0, 64)), good);
});

t.test("digestOf() is what node:crypto says, by the algorithm asked for", async (t) => {
  t.equal(digestOf(""), EMPTY_DIGEST);
  t.equal(digestOf(new Uint8Array()), EMPTY_DIGEST);
  for (const algorithm of lengths.keys()) {
    const expected = `${algorithm}:${createHash(algorithm).update("abc").digest("hex")}`;
    t.equal(digestOf("abc", expected as AnyDigest), expected);
    t.equal(digestOf(Buffer.from("abc"), expected as AnyDigest), expected);
  }
});

t.test("RunningDigest takes bytes in any pieces", async (t) => {
  const bytes = Buffer.from(hex);
  for (const step of [1, 7, 128, 500]) {
    const running = new RunningDigest(["sha512", "md5"]);
    for (let at = 0; at < bytes.length; at += step) {
      t.equal(running.peek().sha256, digestOf(bytes.subarray(0, at)));
      running.update(bytes.subarray(at, at + step));
    }
    const { sha256, sha512, md5 } = running.digests();
    t.same([sha256, sha512, md5], [digestOf(bytes), digestOf(bytes, sha512), digestOf(bytes, md5)]);
  }
  t.equal(new RunningDigest().digest(), EMPTY_DIGEST);
});
