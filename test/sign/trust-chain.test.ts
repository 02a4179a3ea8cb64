/**
 * How versions of a trust root follow each other, with the faults of others in mind: python-tuf GHSA-pwqf-9h7j-7mv8, tough
 * CVE-2020-15093 and go-tuf GHSA-3633-5h82-39pq counted one key several times.
 */
import { createHash, sign } from "node:crypto";
import t, { type Test } from "tap";
import { digestOf } from "../../src/io/digest.ts";
import {
  advance,
  rootKeysThatSigned,
  type TrustFile,
  trustNameOf,
  verifyFirst,
  verifyNext,
} from "../../src/sign/trust-chain.ts";
import { parseTrust, type TrustDocument } from "../../src/sign/trust-root.ts";
import {
  document,
  makePostQuantumKey,
  makeSigner,
  signatureOf,
  signedTrust,
  spkiText,
} from "../fixtures/trust-maker.ts";

const [ann, bob, cay, dan] = [makeSigner("ann"), makeSigner("bob"), makeSigner("cay"), makeSigner("dan")];
const [annKey, bobKey, cayKey, danKey] = [ann.keys[0]!, bob.keys[0]!, cay.keys[0]!, dan.keys[0]!];
const one = document([ann, bob, cay]);
const first = signedTrust(one, [annKey, bobKey]);
const root = verifyFirst(first);
/** Version 2, changed. */
const two = (change: (it: TrustDocument) => unknown = () => {}): TrustDocument => {
  const next = structuredClone({ ...one, version: 2, issued: "2026-06-01T00:00:00Z" });
  change(next);
  return next;
};
const refuses = (t: Pick<Test, "throws">, file: TrustFile, code: string, what: string, before = root) =>
  t.throws(() => verifyNext(file, before), { code }, what);

t.test("the first needs its own root role", async (t) => {
  t.equal(root.version, 1);
  t.throws(() => verifyFirst(signedTrust(one, [annKey])), {
    code: "ERR_TRUST_SIGNATURES",
    message: /expected 2 distinct owners, got 1/,
  });
  t.throws(() => verifyFirst(signedTrust(one, [])), { code: "ERR_TRUST_SIGNATURES" });
  t.throws(() => verifyFirst(signedTrust(one, [annKey, danKey])), { code: "ERR_TRUST_SIGNATURES" }, "a stranger");
  t.throws(
    () => verifyFirst(signedTrust(one, [annKey, bobKey], 2)),
    { code: "ERR_TRUST_INVALID" },
    "under another number",
  );
});

t.test("the next needs both: the old root role and its own", async (t) => {
  t.equal(verifyNext(signedTrust(two(), [annKey, cayKey]), root).version, 2);
  const rotated = two((it) => {
    it.signers = document([cay, dan]).signers;
    it.roles = document([cay, dan]).roles;
  });
  t.equal(verifyNext(signedTrust(rotated, [annKey, bobKey, cayKey, danKey]), root).version, 2, "signed by old and new");
  refuses(t, signedTrust(rotated, [annKey, bobKey]), "ERR_TRUST_SIGNATURES", "by the old ones only");
  refuses(t, signedTrust(rotated, [cayKey, danKey]), "ERR_TRUST_SIGNATURES", "by the new ones only");
  refuses(t, signedTrust(rotated, [annKey, danKey, cayKey].slice(0, 2)), "ERR_TRUST_SIGNATURES", "by one of each");
  refuses(t, signedTrust(two(), [danKey, annKey]), "ERR_TRUST_SIGNATURES", "a stranger does not count");
  const old = signedTrust(two(), [annKey, bobKey]);
  const signed = {
    ...signedTrust(
      two((it) => (it.expires = "2039-01-01T00:00:00Z")),
      [],
    ),
    signatures: old.signatures,
  };
  refuses(t, signed, "ERR_SIGNATURE_INVALID", "signatures over another version 2");
  const replayed = {
    ...signedTrust(two(), []),
    signatures: first.signatures.map((it) => ({ ...it, name: it.name.replace("trust.1", "trust.2") })),
  };
  refuses(t, replayed, "ERR_SIGNATURE_INVALID", "the signatures of version 1 under the names of version 2");
});

