/** What a rule makes of attestations: who signed them, about what, what they say, and how old they are. */
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { TrustDocument } from "../../src/sign/trust-root.ts";
import { verify } from "../../src/verify.ts";
import { attestation, attestLate } from "../fixtures/attestation-maker.ts";
import { makeBundle, makeKey, sha256 } from "../fixtures/bundle-maker.ts";
import { scratch } from "../fixtures/program.ts";
import { document, makePostQuantumKey, makeSigner, signedTrust, writeTrust } from "../fixtures/trust-maker.ts";

const dir = scratch(t);
const at = (name: string) => join(dir, name);
const [ann, bob] = [makeSigner("ann"), makeSigner("bob")];
const [sam, sue] = [makeSigner("sam"), makeSigner("sue")];
const [annKey, bobKey, samKey, sueKey] = [ann, bob, sam, sue].map((it) => it.keys[0]!) as [
  (typeof ann.keys)[0],
  (typeof ann.keys)[0],
  (typeof ann.keys)[0],
  (typeof ann.keys)[0],
];
const files = { "files/a": Buffer.from("a") };
const now = new Date("2026-01-02T00:00:00Z");
const both = { signers: ["ann", "bob"], threshold: 2 };

/** Ann and Bob release, Sam and Sue scan. */
function root(name: string, rule: object, more: Partial<TrustDocument> = {}): string {
  const value = document([ann, bob, sam, sue], {
    roles: { root: both, release: both, scan: { signers: ["sam", "sue"], threshold: 1 } },
    streams: { "*": rule },
    ...more,
  });
  writeTrust(at(name), [signedTrust(value, [annKey, bobKey])]);
  return join(at(name), "trust.1.json");
}

let count = 0;
/** A copy of a bundle with these late attestations, and what `verify` says of it by a rule. */
async function judge(trust: string, late: (bundle: string) => void, base = "plain", time = now) {
  const bundle = at(`b${++count}`);
  cpSync(at(base), bundle, { recursive: true });
  late(bundle);
  const notices: string[] = [];
  const report = await verify([bundle], { trust: [trust], now: time, notice: (it) => notices.push(it) });
  return { ...report, codes: report.problems.map((it) => it.code), notices };
}

t.before(() => {
  makeBundle(at("plain"), { files, keys: [annKey, bobKey] });
  makeBundle(at("other"), { files, keys: [annKey, bobKey], serial: 2 });
  const carried =
    (key: typeof annKey, found: string[] = []) =>
    (inventory: Buffer) => ({
      "attest.scan.sigstore.json": attestation({ about: sha256(inventory), key, found }),
      "attest.provenance.sigstore.json": attestation({ kind: "provenance", about: sha256(inventory), key }),
    });
  makeBundle(at("by-ann"), { files, keys: [annKey, bobKey], notesOf: carried(annKey) });
  makeBundle(at("by-sam"), { files, keys: [annKey, bobKey], notesOf: carried(samKey) });
  makeBundle(at("by-nobody"), { files, keys: [annKey, bobKey], notesOf: carried(makeKey()) });
  makeBundle(at("found-by-sam"), { files, keys: [annKey, bobKey], notesOf: carried(samKey, ["evil"]) });
});

