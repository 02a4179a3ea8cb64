/** unpack and verify by a trust root: two signers of three over two streams, a rotated root, and everything that is refused. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyAndHold } from "../src/bundle/verified-bundles.ts";
import { digestOf } from "../src/io/digest.ts";
import { HeldFiles } from "../src/io/held-files.ts";
import { publicKeyPem } from "../src/sign/keys.ts";
import { status } from "../src/status.ts";
import { hasTrustRoot, unpack } from "../src/unpack.ts";
import { verify } from "../src/verify.ts";
import { type MakeOptions, makeBundle, type TestKey } from "./fixtures/bundle-maker.ts";
import { scratch } from "./fixtures/program.ts";
import {
  document,
  makePostQuantumKey,
  makeSigner,
  signatureOf,
  signedTrust,
  trustNotes,
  writeTrust,
} from "./fixtures/trust-maker.ts";

const root = scratch(t);
const [ann, bob, cay, dan] = [makeSigner("ann"), makeSigner("bob"), makeSigner("cay"), makeSigner("dan")];
const [annKey, bobKey, cayKey, danKey] = [ann.keys[0]!, bob.keys[0]!, cay.keys[0]!, dan.keys[0]!];
const NOW = new Date("2026-07-01T00:00:00Z");
const streams = {
  alpha: { audience: "site-a", maxAgeDays: 90, maxSerialJump: 5 },
  beta: { attestations: ["scan"] },
};
const one = document([ann, bob, cay], { streams });
const first = signedTrust(one, [annKey, bobKey]);
const fingerprint = digestOf(first.bytes);
const two = signedTrust(
  {
    ...structuredClone(one),
    version: 2,
    issued: "2026-06-15T00:00:00Z",
    revoked: [{ keyid: bobKey.keyid, from: "2026-06-15T00:00:00Z", reason: "card lost" }],
  },
  [annKey, cayKey],
);

let count = 0;
const fresh = () => join(root, `store-${count++}`);
const scan = { "scan.json": Buffer.from(JSON.stringify(clean())) };

function clean() {
  const lists = { images: [], gaps: [], findings: [] };
  const time = { started: "2026-06-01T00:00:00Z", finished: "2026-06-01T00:00:00Z" };
  const mediaType = "application/vnd.airferry.scan.v1+json";
  return {
    mediaType,
    command: ["true"],
    version: null,
    host: "h",
    ...time,
    result: "clean",
    files: 1,
    bytes: 4,
    ...lists,
    truncated: false,
  };
}

/** A bundle of stream alpha, for site-a, with these signers. */
function bundle(keys: TestKey[], more: Partial<MakeOptions> = {}): string {
  const dir = join(root, `bundle-${count++}`);
  const { spoil, ...rest } = more;
  makeBundle(dir, {
    files: { "files/a": Buffer.from(`${dir}\n`) },
    keys,
    stream: "alpha",
    created: "2026-06-20T00:00:00Z",
    ...rest,
    spoil: (it) => {
      it.audience = ["site-a"];
      return spoil?.(it);
    },
  });
  return dir;
}
const code = (work: Promise<unknown>) =>
  work.then(
    () => "done",
    (error: { code?: string }) => error.code ?? String(error),
  );
const into =
  (store: string, trust: string[] = [], now = NOW) =>
  (dir: string) =>
    code(unpack([dir], { store, trust, now }));

