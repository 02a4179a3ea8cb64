/** parseTrust(): what a trust root may say, and everything it may not. */
import { createPublicKey } from "node:crypto";
import t from "tap";
import { formatTrust, parseTrust, type TrustDocument } from "../../src/sign/trust-root.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";
import { document, makePostQuantumKey, makeSigner, spkiText } from "../fixtures/trust-maker.ts";

const [ann, bob, cay] = [makeSigner("ann"), makeSigner("bob"), makeSigner("cay")];
const good = () => document([ann, bob, cay]);
const bytesOf = (value: unknown) => Buffer.from(JSON.stringify(value));
type Spoilt = { [K in keyof TrustDocument]: any };

t.test("a good one is read, and written back as the same bytes", async (t) => {
  const rule = { audience: "site-a", maxAgeDays: 1, maxSerialJump: 999_999_999, attestations: ["scan"] };
  const value = {
    ...good(),
    streams: { "*": {}, "7": {}, alpha: rule },
    revoked: [{ keyid: "0".repeat(64), from: "2026-01-01T00:00:00Z", reason: "lost" }],
  };
  const root = parseTrust(bytesOf(value), "x");
  t.equal(formatTrust(root).toString(), JSON.stringify(value));
  t.same(
    root.keysOf.get("ann")?.map((it) => [it.keyid, it.file, it.signer]),
    [[ann.keys[0]!.keyid, "ann", "ann of site"]],
  );
});