t.test("a scan by a key of the role scan is enough, late or carried", async (t) => {
  const rule = root("scan", { attestations: ["scan"] });
  t.match(await judge(rule, () => {}), { ok: false, codes: ["ERR_ATTESTATION"], attestations: [] });
  const late = await judge(rule, (it) => attestLate(it, { key: samKey }));
  t.match(late, { ok: true, notices: [] });
  t.match(late.attestations, [
    { kind: "scan", path: /^signatures\//, signer: "sam", keyid: samKey.keyid, fault: null, scan: { result: "clean" } },
  ]);
  t.match(await judge(rule, () => {}, "by-sam"), { ok: true });
  const about = sha256(Buffer.from(await import("node:fs").then((it) => it.readFileSync(at("plain/airferry.json")))));
  t.match(await judge(rule, (it) => attestLate(it, { key: sueKey, about })), { ok: true }, "about airferry.json");
  t.match(
    await judge(rule, () => {}, "by-ann"),
    { codes: ["ERR_ATTESTATION_KEY"], ok: false },
    "the packer is no scanner",
  );
  t.match(await judge(rule, () => {}, "by-nobody"), { codes: ["ERR_ATTESTATION_KEY"] });
  t.match(await judge(rule, (it) => attestLate(it, { key: samKey }), "by-nobody"), { ok: true });
});

t.test("what is wrong with one says its own code", async (t) => {
  const rule = root("wrong", { attestations: ["scan"], maxScanAgeDays: 1 });
  const stranger = makeKey();
  const other = sha256(await import("node:fs").then((it) => it.readFileSync(at("other/SHA256SUMS"))));
  const cases: [string, string, (bundle: string) => void][] = [
    ["a stranger's", "ERR_ATTESTATION_KEY", (it) => attestLate(it, { key: stranger })],
    ["a release key's", "ERR_ATTESTATION_KEY", (it) => attestLate(it, { key: annKey })],
    [
      "another key's in its name",
      "ERR_ATTESTATION_INVALID",
      (it) => attestLate(it, { key: stranger, name: samKey.keyid.slice(0, 16) }),
    ],
    ["of another bundle", "ERR_ATTESTATION_SUBJECT", (it) => attestLate(it, { key: samKey, about: other })],
    ["found", "ERR_ATTESTATION_FAILED", (it) => attestLate(it, { key: samKey, found: ["evil"] })],
    ["old", "ERR_ATTESTATION_OLD", (it) => attestLate(it, { key: samKey, finished: "2025-12-31T23:59:59Z" })],
    ["of the future", "ERR_ATTESTATION_OLD", (it) => attestLate(it, { key: samKey, finished: "2026-01-03T00:00:01Z" })],
    [
      "junk",
      "ERR_ATTESTATION_INVALID",
      (it) => writeFileSync(join(it, "signatures", `${samKey.keyid.slice(0, 16)}.scan.dsse.json`), "junk"),
    ],
    [
      "another predicate type",
      "ERR_ATTESTATION_INVALID",
      (it) =>
        attestLate(it, {
          key: samKey,
          statement: (one) => {
            one.predicateType = "https://x.example/1";
          },
        }),
    ],
    [
      "another statement type",
      "ERR_ATTESTATION_INVALID",
      (it) =>
        attestLate(it, {
          key: samKey,
          statement: (one) => {
            one._type = "https://in-toto.io/Statement/v2";
          },
        }),
    ],
    [
      "no results",
      "ERR_ATTESTATION_INVALID",
      (it) => attestLate(it, { key: samKey, statement: (one) => void delete one.predicate.scanner.result }),
    ],
    [
      "no end",
      "ERR_ATTESTATION_INVALID",
      (it) =>
        attestLate(it, {
          key: samKey,
          statement: (one) => {
            one.predicate.metadata.scanFinishedOn = "2026-02-30T00:00:00Z";
          },
        }),
    ],
    [
      "a name twice",
      "ERR_ATTESTATION_INVALID",
      (it) =>
        attestLate(it, {
          key: samKey,
          found: ["evil"],
          text: (one) => one.replace('"metadata"', '"scanner":{"result":[]},"metadata"'),
        }),
    ],
    [
      "an unknown member",
      "ERR_ATTESTATION_INVALID",
      (it) =>
        attestLate(it, {
          key: samKey,
          statement: (one) => {
            one.x = 1;
          },
        }),
    ],
    [
      "no subject",
      "ERR_ATTESTATION_INVALID",
      (it) =>
        attestLate(it, {
          key: samKey,
          statement: (one) => {
            one.subject = [];
          },
        }),
    ],
    [
      "too many subjects",
      "ERR_ATTESTATION_INVALID",
      (it) =>
        attestLate(it, {
          key: samKey,
          statement: (one) => {
            one.subject = Array(65).fill(one.subject[0]);
          },
        }),
    ],
    [
      "a subject with another digest",
      "ERR_ATTESTATION_INVALID",
      (it) =>
        attestLate(it, {
          key: samKey,
          statement: (one) => {
            one.subject[0].digest = { sha1: "a".repeat(40) };
          },
        }),
    ],
  ];
  for (const [name, code, late] of cases) {
    t.match(await judge(rule, late), { ok: false, codes: [code] }, name);
    const clean = await judge(rule, (it) => {
      late(it);
      attestLate(it, { key: sueKey });
    });
    if (code === "ERR_ATTESTATION_FAILED") t.match(clean, { codes: [code] }, "one that found something is enough");
    else t.match(clean, { ok: true }, `${name}, and a good one`);
    const free = await judge(root("free", {}), late);
    t.match(free, { ok: true, codes: [] }, `${name}, where nobody asks`);
    t.equal(free.notices.length, /found|old|future|release/.test(name) ? 0 : 1, name);
  }
});

t.test("one of several subjects is enough", async (t) => {
  const rule = root("subjects", { attestations: ["scan"] });
  const statement = (it: { subject: { digest: { sha256: string } }[] }) =>
    void it.subject.unshift({ digest: { sha256: "1".repeat(64) } });
  t.match(await judge(rule, (it) => attestLate(it, { key: samKey, statement })), { ok: true });
});

t.test("of each key its newest scan counts", async (t) => {
  const rule = root("newest", { attestations: ["scan"] });
  const late =
    (finished: string, found: string[] = []) =>
    (it: string) =>
      attestLate(it, { key: samKey, finished, found });
  t.match(await judge(rule, () => {}, "found-by-sam"), { codes: ["ERR_ATTESTATION_FAILED"] });
  t.match(await judge(rule, late("2026-01-01T00:00:01Z"), "found-by-sam"), { ok: true }, "the newer one is clean");
  t.match(
    await judge(rule, late("2026-01-01T00:00:00Z"), "found-by-sam"),
    { codes: ["ERR_ATTESTATION_FAILED"] },
    "a tie",
  );
  t.match(await judge(rule, late("2025-01-01T00:00:00Z"), "found-by-sam"), { codes: ["ERR_ATTESTATION_FAILED"] });
  t.match(await judge(rule, late("2026-01-01T00:00:01Z", ["evil"]), "by-sam"), { codes: ["ERR_ATTESTATION_FAILED"] });
});

t.test("distinct owners, required kinds, revocations and times of signers", async (t) => {
  const two = { root: both, release: both, scan: { signers: ["sam", "sue"], threshold: 2 } };
  const rule = root("two", { attestations: ["scan"] }, { roles: two });
  const one = await judge(rule, (it) => attestLate(it, { key: samKey }));
  t.match(one.problems, [{ code: "ERR_ATTESTATION", message: /got 1 of 2 distinct owners/ }]);
  const good = (it: string) => [samKey, sueKey].map((key) => attestLate(it, { key }));
  t.match(await judge(rule, good), { ok: true });
  const revoked = [{ keyid: samKey.keyid, from: "2026-01-01T00:00:00Z", reason: "lost" }];
  const without = root("revoked", { attestations: ["scan"] }, { revoked });
  t.match((await judge(without, (it) => attestLate(it, { key: samKey }))).problems, [
    { code: "ERR_ATTESTATION_KEY", message: /revoked since 2026-01-01T00:00:00Z: lost/ },
  ]);
  t.match(await judge(without, (it) => attestLate(it, { key: sueKey })), { ok: true });
  const time = root("time", { attestations: ["scan"] });
  t.match((await judge(time, (it) => attestLate(it, { key: samKey, finished: "2019-01-01T00:00:00Z" }))).problems, [
    { code: "ERR_ATTESTATION_KEY", message: /who may sign from 2020/ },
  ]);
  const pq = { ...makeSigner("pq"), keys: [makePostQuantumKey()] };
  const value = document([ann, bob, pq], {
    roles: { root: both, release: both, scan: { signers: ["pq", "ann"], threshold: 1, require: ["mldsa65"] } },
    streams: { "*": { attestations: ["scan"] } },
  });
  value.roles.scan = { signers: ["pq"], threshold: 1, require: ["mldsa65"] };
  writeTrust(at("pq"), [signedTrust(value, [annKey, bobKey])]);
  t.match(await judge(join(at("pq"), "trust.1.json"), (it) => attestLate(it, { key: pq.keys[0]! })), { ok: true });
});

t.test("provenance is for release keys, and the same by public keys alone", async (t) => {
  const rule = root("provenance", { attestations: ["provenance"] });
  t.match(await judge(rule, () => {}, "by-ann"), { ok: true, attestations: [{}, {}] });
  t.match(await judge(rule, () => {}), { codes: ["ERR_ATTESTATION"] });
  t.match(await judge(rule, () => {}, "by-sam"), { codes: ["ERR_ATTESTATION_KEY"] });
  t.match(await judge(rule, (it) => attestLate(it, { kind: "provenance", key: bobKey })), { ok: true });
  writeFileSync(at("ann.pub"), annKey.pem);
  const plain = await judge(at("ann.pub"), () => {}, "by-ann");
  t.match(plain, {
    ok: true,
    attestations: [
      { signer: at("ann.pub"), fault: null },
      { builder: null, fault: null },
    ],
  });
  t.match((await judge(at("ann.pub"), () => {}, "by-sam")).attestations, [
    { signer: null, fault: /nobody has here/ },
    {},
  ]);
});

t.test("without a role scan, a release key or scan.json is enough", async (t) => {
  const rule = root("no-role", { attestations: ["scan"], maxScanAgeDays: 1 }, { roles: { root: both, release: both } });
  const scan = (result: string, finished = "2026-01-01T00:00:00.5Z") => ({
    "scan.json": Buffer.from(
      JSON.stringify({
        mediaType: "application/vnd.airferry.scan.v1+json",
        command: ["x"],
        version: null,
        host: "h",
        started: finished,
        finished,
        result,
        files: 1,
        bytes: 1,
        images: [],
        gaps: [],
        findings: [],
        truncated: false,
      }),
    ),
  });
  makeBundle(at("scan-clean"), { files, keys: [annKey, bobKey], notes: scan("clean") });
  makeBundle(at("scan-found"), { files, keys: [annKey, bobKey], notes: scan("found") });
  t.match(await judge(rule, () => {}, "by-ann"), { ok: true });
  t.match(await judge(rule, () => {}, "scan-clean"), { ok: true });
  const old = new Date("2026-01-03T00:00:01Z");
  t.match(await judge(rule, () => {}, "scan-clean", old), { codes: ["ERR_ATTESTATION_OLD"] });
  const again = (it: string) => attestLate(it, { key: annKey, finished: "2026-01-03T00:00:00Z" });
  t.match(await judge(rule, again, "scan-clean", old), { ok: true });
  t.match(await judge(rule, () => {}, "scan-found"), { codes: ["ERR_ATTESTATION_FAILED"] });
  t.match(await judge(rule, again, "scan-found", old), { ok: true }, "a newer one by a release key");
  const sam = (it: string) => attestLate(it, { key: samKey, finished: "2026-01-03T00:00:00Z" });
  t.match(await judge(rule, sam, "scan-found", old), { codes: ["ERR_ATTESTATION_FAILED"] });
  t.match(await judge(root("role", { attestations: ["scan"] }), () => {}, "scan-clean"), {
    codes: ["ERR_ATTESTATION"],
  });
});

t.test("a listed one that is wrong is refused whatever is asked for", async (t) => {
  const free = root("listed", {});
  const spoilt: [string, string, (inventory: Buffer) => Buffer][] = [
    ["junk", "ERR_ATTESTATION_INVALID", () => Buffer.from("junk")],
    ["about something else", "ERR_ATTESTATION_SUBJECT", () => attestation({ about: "1".repeat(64), key: annKey })],
    [
      "not by whose it says",
      "ERR_ATTESTATION_INVALID",
      (it) => attestation({ about: sha256(it), key: { ...makeKey(), keyid: annKey.keyid } }),
    ],
    ["too large", "ERR_SIZE_LIMIT", () => Buffer.alloc(1024 * 1024 + 1)],
  ];
  for (const [name, code, make] of spoilt) {
    const bundle = at(`listed-${name}`);
    const notesOf = (it: Buffer) => ({ "attest.scan.sigstore.json": make(it) });
    makeBundle(bundle, { files, keys: [annKey, bobKey], notesOf });
    t.match(await judge(free, () => {}, `listed-${name}`), { ok: false, codes: [code] }, name);
  }
});
