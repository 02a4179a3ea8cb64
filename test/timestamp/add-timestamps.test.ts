/** Timestamps of signatures: `openssl ts` is the authority, asked over HTTP, and the judge of what is kept. */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { keygen } from "../../src/keygen.ts";
import { checkTimestamp, nonceOf, readAuthorities, timestampQuery } from "../../src/sign/timestamp.ts";
import { sign } from "../../src/sign.ts";
import { verify } from "../../src/verify.ts";
import { Authorities, serveReplies } from "../fixtures/authority.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { flip } from "../fixtures/bundle-tamper.ts";
import { needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const dir = scratch(t);
const at = (name: string) => join(dir, name);
let authorities: Authorities;
const openssl = (...args: string[]) => authorities.openssl(...args);
const answer = (query: Buffer, name?: string) => authorities.answer(query, name);

t.before(async () => {
  authorities = new Authorities(dir);
  authorities.makeCa("other", 30);
  authorities.make("tsa");
  await keygen({ out: at("site"), password: "test", rpm: false });
});

const passphrase = async () => "test";

t.test("sign --timestamp asks, and verify --tsa and openssl agree about the reply", async (t) => {
  if (!needs(t, "openssl")) return;
  let how: (query: Buffer) => Buffer = answer;
  let status = 200;
  const types: (string | undefined)[] = [];
  const timestamp = await serveReplies(t, (query, type) => {
    types.push(type);
    return { status, body: how(query) };
  });
  const bundle = at("b");
  makeBundle(bundle, { files: { "files/a": Buffer.from("a") }, keys: [] });
  const trust = [at("site.pub")];
  const key = at("site.key");
  await sign(bundle, { key, passphrase });
  const tsa = [at("tsa.pem")];
  t.match(await verify([bundle], { trust, tsa }), {
    ok: false,
    problems: [{ code: "ERR_TIMESTAMP", message: /too few/ }],
  });
  const wrong: [string, (query: Buffer) => Buffer, RegExp][] = [
    [
      "an old reply",
      () => answer(timestampQuery(readFileSync(join(bundle, "signatures", sigOf(bundle))), nonceOf(Buffer.alloc(8)))),
      /nonce/,
    ],
    ["of other bytes", () => answer(timestampQuery(Buffer.from("x"), nonceOf(Buffer.alloc(8)))), /other bytes/],
    ["junk", () => Buffer.from("junk"), /not DER/],
    ["nothing", () => Buffer.alloc(0), /./],
  ];
  for (const [name, reply, message] of wrong) {
    how = reply;
    await t.rejects(sign(bundle, { key, passphrase, timestamp }), { code: "ERR_TIMESTAMP", message }, name);
  }
  how = () => Buffer.alloc(100_000);
  await t.rejects(sign(bundle, { key, passphrase, timestamp }), { code: "ERR_UPSTREAM" }, "too large");
  status = 500;
  how = () => Buffer.from("no");
  await t.rejects(sign(bundle, { key, passphrase, timestamp }), { code: "ERR_UPSTREAM", message: /500/ });
  status = 200;
  how = answer;
  t.equal(
    readdirSync(join(bundle, "signatures")).some((it) => it.endsWith(".tsr")),
    false,
    "nothing wrong is kept",
  );
  const added = await sign(bundle, { key, passphrase, timestamp });
  t.match(added.files, [/\.tsr$/]);
  t.same([...new Set(types)], ["application/timestamp-query"]);
  await t.rejects(sign(bundle, { key, passphrase, timestamp }), { code: "ERR_USAGE" }, "nothing to add");
  const [reply = ""] = added.files;
  const signature = reply.replace(/tsr$/, "sig");
  t.match(
    openssl("ts", "-verify", "-data", signature, "-in", reply, "-CAfile", "ca.pem", "-untrusted", "tsa.pem").toString(),
    /Verification: OK/,
  );
  for (const pinned of [["tsa.pem"], ["ca.pem"], ["other.pem", "tsa.pem"]]) {
    const report = await verify([bundle], { trust, tsa: pinned.map(at) });
    t.match(report, { ok: true, timestamps: [{ by: "CN=tsa", time: /^20/ }] }, pinned.join());
  }
  t.match(await verify([bundle], { trust }), { ok: true, timestamps: [] }, "nobody has to look at it");
  const later = new Date(Date.now() + 20 * 365 * 86_400_000);
  t.match(await verify([bundle], { trust, tsa, now: later }), { ok: true }, "after the certificate has expired");
  t.match(await verify([bundle], { trust, tsa, at: later }), { ok: true });
  const before = new Date(Date.now() - 86_400_000);
  t.match((await verify([bundle], { trust, tsa, at: before })).problems, [
    { code: "ERR_TIMESTAMP", message: /, after / },
  ]);
  t.match((await verify([bundle], { trust, tsa: [at("other.pem")] })).problems, [{ message: /no pinned certificate/ }]);
  await t.rejects(verify([bundle], { trust, tsa: [at("site.pub")] }), { code: "ERR_KEY_INVALID" });
  // Another signature of the same key over the same bytes is not what was stamped.
  cpSync(bundle, at("again"), { recursive: true });
  for (const it of readdirSync(at("again/signatures"))) if (!it.endsWith(".tsr")) rmSync(at(`again/signatures/${it}`));
  await sign(at("again"), { key, passphrase });
  t.match((await verify([at("again")], { trust, tsa })).problems, [{ message: /it is for other bytes/ }]);
});

t.test("pack --timestamp stamps what it signs, and a rerun what it could not", async (t) => {
  if (!needs(t, "openssl")) return;
  let isDown = true;
  const timestamp = await serveReplies(t, (query) =>
    isDown ? { status: 503, body: Buffer.alloc(0) } : { status: 200, body: answer(query) },
  );
  writeFileSync(at("a.txt"), "a");
  writeManifest(dir, { files: [{ path: "a.txt" }] });
  const pack = ["pack", "m.yaml", "--key", "site.key", "--timestamp", timestamp];
  const down = await airferry(dir, pack);
  t.equal(down.status, 4, down.stderr);
  t.match(down.stderr, /is complete and signed; run the same command again to add its timestamps/);
  isDown = false;
  const ran = await airferry(dir, pack);
  t.equal(ran.status, 0, ran.stderr);
  const bundle = at(ran.stdout.trim());
  t.match(await verify([bundle], { trust: [at("site.pub")], tsa: [at("ca.pem")] }), { ok: true, timestamps: [{}] });
  const wrong = await airferry(dir, ["pack", "m.yaml", "--key", "site.key", "--timestamp", "tsa.example"]);
  t.equal(wrong.status, 2, wrong.stderr);
});

function sigOf(bundle: string): string {
  return readdirSync(join(bundle, "signatures")).find((it) => it.endsWith(".sig")) ?? "";
}

t.test("any changed byte of a reply is refused, or changes nothing that counts", async (t) => {
  if (!needs(t, "openssl")) return;
  const signed = Buffer.from("signature");
  const nonce = nonceOf(Buffer.from("0102030405060708", "hex"));
  const good = answer(timestampQuery(signed, nonce));
  const pinned = await readAuthorities([at("ca.pem")]);
  const { time } = checkTimestamp(good, signed, pinned, nonce);
  let refused = 0;
  for (let index = 0; index < good.length; index++) {
    const bad = Buffer.from(good);
    bad[index] = (bad[index] ?? 0) ^ 0x01;
    try {
      t.same(checkTimestamp(bad, signed, pinned, nonce).time, time, `byte ${index}`);
    } catch {
      refused++;
    }
  }
  t.ok(refused > good.length * 0.8, `${refused} of ${good.length}`);
  for (const length of [0, 1, 2, 10, 100, good.length - 1])
    t.throws(() => checkTimestamp(good.subarray(0, length), signed, pinned));
  t.throws(() => checkTimestamp(Buffer.concat([good, Buffer.of(0)]), signed, pinned));
  t.throws(() => checkTimestamp(Buffer.alloc(64 * 1024 + 1), signed, pinned), /at most/);
  t.throws(() => checkTimestamp(Buffer.concat(Array(16_000).fill(Buffer.of(0x30, 0x80))), signed, pinned), "deep");
});

t.test("only a certificate for timestamps counts, and a reply that grants one", async (t) => {
  if (!needs(t, "openssl")) return;
  const signed = Buffer.from("signature");
  const query = timestampQuery(signed, nonceOf(Buffer.alloc(8, 7)));
  const ca = await readAuthorities([at("ca.pem")]);
  authorities.make("rsa", { kind: ["-newkey", "rsa:2048", "-nodes"] });
  t.equal(checkTimestamp(answer(query, "rsa"), signed, ca).by, "CN=rsa");
  // An algorithm that the authority does not have.
  const refusedQuery = Buffer.from(query);
  refusedQuery[refusedQuery.indexOf(Buffer.from("0403040201", "hex").subarray(2)) + 2] = 0x09;
  t.throws(() => checkTimestamp(answer(refusedQuery), signed, ca), /refused/);
});

t.test("a stranger's timestamp is not even parsed", async (t) => {
  const key = makeKey();
  const bundle = at("stranger");
  makeBundle(bundle, { files: { "files/a": Buffer.from("a") }, keys: [key] });
  writeFileSync(at("key.pub"), key.pem);
  writeFileSync(join(bundle, "signatures", `${"0".repeat(16)}.tsr`), "junk");
  t.match((await verify([bundle], { trust: [at("key.pub")], tsa: [at("ca.pem")] })).problems, [{ message: /too few/ }]);
  writeFileSync(join(bundle, "signatures", `${key.keyid.slice(0, 16)}.tsr`), "junk");
  t.match((await verify([bundle], { trust: [at("key.pub")], tsa: [at("ca.pem")] })).problems, [{ message: /not DER/ }]);
  flip(join(bundle, "signatures", `${key.keyid.slice(0, 16)}.sig`), 12);
  t.notMatch((await verify([bundle], { trust: [at("key.pub")], tsa: [at("ca.pem")] })).problems, [{ message: /DER/ }]);
});
