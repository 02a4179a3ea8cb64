/** Trust in RPMs: all packages of the fixtures beside rpmkeys, signatures of every kind, and tampered packages. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import t from "tap";
import { readRpmFile } from "../../src/rpm/header.ts";
import { verifyPackage } from "../../src/rpm/verify-package.ts";
import { type OpenPgpKeyring, readOpenPgpKeyring } from "../../src/sign/openpgp-keyring.ts";
import { needs } from "../fixtures/clients.ts";
import {
  expected,
  fixtureRpms,
  inMemory,
  MINIMAL,
  makeHeader,
  makeRpm,
  RPM_FIXTURES,
  readFixture,
  text,
  texts,
} from "../fixtures/rpm-files.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";

function ringOf(...files: string[]): Promise<OpenPgpKeyring> {
  return readOpenPgpKeyring(files.map(readFixture), { name: files.join(", ") });
}

const CENTOS_7 = "gpg-keys/centos/RPM-GPG-KEY-CentOS-7";
const UPSTREAM = "rpm-upstream/keys/rpm.org-rsa-2048-test.pub";

/** Keys that rpm 4.18 can import; its own OpenPGP knows neither ECDSA nor version 6. */
const FOR_RPM = [
  "gpg-keys/centos/RPM-GPG-KEY-CentOS-6",
  CENTOS_7,
  "gpg-keys/suse/RPM-GPG-KEY-SuSE-SLE-11",
  "gpg-keys/opensuse/RPM-GPG-KEY-openSUSE",
  UPSTREAM,
  "rpm-rs/signing_keys/v4/rpm-testkey-v4-ed25519.asc",
  "rpm-rs/signing_keys/v4/rpm-testkey-v4-rsa4096.asc",
];

t.test("verifyPackage() says of every package what rpmkeys says", async (t) => {
  if (!needs(t, "rpmkeys")) return;
  const database = ["--dbpath", t.testdir()];
  for (const key of FOR_RPM) {
    const ran = spawnSync("rpmkeys", [...database, "--import", join(RPM_FIXTURES, key)], { encoding: "utf8" });
    if (ran.status !== 0) return t.fail(`rpmkeys does not take ${key}: ${ran.stderr}`);
  }
  const paths = fixtureRpms();
  const run = spawnSync("rpmkeys", [...database, "-K", ...paths], { cwd: RPM_FIXTURES, encoding: "utf8" });
  const theirs = new Map(run.stdout.split("\n").map((line) => line.split(/: (?=[^:]*$)/) as [string, string]));
  const keyring = await ringOf(...FOR_RPM);
  let signed = 0;
  for (const path of paths) {
    const source = inMemory(readFixture(path));
    const verdict = await verifyPackage(source, keyring, { name: path, legacy: true }).then(
      () => "signed",
      (error) => error.code,
    );
    const digests = await verifyPackage(source, undefined, { name: path, gpgcheck: false }).then(
      () => true,
      (error) => error.code,
    );
    const said = theirs.get(path) ?? "nothing";
    const expected = said === "digests signatures OK" ? "signed" : "ERR_UPSTREAM_SIGNATURE";
    const expectedDigests = said.startsWith("DIGESTS") ? "ERR_UPSTREAM_DIGEST" : true;
    if (verdict === "signed") signed++;
    if (digests !== expectedDigests) t.equal(digests, expectedDigests, `${path}: ${said}`);
    if (expectedDigests === true && verdict !== expected) t.equal(verdict, expected, `${path}: ${said}`);
  }
  t.equal(signed, expected(21, 13), "packages that both call signed");
});

interface Expected {
  keys: string[];
  legacy?: boolean;
  payload: "signed" | "signed-digest";
  good: number;
}

const V4 = "rpm-rs/RPMS/v4/signed/rpm-basic-with";
const V6 = "rpm-rs/RPMS/v6/signed/rpm-basic";
const V6_KEYS = ["ed25519", "rsa4k"].map((it) => `rpm-rs/signing_keys/v6/rpm-testkey-v6-${it}.asc`);

