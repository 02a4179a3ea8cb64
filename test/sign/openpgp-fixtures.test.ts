/** OpenPGP against what distributions publish: every key file of the fixtures, and RPM header signatures of all ages. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { type OpenPgpKeyring, readOpenPgpKeyring } from "../../src/sign/openpgp-keyring.ts";
import { detachedSign, openRpmKey } from "../../src/sign/openpgp-sign.ts";
import { type OpenPgpVerdict, verifyDetached, verifyOpenPgpSignature } from "../../src/sign/openpgp-verify.ts";
import { needs } from "../fixtures/clients.ts";
import { expected, RPM_FIXTURES } from "../fixtures/rpm-files.ts";

const root = RPM_FIXTURES;

function read(path: string): Buffer {
  return readFileSync(join(root, path));
}

/** Reads a big-endian header structure: its entries and where it ends. */
function header(bytes: Buffer, start: number): { entries: [tag: number, at: number, count: number][]; end: number } {
  const count = bytes.readUInt32BE(start + 8);
  const data = start + 16 + 16 * count;
  const entries = Array.from({ length: count }, (_, index): [number, number, number] => {
    const at = start + 16 + 16 * index;
    return [bytes.readUInt32BE(at), data + bytes.readUInt32BE(at + 8), bytes.readUInt32BE(at + 12)];
  });
  return { entries, end: data + bytes.readUInt32BE(start + 12) };
}

/** Returns the verdict on every signature of an RPM by tag, with the version of the first packet. */
async function judge(path: string, keyring: OpenPgpKeyring, legacy = false) {
  const bytes = read(path);
  const signatures = header(bytes, 96);
  const start = Math.ceil(signatures.end / 8) * 8;
  const main = bytes.subarray(start, header(bytes, start).end);
  const found = new Map<number, { version: number; verdict: OpenPgpVerdict }[]>();
  for (const [tag, at, count] of signatures.entries) {
    const blobs: Buffer[] = [];
    if ([267, 268, 1002, 1005].includes(tag)) blobs.push(bytes.subarray(at, at + count));
    if (tag === 278) {
      let from = at;
      for (let index = 0; index < count; index++) {
        const end = bytes.indexOf(0, from);
        blobs.push(Buffer.from(bytes.toString("latin1", from, end), "base64"));
        from = end + 1;
      }
    }
    for (const blob of blobs) {
      const data = tag > 1000 ? bytes.subarray(start) : main;
      const verdict = await verifyOpenPgpSignature(data, blob, keyring, { legacy });
      const width = [1, 2, 4][(blob[0]! & 0x40) === 0 ? blob[0]! & 3 : blob[1]! < 192 ? 0 : 1]!;
      found.set(tag, [...(found.get(tag) ?? []), { version: blob[1 + width]!, verdict }]);
    }
  }
  return found;
}

t.test("every key file that is one is read", async (t) => {
  const files = (readdirSync(join(root, "gpg-keys"), { recursive: true }) as string[]).sort();
  const unusable: string[] = [];
  let read_ = 0;
  for (const file of files) {
    const path = join(root, "gpg-keys", file);
    if (!existsSync(path) || !statSync(path).isFile()) continue;
    const bytes = readFileSync(path);
    // The rest are links kept as text, and a note.
    if (!bytes.includes("-----BEGIN PGP") && (bytes[0]! & 0x80) === 0) continue;
    try {
      const keyring = await readOpenPgpKeyring([bytes]);
      for (const key of keyring.keys) {
        t.match(key.fingerprint, /^([0-9A-F]{40}|[0-9A-F]{64})$/, file);
        t.ok(
          key.keyids.includes(
            key.fingerprint.length === 40 ? key.fingerprint.slice(-16) : key.fingerprint.slice(0, 16),
          ),
        );
      }
      read_++;
    } catch (error) {
      unusable.push(`${file}: ${(error as Error).message}`);
    }
  }
  t.ok(read_ > expected(150, 40), `${read_} files`);
  // Post-quantum only: nothing that a signature could be checked with yet.
  t.same(
    unusable.map((it) => it.split(":")[0]),
    ["centos/RPM-GPG-KEY-centosofficial-PQC", "redhat/RPM-GPG-KEY-redhat9-PQC-release"],
  );
  const rhel10 = await readOpenPgpKeyring([read("gpg-keys/redhat/RPM-GPG-KEY-redhat10-release")]);
  t.same(
    rhel10.keys.map((it) => it.fingerprint),
    ["567E347AD0044ADE55BA8A5F199E2F91FD431D51", "7E4624258C406535D56D6F135054E4A45A6340B3"],
  );
  t.equal(rhel10.skipped.length, 1, "its third key is skipped with a reason");
});