t.test("two signers of three over two streams, the first time by a fingerprint from paper", async (t) => {
  const store = fresh();
  t.notOk(await hasTrustRoot(store));
  const alpha = bundle([annKey, bobKey], { notes: trustNotes([first]) });
  t.equal(await into(store, [`sha256:${"0".repeat(64)}`])(alpha), "ERR_FINGERPRINT");
  t.notOk(existsSync(store), "nothing was made");
  const typed = `SHA256:${(fingerprint.slice(7).match(/.{8}/g) ?? []).join(" ").toUpperCase()}`;
  t.equal(await into(store, [typed])(alpha), "done");
  t.ok(await hasTrustRoot(store));
  t.equal(await into(store)(bundle([annKey], { serial: 2 })), "ERR_THRESHOLD", "one signer");
  t.equal(await into(store)(bundle([danKey, annKey], { serial: 2 })), "ERR_KEY_UNTRUSTED", "a stranger");
  t.equal(await into(store)(bundle([bobKey, cayKey], { serial: 2 })), "done", "two others");
  t.equal(await into(store)(bundle([annKey, cayKey], { stream: "beta", notes: scan })), "done", "another stream");
  t.equal(
    await into(store)(bundle([annKey, cayKey], { stream: "beta", serial: 2 })),
    "ERR_ATTESTATION",
    "without a scan",
  );
  t.equal(await into(store)(bundle([annKey, cayKey], { stream: "gamma" })), "ERR_STREAM_UNTRUSTED");
  t.match(await status(store, { now: NOW }), {
    trustRoot: { name: "site-a", version: 1, digest: fingerprint, expires: one.expires, expiresInDays: 1280 },
    problems: [],
  });
  const record = JSON.parse(readFileSync(join(store, "releases/alpha/000002/import.json"), "utf8"));
  t.match(record, { threshold: 2, names: { [bobKey.keyid]: "bob" }, trustRoot: { version: 1, digest: fingerprint } });
});

t.test("the order of releases: replayed, jumping, of another site, too old, expired", async (t) => {
  const store = fresh();
  const go = into(store, [fingerprint]);
  const keys = [annKey, bobKey];
  const notes = trustNotes([first]);
  t.equal(await go(bundle(keys, { serial: 7, notes })), "done", "any serial comes first");
  t.equal(await into(store)(bundle(keys, { serial: 6 })), "ERR_ROLLBACK");
  t.equal(await into(store)(bundle(keys, { serial: 7 })), "ERR_EQUIVOCATION");
  t.equal(await into(store)(bundle(keys, { serial: 13 })), "ERR_SERIAL_JUMP");
  t.equal(await into(store)(bundle(keys, { serial: 999_999_999 })), "ERR_SERIAL_JUMP");
  t.equal(await into(store)(bundle(keys, { epoch: 2, serial: 6 })), "ERR_SERIAL_JUMP");
  t.equal(await into(store)(bundle(keys, { epoch: 3, serial: 1 })), "ERR_SERIAL_JUMP");
  t.equal(await into(store)(bundle(keys, { serial: 8, notAfter: "2026-06-25T00:00:00Z" })), "ERR_EXPIRED");
  t.equal(await into(store)(bundle(keys, { serial: 8, created: "2026-03-01T00:00:00Z" })), "ERR_TOO_OLD");
  const other = { serial: 8, spoil: (it: { audience?: string[] }) => void Object.assign(it, { audience: ["site-b"] }) };
  t.equal(await into(store)(bundle(keys, other)), "ERR_AUDIENCE");
  const nobody = { serial: 8, spoil: (it: { audience?: string[] }) => void delete it.audience };
  t.equal(await into(store)(bundle(keys, nobody)), "ERR_AUDIENCE");
  t.equal(await into(store)(bundle(keys, { serial: 12 })), "done");
  t.equal(await into(store)(bundle(keys, { epoch: 2, serial: 5 })), "done", "the next epoch");
});

