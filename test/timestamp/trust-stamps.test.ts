/** Timestamps by the authorities that a trust root names: what they save, what they are asked for, and where they are kept. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyAndHold } from "../../src/bundle/verified-bundles.ts";
import { HeldFiles } from "../../src/io/held-files.ts";
import { formatUtcTime } from "../../src/io/utc-time.ts";
import { nonceOf, timestampQuery } from "../../src/sign/timestamp.ts";
import type { TrustDocument } from "../../src/sign/trust-root.ts";
import { addTimestamps } from "../../src/timestamp/add-timestamps.ts";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { Authorities, serveReplies } from "../fixtures/authority.ts";
import { makeBundle, type TestKey } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch } from "../fixtures/program.ts";
import { document, makePostQuantumKey, makeSigner, signedTrust, writeTrust } from "../fixtures/trust-maker.ts";

const dir = scratch(t);
const at = (name: string) => join(dir, name);
const HOUR = 3_600_000;
const now = new Date();
const after = (hours: number) => new Date(now.getTime() + hours * HOUR);
const time = (hours: number) => formatUtcTime(after(hours));
const [ann, bob, cay] = [makeSigner("ann"), makeSigner("bob"), makeSigner("cay")];
const both = [...ann.keys, ...bob.keys];
const files = { "files/a": Buffer.from("a") };
let authorities: Authorities;

/** A trust root in which two of Ann, Bob and Cay sign, and the CA's authorities count. */
function root(
  name: string,
  rule: object,
  more: Partial<TrustDocument> = {},
  spoil?: (it: TrustDocument) => void,
): string {
  const role = { signers: ["ann", "bob", "cay"], threshold: 2 };
  const certificate = readFileSync(at("ca.pem"), "utf8").replace(/-----[^-]+-----|\s/g, "");
  const value = document([ann, bob, cay], {
    roles: { root: role, release: role, tsa: { certificates: [certificate] } },
    streams: { "*": rule },
    expires: "2099-01-01T00:00:00Z",
    ...more,
  });
  spoil?.(value);
  writeTrust(at(name), [signedTrust(value, [...both, ...cay.keys])]);
  return join(at(name), "trust.1.json");
}

let count = 0;
/** A copy of a bundle in which these signatures are stamped by this authority. */
function stamped(keys: readonly TestKey[], by = "tsa", base = "plain"): string {
  const bundle = at(`b${++count}`);
  cpSync(at(base), bundle, { recursive: true });
  for (const { keyid } of keys) {
    const own = readdirSync(join(bundle, "signatures")).find(
      (it) => it.startsWith(keyid.slice(0, 16)) && it.endsWith("sig"),
    );
    const query = timestampQuery(readFileSync(join(bundle, "signatures", own ?? "")), nonceOf(Buffer.alloc(8, 1)));
    writeFileSync(join(bundle, "signatures", `${keyid.slice(0, 16)}.tsr`), authorities.answer(query, by));
  }
  return bundle;
}

const judge = async (bundle: string, trust: string, more: Partial<Parameters<typeof verify>[1]> = {}) => {
  const notices: string[] = [];
  const report = await verify([bundle], { trust: [trust], notice: (it) => notices.push(it), ...more });
  return { ...report, codes: report.problems.map((it) => it.code), notices };
};

t.before(() => {
  authorities = new Authorities(dir);
  authorities.make("tsa");
  makeBundle(at("plain"), { files, keys: both });
  makeBundle(at("early"), { files, keys: both, created: "2019-06-01T00:00:00Z" });
  authorities.openssl(
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    "lone.key",
    "-out",
    "lone.pem",
    "-subj",
    "/CN=lone",
    "-addext",
    "extendedKeyUsage=critical,timeStamping",
  );
});

t.test("a rule asks for timestamps of as many owners as must sign", async (t) => {
  if (!needs(t, "openssl")) return;
  const rule = root("asked", { requireTimestamp: true });
  t.match((await judge(stamped([]), rule)).problems, [{ code: "ERR_TIMESTAMP", message: /2 distinct owners.*got 0/ }]);
  t.match((await judge(stamped(ann.keys), rule)).problems, [{ code: "ERR_TIMESTAMP", message: /got 1/ }]);
  const good = await judge(stamped(both), rule);
  t.match(good, { ok: true, notices: [], timestamps: [{ by: "CN=tsa" }, { by: "CN=tsa" }] });
  const strange = await judge(stamped(both, "lone"), rule);
  t.match(strange.problems, [{ code: "ERR_TIMESTAMP", message: /no pinned certificate leads to "CN=lone"/ }, {}]);
  const free = await judge(stamped(both, "lone"), root("free", {}));
  t.match(free, {
    ok: true,
    timestamps: [],
    notices: [/no pinned certificate.*counts for nothing/, /counts for nothing/],
  });
  const open = new HeldFiles();
  t.teardown(() => open.close());
  const serving = { action: "serve", trust: [rule] };
  await t.rejects(verifyAndHold([stamped(ann.keys)], open, serving), { code: "ERR_TIMESTAMP" }, "serve");
  const [held] = await verifyAndHold([stamped(both)], open, serving);
  t.match(held?.timestamps, [{ by: "CN=tsa" }, {}]);
});

