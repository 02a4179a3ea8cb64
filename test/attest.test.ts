/** `attest`: statements about a finished bundle, by airferry and by the real cosign, both ways, and ClamAV as the scanner. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import t from "tap";
import { attest } from "../src/attest.ts";
import { verifyAndHold } from "../src/bundle/verified-bundles.ts";
import { HeldFiles } from "../src/io/held-files.ts";
import { keygen } from "../src/keygen.ts";
import { parsePublicKeys } from "../src/sign/keys.ts";
import { unpack } from "../src/unpack.ts";
import { verify } from "../src/verify.ts";
import { attestLate } from "./fixtures/attestation-maker.ts";
import { makeBundle, noise, type TestKey } from "./fixtures/bundle-maker.ts";
import { clientEnv, cosignPaths, needs } from "./fixtures/clients.ts";
import { airferry } from "./fixtures/host.ts";
import { scratch, writeManifest } from "./fixtures/program.ts";
import { document, makeSigner, signedTrust, spkiText, writeTrust } from "./fixtures/trust-maker.ts";

const dir = scratch(t);
const at = (name: string) => join(dir, name);
const passphrase = async () => "test";
const TYPES = {
  scan: "https://in-toto.io/attestation/vulns/v0.2",
  provenance: "https://slsa.dev/provenance/v1",
} as const;
const [ann, bob] = [makeSigner("ann"), makeSigner("bob")];
const both = [...ann.keys, ...bob.keys];
const canUnshare = spawnSync("unshare", ["-n", "true"]).status === 0;
let scanKeyid16 = "";

/** In a folder, without a network, with an empty home. */
function alone(folder: string, program: string, args: readonly string[]) {
  const env = { ...clientEnv(), HOME: at("home"), COSIGN_PASSWORD: "test" };
  const words = canUnshare ? ["unshare", "-n", program, ...args] : [program, ...args];
  const { status, stdout, stderr } = spawnSync(words[0] as string, words.slice(1), {
    cwd: folder,
    env,
    encoding: "utf8",
  });
  return { status, text: stdout + stderr };
}

t.before(async () => {
  mkdirSync(at("home"));
  await keygen({ out: at("scan"), password: "test", rpm: false });
  const [key] = parsePublicKeys(readFileSync(at("scan.pub")), "scan.pub");
  scanKeyid16 = key!.keyid16;
  const sam = { id: "sam", owner: "Sam", keys: [{ pem: readFileSync(at("scan.pub"), "utf8") } as TestKey] };
  const role = { signers: ["ann", "bob"], threshold: 2 };
  const value = document([ann, bob, sam], {
    roles: { root: role, release: role, scan: { signers: ["sam"], threshold: 1 } },
    streams: { "*": { attestations: ["scan"], maxScanAgeDays: 30 } },
    expires: "2099-01-01T00:00:00Z",
  });
  t.ok(spkiText(sam.keys[0]!));
  writeTrust(at("root"), [signedTrust(value, both)]);
  makeBundle(at("b"), { files: { "files/a": Buffer.from("a") }, keys: both });
});

function copyOf(name: string, of = "b"): string {
  cpSync(at(of), at(name), { recursive: true });
  return at(name);
}

const trust = () => [join(at("root"), "trust.1.json")];
const options = (more: Partial<Parameters<typeof attest>[1]>) => ({
  type: "scan" as const,
  key: at("scan.key"),
  folder: at("scanning"),
  passphrase,
  ...more,
});

t.test("a scan by a command: nothing found, something found, and content that is not as it says", async (t) => {
  const bundle = copyOf("scanned");
  const refused = await verify([bundle], { trust: trust() });
  t.match(refused.problems, [{ code: "ERR_ATTESTATION" }]);
  writeFileSync(at("find.sh"), '[ "$1" = --version ] && exit 0\ngrep -rl evil "$1" && exit 1\nexit 0\n');
  const done = await attest(bundle, options({ scan: `sh ${at("find.sh")}` }));
  t.match(done, { type: "scan", serial: 1, scan: { result: "clean", files: 1 } });
  t.strictSame(done.files, [join(bundle, "signatures", `${scanKeyid16}.scan.dsse.json`)]);
  t.match(await verify([bundle], { trust: trust() }), { ok: true, attestations: [{ signer: "sam", fault: null }] });
  await attest(bundle, options({ scan: `sh ${at("find.sh")}` }));
  t.equal(readdirSync(join(bundle, "signatures")).length, 5, "the earlier one is replaced");

  makeBundle(at("evil"), { files: { "files/a": Buffer.from("evil") }, keys: both });
  await t.rejects(attest(at("evil"), options({ scan: `sh ${at("find.sh")}` })), {
    code: "ERR_SCAN_FOUND",
    message: /found something: files\/a; that is attested in/,
  });
  t.match((await verify([at("evil")], { trust: trust() })).problems, [{ code: "ERR_ATTESTATION_FAILED" }]);

  const damaged = copyOf("damaged");
  writeFileSync(join(damaged, "data.tar.0000"), noise(readFileSync(join(damaged, "data.tar.0000")).length, 1));
  await t.rejects(attest(damaged, options({ scan: `sh ${at("find.sh")}` })), { code: "ERR_DIGEST_MISMATCH" });
  rmSync(join(damaged, "data.tar.0000"));
  await t.rejects(attest(damaged, options({ scan: `sh ${at("find.sh")}` })), { code: "ERR_BUNDLE_INCOMPLETE" });
  t.notOk(
    readdirSync(join(damaged, "signatures")).some((it) => it.includes("scan")),
    "nothing was attested",
  );
  await t.rejects(attest(bundle, options({ scan: "/no/such/scanner" })), { code: "ERR_SCANNER" });
});