t.test("version 3 signatures of CentOS 7", async (t) => {
  const keyring = await readOpenPgpKeyring([read("gpg-keys/centos/RPM-GPG-KEY-CentOS-7")]);
  const packages = (readdirSync(join(root, "artipie-el7")) as string[]).filter((it) => /el7\.x86_64\.rpm$/.test(it));
  t.ok(packages.length >= expected(5, 1), `${packages.length} packages`);
  for (const name of packages) {
    const found = await judge(`artipie-el7/${name}`, keyring);
    for (const tag of [268, 1002]) {
      const [one] = found.get(tag) ?? [];
      t.equal(one?.version, 3, `${name} ${tag}`);
      t.equal(one?.verdict.good[0]?.fingerprint, "6341AB2753D78A78A7C27BB124C6A8A7F4A80EB5");
    }
  }
  const foreign = await readOpenPgpKeyring([read("gpg-keys/centos/RPM-GPG-KEY-CentOS-Official")]);
  const [stranger] = (await judge("artipie-el7/time-1.7-45.el7.x86_64.rpm", foreign)).get(268) ?? [];
  t.match(stranger?.verdict.unknown[0]?.reason, /key 24C6A8A7F4A80EB5 is not among the keys/);
});

t.test("a changed version 3 signature or header is bad", async (t) => {
  const keyring = await readOpenPgpKeyring([read("gpg-keys/centos/RPM-GPG-KEY-CentOS-7")]);
  const bytes = read("artipie-el7/time-1.7-45.el7.x86_64.rpm");
  const signatures = header(bytes, 96);
  const start = Math.ceil(signatures.end / 8) * 8;
  const main = Buffer.from(bytes.subarray(start, header(bytes, start).end));
  const [, at, count] = signatures.entries.find(([tag]) => tag === 268)!;
  const blob = Buffer.from(bytes.subarray(at, at + count));
  const count_ = async (data: Uint8Array, signature: Uint8Array) => {
    const { good, bad, unknown } = await verifyOpenPgpSignature(data, signature, keyring);
    return [good.length, bad.length, unknown.length];
  };
  t.same(await count_(main, blob), [1, 0, 0]);
  for (const position of [16, 100, main.length - 1]) {
    const changed = Buffer.from(main);
    changed[position]! ^= 1;
    t.same(await count_(changed, blob), [0, 1, 0], `header byte ${position}`);
  }
  const body = blob.indexOf(Buffer.of(3, 5));
  const outcomes = new Map([
    [body + 2, [0, 0, 1]], // type: no longer over data
    [body + 5, [0, 1, 0]], // time
    [body + 8, [0, 0, 1]], // key id
    [body + 15, [0, 1, 0]], // algorithm
    [body + 16, [0, 0, 1]], // hash
    [blob.length - 1, [0, 1, 0]],
  ]);
  for (const [position, outcome] of outcomes) {
    const changed = Buffer.from(blob);
    changed[position]! ^=
      position === body + 2 ? 0x10 : position === body + 16 ? 0x20 : position === body + 15 ? 0x10 : 1;
    t.same(await count_(main, changed), outcome, `signature byte ${position - body}`);
  }
  t.same(await count_(main, blob.subarray(0, -3)), [0, 0, 1], "cut short");
});