t.test(
  "a rotated root: a medium brings the versions, and what it revokes holds whatever becomes of its bundle",
  async (t) => {
    const store = fresh();
    t.equal(await into(store, [fingerprint])(bundle([annKey, bobKey], { notes: trustNotes([first]) })), "done");
    const brings = bundle([annKey, bobKey], { serial: 2, notes: trustNotes([first, two]) });
    t.equal(await into(store)(brings), "ERR_KEY_REVOKED", "its own signer is revoked by it");
    t.same(
      readdirSync(join(store, "trust")).filter((it) => /^trust\.\d+\.json$/.test(it)),
      ["trust.1.json", "trust.2.json"],
    );
    t.equal(await into(store)(bundle([annKey, bobKey], { serial: 2 })), "ERR_KEY_REVOKED", "a medium without it");
    t.equal(
      await into(store, [fingerprint])(bundle([annKey, bobKey], { serial: 2 })),
      "ERR_KEY_REVOKED",
      "by the old fingerprint",
    );
    const files = join(root, "old");
    writeTrust(files, [first]);
    t.equal(
      await into(store, [join(files, "trust.1.json")])(bundle([annKey, bobKey], { serial: 2 })),
      "ERR_KEY_REVOKED",
      "by the old file",
    );
    t.equal(await into(store)(bundle([annKey, cayKey], { serial: 2, created: "2026-06-21T00:00:00Z" })), "done");
    const again = bundle([annKey, bobKey], { notes: trustNotes([first]) });
    t.equal(
      await into(store)(again),
      "ERR_KEY_REVOKED",
      "bundles from before the revocation too: a thief writes any date",
    );
    const back = signedTrust({ ...JSON.parse(two.bytes.toString()), expires: "2031-01-01T00:00:00Z" }, [
      annKey,
      cayKey,
    ]);
    t.equal(
      await into(store)(bundle([annKey, cayKey], { serial: 3, notes: trustNotes([back]) })),
      "ERR_EQUIVOCATION",
      "another version 2",
    );
    const four = signedTrust({ ...JSON.parse(two.bytes.toString()), version: 4 }, [annKey, cayKey]);
    t.equal(await into(store)(bundle([annKey, cayKey], { serial: 3, notes: trustNotes([four]) })), "ERR_TRUST_GAP");
    const forged = signedTrust({ ...JSON.parse(two.bytes.toString()), version: 3 }, [danKey, bobKey]);
    t.equal(
      await into(store)(bundle([annKey, cayKey], { serial: 3, notes: trustNotes([forged]) })),
      "ERR_TRUST_SIGNATURES",
    );
    t.equal(
      readdirSync(join(store, "trust")).filter((it) => /^trust\.\d+\.json$/.test(it)).length,
      2,
      "nothing else was taken in",
    );
  },
);

t.test("what the operator names: files, keys, thresholds", async (t) => {
  const store = fresh();
  const files = join(root, "named");
  writeTrust(files, [first, two]);
  const trust = [join(files, "trust.1.json")];
  const pub = join(root, "ann.pub");
  writeFileSync(pub, annKey.pem);
  t.equal(await into(store, [...trust, pub])(bundle([annKey, cayKey])), "ERR_USAGE", "keys beside a trust root");
  t.equal(await code(unpack([bundle([annKey, cayKey])], { store, trust, threshold: 1, now: NOW })), "ERR_USAGE");
  t.equal(await into(store, trust)(bundle([annKey, bobKey])), "ERR_KEY_REVOKED", "what is beside the file counts");
  t.equal(await into(fresh(), [files])(bundle([annKey, cayKey])), "done", "the folder, for its newest");
  writeTrust(files, [{ ...signedTrust({ ...JSON.parse(two.bytes.toString()), version: 3 }, []) }]);
  t.equal(await into(fresh(), [files])(bundle([annKey, cayKey])), "done", "beside a draft that nobody has signed");
  t.equal(await into(store, trust)(bundle([annKey, cayKey])), "done");
  t.equal(
    await into(store, [pub])(bundle([annKey, cayKey], { serial: 2 })),
    "ERR_USAGE",
    "a key does not get past the store's trust root",
  );
  t.equal(
    await code(unpack([bundle([annKey, cayKey], { serial: 2 })], { store, trust: [], threshold: 2, now: NOW })),
    "ERR_USAGE",
  );
  const unsigned = join(root, "unsigned");
  writeTrust(unsigned, [{ ...first, signatures: [] }]);
  t.equal(await into(fresh(), [join(unsigned, "trust.1.json")])(bundle([annKey, bobKey])), "ERR_TRUST_SIGNATURES");
  cpSync(join(files, "trust.1.json"), join(root, "mine.json"));
  t.equal(
    await into(fresh(), [join(root, "mine.json")])(bundle([annKey, bobKey])),
    "ERR_TRUST_INVALID",
    "a name without a version",
  );
  t.equal(await into(fresh(), [])(bundle([annKey, bobKey])), "ERR_USAGE", "nothing at all");
  t.equal(await into(fresh(), [fingerprint.slice(0, -1)])(bundle([annKey, bobKey])), "ERR_USAGE", "a digit too few");
  t.equal(
    await into(fresh(), [`${fingerprint.slice(0, -1)}g`])(bundle([annKey, bobKey])),
    "ERR_USAGE",
    "a digit that is none",
  );
  const odd = join(root, "odd");
  mkdirSync(odd);
  execFileSync("mkfifo", [join(odd, "trust.1.json")]);
  t.equal(await into(fresh(), [odd])(bundle([annKey, bobKey])), "ERR_PATH_UNSAFE", "a pipe, which is not opened");
  t.equal(await into(fresh(), [join(odd, "trust.1.json")])(bundle([annKey, bobKey])), "ERR_PATH_UNSAFE");
});