t.test("a predicate from a file, provenance of its own, and what makes no sense", async (t) => {
  const bundle = copyOf("predicate");
  const good = { scanner: { uri: "x", result: [] }, metadata: { scanFinishedOn: new Date().toISOString() } };
  writeFileSync(at("p.json"), JSON.stringify(good));
  await attest(bundle, options({ predicate: at("p.json") }));
  t.match(await verify([bundle], { trust: trust() }), { ok: true });
  const made = await attest(bundle, options({ type: "provenance", key: at("scan.key") }));
  t.match(made, { type: "provenance", scan: null });
  const { attestations } = await verify([bundle], { trust: trust() });
  t.match(attestations, [{ kind: "provenance", builder: "urn:airferry:builder:v1" }, { kind: "scan" }]);
  writeFileSync(at("bad.json"), "{}");
  writeFileSync(at("huge.json"), `"${"x".repeat(200_000)}"`);
  for (const [more, code] of [
    [{}, "ERR_USAGE"],
    [{ predicate: at("bad.json") }, "ERR_USAGE"],
    [{ predicate: at("huge.json") }, "ERR_USAGE"],
    [{ predicate: at("p.json"), type: "provenance" as const }, "ERR_USAGE"],
    [{ predicate: at("p.json"), scan: "true" }, "ERR_USAGE"],
    [{ type: "provenance" as const, scan: "true" }, "ERR_USAGE"],
    [{ predicate: at("missing.json") }, "ERR_NOT_FOUND"],
  ] as const)
    await t.rejects(attest(bundle, options(more)), { code }, JSON.stringify(more));
  await t.rejects(attest(at("home"), options({ predicate: at("p.json") })), { code: "ERR_NOT_FOUND" });
});

t.test("a set of media has it on each", async (t) => {
  makeBundle(at("set"), { files: { "files/a": noise(20_000, 1) }, keys: both, volumeSize: 8192, perMedium: 2 });
  const { files } = await attest(at("set"), options({ scan: "true" }));
  t.equal(files.length, 2);
  t.match(await verify([at("set")], { trust: trust() }), { ok: true });
});

t.test("from the command line, with ClamAV", async (t) => {
  if (!needs(t, "clamscan")) return;
  copyOf("command");
  writeFileSync(at("own.ndb"), `Own-x:0:*:${Buffer.from("nothing has this in it").toString("hex")}\n`);
  const scan = "clamscan -d own.ndb -r --infected --no-summary --alert-exceeds-max=yes";
  const env = { PATH: clientEnv().PATH };
  const ran = await airferry(
    dir,
    ["attest", "command", "--type", "scan", "--key", "scan.key", "--scan", scan, "--json"],
    env,
  );
  t.equal(ran.status, 0, ran.stderr);
  t.match(JSON.parse(ran.stdout), {
    type: "scan",
    scan: { result: "clean", version: /^ClamAV / },
    files: [/scan\.dsse/],
  });
  const verified = await airferry(dir, ["verify", "command", "--trust", "root/trust.1.json"]);
  t.match(verified.stdout, /^scan by sam: nothing found, .* by pkg:generic\/clamscan ClamAV /m, verified.stderr);
  t.equal((await airferry(dir, ["attest", "command", "--type", "sbom", "--key", "scan.key"])).status, 2);
  const store = ["--store", "st", "--trust", "root/trust.1.json"];
  const unpacked = await airferry(dir, ["unpack", "command", ...store, "--json"]);
  t.equal(unpacked.status, 0, unpacked.stderr);
  t.match(JSON.parse(unpacked.stdout), { attestations: [{ kind: "scan", signer: "sam" }] });
});