t.test("DSA of CentOS 5 counts for legacy only", async (t) => {
  const keyring = await readOpenPgpKeyring([read("gpg-keys/centos/RPM-GPG-KEY-CentOS-5")]);
  const path = "cavaliergopher-rpm/centos-release-5-0.0.el5.centos.2.x86_64.rpm";
  t.equal((await judge(path, keyring, true)).get(267)?.[0]?.verdict.good.length, 1);
  t.equal((await judge(path, keyring)).get(267)?.[0]?.verdict.good.length, 0);
});

t.test("RSA, ECDSA, EdDSA, versions 4 and 6, several signatures, post-quantum beside them", async (t) => {
  const files = (readdirSync(join(root, "rpm-rs"), { recursive: true }) as string[])
    .filter((it) => /\.asc$|\.pub$/.test(it) && !/secret|private/i.test(it))
    .map((it) => read(join("rpm-rs", it)))
    .filter((it) => it.includes("PUBLIC KEY BLOCK"));
  const upstream = ["rpm.org-v6-ed25519-test.asc", "rpm.org-v6-rsa4k-test.asc"].map((it) =>
    read(join("rpm-upstream/keys", it)),
  );
  const keyring = await readOpenPgpKeyring([...files, ...upstream]);
  const good = async (path: string, tag: number) =>
    (await judge(path, keyring)).get(tag)?.map((it) => [it.version, it.verdict.good.length > 0]);
  const v4 = "rpm-rs/RPMS/v4/signed/rpm-basic-with-";
  const v6 = "rpm-rs/RPMS/v6/signed/rpm-basic-";
  t.same(await good(`${v4}ecdsa-2.3.4-5.el9.noarch.rpm`, 267), [[4, true]]);
  t.same(await good(`${v4}ed25519-2.3.4-5.el9.noarch.rpm`, 267), [[4, true]]);
  t.ok((await good(`${v6}with-ed25519-2.3.4-5.el9.noarch.rpm`, 278))?.every(([, it]) => it));
  t.ok((await good(`${v6}with-rsa4k-2.3.4-5.el9.noarch.rpm`, 278))?.every(([, it]) => it));
  const several = await good(`${v6}multiple-signatures-2.3.4-5.el9.noarch.rpm`, 278);
  t.ok(several!.length > 1 && several!.some(([, it]) => it), JSON.stringify(several));
  const quantum = (await judge(`${v6}with-mldsa65-ed25519-2.3.4-5.el9.noarch.rpm`, keyring)).get(278)!;
  t.ok(quantum.length > 0);
  for (const { verdict } of quantum) t.same(verdict.bad, [], "unknown algorithms are skipped, not failed");
});

t.test("subkeys count only when bound: CVE-2021-3521", async (t) => {
  const path = "rpm-upstream/RPMS/hello-2.0-1.x86_64-signed-with-subkey.rpm";
  const outcome = async (key: string) => {
    const keyring = await readOpenPgpKeyring([read(`rpm-upstream/keys/${key}`)]);
    const { good, bad, unknown } = (await judge(path, keyring)).get(268)![0]!.verdict;
    return good.length > 0 ? "good" : (bad[0] ?? unknown[0])?.reason;
  };
  t.equal(await outcome("alice.asc"), "good");
  t.match(await outcome("alice-expired-subkey.asc"), /subkey expired on 2022-04-12/);
  t.match(await outcome("alice-revoked-subkey.asc"), /revoked/);
  for (const key of ["badbind", "nosubsig", "nosubsig-last"]) {
    t.match(await outcome(`CVE-2021-3521-${key}.asc`), /not usable|not among/, key);
  }
  const confused = await readOpenPgpKeyring([read("rpm-upstream/keys/type-confusion.asc")]).catch((error) => error);
  t.ok(confused instanceof Error || confused.keys.length > 0, "a key made to confuse is read or refused, nothing else");
});

