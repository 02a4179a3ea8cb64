/** OpenPGP against GnuPG: its keys and signatures of every kind are judged as it judges them, ours are good for it. */
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readOpenPgpKeyring } from "../../src/sign/openpgp-keyring.ts";
import { detachedSign, generateRpmKey, openRpmKey } from "../../src/sign/openpgp-sign.ts";
import {
  requireGoodSignature,
  verifyClearsigned,
  verifyDetached,
  verifyOpenPgpSignature,
} from "../../src/sign/openpgp-verify.ts";
import { clientPath, needs } from "../fixtures/clients.ts";
import { Gnupg } from "../fixtures/gnupg.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";

const gpg = clientPath("gpg") ? new Gnupg() : undefined;
t.teardown(() => gpg?.close());
const data = Buffer.from("some bytes\nof a file  \n- with dashes\n\n");

t.test("signatures of gpg with every kind of key", async (t) => {
  if (!needs(t, "gpg") || !gpg) return;
  for (const algorithm of ["rsa2048", "rsa3072", "dsa2048", "nistp256", "nistp384", "nistp521", "ed25519"]) {
    const fingerprint = gpg.generate(`k-${algorithm}`, algorithm);
    const keyring = await readOpenPgpKeyring([gpg.publicKey(`k-${algorithm}`)]);
    const user = ["-u", fingerprint];
    for (const digest of /nistp(384|521)/.test(algorithm) ? ["SHA512"] : ["SHA256", "SHA512"]) {
      const options = [...user, "--digest-algo", digest];
      const binary = gpg.run([...options, "--detach-sign"], data);
      const armored = gpg.run([...options, "--armor", "--detach-sign"], data);
      const asText = gpg.run([...options, "--textmode", "--armor", "--detach-sign"], data);
      for (const signature of [binary, armored, asText]) {
        const verdict = await verifyDetached(data, signature, keyring);
        t.same(requireGoodSignature(verdict, keyring, "data"), [fingerprint], `${algorithm} ${digest}`);
        t.equal(verdict.good[0]?.keyid, fingerprint.slice(-16));
        t.match(verdict.good[0]?.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        const wrong = await verifyDetached(Buffer.concat([data, data]), signature, keyring);
        t.same([wrong.good.length, wrong.bad.length], [0, 1], `${algorithm} over other bytes`);
      }
      const clear = gpg.run([...options, "--clear-sign"], data);
      const verdict = await verifyClearsigned(clear, keyring, "CHECKSUM");
      t.equal(verdict.good[0]?.fingerprint, fingerprint);
      t.equal(verdict.text.trimEnd(), "some bytes\nof a file\n- with dashes", "the text itself, unescaped");
    }
  }
});

t.test("streams give what buffers give, in any chunks", async (t) => {
  if (!needs(t, "gpg") || !gpg) return;
  const fingerprint = gpg.generate("stream", "ed25519");
  const keyring = await readOpenPgpKeyring([gpg.publicKey("stream", false)]);
  const text = Buffer.from("a\r\nb\nc\r\r\n\n\r");
  for (const [mode, signature] of [
    ["binary", gpg.run(["-u", fingerprint, "--detach-sign"], text)],
    ["text", gpg.run(["-u", fingerprint, "--textmode", "--detach-sign"], Buffer.from("a\nb\nc\nd"))],
  ] as const) {
    const bytes = mode === "binary" ? text : Buffer.from("a\nb\r\nc\r\nd");
    for (const size of [1, 2, 3, 1000]) {
      const chunks = async function* () {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
      };
      const verdict = await verifyDetached(chunks(), signature, keyring);
      t.equal(verdict.good.length, 1, `${mode} by ${size}`);
    }
  }
});

t.test("unknown keys, pinned fingerprints, several files and blocks", async (t) => {
  if (!needs(t, "gpg") || !gpg) return;
  const ann = gpg.generate("ann");
  const bob = gpg.generate("bob", "ed25519");
  const signature = gpg.run(["-u", ann, "--detach-sign"], data);
  const two = gpg.run(["-u", ann, "-u", bob, "--detach-sign"], data);
  const annKey = gpg.publicKey("ann");
  const bobKey = gpg.publicKey("bob");

  const onlyBob = await readOpenPgpKeyring([bobKey]);
  const stranger = await verifyDetached(data, signature, onlyBob);
  t.same([stranger.good, stranger.bad, stranger.unknown.length], [[], [], 1]);
  t.throws(() => requireGoodSignature(stranger, onlyBob, "x", "9 bytes"), {
    code: "ERR_UPSTREAM_SIGNATURE",
    message: new RegExp(`cannot verify "x" \\(9 bytes\\).*expected one by ${bob}, got ${ann.slice(-16)}`),
  });
  t.same(requireGoodSignature(await verifyDetached(data, two, onlyBob), onlyBob, "x"), [bob], "one of two is enough");

  const joined = await readOpenPgpKeyring([Buffer.concat([annKey, Buffer.from("\nnotes\n"), bobKey])]);
  t.same(
    joined.keys.map((it) => it.fingerprint),
    [ann, bob],
    "two armor blocks in a file",
  );
  const keyring = await readOpenPgpKeyring([gpg.run(["--export", "ann@example.com", "bob@example.com"])]);
  t.same(keyring.keys.map((it) => it.fingerprint).sort(), [ann, bob].sort(), "a binary keyring");
  t.same((await readOpenPgpKeyring([annKey, bobKey, annKey])).keys.length, 2, "several files, one twice");
  const pinned = await readOpenPgpKeyring([annKey, bobKey], { fingerprints: [bob] });
  t.same(
    pinned.keys.map((it) => it.fingerprint),
    [bob],
  );
  await t.rejects(readOpenPgpKeyring([annKey], { fingerprints: [bob], name: "key.asc" }), {
    code: "ERR_UPSTREAM_SIGNATURE",
    message: new RegExp(`"key.asc".*expected ${bob}, got ${ann}`),
  });
  t.equal((await readOpenPgpKeyring([Buffer.from(joined.keys[0]!.armored)])).keys[0]!.fingerprint, ann);
});

t.test("key files that are none", async (t) => {
  const bad = new Map<string, string | Buffer>([
    ["empty", ""],
    ["text", "hello"],
    ["a web page", "<!DOCTYPE html><html></html>"],
    ["an empty block", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----\n"],
    ["a broken block", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n-----END PGP PUBLIC KEY BLOCK-----\n"],
    ["a block without end", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ=="],
    ["a cut packet", Buffer.from([0x99, 0x01, 0x0d, 0x04])],
    ["a length of 4 GiB", Buffer.from([0xc6, 0xff, 0xff, 0xff, 0xff, 0xff, 4])],
    ["zeros", Buffer.alloc(1000)],
    ["a cosign key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"],
  ]);
  for (const [reason, bytes] of bad) {
    await t.rejects(readOpenPgpKeyring([Buffer.from(bytes)]), { code: "ERR_UPSTREAM_SIGNATURE" }, reason);
  }
  await t.rejects(readOpenPgpKeyring([]), { code: "ERR_UPSTREAM_SIGNATURE" });
  await t.rejects(readOpenPgpKeyring([Buffer.alloc(5 * 1024 * 1024)]), { code: "ERR_SIZE_LIMIT" });
  const { privateKey } = await generateRpmKey("", "x");
  await t.rejects(readOpenPgpKeyring([Buffer.from(privateKey)]), { code: "ERR_UPSTREAM_SIGNATURE" }, "a private key");
});

t.test("expired and revoked keys", async (t) => {
  if (!needs(t, "gpg") || !gpg) return;
  const then = ["--faked-system-time", "20200101T000000!"];
  const later = ["--faked-system-time", "20230101T000000!"];
  const old = gpg.generate("old", "rsa2048", then, "1y");
  const early = gpg.run([...then, "-u", old, "--detach-sign"], data);
  const keyring = await readOpenPgpKeyring([gpg.publicKey("old")]);
  t.ok(keyring.keys[0]!.expires, "it has an end");
  t.equal((await verifyDetached(data, early, keyring)).good.length, 1, "made while the key was good");

  gpg.run(["--faked-system-time", "20200601T000000!", "--quick-set-expire", old, "seconds=2000000000"]);
  const late = gpg.run([...later, "-u", old, "--detach-sign"], data);
  const expired = await verifyDetached(data, late, keyring);
  t.match(expired.bad[0]?.reason, /the key expired on 2020-12-31, the signature is of 2023-01-01/);
  const renewed = await readOpenPgpKeyring(
    [keyring.keys[0]!.armored, gpg.publicKey("old")].map((it) => Buffer.from(it)),
  );
  t.equal((await verifyDetached(data, late, renewed)).good.length, 1, "a renewal in another file counts");

  const gone = gpg.generate("gone", "ed25519", then);
  const before = gpg.run([...then, "-u", gone, "--detach-sign"], data);
  const intact = gpg.publicKey("gone");
  const certificate = gpg.file("revoke.asc", revocationOf(gpg, gone));
  gpg.run(["--import", certificate]);
  const revoked = await readOpenPgpKeyring([gpg.publicKey("gone")]);
  t.equal(revoked.keys[0]!.revoked, true);
  t.match((await verifyDetached(data, before, revoked)).bad[0]?.reason, /revoked/);
  const merged = await readOpenPgpKeyring([intact, gpg.publicKey("gone")]);
  t.match(
    (await verifyDetached(data, before, merged)).bad[0]?.reason,
    /revoked/,
    "a revocation in another file counts",
  );

  const short = gpg.run([...then, "-u", old, "--default-sig-expire", "1d", "--detach-sign"], data);
  t.match((await verifyDetached(data, short, keyring)).bad[0]?.reason, /signature expired/);
  const then2 = new Date("2020-01-01T12:00:00Z");
  t.equal((await verifyDetached(data, short, keyring, { now: then2 })).good.length, 1);
  const before2 = new Date("2019-12-01T12:00:00Z");
  t.match(
    (await verifyDetached(data, short, keyring, { now: before2 })).bad[0]?.reason,
    /from the future \(2020-01-01T/,
  );
});

/** gpg writes one for every key it makes, disarmed by a colon. */
function revocationOf(gpg: Gnupg, fingerprint: string): string {
  const file = join(gpg.dir, "openpgp-revocs.d", `${fingerprint}.rev`);
  return execFileSync("cat", [file], { encoding: "utf8" }).replace(":-----BEGIN", "-----BEGIN");
}

t.test("weak algorithms count only for legacy", async (t) => {
  if (!needs(t, "gpg") || !gpg) return;
  const short = gpg.generate("short", "rsa1024");
  const keyring = await readOpenPgpKeyring([gpg.publicKey("short")]);
  const signature = gpg.run(["-u", short, "--digest-algo", "SHA256", "--detach-sign"], data);
  t.match((await verifyDetached(data, signature, keyring)).unknown[0]?.reason, /1024-bit rsa key is too weak/);
  t.equal((await verifyDetached(data, signature, keyring, { legacy: true })).good.length, 1);
  const long = gpg.generate("long", "rsa2048");
  const longRing = await readOpenPgpKeyring([gpg.publicKey("long")]);
  const options = ["-u", long, "--digest-algo", "SHA1", "--weak-digest", "MD5", "--detach-sign"];
  const sha1 = gpg.run(options, data);
  t.match((await verifyDetached(data, sha1, longRing)).unknown[0]?.reason, /SHA-1 is too weak/);
  t.equal((await verifyDetached(data, sha1, longRing, { legacy: true })).good.length, 1);
  t.equal((await verifyDetached(Buffer.from("x"), sha1, longRing, { legacy: true })).bad.length, 1);
});

t.test("clear-signed texts that are not quite", async (t) => {
  if (!needs(t, "gpg") || !gpg) return;
  const fingerprint = gpg.generate("clear", "ed25519");
  const keyring = await readOpenPgpKeyring([gpg.publicKey("clear")]);
  const signed = gpg.run(["-u", fingerprint, "--clear-sign"], "one\ntwo\n").toString();
  const verify = (text: string) => verifyClearsigned(Buffer.from(text), keyring, "CHECKSUM");
  t.equal((await verify(signed)).good.length, 1);
  t.equal((await verify(signed.replaceAll("\n", "\r\n"))).good.length, 1, "CRLF");
  t.equal((await verify(signed.replace("one", "one  "))).good.length, 1, "trailing spaces are not signed");
  t.equal((await verify(signed.replace("two", "twp"))).good.length, 0);
  const around = await verify(`before\n${signed}after\n`).catch((error) => error);
  if (!(around instanceof Error)) t.notMatch(around.text, /before|after/, "text outside is not given out");
  await t.rejects(verify(signed + signed), { code: "ERR_UPSTREAM_INVALID" }, "two messages");
  await t.rejects(verify(signed.slice(0, signed.indexOf("-----BEGIN PGP SIG"))), { code: "ERR_UPSTREAM_INVALID" });
  await t.rejects(verify("-----BEGIN PGP SIGNED MESSAGE-----\n"), { code: "ERR_UPSTREAM_INVALID" });
  const random = seeded(99);
  for (let round = 0; round < 400; round++) {
    const bytes = mutated(Buffer.from(signed), random);
    const verdict = await verifyClearsigned(bytes, keyring, "x").catch((error) => {
      t.equal(error.code, "ERR_UPSTREAM_INVALID");
      return undefined;
    });
    if (verdict?.good.length) t.match(verdict.text, /^one[ \t]*\ntwo[ \t]*\n$/, `round ${round}`);
  }
});

t.test("no mutation of a signature is good for other data, none throws", async (t) => {
  if (!needs(t, "gpg") || !gpg) return;
  for (const [seed, algorithm] of ["rsa2048", "nistp256", "ed25519", "dsa2048"].entries()) {
    const fingerprint = gpg.generate(`m-${algorithm}`, algorithm);
    const keyring = await readOpenPgpKeyring([gpg.publicKey(`m-${algorithm}`)]);
    const signature = gpg.run(["-u", fingerprint, "--detach-sign"], data);
    const random = seeded(seed);
    for (let round = 0; round < 300; round++) {
      const bytes = mutated(signature, random);
      const verdict = await verifyOpenPgpSignature(data, bytes, keyring);
      // What is outside the hashed part may change; the data may not.
      const other = await verifyOpenPgpSignature(Buffer.from("other"), bytes, keyring);
      if (other.good.length > 0) t.fail(`${algorithm} round ${round}`);
      if (verdict.good.length > 0) t.equal(verdict.good[0]!.fingerprint, fingerprint);
    }
  }
});

t.test("our own RPM key: gpg, gpgv and rpm read it, signatures are the same every time", async (t) => {
  const made = await generateRpmKey("pass word", "airferry RPM metadata test", new Date("2026-01-02T03:04:05Z"));
  const key = await openRpmKey(Buffer.from(made.privateKey), async () => "pass word", "k");
  t.equal(key.fingerprint, made.fingerprint);
  t.equal(key.publicKey, made.publicKey);
  await t.rejects(
    openRpmKey(Buffer.from(made.privateKey), async () => "wrong", "k"),
    { code: "ERR_PASSWORD" },
  );
  await t.rejects(
    openRpmKey(Buffer.from("x"), async () => "", "k"),
    { code: "ERR_KEY_INVALID" },
  );
  await t.rejects(
    openRpmKey(Buffer.from(made.publicKey), async () => "", "k"),
    { code: "ERR_KEY_INVALID" },
  );
  const time = new Date("2026-03-04T05:06:07Z");
  const signature = await detachedSign(data, key, time);
  t.equal(await detachedSign(data, key, time), signature, "deterministic");
  t.not(await detachedSign(data, key, new Date("2026-03-05T00:00:00Z")), signature);
  const keyring = await readOpenPgpKeyring([Buffer.from(made.publicKey)]);
  const verdict = await verifyDetached(data, Buffer.from(signature), keyring);
  t.same(verdict.good, [
    { fingerprint: made.fingerprint, keyid: made.fingerprint.slice(-16), time: "2026-03-04T05:06:07Z" },
  ]);
  const older = await detachedSign(data, key, new Date("2020-01-01T00:00:00Z"));
  const early = await verifyDetached(data, Buffer.from(older), keyring);
  t.equal(early.good[0]?.time, "2026-01-02T03:04:05Z", "never older than the key");

  if (!needs(t, "gpg", "gpgv", "rpmkeys") || !gpg) return;
  const pub = gpg.file("rpm.pub", made.publicKey);
  const file = gpg.file("repomd.xml", data);
  const sig = gpg.file("repomd.xml.asc", signature);
  gpg.run(["--import", pub]);
  t.ok(gpg.run(["--status-fd", "1", "--verify", sig, file]).toString().includes(`VALIDSIG ${made.fingerprint}`), "gpg");
  gpg.run(["--output", join(gpg.dir, "ring.gpg"), "--dearmor", pub]);
  const gpgv = spawnSync("gpgv", ["--keyring", join(gpg.dir, "ring.gpg"), sig, file], { encoding: "utf8" });
  t.equal(gpgv.status, 0, gpgv.stderr);
  writeFileSync(file, "other");
  t.not(spawnSync("gpgv", ["--keyring", join(gpg.dir, "ring.gpg"), sig, file]).status, 0);
  const secret = gpg.file("rpm.key", made.privateKey);
  execFileSync(
    "gpg",
    ["--homedir", gpg.dir, "--batch", "--pinentry-mode", "loopback", "--passphrase", "pass word", "--import", secret],
    {
      stdio: "ignore",
    },
  );
  const db = join(gpg.dir, "rpmdb");
  const rpm = spawnSync("rpmkeys", ["--dbpath", db, "--import", pub], { encoding: "utf8" });
  t.equal(rpm.status, 0, rpm.stderr);
  const packets = gpg.run(["--list-packets", sig]).toString();
  t.match(packets, /version 4, .*sigclass 0x00/);
  t.match(packets, /digest algo 8/);
  t.notMatch(packets, /notation/);
});

t.test("a key that gpg made and exported signs too", async (t) => {
  if (!needs(t, "gpg") || !gpg) return;
  const fingerprint = gpg.generate("site", "rsa3072");
  const secret = gpg.run(["--armor", "--export-secret-keys", fingerprint]);
  const key = await openRpmKey(secret, async () => "", "site.rpm.key");
  const keyring = await readOpenPgpKeyring([gpg.publicKey("site")]);
  const verdict = await verifyDetached(data, Buffer.from(await detachedSign(data, key, new Date())), keyring);
  t.equal(verdict.good[0]?.fingerprint, fingerprint);
});