for (const cosign of cosignPaths()) {
  const name = basename(cosign);
  t.test(`${name} checks ours, and makes some that count`, async (t) => {
    const isThird = alone(dir, cosign, ["signing-config", "create", "--out", "sc.json"]).status === 0;
    writeFileSync(at("a.txt"), "a");
    writeManifest(dir, { files: [{ path: "a.txt" }] });
    const packed = await airferry(dir, ["pack", "m.yaml", "--key", "scan.key", "--scan", "true", "--out", name]);
    t.equal(packed.status, 0, packed.stderr);
    const bundle = at(packed.stdout.trim());
    const check = (kind: keyof typeof TYPES, file: string, about: string, type: string = TYPES[kind]) =>
      alone(bundle, cosign, [
        "verify-blob-attestation",
        ...["--key", at("scan.pub"), "--bundle", file, "--type", type, "--trusted-root", "trusted_root.json"],
        "--insecure-ignore-tlog=true",
        about,
      ]);
    for (const kind of ["provenance", "scan"] as const) {
      const packed = join("signatures", `${scanKeyid16}.${kind}.dsse.json`);
      t.match(check(kind, packed, "SHA256SUMS"), { status: 0, text: /Verified OK/ }, kind);
      t.not(check(kind, packed, "airferry.json").status, 0, "of something else");
      // cosign 2 takes any type.
      if (isThird) t.not(check(kind, packed, "SHA256SUMS", "https://x.example/1").status, 0);
    }
    const [late = ""] = (await attest(bundle, options({ scan: "true" }))).files;
    t.match(check("scan", late, "SHA256SUMS"), { status: 0, text: /Verified OK/ }, "late");

    // The other way round.
    const theirs = copyOf(`theirs-${name}`);
    const predicate = {
      scanner: { uri: "x", version: "<1>", result: [] },
      metadata: { scanFinishedOn: new Date().toISOString() },
    };
    writeFileSync(at("p.json"), JSON.stringify(predicate));
    const flags = isThird ? ["--signing-config", "sc.json"] : ["--new-bundle-format", "--tlog-upload=false"];
    const file = join(theirs, "signatures", `${scanKeyid16}.scan.dsse.json`);
    const made = alone(dir, cosign, [
      "attest-blob",
      ...["--key", "scan.key", "--predicate", "p.json", "--type", TYPES.scan, "--bundle", file, ...flags, "--yes"],
      join(theirs, "SHA256SUMS"),
    ]);
    t.equal(made.status, 0, made.text);
    t.match(await verify([theirs], { trust: trust() }), { ok: true, attestations: [{ signer: "sam", fault: null }] });
  });
}

t.test("unpack keeps what was attested, and takes in a newer scan of the same release", async (t) => {
  const bundle = copyOf("kept");
  const key = makeSigner("x").keys[0]!;
  attestLate(bundle, { key });
  await attest(bundle, options({ scan: "true" }));
  const unpacked = await airferry(dir, ["unpack", "kept", "--store", "kept-st", "--trust", "root/trust.1.json"]);
  t.equal(unpacked.status, 0, unpacked.stderr);
  const record = () => JSON.parse(readFileSync(at("kept-st/releases/test/000001/import.json"), "utf8"));
  t.match(record().attestations, [{ kind: "scan" }, { kind: "scan" }]);
  const status = await airferry(dir, ["status", "--store", "kept-st", "--json"]);
  const [{ releases }] = JSON.parse(status.stdout).streams;
  t.match(
    releases[0].attestations.filter((it: { fault: null | string }) => it.fault === null),
    [{ signer: "sam" }],
  );
  const kept = readdirSync(at("kept-st/releases/test/000001/signatures"));
  t.ok(kept.includes(`${scanKeyid16}.scan.dsse.json`), kept.join(" "));
  t.match((await airferry(dir, ["status", "--store", "kept-st"])).stdout, /test 1: scan by sam: nothing found/);
});

t.test("a rule can ask whoever imports for a scan of their own", async (t) => {
  if (!needs(t, "clamscan")) return;
  const role = { signers: ["ann", "bob"], threshold: 2 };
  const value = document([ann, bob], {
    roles: { root: role, release: role },
    streams: { "*": { requireImportScan: true } },
    expires: "2099-01-01T00:00:00Z",
  });
  writeTrust(at("import-root"), [signedTrust(value, both)]);
  const rule = join(at("import-root"), "trust.1.json");
  t.match(await verify([at("b")], { trust: [rule] }), { ok: true }, "to look at it imports nothing");
  const into = { trust: [rule], store: at("import-st") };
  await t.rejects(unpack([at("b")], into), { code: "ERR_SCAN_MISSING" });
  const clam = "clamscan -d own.ndb -r --infected --no-summary --alert-exceeds-max=yes".replace(
    "own.ndb",
    at("own.ndb"),
  );
  writeFileSync(at("own.ndb"), `Own-x:0:*:${Buffer.from("nothing has this in it").toString("hex")}\n`);
  await t.rejects(unpack([at("b")], { ...into, scan: clam, scanReportOnly: true }), { code: "ERR_SCAN_MISSING" });
  const held = new HeldFiles();
  t.teardown(() => held.close());
  await t.rejects(verifyAndHold([at("b")], held, { action: "serve", trust: [rule] }), { code: "ERR_SCAN_MISSING" });
  t.match(await verifyAndHold([at("b")], held, { action: "rehearse", trust: [rule] }), [{}], "a rehearsal is outside");
  writeFileSync(at("a.ndb"), `Own-a:0:*:${Buffer.from("an evil program").toString("hex")}\n`);
  makeBundle(at("evil-in"), { files: { "files/a": Buffer.from("this is an evil program") }, keys: both });
  const finds = clam.replace("own.ndb", "a.ndb");
  await t.rejects(unpack([at("evil-in")], { ...into, scan: finds }), { code: "ERR_SCAN_FOUND" });
  t.match(await unpack([at("b")], { ...into, scan: clam }), { complete: true, scan: { result: "clean" } });
});
