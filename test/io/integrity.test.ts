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
  parseIntegrity,
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
