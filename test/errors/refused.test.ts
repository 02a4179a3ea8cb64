/** Exit status 3: what must not be trusted, one real cause for each code. */
import { chmodSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createCa } from "../../src/certs/certificates.ts";
import { EXIT } from "../../src/errors.ts";
import { keygen } from "../../src/keygen.ts";
import type { TrustDocument } from "../../src/sign/trust-root.ts";
import { attestLate } from "../fixtures/attestation-maker.ts";
import { type MakeOptions, makeBundle, makeKey, type TestKey, writeSignature } from "../fixtures/bundle-maker.ts";
import { type Row, walk } from "../fixtures/error-rows.ts";
import { writeManifest } from "../fixtures/program.ts";
import { document, makeSigner, signedTrust, writeTrust } from "../fixtures/trust-maker.ts";

const key = makeKey();
const files = { "files/a": Buffer.from("one\n"), "files/b": Buffer.from("two\n") };

/** A bundle `b` of `key`, spoilt, and what a command says of it. */
function bundle(
  verb: "verify" | "unpack",
  spoil: (bundle: string, dir: string) => void,
  more: Partial<MakeOptions> = {},
  flags: string[] = [],
): Row["cause"] {
  return (dir, run) => {
    const at = join(dir, "b");
    makeBundle(at, { files, keys: [key], ...more });
    writeFileSync(join(dir, "site.pub"), key.pem);
    spoil(at, dir);
    return run([verb, "b", ...(verb === "unpack" ? ["--store", "st"] : []), "--trust", "site.pub", ...flags]);
  };
}

/** Unpacks one bundle after another. */
function oneAfterTheOther(first: Partial<MakeOptions>, second: Partial<MakeOptions>): Row["cause"] {
  return async (dir, run) => {
    writeFileSync(join(dir, "site.pub"), key.pem);
    makeBundle(join(dir, "one"), { files, keys: [key], ...first });
    makeBundle(join(dir, "two"), { files, keys: [key], ...second });
    await run(["unpack", "one", "--trust", "site.pub", "--store", "st"]);
    return run(["unpack", "two", "--trust", "site.pub", "--store", "st"]);
  };
}

const [ann, bob, cay] = [makeSigner("ann"), makeSigner("bob"), makeSigner("cay")];
const both = [...ann.keys, ...bob.keys];
const ROOT = { expires: "2099-01-01T00:00:00Z" };

function rolesOf(signers: string[]): TrustDocument["roles"] {
  return { root: { signers, threshold: 2 }, release: { signers, threshold: 2 } };
}

/** A bundle `b`, and what `unpack` says of it by a trust root in `root/`. */
function byRoot(
  more: Partial<TrustDocument>,
  bundle: Partial<MakeOptions> = {},
  keys: readonly TestKey[] = both,
  trust?: string,
): Row["cause"] {
  return (dir, run) => {
    makeBundle(join(dir, "b"), { files, keys: both, ...bundle });
    writeTrust(join(dir, "root"), [signedTrust(document([ann, bob], { ...ROOT, ...more }), keys)]);
    return run(["unpack", "b", "--store", "st", "--trust", trust ?? "root/trust.1.json"]);
  };
}

/** The same by a trust root in which Cay scans, with what lies beside the signatures. */
function byScan(late: (bundle: string) => void): Row["cause"] {
  return (dir, run) => {
    makeBundle(join(dir, "b"), { files, keys: both });
    late(join(dir, "b"));
    const roles = { ...rolesOf(["ann", "bob"]), scan: { signers: ["cay"], threshold: 1 } };
    const streams = { test: { attestations: ["scan"], maxScanAgeDays: 1 } };
    writeTrust(join(dir, "root"), [signedTrust(document([ann, bob, cay], { ...ROOT, roles, streams }), both)]);
    return run(["unpack", "b", "--store", "st", "--trust", "root/trust.1.json"]);
  };
}