t.test("a damaged trust root of a store lets nothing in, and no older one takes its place", async (t) => {
  const store = fresh();
  t.equal(await into(store, [fingerprint])(bundle([annKey, cayKey], { notes: trustNotes([first, two]) })), "done");
  writeFileSync(join(store, "trust/trust.2.json"), two.bytes.subarray(0, 100));
  t.equal(await into(store)(bundle([annKey, bobKey], { serial: 2 })), "ERR_STORE_INVALID");
  t.match(await status(store), { trustRoot: null, problems: [{ code: "ERR_STORE_INVALID" }] });
  writeFileSync(join(store, "trust/trust.2.json"), two.bytes);
  rmSync(join(store, "trust", two.signatures[0]!.name));
  t.equal(await into(store)(bundle([annKey, bobKey], { serial: 2 })), "ERR_STORE_INVALID", "without a signature");
});

t.test("a trust root that others could have put into the store lets nothing in", async (t) => {
  const store = fresh();
  t.equal(await into(store, [fingerprint])(bundle([annKey, cayKey], { notes: trustNotes([first]) })), "done");
  chmodSync(join(store, "trust"), 0o777);
  t.equal(await into(store)(bundle([annKey, bobKey], { serial: 2 })), "ERR_STORE_INVALID");
  chmodSync(join(store, "trust"), 0o755);
  chmodSync(join(store, "trust/trust.1.json"), 0o666);
  t.equal(await into(store)(bundle([annKey, bobKey], { serial: 2 })), "ERR_STORE_INVALID");
  chmodSync(join(store, "trust/trust.1.json"), 0o644);
  const planted = fresh();
  mkdirSync(join(planted, "trust"), { recursive: true });
  t.equal(await into(planted)(bundle([annKey, bobKey])), "ERR_USAGE", "an empty folder is no trust root");
});

t.test("a set of media, each with the trust root, unpacked one by one", async (t) => {
  const store = fresh();
  const notes = trustNotes([first, two]);
  const files = { "files/a": Buffer.alloc(20_000, 1), "files/b": Buffer.alloc(20_000, 2) };
  const dir = bundle([annKey, cayKey], { notes, files, volumeSize: 16_384, perMedium: 1 });
  const media = readdirSync(dir).map((it) => join(dir, it));
  t.ok(media.length > 2);
  t.match(await unpack([media[0]!], { store, trust: [fingerprint], now: NOW }), { complete: false });
  for (const it of media.slice(1)) await unpack([it], { store, trust: [], now: NOW });
  t.ok(existsSync(join(store, "releases/alpha/current")));
});