t.test("a timestamp is what a signature's age is judged by", async (t) => {
  if (!needs(t, "openssl")) return;
  const revoked = (hours: number) => ({ revoked: [{ keyid: bob.keys[0]!.keyid, from: time(hours), reason: "lost" }] });
  const later = root("later", {}, revoked(1));
  t.match(await judge(stamped([]), later), { ok: true }, "not yet");
  t.match(await judge(stamped([]), later, { now: after(2) }), { codes: ["ERR_KEY_REVOKED", "ERR_THRESHOLD"] });
  t.match(await judge(stamped(ann.keys), later, { now: after(2) }), { codes: ["ERR_KEY_REVOKED", "ERR_THRESHOLD"] });
  t.match(await judge(stamped(bob.keys), later, { now: after(2) }), { ok: true }, "signed before the revocation");
  t.match(await judge(stamped(bob.keys, "lone"), later, { now: after(2) }), { ok: false }, "as a stranger says");
  const before = root("before", {}, revoked(-1));
  t.match(await judge(stamped(both), before), { codes: ["ERR_KEY_REVOKED", "ERR_THRESHOLD"] }, "signed after it");

  const plain = root("plain-root", {});
  t.match(await judge(stamped([], "tsa", "early"), plain), { codes: ["ERR_KEY_EXPIRED", "ERR_KEY_EXPIRED"] });
  t.match(await judge(stamped(both, "tsa", "early"), plain), { ok: true }, "stamped while they might sign");
  const ended = (it: TrustDocument) => {
    (it.signers["bob"] as { notAfter: string }).notAfter = time(-1);
  };
  t.match(await judge(stamped(both), root("ended", {}, {}, ended)), { ok: true }, "by the bundle's own word");
  const strict = root("ended-asked", { requireTimestamp: true }, {}, ended);
  t.match(await judge(stamped(both), strict), { codes: ["ERR_TIMESTAMP"] }, "stamped too late");
  const strictRevoked = root("revoked-asked", { requireTimestamp: true }, revoked(1));
  t.match(await judge(stamped(both), strictRevoked, { now: after(2) }), { ok: true });
});

t.test("as of a time, later timestamps do not count; --tsa asks for more than the trust root", async (t) => {
  if (!needs(t, "openssl")) return;
  const rule = root("archive", { requireTimestamp: true });
  const bundle = stamped(both);
  t.match((await judge(bundle, rule, { at: after(-1) })).problems, [
    { code: "ERR_TIMESTAMP", message: /, after / },
    {},
  ]);
  t.match(await judge(bundle, rule, { at: after(1) }), { ok: true });
  t.match(await judge(bundle, rule, { tsa: [at("tsa.pem")] }), { ok: true, timestamps: [{}, {}] });
  t.match(await judge(bundle, rule, { tsa: [at("lone.pem")] }), { ok: false });
  const lone = stamped(both, "lone");
  t.match(
    await judge(lone, rule, { tsa: [at("lone.pem")] }),
    { ok: false },
    "whoever is named here is not in the root",
  );
});

t.test("a post-quantum signature has a timestamp of its own", async (t) => {
  if (!needs(t, "openssl")) return;
  const key = makePostQuantumKey();
  const pq = { ...makeSigner("pq"), keys: [...makeSigner("x").keys, key] };
  makeBundle(at("pq-bundle"), { files, keys: [pq.keys[0]!] });
  const { sign } = await import("node:crypto");
  const signature = sign(null, readFileSync(at("pq-bundle/SHA256SUMS")), key.privateKey);
  writeFileSync(join(at("pq-bundle"), "signatures", `${key.keyid.slice(0, 16)}.mldsa65.sig`), signature);
  const value = document([pq], { streams: { "*": { requireTimestamp: true } }, expires: "2099-01-01T00:00:00Z" });
  value.roles.release.require = ["p256", "mldsa65"];
  value.roles.tsa = { certificates: [readFileSync(at("ca.pem"), "utf8").replace(/-----[^-]+-----|\s/g, "")] };
  writeTrust(at("pq-root"), [signedTrust(value, [pq.keys[0]!])]);
  const trust = join(at("pq-root"), "trust.1.json");
  t.match(await judge(stamped([pq.keys[0]!], "tsa", "pq-bundle"), trust), { codes: ["ERR_TIMESTAMP"] });
  const bundle = stamped([], "tsa", "pq-bundle");
  const url = await serveReplies(t, (query) => ({ status: 200, body: authorities.answer(query) }));
  const added = await addTimestamps(
    bundle,
    pq.keys.map((it) => it.keyid.slice(0, 16)),
    url,
  );
  t.equal(added.length, 2);
  t.match(await judge(bundle, trust), { ok: true, timestamps: [{}, {}] });
});