/** Every kind of signature that rpm ever wrote. */
const SIGNED = new Map<string, Expected>([
  // OpenPGP version 3 packets, header and payload.
  [
    "cavaliergopher-rpm/centos-release-7-2.1511.el7.centos.2.10.x86_64.rpm",
    { keys: [CENTOS_7], payload: "signed", good: 2 },
  ],
  // DSA and SHA-1.
  [
    "cavaliergopher-rpm/centos-release-5-0.0.el5.centos.2.i386.rpm",
    { keys: ["gpg-keys/centos/RPM-GPG-KEY-CentOS-5"], legacy: true, payload: "signed", good: 2 },
  ],
  [
    `${V4}-rsa4096-2.3.4-5.el9.noarch.rpm`,
    { keys: ["rpm-rs/signing_keys/v4/rpm-testkey-v4-rsa4096.asc"], payload: "signed-digest", good: 1 },
  ],
  [
    `${V4}-ecdsa-2.3.4-5.el9.noarch.rpm`,
    { keys: ["rpm-rs/signing_keys/v4/rpm-testkey-v4-ecdsa-nistp256.asc"], payload: "signed-digest", good: 1 },
  ],
  [
    `${V4}-ed25519-2.3.4-5.el9.noarch.rpm`,
    { keys: ["rpm-rs/signing_keys/v4/rpm-testkey-v4-ed25519.asc"], payload: "signed-digest", good: 1 },
  ],
  [`${V6}-with-rsa4k-2.3.4-5.el9.noarch.rpm`, { keys: V6_KEYS, payload: "signed-digest", good: 1 }],
  [`${V6}-with-ed25519-2.3.4-5.el9.noarch.rpm`, { keys: V6_KEYS, payload: "signed-digest", good: 1 }],
  [`${V6}-multiple-signatures-2.3.4-5.el9.noarch.rpm`, { keys: V6_KEYS, payload: "signed-digest", good: 2 }],
  // One good beside one of an algorithm that nobody here knows.
  ["rpm-upstream/RPMS/hello-2.0-1.x86_64-signed-mldsa87.rpm", { keys: [UPSTREAM], payload: "signed-digest", good: 3 }],
  [
    "rpm-upstream/RPMS/hello-2.0-1.x86_64-signed-with-new-subkey.rpm",
    { keys: ["rpm-upstream/keys/rpm.org-rsa-2048-add-subkey.asc"], payload: "signed-digest", good: 1 },
  ],
]);

t.test("verifyPackage() takes every kind of signature", async (t) => {
  for (const [path, { keys, legacy, payload, good }] of SIGNED) {
    const source = inMemory(readFixture(path));
    try {
      const keyring = await ringOf(...keys);
      const verdict = await verifyPackage(source, keyring, { name: path, legacy });
      t.equal(verdict.payload, payload, path);
      t.equal(verdict.signatures.filter((it) => it.status === "good").length, good, `${path}: good signatures`);
      t.ok(
        verdict.signedBy.every((it) => keyring.keys.some((key) => key.fingerprint === it)) &&
          verdict.signedBy.length > 0,
        `${path}: signed by ${verdict.signedBy}`,
      );
      t.ok(source.asked <= source.size * 1.1 + 70_000, `${path}: the payload is read once`);
    } catch (error) {
      t.error(error, path);
    }
  }
});