t.test("what is refused says why, and what helps", (t) =>
  walk(t, EXIT.refused, {
    ERR_DIGEST_MISMATCH: {
      cause: bundle("verify", (at) => writeFileSync(join(at, "VERIFY.txt"), "do not trust this fake\n")),
      message: /cannot trust bundle "b": 1 problem/,
      hint: /copy the named volumes again, or see what can be repaired: airferry repair b --trust site.pub/,
    },
    ERR_SIZE_MISMATCH: {
      cause: bundle("verify", (at) => truncateSync(join(at, "data.tar.0000"), 512)),
      message: /cannot trust bundle "b"/,
      hint: /copy the named volumes again, or see what can be repaired: airferry repair b --trust site.pub/,
    },
    ERR_SIGNATURE_INVALID: {
      cause: bundle("verify", (at) =>
        writeSignature(at, key, Buffer.from("x"), Buffer.from("3006020101020101", "hex")),
      ),
      message: /cannot trust bundle "b"/,
      hint: /do not use it; if another copy is good, it mends this one: airferry repair b --trust site.pub --from COPY/,
    },
    ERR_SIGNATURE_MISSING: {
      cause: bundle("verify", (at) => rmSync(join(at, "signatures"), { recursive: true })),
      message: /cannot trust bundle "b"/,
      hint: /have the packer run: airferry sign b --key FILE/,
    },
    ERR_KEY_UNTRUSTED: {
      cause: bundle("verify", (_at, dir) => writeFileSync(join(dir, "site.pub"), makeKey().pem)),
      message: /cannot trust bundle "b"/,
      hint: /compare the key id with the packer's out of band/,
    },
    ERR_THRESHOLD: {
      cause: bundle("verify", () => {}, {}, ["--threshold", "2"]),
      message: /cannot trust bundle "b"/,
      hint: /have another trusted signer run: airferry sign b --key FILE/,
    },
    ERR_PATH_UNSAFE: {
      cause: bundle("verify", (at) => symlinkSync("/etc/passwd", join(at, "extra"))),
      message: /cannot trust bundle "b"/,
      hint: /do not use this bundle/,
    },
    ERR_BUNDLE_INVALID: {
      cause: bundle("verify", () => {}, { spoil: () => Buffer.from("{}\n") }),
      message: /cannot trust bundle "b"/,
      hint: /do not use this bundle; ask the packer/,
    },
    ERR_BUNDLE_VERSION: {
      cause: bundle("unpack", () => {}, {
        spoil: (it) => void Object.assign(it, { mediaType: "application/vnd.airferry.inventory.v9+json" }),
      }),
      message: /unknown format/,
      hint: /a newer airferry packed it/,
    },
    ERR_BUNDLE_REQUIRES: {
      cause: bundle("unpack", () => {}, { spoil: (it) => void it.requires.push("chunks") }),
      message: /it requires chunks/,
      hint: /a newer airferry packed it/,
    },
    ERR_BUNDLE_INCOMPLETE: {
      cause: bundle("verify", (at) => rmSync(join(at, "data.tar.0000"))),
      message: /cannot trust bundle "b"/,
      hint: /airferry verify b --trust site.pub --partial/,
    },
    ERR_BUNDLE_EXTRA: {
      cause: bundle("verify", (at) => writeFileSync(join(at, "extra.txt"), "x")),
      message: /cannot trust bundle "b"/,
      hint: /remove what does not belong/,
    },
    ERR_SIZE_LIMIT: {
      cause: bundle("unpack", (at) => truncateSync(join(at, "SHA256SUMS"), 1024 ** 3)),
      message: /too large: at most \d+ bytes, got 1073741824/,
      hint: /do not use it: valid files are never this large/,
    },
    ERR_ROLLBACK: {
      cause: oneAfterTheOther({ serial: 2 }, { serial: 1 }),
      message: /cannot unpack/,
      hint: /--allow-rollback/,
    },
    ERR_EQUIVOCATION: {
      cause: oneAfterTheOther({}, { files: { "files/a": Buffer.from("other\n") } }),
      message: /cannot unpack/,
      hint: /two different bundles were signed with one serial/,
    },
    ERR_EXPIRED: {
      cause: bundle("verify", () => {}, { notAfter: "2026-01-02T00:00:00Z" }),
      message: /cannot trust bundle "b"/,
      hint: /have the packer pack again/,
    },
    ERR_DELTA_BASE: {
      cause: bundle("unpack", () => {}, { fromStore: ["files/b"] }),
      message: /cannot unpack/,
      hint: /carry a full bundle in/,
    },
    ERR_TRUST_INVALID: {
      cause: byRoot({ roles: { ...rolesOf(["ann", "bob"]), root: { signers: ["ann"], threshold: 2 } } }),
      message: /roles\.root: threshold 2 with 1 distinct owners/,
      hint: /get the trust root again/,
    },
    ERR_TRUST_SIGNATURES: {
      cause: byRoot({}, {}, ann.keys),
      message: /too few signatures of its own root role: expected 2 distinct owners, got 1/,
      hint: /airferry trust sign DIR --key FILE/,
    },
    ERR_TRUST_GAP: {
      cause: (dir, run) => {
        makeBundle(join(dir, "b"), { files, keys: both });
        const versions = [1, 3].map((version) => signedTrust(document([ann, bob], { ...ROOT, version }), both));
        writeTrust(join(dir, "root"), versions);
        return run(["unpack", "b", "--store", "st", "--trust", "root/trust.1.json"]);
      },
      message: /the versions between it and the trusted one are missing: expected version 2, got 3/,
      hint: /get the versions in between/,
    },
    ERR_TRUST_EXPIRED: {
      cause: byRoot({ expires: "2026-01-02T00:00:00Z" }),
      message: /the trust root "site-a" version 1 has expired: it was good until 2026-01-02/,
      hint: /airferry trust rotate DIR --expires 1y/,
    },
    ERR_FINGERPRINT: {
      cause: byRoot({}, {}, both, `sha256:${"0".repeat(64)}`),
      message: /no version has this fingerprint: expected sha256:0+, got none/,
      hint: /compare the paper/,
    },
    ERR_KEY_REVOKED: {
      cause: byRoot(
        {
          signers: document([ann, bob, cay]).signers,
          roles: rolesOf(["ann", "bob", "cay"]),
          revoked: [{ keyid: bob.keys[0]!.keyid, from: "2026-01-01T00:00:00Z", reason: "card lost" }],
        },
        {},
        [...ann.keys, ...cay.keys],
      ),
      message: /signed by bob's key [0-9a-f]{16}, which is revoked since 2026-01-01T00:00:00Z: card lost/,
      hint: /have the bundle signed by a key that is not revoked/,
    },
    ERR_KEY_EXPIRED: {
      cause: byRoot({}, { created: "2019-01-01T00:00:00Z" }),
      message: /but made at 2019-01-01T00:00:00Z: ann may sign from 2020/,
      hint: /have it signed by somebody who may sign now/,
    },
    ERR_STREAM_UNTRUSTED: {
      cause: byRoot({ streams: { other: {} } }),
      message: /has no rule for stream "test"/,
      hint: /airferry trust rotate DIR --stream NAME/,
    },
    ERR_AUDIENCE: {
      cause: byRoot({ streams: { test: { audience: "site-a" } } }),
      message: /made for another site: expected site-a, got no site in particular/,
      hint: /audience: \[SITE\]/,
    },
    ERR_TOO_OLD: {
      cause: byRoot({ streams: { test: { maxAgeDays: 1 } } }),
      message: /the bundle is too old: made at 2026-01-01T00:00:00Z, expected at most 1 day ago/,
      hint: /have the packer pack again/,
    },
    ERR_ATTESTATION: {
      cause: byRoot({ streams: { test: { attestations: ["scan"] } } }),
      message: /needs the attestation "scan": got none/,
      hint: /airferry pack MANIFEST --scan COMMAND/,
    },
    ERR_ATTESTATION_INVALID: {
      cause: byScan((at) => attestLate(at, { key: makeKey(), name: cay.keys[0]?.keyid.slice(0, 16) ?? "" })),
      message: /"signatures\/[0-9a-f]{16}\.scan\.dsse\.json" is not signed by cay's key/,
      hint: /get it again from whoever signed it, or .* airferry attest BUNDLE --type scan --scan COMMAND --key FILE/,
    },
    ERR_ATTESTATION_SUBJECT: {
      cause: byScan((at) => attestLate(at, { key: cay.keys[0] as TestKey, about: "1".repeat(64) })),
      message: /it is about something else than this bundle: expected sha256:[0-9a-f]{64}, got sha256:1{64}/,
      hint: /it is of another bundle; .* airferry attest BUNDLE --type scan --scan COMMAND --key FILE/,
    },
    ERR_ATTESTATION_KEY: {
      cause: byScan((at) => attestLate(at, { key: ann.keys[0] as TestKey })),
      message: /is signed by ann's key [0-9a-f]{16}, which has no role "scan"/,
      hint: /airferry trust add-key DIR --add KEY\.pub=OWNER --role scan/,
    },
    ERR_ATTESTATION_FAILED: {
      cause: byScan((at) => attestLate(at, { key: cay.keys[0] as TestKey, found: ["evil"] })),
      message: /the scanner found something: "signatures\/[0-9a-f]{16}\.scan\.dsse\.json"/,
      hint: /ask the packer; if the finding is wrong, have the same key attest a newer scan/,
    },
    ERR_ATTESTATION_OLD: {
      cause: byScan((at) => attestLate(at, { key: cay.keys[0] as TestKey, finished: "2021-01-01T00:00:00Z" })),
      message: /is too old: it ended at 2021-01-01T00:00:00Z, expected at most 1 day ago/,
      hint: /scan it again: airferry attest BUNDLE --type scan --scan COMMAND --key FILE/,
    },
    ERR_SERIAL_JUMP: {
      cause: async (dir, run) => {
        await byRoot({ streams: { test: { maxSerialJump: 5 } } })(dir, run);
        makeBundle(join(dir, "far"), { files, keys: both, serial: 100 });
        return run(["unpack", "far", "--store", "st"]);
      },
      message: /serial jumps too far: expected at most epoch 1, serial 6/,
      hint: /carry a release in between/,
    },
    ERR_REPAIR: {
      cause: (dir, run) => {
        makeBundle(join(dir, "b"), { files, keys: [key] });
        writeFileSync(join(dir, "site.pub"), key.pem);
        truncateSync(join(dir, "b/data.tar.0000"), 512);
        return run(["repair", "b", "--trust", "site.pub"]);
      },
      message: /cannot repair "b": 1 file cannot be repaired from what was given/,
      hint: /give more to repair from, such as a second copy of the medium: airferry repair b --trust KEY --from COPY --out DIR/,
    },
    ERR_RECEIPT_INVALID: {
      cause: async (dir, run) => {
        await bundle("unpack", () => {})(dir, run);
        await keygen({ out: join(dir, "inside"), password: "test", rpm: false });
        await run(["receipt", "--store", "st", "--key", "inside.key", "--out", "r.txt"]);
        const text = readFileSync(join(dir, "r.txt"), "utf8");
        writeFileSync(join(dir, "r.txt"), text.replace(" s1 ", " s2 "));
        writeManifest(dir, { files: [{ path: "r.txt" }] });
        return run(["pack", "m.yaml", "--unsigned", "--for", "r.txt", "--receipt-trust", "inside.pub"]);
      },
      message: /cannot use receipt "r\.txt": it was changed/,
      hint: /have the far side write it again/,
    },
    ERR_NEED_INVALID: {
      cause: (dir, run) => {
        writeFileSync(join(dir, "need.json"), "{}\n");
        writeManifest(dir, { files: [{ path: "need.json" }] });
        return run(["pack", "m.yaml", "--unsigned", "--need", "need.json"]);
      },
      message: /cannot use need file "need\.json"/,
      hint: /have the far side write it again: airferry unpack BUNDLE/,
    },
    ERR_SCAN_MISSING: {
      cause: byRoot({ streams: { test: { requireImportScan: true } } }),
      message:
        /stream "test" has to be scanned when it comes in: expected a scanner that stops what it finds, got none/,
      hint: /without --scan-report-only: airferry unpack BUNDLE --store DIR --scan COMMAND/,
    },
    ERR_TIMESTAMP: {
      cause: async (dir, run) => {
        makeBundle(join(dir, "b"), { files, keys: [key] });
        writeFileSync(join(dir, "site.pub"), key.pem);
        writeFileSync(join(dir, "tsa.pem"), (await createCa("tsa")).cert);
        return run(["verify", "b", "--trust", "site.pub", "--tsa", "tsa.pem"]);
      },
      message: /cannot trust bundle "b": 1 problem/,
      hint: /have a timestamp added: airferry sign b --key FILE --timestamp URL/,
    },
    ERR_JOURNAL: {
      cause: async (dir, run) => {
        await bundle("unpack", () => {})(dir, run);
        await run(["rollback", "--store", "st", "--to", "1"]);
        const file = join(dir, "st/journal.jsonl");
        writeFileSync(file, readFileSync(file, "utf8").replace('"action":"unpack"', '"action":"prune"'));
        return run(["journal", "verify", "--store", "st"]);
      },
      message: /cannot trust journal ".*st\/journal\.jsonl": line 2 does not follow the line before/,
      hint: /changed, moved or removed; what it says: airferry journal show --store st/,
    },
    ERR_JOURNAL_HEAD: {
      cause: async (dir, run) => {
        await bundle("unpack", () => {})(dir, run);
        await run(["rollback", "--store", "st", "--to", "1"]);
        const { stdout } = await run(["journal", "verify", "--store", "st"]);
        const file = join(dir, "st/journal.jsonl");
        writeFileSync(file, readFileSync(file, "utf8").replace(/.*\n$/, ""));
        return run(["journal", "verify", "--store", "st", "--expect", stdout.trim().replace(/^journal line 2: /, "")]);
      },
      message: /no line has the digest on the paper: expected sha256:[0-9a-f]{64}, got 1 line up to sha256:/,
      hint: /lines are gone, or all of it was written again/,
    },
    ERR_SCAN_FOUND: {
      cause: async (dir, run) => {
        writeFileSync(join(dir, "site.pub"), key.pem);
        writeFileSync(join(dir, "scan.sh"), '#!/bin/sh\n[ "$1" = --version ] || { echo "files/one: Bad"; exit 1; }\n');
        chmodSync(join(dir, "scan.sh"), 0o755);
        makeBundle(join(dir, "b"), { files, keys: [key] });
        return run(["unpack", "b", "--trust", "site.pub", "--store", "st", "--scan", "./scan.sh"]);
      },
      message: /cannot unpack "b": \.\/scan\.sh found something: files\/one: Bad/,
      hint: /do not serve it: ask the packer/,
    },
  }),
);