t.test("unpack --tsa, and what the store keeps", async (t) => {
  if (!needs(t, "openssl")) return;
  writeFileSync(at("ann.pub"), ann.keys[0]!.pem);
  const trust = [at("ann.pub")];
  await t.rejects(unpack([stamped([])], { trust, store: at("st"), tsa: [at("ca.pem")] }), {
    code: "ERR_TIMESTAMP",
    hint: /airferry sign BUNDLE --key FILE --timestamp URL/,
  });
  await t.rejects(unpack([stamped(both)], { trust, store: at("st"), tsa: [at("ann.pub")] }), {
    code: "ERR_KEY_INVALID",
  });
  cpSync(stamped(both), at("good"), { recursive: true });
  const ran = await airferry(dir, ["unpack", "good", "--trust", "ann.pub", "--store", "st", "--tsa", "ca.pem"]);
  t.equal(ran.status, 0, ran.stderr);
  t.match(ran.stderr, /signature of [0-9a-f]{16} stamped at 20.* by CN=tsa/);
  const rule = root("kept", { requireTimestamp: true });
  const report = await unpack([at("good")], { trust: [rule], store: at("st2") });
  t.match(report, { complete: true, timestamps: [{ by: "CN=tsa" }, {}] }, "a trust root needs no --tsa");
  const record = JSON.parse(readFileSync(at("st2/releases/test/000001/import.json"), "utf8"));
  t.match(record.timestamps, [{ by: "CN=tsa" }, { by: "CN=tsa" }]);
  t.equal(readdirSync(at("st2/releases/test/000001/signatures")).filter((it) => it.endsWith(".tsr")).length, 2);
  t.match(
    (await airferry(dir, ["status", "--store", "st2"])).stdout,
    /test 1: signature of .* stamped at .* by CN=tsa/,
  );
  t.match(readFileSync(at("st2/journal.jsonl"), "utf8"), /"attested":\["signature of .* by CN=tsa","signature/);
  t.match((await airferry(dir, ["inspect", "good"])).stdout, /stamped {3}signature of [0-9a-f]{16} \(as the file name/);
  await airferry(dir, ["verify", "good", "--trust", rule, "--report", "r.html"]);
  t.match(readFileSync(at("r.html"), "utf8"), /Timestamps[\s\S]*CN=tsa/);
});

t.test("trust init, show and rotate set and drop authorities", async (t) => {
  if (!needs(t, "openssl")) return;
  writeFileSync(at("ann.pub"), ann.keys[0]!.pem);
  const run = (...words: string[]) => airferry(dir, ["trust", ...words]);
  const made = await run(
    "init",
    "tr",
    "--name",
    "s",
    "--add",
    "ann.pub=Ann",
    "--tsa",
    "ca.pem",
    "--stream",
    "*:timestamp=yes",
  );
  t.equal(made.status, 0, made.stderr);
  t.match(made.stdout, /^authority {3}CN=ca, sha256:[0-9a-f]{64}, good until 20/m);
  t.match(made.stdout, /^stream {6}\*: for any site, stamped by an authority$/m);
  const more = await run("add-key", "tr", "--tsa", "tsa.pem", "--json");
  t.match(JSON.parse(more.stdout), { authorities: [{ subject: "CN=ca" }, { subject: "CN=tsa" }] }, more.stderr);
  const less = await run("rotate", "tr", "--drop-tsa", "--tsa", "lone.pem", "--json");
  t.match(JSON.parse(less.stdout), { authorities: [{ subject: "CN=lone" }], version: 1 });
  t.equal((await run("rotate", "tr", "--stream", "*:timestamp=maybe")).status, 2);
  t.equal((await run("rotate", "tr", "--tsa", "ann.pub")).status, 1);
});