t.test("one key, one owner: once, however often it signed", async (t) => {
  const bytes = Buffer.from(JSON.stringify(two()));
  const file = (...signatures: TrustFile["signatures"]): TrustFile => ({
    version: 2,
    path: "trust.2.json",
    bytes,
    signatures,
  });
  const again = signatureOf(bytes, annKey, 2);
  refuses(t, file(again, { ...again }), "ERR_TRUST_SIGNATURES", "the same file twice");
  refuses(t, file(again, signatureOf(bytes, annKey, 2)), "ERR_TRUST_SIGNATURES", "two signatures of one key");
  refuses(
    t,
    file(again, signatureOf(bytes, annKey, 2, bobKey.keyid)),
    "ERR_SIGNATURE_INVALID",
    "under the id of another",
  );
  const upper = {
    ...again,
    name: again.name.replace(annKey.keyid.slice(0, 16), annKey.keyid.slice(0, 16).toUpperCase()),
  };
  refuses(t, file(again, upper), "ERR_TRUST_SIGNATURES", "under the id in capitals");
  const owners = document([ann, { ...dan, owner: " ANN  of Site".trim() }, bob]);
  const mine = parseTrust(Buffer.from(JSON.stringify(owners)), "x");
  t.equal(new Set(rootKeysThatSigned(signedTrust(owners, [annKey, danKey]), mine).map((it) => it.signer)).size, 1);
  t.throws(
    () => verifyFirst(signedTrust(owners, [annKey, danKey])),
    { code: "ERR_TRUST_SIGNATURES" },
    "two keys of one owner",
  );
});

t.test("what may not change from one version to the next", async (t) => {
  const all = [annKey, bobKey];
  refuses(
    t,
    signedTrust(
      two((it) => (it.name = "site-b")),
      all,
    ),
    "ERR_TRUST_INVALID",
    "another site's",
  );
  refuses(
    t,
    signedTrust(
      two((it) => (it.issued = "2025-01-01T00:00:00Z")),
      all,
    ),
    "ERR_TRUST_INVALID",
    "made before",
  );
  refuses(
    t,
    signedTrust(
      two((it) => (it.version = 3)),
      all,
      2,
    ),
    "ERR_TRUST_INVALID",
    "another number within",
  );
  const revoked = [{ keyid: danKey.keyid, from: "2026-02-01T00:00:00Z", reason: "lost" }];
  const before = verifyFirst(signedTrust({ ...one, revoked }, all));
  refuses(t, signedTrust(two(), all), "ERR_TRUST_INVALID", "a revocation is not taken back", before);
  const later = two((it) => (it.revoked = [{ ...revoked[0]!, from: "2026-03-01T00:00:00Z" }]));
  refuses(t, signedTrust(later, all), "ERR_TRUST_INVALID", "nor put off", before);
  t.equal(
    verifyNext(
      signedTrust(
        two((it) => (it.revoked = revoked)),
        all,
      ),
      before,
    ).version,
    2,
  );
});

t.test("a revoked root key, and one outside its time, does not count", async (t) => {
  const revoked = two((it) => (it.revoked = [{ keyid: annKey.keyid, from: it.issued, reason: "stolen" }]));
  refuses(t, signedTrust(revoked, [annKey, bobKey]), "ERR_TRUST_SIGNATURES", "for the version that revokes it");
  t.equal(verifyNext(signedTrust(revoked, [bobKey, cayKey]), root).version, 2);
  const old = structuredClone(one);
  old.signers.ann!.notAfter = "2026-03-01T00:00:00Z";
  const before = verifyFirst(signedTrust(old, [annKey, bobKey]));
  refuses(t, signedTrust(two(), [annKey, bobKey]), "ERR_TRUST_SIGNATURES", "its time was over", before);
});