t.test("the clock: an expired root, a signer's time, and one that was set back", async (t) => {
  const store = fresh();
  const late = new Date("2030-02-01T00:00:00Z");
  const keys = [annKey, bobKey];
  t.equal(
    await into(
      store,
      [fingerprint],
      late,
    )(bundle(keys, { notes: trustNotes([first]), created: "2030-01-30T00:00:00Z" })),
    "ERR_TRUST_EXPIRED",
  );
  const soon = new Date("2029-12-30T00:00:00Z");
  t.equal(
    await into(
      store,
      [fingerprint],
      soon,
    )(bundle(keys, { notes: trustNotes([first]), created: "2029-12-29T00:00:00Z" })),
    "done",
  );
  const kept = bundle(keys, { serial: 2, created: "2029-12-29T12:00:00Z" });
  t.equal(await into(store, [], soon)(kept), "done");
  const newer = bundle(keys, { serial: 3, created: "2030-01-30T00:00:00Z" });
  t.equal(await into(store, [], late)(newer), "ERR_TRUST_EXPIRED");
  rmSync(join(store, "blobs"), { recursive: true });
  mkdirSync(join(store, "blobs/sha256"), { recursive: true });
  t.equal(await into(store, [], late)(kept), "done", "a release that is here already is repaired");
  const shorter = structuredClone(one);
  shorter.signers.bob!.notAfter = "2026-06-01T00:00:00Z";
  shorter.expires = "2029-12-29T12:00:00Z";
  const short = signedTrust(shorter, [annKey, cayKey]);
  const other = fresh();
  const trust = [digestOf(short.bytes)];
  t.equal(
    await into(other, trust)(bundle(keys, { notes: trustNotes([short]) })),
    "ERR_KEY_EXPIRED",
    "bob may not sign any more",
  );
  t.equal(
    await into(other, trust)(bundle(keys, { notes: trustNotes([short]), created: "2026-05-01T00:00:00Z" })),
    "done",
    "and did in time",
  );
  // What the store has seen is the least that the clock can be.
  const ahead = fresh();
  const pub = join(root, "plain.pub");
  writeFileSync(pub, annKey.pem);
  t.equal(
    await into(ahead, [pub], soon)(bundle([annKey], { stream: "gamma", created: "2029-12-30T00:00:00Z" })),
    "done",
  );
  t.equal(
    await into(ahead, trust, NOW)(bundle(keys, { notes: trustNotes([short]), created: "2026-05-01T00:00:00Z" })),
    "ERR_TRUST_EXPIRED",
  );
});

t.test("verify --at: an archive is judged as of the time when it was known", async (t) => {
  const dir = bundle([annKey, bobKey], { notes: trustNotes([first, two]), notAfter: "2026-06-25T00:00:00Z" });
  const codes = async (at?: string) =>
    (await verify([dir], { trust: [fingerprint], ...(at && { at: new Date(at) }) })).problems.map((it) => it.code);
  t.same(await codes("2026-06-01T00:00:00Z"), [], "before the revocation");
  t.same(await codes("2026-06-21T00:00:00Z"), ["ERR_KEY_REVOKED", "ERR_THRESHOLD"]);
  t.match(await verify([dir], { trust: [fingerprint], at: new Date("2026-06-01") }), {
    ok: true,
    at: "2026-06-01T00:00:00Z",
    threshold: 2,
    signers: [annKey.keyid, bobKey.keyid].sort(),
    trustRoot: { name: "site-a", version: 2, digest: digestOf(two.bytes) },
    checks: { rules: "passed" },
  });
});