t.test("whatever breaks a rule is refused", async (t) => {
  const twin = { ...bob, keys: ann.keys };
  const compressed = () => {
    const der = createPublicKey(ann.keys[0]!.pem).export({ type: "spki", format: "der" });
    const header = Buffer.from(der.subarray(0, 26));
    const point = Buffer.concat([Buffer.of(der[der.length - 1]! % 2 ? 3 : 2), der.subarray(27, 59)]);
    header[1] = 0x39;
    header[header.length - 2] = 0;
    return Buffer.concat([Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex"), point]).toString(
      "base64",
    );
  };
  const cases: [what: string, spoil: (it: Spoilt) => unknown, fault: RegExp][] = [
    [
      "the same key under another id",
      () => document([ann, twin, cay]),
      /signers\.bob\.keys\[0\]: the same key as signers\.ann/,
    ],
    [
      "the same key in another encoding",
      (it) => (it.signers.bob.keys = [compressed()]),
      /not the canonical form|the same key/,
    ],
    ["one key twice", (it) => it.signers.ann.keys.push(it.signers.ann.keys[0]), /the same key/],
    ["two keys of one kind", (it) => it.signers.ann.keys.push(spkiText(makeSigner("x").keys[0]!)), /two of one kind/],
    [
      "a threshold above the owners",
      (it) => (it.roles.root.threshold = 4),
      /roles\.root: threshold 4 with 3 distinct owners/,
    ],
    [
      "two ids of one owner",
      (it) =>
        Object.assign(it.signers, {
          bob: { ...it.signers.bob, owner: it.signers.ann.owner },
          cay: { ...it.signers.cay, owner: it.signers.ann.owner },
        }),
      /threshold 2 with 1 distinct/,
    ],
    [
      "an owner in another spelling",
      (it) =>
        Object.assign(it.signers, {
          bob: { ...it.signers.bob, owner: "\uff21nn  OF site " },
          cay: { ...it.signers.cay, owner: "\uff21nn  OF site " },
        }),
      /expected one line|threshold 2 with 1/,
    ],
    ["a signer twice in a role", (it) => it.roles.release.signers.push("ann"), /one of them twice/],
    ["a role of nobody", (it) => (it.roles.root.signers = []), /roles\.root\.signers/],
    ["a stranger in a role", (it) => it.roles.root.signers.push("dan"), /"dan" is not in signers/],
    ["a stranger of an object's own names", (it) => it.roles.root.signers.push("constructor"), /is not in signers/],
    ["threshold 0", (it) => (it.roles.root.threshold = 0), /roles\.root\.threshold/],
    ["a negative threshold", (it) => (it.roles.root.threshold = -1), /threshold/],
    ["half a threshold", (it) => (it.roles.root.threshold = 1.5), /threshold/],
    ["version 0", (it) => (it.version = 0), /version/],
    ["a version above all", (it) => (it.version = 1_000_000_000), /version/],
    ["version 2^53", (it) => (it.version = 2 ** 53), /version/],
    ["a text as version", (it) => (it.version = "1"), /version/],
    ["an unknown member", (it) => ((it as any).more = 1), /more/],
    ["an unknown member of a signer", (it) => (it.signers.ann.more = 1), /more/],
    ["an unknown role", (it) => (it.roles.timestamp = it.roles.root), /timestamp/],
    ["no root role", (it) => delete it.roles.root, /root/],
    ["no release role", (it) => delete it.roles.release, /release/],
    ["an end before the beginning", (it) => (it.expires = it.issued), /expires/],
    ["a day that does not exist", (it) => (it.expires = "2027-02-30T00:00:00Z"), /expires/],
    ["a time with an offset", (it) => (it.expires = "2027-01-01T00:00:00+00:00"), /expires/],
    ["a signer's end before the beginning", (it) => (it.signers.ann.notAfter = it.signers.ann.notBefore), /notAfter/],
    [
      "an id with a slash",
      (it) => {
        it.signers = { "a/b": it.signers.ann, bob: it.signers.bob };
        for (const role of Object.values<any>(it.roles)) role.signers = ["a/b", "bob"];
      },
      /is no id/,
    ],
    ["a line break in an owner", (it) => (it.signers.ann.owner = "ann\nbob"), /owner/],
    ["a stream's name with a slash", (it) => (it.streams["a/b"] = {}), /no name of a stream/],
    ["an age of 0", (it) => (it.streams["*"] = { maxAgeDays: 0 }), /maxAgeDays/],
    ["a jump of 2^31", (it) => (it.streams["*"] = { maxSerialJump: 2 ** 31 }), /maxSerialJump/],
    [
      "a revoked key twice",
      (it) => (it.revoked = [1, 2].map(() => ({ keyid: "0".repeat(64), from: it.issued, reason: "x" }))),
      /a key twice/,
    ],
    [
      "too many revoked keys to sign",
      (it) => (it.revoked = [ann, bob].map((one) => ({ keyid: one.keys[0]!.keyid, from: it.issued, reason: "x" }))),
      /not revoked/,
    ],
    [
      "a kind that nobody has",
      (it) => (it.roles.release.require = ["p256", "mldsa65"]),
      /roles\.release: threshold 2 with 0/,
    ],
    ["no key at all", (it) => (it.signers.ann.keys = []), /keys/],
    ["a key that is none", (it) => (it.signers.ann.keys = ["AAAA"]), /not a public key/],
    [
      "65 signers",
      (it) => {
        for (let n = 0; n < 65; n++) it.signers[`s${n}`] = it.signers.ann;
      },
      /same key|at most 64/,
    ],
  ];
  for (const [what, spoil, fault] of cases) {
    const value = structuredClone(good()) as Spoilt;
    const other = spoil(value);
    const spoilt = what === "the same key under another id" ? other : value;
    t.throws(() => parseTrust(bytesOf(spoilt), "trust.1.json"), { code: "ERR_TRUST_INVALID", message: fault }, what);
  }
});

t.test("one text for each trust root", async (t) => {
  const text = JSON.stringify(good());
  const texts: Record<string, string> = {
    "a newline at the end": `${text}\n`,
    "white space": JSON.stringify(good(), null, 1),
    "a member twice": text.replace('"version":1', '"version":1,"version":1'),
    "another spelling of a number": text.replace('"version":1', '"version":1e0'),
    "an escape": text.replace("site-a", "site-\\u0061"),
    __proto__: text.replace('"streams":{', '"streams":{"__proto__":{},'),
    "a byte order mark": `\ufeff${text}`,
    nothing: "",
    null: "null",
    "a list": "[]",
    "too deep": "[".repeat(100_000),
  };
  for (const [what, it] of Object.entries(texts)) {
    const code = ["null", "a list"].includes(what) ? "ERR_BUNDLE_VERSION" : "ERR_TRUST_INVALID";
    t.throws(() => parseTrust(Buffer.from(it), "x"), { code }, what);
  }
  t.throws(() => parseTrust(Buffer.alloc(256 * 1024 + 1, 0x20), "x"), { code: "ERR_TRUST_INVALID" }, "too large");
  t.throws(() => parseTrust(bytesOf({ ...good(), mediaType: "application/vnd.airferry.trust.v2+json" }), "x"), {
    code: "ERR_BUNDLE_VERSION",
  });
});

t.test("a signer with a post-quantum key may be required to use both", async (t) => {
  const both = [ann, bob].map((it) => ({ ...it, keys: [...it.keys, makePostQuantumKey()] }));
  const value = document(both);
  value.roles.release.require = ["p256", "mldsa65"];
  t.equal(parseTrust(bytesOf(value), "x").keysOf.get("ann")?.length, 2);
});

t.test("what is accepted would be written", async (t) => {
  const sample = bytesOf(good());
  let accepted = 0;
  for (let seed = 0; seed < 300; seed++) {
    const bytes = mutated(sample, seeded(seed));
    try {
      const root = parseTrust(bytes, "x");
      accepted++;
      t.ok(formatTrust(root).length === bytes.length, `seed ${seed}`);
    } catch (error) {
      t.match((error as { code?: string }).code, /^ERR_(TRUST_INVALID|BUNDLE_VERSION)$/);
    }
  }
  t.ok(accepted < 300);
});