t.test("a chain of versions", async (t) => {
  const versions = [2, 3, 4].map((version) => signedTrust({ ...two(), version }, [annKey, bobKey]));
  const { root: newest, accepted } = advance(root, [versions[2]!, first, versions[0]!, versions[1]!]);
  t.same([newest.version, accepted.map((it) => it.version)], [4, [2, 3, 4]]);
  t.throws(() => advance(root, [versions[1]!, versions[2]!]), {
    code: "ERR_TRUST_GAP",
    message: /expected version 2, got 3/,
  });
  t.same(advance(newest, [first, ...versions]).accepted, [], "older ones lead nowhere");
  t.equal(advance(newest, [first]).root.version, 4);
  const twin = signedTrust({ ...two(), expires: "2039-01-01T00:00:00Z", version: 4 }, [annKey, bobKey]);
  t.throws(() => advance(newest, [twin]), { code: "ERR_EQUIVOCATION" }, "another file of the newest");
  const expired = signedTrust({ ...two(), expires: "2026-07-01T00:00:00Z" }, [annKey, bobKey]);
  t.equal(advance(root, [expired, versions[1]!]).root.version, 3, "an expired one in between leads on");
  t.equal(newest.digest, digestOf(versions[2]!.bytes));
});

t.test("nothing is parsed before the root role before it has signed", async (t) => {
  const junk = Buffer.from("[".repeat(200_000));
  refuses(t, signedTrust(junk, [danKey], 2), "ERR_TRUST_SIGNATURES", "by a stranger");
  refuses(t, signedTrust(junk, [annKey, bobKey], 2), "ERR_TRUST_INVALID", "by them");
});

t.test("post-quantum keys sign too, and the root role may require them", async (t) => {
  const [a, b] = [ann, bob].map((it) => ({ ...it, keys: [...it.keys, makePostQuantumKey()] }));
  const value = document([a!, b!]);
  value.roles.root.require = ["p256", "mldsa65"];
  const keys = [...a!.keys, ...b!.keys];
  t.equal(verifyFirst(signedTrust(value, keys)).version, 1);
  t.throws(() => verifyFirst(signedTrust(value, [annKey, bobKey])), { code: "ERR_TRUST_SIGNATURES" });
  t.throws(() => verifyFirst(signedTrust(value, keys.slice(1))), { code: "ERR_TRUST_SIGNATURES" });
});

t.test("an old key signs for its successor", async (t) => {
  const next = makeSigner("ann");
  const at = "2026-06-01T00:00:00Z";
  const keyid = createHash("sha256")
    .update(Buffer.from(spkiText(next.keys[0]!), "base64"))
    .digest("hex");
  const text = Buffer.from(`airferry succession v1\nfrom ${annKey.keyid}\nto ${keyid}\nat ${at}\n`);
  const file = (key = annKey, bytes = text) => {
    const signature = sign("sha256", bytes, key.privateKey).toString("base64");
    const value = two((it) => {
      it.signers.ann = {
        ...it.signers.ann!,
        keys: [spkiText(next.keys[0]!)],
        succession: { from: annKey.keyid, at, signature },
      };
    });
    return signedTrust(value, [bobKey, cayKey]);
  };
  const second = verifyNext(file(), root);
  t.equal(second.version, 2);
  refuses(t, file(danKey), "ERR_TRUST_INVALID", "by another key");
  refuses(t, file(annKey, Buffer.from("other")), "ERR_TRUST_INVALID", "over something else");
  const third = {
    ...structuredClone(JSON.parse(file().bytes.toString())),
    version: 3,
    signers: JSON.parse(JSON.stringify(second.signers)),
  };
  t.equal(verifyNext(signedTrust(third, [bobKey, cayKey]), second).version, 3, "it stays in later versions");
});

t.test("names of files", async (t) => {
  t.same(trustNameOf("trust.12.json"), { version: 12 });
  t.same(trustNameOf("trust.1.0123456789abcdef.mldsa65.sig"), { version: 1, keyid16: "0123456789abcdef" });
  for (const it of [
    "trust.json",
    "trust.0.json",
    "trust.01.json",
    "trust.1234567890.json",
    "trust.1.json.bak",
    "xtrust.1.json",
    "trust.1.0123456789ABCDEF.sigstore.json",
  ])
    t.equal(trustNameOf(it), undefined, it);
});