t.test("serve BUNDLE and rehearse go by it too", async (t) => {
  const held = new HeldFiles();
  t.teardown(() => held.close());
  const hold = (dir: string) => code(verifyAndHold([dir], held, { action: "serve", trust: [fingerprint], now: NOW }));
  t.equal(await hold(bundle([annKey, bobKey], { notes: trustNotes([first]) })), "done");
  t.equal(await hold(bundle([annKey], { notes: trustNotes([first]) })), "ERR_THRESHOLD");
  t.equal(
    await hold(bundle([annKey, bobKey], { notes: trustNotes([first]), stream: "gamma" })),
    "ERR_STREAM_UNTRUSTED",
  );
  t.equal(await hold(bundle([annKey, bobKey], { notes: trustNotes([first, two]) })), "ERR_KEY_REVOKED");
});

t.test("a rule may require a post-quantum signature beside the other", async (t) => {
  const [a, b] = [ann, bob].map((it) => ({ ...it, keys: [...it.keys, makePostQuantumKey()] }));
  const value = document([a!, b!]);
  value.roles.release.require = ["p256", "mldsa65"];
  const file = signedTrust(value, [annKey, bobKey]);
  const dir = bundle([annKey, bobKey], { notes: trustNotes([file]) });
  const result = async () =>
    (await verify([dir], { trust: [digestOf(file.bytes)], at: NOW })).problems.map((it) => it.code);
  t.same(await result(), ["ERR_THRESHOLD"]);
  const sums = readFileSync(join(dir, "SHA256SUMS"));
  const add = (key: TestKey) => {
    const { bytes } = signatureOf(sums, key, 1);
    writeFileSync(join(dir, "signatures", `${key.keyid.slice(0, 16)}.mldsa65.sig`), bytes);
  };
  add(a!.keys[1]!);
  t.same(await result(), ["ERR_THRESHOLD"], "one of two");
  add(b!.keys[1]!);
  t.same(await result(), []);
  t.match(publicKeyPem(a!.keys[1]!.privateKey), /PUBLIC KEY/);
});

t.test("a revocation that arrives while a bundle is judged holds for it", async (t) => {
  const store = fresh();
  t.equal(await into(store, [fingerprint])(bundle([annKey, bobKey], { notes: trustNotes([first]) })), "done");
  const dir = bundle([annKey, bobKey], { serial: 2 });
  writeFileSync(join(dir, ".DS_Store"), "");
  // What is skipped is said between the two: when the store's trust root was read, and before its lock is taken.
  const notice = (line: string) => void (line.includes(".DS_Store") && writeTrust(join(store, "trust"), [two]));
  t.equal(await code(unpack([dir], { store, trust: [], now: NOW, notice })), "ERR_BUSY");
  t.equal(await into(store)(dir), "ERR_KEY_REVOKED");
  const plain = fresh();
  const pub = join(root, "ann.pub");
  writeFileSync(pub, annKey.pem);
  t.equal(await into(plain, [pub])(bundle([annKey])), "done");
  const rooted = (line: string) => void (line.includes(".DS_Store") && writeTrust(join(plain, "trust"), [first]));
  t.equal(await code(unpack([dir], { store: plain, trust: [pub], now: NOW, notice: rooted })), "ERR_BUSY");
});

t.test("what a medium carries as a trust root is limited before it is read", async (t) => {
  const dir = bundle([annKey, bobKey], { notes: trustNotes([first]) });
  for (let version = 2; version < 5; version++) {
    for (let at = 0; at < 100; at++) {
      const file = join(dir, `trust.${version}.${at.toString(16).padStart(16, "0")}.sigstore.json`);
      writeFileSync(file, "");
      truncateSync(file, 256 * 1024);
    }
    writeFileSync(join(dir, `trust.${version}.json`), "{}");
  }
  t.equal(await into(fresh(), [fingerprint])(dir), "ERR_SIZE_LIMIT");
  t.match(await verify([dir], { trust: [fingerprint], now: NOW }), {
    ok: false,
    problems: [{ code: "ERR_SIZE_LIMIT" }],
  });
});