t.test("two keys with one key id do not stand in each other's way", async (t) => {
  const names = ["keyidcollision1", "keyidcollision2"].map((it) => `rpm-upstream/keys/${it}`);
  const keyring = await readOpenPgpKeyring(names.map((it) => read(`${it}.pub`)));
  t.equal(keyring.keys.length, 2);
  t.same(keyring.keys[0]!.keyids, keyring.keys[1]!.keyids, "the ids collide");
  const data = Buffer.from("data");
  for (const name of names) {
    const key = await openRpmKey(read(`${name}.asc`), async () => "", name);
    const signature = Buffer.from(await detachedSign(data, key, new Date()));
    const { good, bad } = await verifyDetached(data, signature, keyring);
    t.same([good.map((it) => it.fingerprint), bad], [[key.fingerprint], []], name);
    t.equal((await verifyDetached(Buffer.from("x"), signature, keyring)).good.length, 0);
  }
});

t.test("every package is judged as rpm judges it", async (t) => {
  if (!needs(t, "rpmkeys")) return;
  const db = mkdtempSync(join(tmpdir(), "airferry-rpmdb-"));
  t.teardown(() => rmSync(db, { recursive: true, force: true }));
  const rpmkeys = (...args: string[]) =>
    spawnSync("rpmkeys", ["--dbpath", db, ...args], { cwd: root, encoding: "utf8", maxBuffer: 2 ** 26 });
  // Those that rpm 4.18 can import.
  const keys = [
    "gpg-keys/centos/RPM-GPG-KEY-CentOS-7",
    "rpm-upstream/keys/rpm.org-rsa-2048-test.pub",
    "rpm-rs/signing_keys/v4/rpm-testkey-v4-ed25519.asc",
    "rpm-rs/signing_keys/v4/rpm-testkey-v4-rsa3072-protected.asc",
    "rpm-rs/signing_keys/v4/rpm-testkey-v4-rsa4096.asc",
  ];
  for (const key of keys) t.equal(rpmkeys("--import", key).status, 0, key);
  const keyring = await readOpenPgpKeyring(keys.map(read));
  const packages = (readdirSync(root, { recursive: true }) as string[]).filter(
    (it) => it.endsWith(".rpm") && statSync(join(root, it)).isFile(),
  );
  let path = "";
  let compared = 0;
  const seen = { OK: 0, NOKEY: 0, BAD: 0 };
  for (const line of rpmkeys("-Kv", ...packages.sort()).stdout.split("\n")) {
    if (/^\S.*:$/.test(line)) path = line.slice(0, -1);
    const [, head, keyid, status] = /^\s+(Header )?V[34] \S+ Signature, key ID ([0-9a-f]{8}): (\w+)$/.exec(line) ?? [];
    if (keyid === undefined) continue;
    const found = await judge(path, keyring, true).catch(() => undefined);
    // rpm refuses some files made wrong on purpose before it comes to signatures; the reader above is not that careful.
    if (!found) continue;
    const verdicts = (head ? [267, 268] : [1002, 1005]).flatMap((tag) => found.get(tag) ?? []).map((it) => it.verdict);
    const of = (list: readonly { keyid: string }[]) => list.some((it) => it.keyid.endsWith(keyid.toUpperCase()));
    const ours = verdicts.some((it) => of(it.good)) ? "OK" : verdicts.some((it) => of(it.bad)) ? "BAD" : "NOKEY";
    if (ours !== status) t.equal(ours, status, `${path}: ${line.trim()}`);
    seen[ours]++;
    compared++;
  }
  t.ok(compared > expected(50, 30), `${compared} signatures`);
  t.ok(seen.OK > expected(15, 10) && seen.NOKEY > expected(20, 5), JSON.stringify(seen));
});