t.test("verifyPackage() refuses with the keys expected and found", async (t) => {
  const keyring = await ringOf(CENTOS_7);
  const expected = keyring.keys[0]?.fingerprint;
  const code = "ERR_UPSTREAM_SIGNATURE";
  const other = `${V4}-rsa4096-2.3.4-5.el9.noarch.rpm`;
  await t.rejects(verifyPackage(inMemory(readFixture(other)), keyring, { name: other }), {
    code,
    path: other,
    expected,
    message: /key [0-9A-F]{16} is not among the keys/,
  });
  await t.rejects(verifyPackage(inMemory(makeRpm()), keyring, { name: "plain.rpm" }), {
    code,
    message: /got no signature/,
  });
  const unsigned = await verifyPackage(inMemory(makeRpm()), undefined, { name: "plain.rpm", gpgcheck: false });
  t.match(unsigned, {
    nevra: "ferry-0:1.0-1.noarch",
    signedBy: [],
    payload: "unsigned",
    digests: ["header sha256", "payload sha256"],
  });
  await t.rejects(verifyPackage(inMemory(makeRpm()), undefined, { name: "plain.rpm" }), { code: "ERR_INTERNAL" });
  const weak = "cavaliergopher-rpm/centos-release-5-0.0.el5.centos.2.i386.rpm";
  const old = await ringOf("gpg-keys/centos/RPM-GPG-KEY-CentOS-5");
  await t.rejects(verifyPackage(inMemory(readFixture(weak)), old, { name: weak }), {
    code,
    message: /SHA-1 is too weak/,
  });
  const revoked = "rpm-upstream/RPMS/hello-2.0-1.x86_64-signed-with-subkey.rpm";
  const alice = await ringOf("rpm-upstream/keys/alice-revoked-subkey.asc");
  await t.rejects(verifyPackage(inMemory(readFixture(revoked)), alice, { name: revoked }), {
    code,
    message: /revoked/,
  });
});

/** Copies of a package with one region changed, and whatever digest an attacker can make right again. */
async function tampered(path: string): Promise<Map<string, Buffer>> {
  const bytes = readFixture(path);
  const { headerStart, headerEnd, header } = await readRpmFile(inMemory(bytes), path);
  const change = (at: number) => {
    const copy = Buffer.from(bytes);
    copy[at]! ^= 1;
    return copy;
  };
  const payload = change(headerEnd + 10);
  const summary = bytes.indexOf(header.string(1004) as string, headerStart);
  const words = change(summary);
  return new Map([
    ["payload", payload],
    ["payload with its MD5", withDigest(payload, bytes, headerStart, "md5")],
    ["payload cut", bytes.subarray(0, bytes.length - 100)],
    ["payload longer", Buffer.concat([bytes, Buffer.from("more")])],
    ["header", words],
    ["header with its SHA-1", withDigest(words, bytes, headerStart, "sha1", headerEnd)],
    ["header with its SHA-256", withDigest(words, bytes, headerStart, "sha256", headerEnd)],
  ]);
}

/** Replaces the digest of the original by that of the copy wherever the signature header has it. */
function withDigest(copy: Buffer, original: Buffer, start: number, algorithm: string, end?: number): Buffer {
  const digest = (of: Buffer) => createHash(algorithm).update(of.subarray(start, end)).digest();
  const form = (of: Buffer) => (algorithm === "md5" ? digest(of) : Buffer.from(digest(of).toString("hex")));
  const at = original.subarray(0, start).indexOf(form(original));
  const result = Buffer.from(copy);
  if (at >= 0) form(copy).copy(result, at);
  return result;
}

t.test("verifyPackage() refuses tampered packages", async (t) => {
  const packages = new Map([
    ["artipie-el7/time-1.7-45.el7.x86_64.rpm", CENTOS_7],
    [`${V4}-rsa4096-2.3.4-5.el9.noarch.rpm`, "rpm-rs/signing_keys/v4/rpm-testkey-v4-rsa4096.asc"],
    [`${V6}-with-ed25519-2.3.4-5.el9.noarch.rpm`, V6_KEYS[0] as string],
  ]);
  for (const [path, key] of packages) {
    const keyring = await ringOf(key);
    await verifyPackage(inMemory(readFixture(path)), keyring, { name: path });
    for (const [what, bytes] of await tampered(path)) {
      const refused = verifyPackage(inMemory(bytes), keyring, { name: path });
      await t.rejects(refused, { code: /^ERR_UPSTREAM_(SIGNATURE|DIGEST)$/ }, `${path}: ${what}`);
    }
  }
  // What only the old-style signature over everything can see: payload and MD5 swapped together under a good header.
  const el7 = "artipie-el7/time-1.7-45.el7.x86_64.rpm";
  const swapped = (await tampered(el7)).get("payload with its MD5") as Buffer;
  await t.resolves(
    verifyPackage(inMemory(swapped), undefined, { name: el7, gpgcheck: false }),
    "its digests are right",
  );
  await t.rejects(verifyPackage(inMemory(swapped), await ringOf(CENTOS_7), { name: el7 }), {
    code: "ERR_UPSTREAM_SIGNATURE",
    message: /does not match/,
  });
});

