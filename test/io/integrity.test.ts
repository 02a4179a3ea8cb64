import ssri from "ssri";
import t from "tap";
import { digestOf, RunningDigest } from "../../src/io/digest.ts";
import {
  algorithmsIn,
  digestsIn,
  formatIntegrity,
  type Integrity,
  isExpected,
  joinDigests,
  mismatchOf,
  parseIntegrity,
  parseWholeIntegrity,
  publishedAlgorithm,
  sha256In,
} from "../../src/io/integrity.ts";

const bytes = Buffer.from("some bytes");
const { sha256, sha512, sha1 } = new RunningDigest(["sha512", "sha1"]).update(bytes).digests();
const sri = (algorithm: string) => ssri.fromData(bytes, { algorithms: [algorithm] }).toString();

t.test("parseIntegrity() reads what ssri writes, and formatIntegrity() gives it back", async (t) => {
  const cases = new Map([
    [sri("sha256"), sha256],
    [sri("sha512"), sha512],
    [`${sri("sha512")} ${sri("sha256")}`, `${sha512} ${sha256}`],
    [`${sri("sha256")} ${sri("sha1")}`, `${sha256} ${sha1}`],
  ]);
  for (const [text, expected] of cases) {
    t.equal(parseIntegrity(text), expected);
    t.equal(formatIntegrity(expected as Integrity), text);
  }
});

t.test("parseIntegrity() takes nothing that nobody could check", async (t) => {
  for (const text of ["", "sha256-", "sha3-AAAA", "md6-AAAA", "sha256-AAAA", sha256, "no integrity at all"])
    t.equal(parseIntegrity(text), undefined, text);
  t.equal(parseIntegrity(`sha3-AAAA ${sri("sha256")}`), sha256, "what is known among what is not");
});

t.test(
  "parseIntegrity() keeps the order, and parseWholeIntegrity() takes nothing that it would not write",
  async (t) => {
    const three = [sri("sha256"), sri("sha512"), sri("sha256")].join(" ");
    t.equal(parseIntegrity(three), `${sha256} ${sha512} ${sha256}`);
    t.equal(parseWholeIntegrity(` ${three.replaceAll(" ", "\n ")}\n`), `${sha256} ${sha512} ${sha256}`);
    const odd = Buffer.from(sri("sha256").slice(7), "base64").toString("base64").replace(/.=$/, "");
    for (const text of [
      `${sri("sha256")}?option`,
      `${sri("sha256")} sha3-AAAA`,
      `sha3-AAAA ${sri("sha256")}`,
      `${sri("sha256")} sha512-AAAA`,
      sri("sha256").slice(0, -1),
      `sha256-${odd}_=`,
      sha256,
      "",
    ])
      t.equal(parseWholeIntegrity(text), undefined, text);
    t.equal(parseIntegrity(`${sri("sha256")}?option`), sha256);
  },
);

t.test("mismatchOf() shows both sides of what is wrong, SHA-256 first", async (t) => {
  const digests = { sha256, sha512: sha512! };
  const other = digestOf("other");
  const other512 = digestOf("other", sha512);
  t.equal(mismatchOf(sha256, digests), undefined);
  t.equal(mismatchOf(`${sha256} ${sha512!}`, digests), undefined);
  t.same(mismatchOf(`${other512} ${other}`, digests), { expected: other, actual: sha256 });
  t.same(
    mismatchOf(`${other512} ${sha256}`, digests),
    { expected: other512, actual: sha512 },
    "not the one that is right",
  );
  t.same(mismatchOf(`${other} ${digestOf("third")}`, digests)?.expected, `${other} or ${digestOf("third")}`);
  t.same(mismatchOf(sha1!, digests), { expected: sha1, actual: "none" });
});

t.test("publishedAlgorithm() names what was given or published", async (t) => {
  t.same(publishedAlgorithm("upstream-signed", `${sha512!} ${sha256}`), { algorithm: "sha512" });
  t.same(publishedAlgorithm("manifest", undefined), { algorithm: "sha256" });
  t.same(publishedAlgorithm("first-sight", sha256), {});
});

t.test("the parts of an expectation", async (t) => {
  const both = joinDigests([sha512!, sha256]) as Integrity;
  t.same(digestsIn(both), [sha512, sha256]);
  t.equal(sha256In(both), sha256);
  t.equal(sha256In(sha256), sha256);
  t.equal(sha256In(sha512 as Integrity), undefined);
  t.equal(sha256In(undefined), undefined);
  t.same(algorithmsIn(both), ["sha512", "sha256"]);
  t.same(algorithmsIn(undefined), []);
  t.equal(joinDigests([]), undefined);
});

t.test("isExpected() wants every algorithm right, and takes either of two digests of one", async (t) => {
  const digests = { sha256, sha512: sha512! };
  const other = digestOf("other");
  const other512 = digestOf("other", sha512);
  const cases = new Map<Integrity, boolean>([
    [sha256, true],
    [other, false],
    [`${sha256} ${sha512!}`, true],
    [`${sha256} ${other512}`, false],
    [`${other} ${sha512!}`, false],
    [`${other} ${sha256}`, true],
    [sha1!, false],
  ]);
  for (const [integrity, expected] of cases) t.equal(isExpected(integrity, digests), expected, integrity);
});