t.test("digests are checked without keys too, and elsewhere when asked", async (t) => {
  const payload = Buffer.from("payload");
  const wrong = makeHeader([...MINIMAL, texts(5092, ["0".repeat(64)])]);
  const plain = { name: "x.rpm", gpgcheck: false };
  await t.rejects(verifyPackage(inMemory(makeRpm({ header: wrong })), undefined, plain), {
    code: "ERR_UPSTREAM_DIGEST",
    message: /wrong payload sha256: expected 0000/,
  });
  const signature = makeHeader([text(269, "f".repeat(40))]);
  await t.rejects(verifyPackage(inMemory(makeRpm({ signature })), undefined, plain), { message: /wrong header sha1/ });
  const bytes = makeRpm({ payload });
  const asked: unknown[] = [];
  const hashRange = async (algorithm: string, offset: number, length: number) => {
    asked.push([algorithm, offset, length]);
    return createHash(algorithm)
      .update(bytes.subarray(offset, offset + length))
      .digest("hex");
  };
  await verifyPackage(inMemory(bytes), undefined, { ...plain, hashRange });
  t.same(asked, [["sha256", bytes.length - payload.length, payload.length]]);
});

t.test("verifyPackage() tells the modularity label", async (t) => {
  const path = fixtureRpms().find((it) => it.startsWith("generated-modular/rpms/web-1")) as string;
  const verdict = await verifyPackage(inMemory(readFixture(path)), undefined, { name: path, gpgcheck: false });
  t.match(verdict.modularityLabel, /^web:/);
});

t.test("whatever damage verifyPackage() accepts has left header and payload as they were signed", async (t) => {
  const random = seeded(20261123);
  const packages = new Map([
    [`${V4}-rsa4096-2.3.4-5.el9.noarch.rpm`, "rpm-rs/signing_keys/v4/rpm-testkey-v4-rsa4096.asc"],
    [`${V6}-multiple-signatures-2.3.4-5.el9.noarch.rpm`, V6_KEYS[0] as string],
    ["cavaliergopher-rpm/centos-release-7-2.1511.el7.centos.2.10.x86_64.rpm", CENTOS_7],
  ]);
  for (const [path, key] of packages) {
    const keyring = await ringOf(key);
    const bytes = readFixture(path);
    const { headerStart } = await readRpmFile(inMemory(bytes), path);
    const signed = bytes.subarray(headerStart);
    const outcomes: Record<string, number> = {};
    for (let i = 0; i < 300; i++) {
      // Two in three hit the signature header, which nothing protects.
      const parts = [bytes.subarray(0, headerStart), signed] as const;
      const copy =
        i % 3 === 0
          ? Buffer.concat([parts[0], mutated(parts[1], random)])
          : Buffer.concat([mutated(parts[0], random), parts[1]]);
      const code = await verifyPackage(inMemory(copy), keyring, { name: path }).then(
        async () => {
          const accepted = await readRpmFile(inMemory(copy), path);
          if (!copy.subarray(accepted.headerStart).equals(signed)) t.fail(`${path}, change ${i}: accepted`);
          return "accepted";
        },
        (error) => error.code ?? String(error),
      );
      outcomes[code] = (outcomes[code] ?? 0) + 1;
    }
    const { accepted = 0, ERR_UPSTREAM_INVALID = 0, ERR_UPSTREAM_DIGEST = 0, ERR_UPSTREAM_SIGNATURE = 0 } = outcomes;
    const known = accepted + ERR_UPSTREAM_INVALID + ERR_UPSTREAM_DIGEST + ERR_UPSTREAM_SIGNATURE;
    t.equal(known, 300, `${path}: ${JSON.stringify(outcomes)}`);
  }
});
