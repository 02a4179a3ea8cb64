/** The report of a verification: written whatever the result, never over another file, and signed with stock tools. */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import t from "tap";
import { verificationOf } from "../../src/report/verification.ts";
import { verificationPage } from "../../src/report/verification-page.ts";
import { verify } from "../../src/verify.ts";
import { HOSTILE } from "../fixtures/bill-sample.ts";
import { makeBundle, makeKey, sampleFiles } from "../fixtures/bundle-maker.ts";
import { flip } from "../fixtures/bundle-tamper.ts";
import { clientPath, needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch } from "../fixtures/program.ts";

const dir = scratch(t);
const key = makeKey();
const other = makeKey();
writeFileSync(join(dir, "key.pub"), key.pem);
writeFileSync(join(dir, "other.pub"), other.pem);
makeBundle(join(dir, "good"), { files: sampleFiles(), keys: [key], volumeSize: 1_000_000 });
cpSync(join(dir, "good"), join(dir, "bad"), { recursive: true });
flip(join(dir, "bad", "data.tar.0001"), 5);
const run = (...args: string[]) => airferry(dir, ["verify", ...args]);
const json = (file: string) => JSON.parse(readFileSync(join(dir, file), "utf8"));
const outcomes = (it: { checks: { outcome: string }[] }) => it.checks.map(({ outcome }) => outcome).join(" ");

t.test("an accepted bundle: who signed, what was checked, when and where", async (t) => {
  const ran = await run("good", "--trust", "key.pub", "other.pub", "--report", "good.json");
  t.equal(ran.status, 0, ran.stderr);
  const report = json("good.json");
  t.match(report, {
    mediaType: "application/vnd.airferry.verification.v1+json",
    result: "accepted",
    begun: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
    host: hostname(),
    tool: /^airferry \d/,
    media: [join(dir, "good")],
    bundle: { digest: /^sha256:/, stream: "test", serial: 1, volumes: { total: 4, missing: [] } },
    threshold: 1,
    problems: [],
  });
  t.strictSame(
    report.keys.map(({ keyid, signed }: { keyid: string; signed: boolean }) => [keyid, signed]).sort(),
    [
      [key.keyid, true],
      [other.keyid, false],
    ].sort(),
  );
  t.equal(outcomes(report), "passed passed passed passed passed passed passed");
  t.ok(report.begun <= report.ended);
});

t.test(
  "what a scanner said before it was signed is shown as the packer's word; another file of that name is not",
  async (t) => {
    const scan = {
      mediaType: "application/vnd.airferry.scan.v1+json",
      command: ["clamscan", "{}"],
      version: "ClamAV 1.4",
      host: "packer",
      started: "2026-01-01T00:00:00Z",
      finished: "2026-01-01T00:01:00Z",
      result: "found",
      files: 3,
      bytes: 2048,
      images: [],
      gaps: ["a gap"],
      findings: ["files/<b>x: Bad FOUND"],
      truncated: false,
    };
    const notes = { "scan.json": Buffer.from(JSON.stringify({ ...scan, later: 1 })) };
    makeBundle(join(dir, "scanned"), { files: sampleFiles(), keys: [key], notes });
    t.equal((await run("scanned", "--trust", "key.pub", "--report", "scanned.json")).status, 0);
    t.strictSame(json("scanned.json").bundle.scan, scan);
    t.equal((await run("scanned", "--trust", "key.pub", "--report", "scanned.html")).status, 0);
    const page = readFileSync(join(dir, "scanned.html"), "utf8");
    t.match(page, /Scan before it was signed.*found something.*ClamAV 1\.4.*3 files, 2(?:\.\d+)? KiB.*a gap/s);
    t.match(page, "files/&lt;b&gt;x: Bad FOUND");
    const { scan: inspected } = JSON.parse((await airferry(dir, ["inspect", "scanned", "--json"])).stdout);
    t.strictSame(inspected, scan);

    makeBundle(join(dir, "odd"), { files: sampleFiles(), keys: [key], notes: { "scan.json": Buffer.from("[1]") } });
    t.equal((await run("odd", "--trust", "key.pub", "--report", "odd.json")).status, 0);
    t.equal(json("odd.json").bundle.scan, null);
  },
);

t.test("a refused one: every problem, and what was not reached", async (t) => {
  t.equal((await run("bad", "--trust", "key.pub", "--report", "bad.json")).status, 3);
  t.match(json("bad.json"), { result: "refused", problems: [{ code: "ERR_DIGEST_MISMATCH", path: "data.tar.0001" }] });
  t.equal(outcomes(json("bad.json")), "passed passed passed passed passed passed failed");
  t.equal((await run("good", "--trust", "other.pub", "--report", "untrusted.json")).status, 3);
  const untrusted = json("untrusted.json");
  t.match(untrusted, { bundle: { stream: null, digest: /^sha256:/ }, problems: [{ code: "ERR_KEY_UNTRUSTED" }] });
  t.equal(outcomes(untrusted), "passed failed skipped skipped skipped skipped skipped");
  mkdirSync(join(dir, "none"));
  t.equal((await run("none", "--trust", "key.pub", "--report", "none.json")).status, 3);
  t.equal(outcomes(json("none.json")), "failed skipped skipped skipped skipped skipped skipped");
});

t.test("a page when the name says so; hostile texts are text on it", async (t) => {
  t.equal((await run("bad", "--trust", "key.pub", "--report", "bad.html")).status, 3);
  const page = readFileSync(join(dir, "bad.html"), "utf8");
  for (const it of ["Refused: 1 problem", "ERR_DIGEST_MISMATCH", key.keyid, hostname(), join(dir, "bad")]) {
    t.ok(page.includes(it), it);
  }
  const report = await verify([join(dir, "good")], { trust: [join(dir, "key.pub")] });
  const about = { folders: [HOSTILE], begun: new Date(), notices: [HOSTILE] };
  const evil = {
    ...report,
    ok: false,
    stream: HOSTILE,
    problems: [{ code: "ERR_IO" as const, path: HOSTILE, message: HOSTILE }],
  };
  const shown = verificationPage(verificationOf(evil, about));
  t.notMatch(shown, /<img|<script|\u202e/);
  t.equal(shown.split("&lt;img src=x").length, 8, "title, heading, stream, path, message, notice and folder");
});

t.test(
  "no file is replaced, nor added to the bundle; nothing is written when the verification cannot begin",
  async (t) => {
    writeFileSync(join(dir, "mine.html"), "mine");
    symlinkSync("nowhere", join(dir, "link.html"));
    symlinkSync("good", join(dir, "alias"));
    symlinkSync("alias", join(dir, "elsewhere"));
    for (const file of [
      "mine.html",
      "link.html",
      "good/report.html",
      "good/signatures/report.json",
      "elsewhere/report.html",
      "elsewhere/signatures/report.html",
    ]) {
      const ran = await run("good", "--trust", "key.pub", "--report", file);
      t.match([ran.status, ran.stdout], [2, ""], file);
      t.match(ran.stderr, `cannot write "${file}"`);
    }
    const byAlias = await run("alias", "--trust", "key.pub", "--report", "good/report.html");
    t.match([byAlias.status, byAlias.stdout], [2, ""]);
    t.equal(readFileSync(join(dir, "mine.html"), "utf8"), "mine");
    t.equal((await run("good", "--trust", "key.pub", "--report", "no/such/folder.json")).status, 1);
    t.equal((await run("missing", "--trust", "key.pub", "--report", "missing.json")).status, 1);
    t.notOk(existsSync(join(dir, "missing.json")));
  },
);

t.test("whoever verified signs the report with openssl", async (t) => {
  await run("good", "--trust", "key.pub", "--report", "signed.html");
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: dir, encoding: "utf8", stdio: "pipe" });
  openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "officer.pem");
  openssl("pkey", "-in", "officer.pem", "-pubout", "-out", "officer.pub");
  openssl("dgst", "-sha256", "-sign", "officer.pem", "-out", "signed.html.sig", "signed.html");
  const check = ["dgst", "-sha256", "-verify", "officer.pub", "-signature", "signed.html.sig"];
  t.match(openssl(...check, "signed.html"), "Verified OK");
  t.throws(() => openssl(...check, "bad.html"));
});

t.test("and with cosign", async (t) => {
  if (!needs(t, "cosign")) return;
  await run("good", "--trust", "key.pub", "--report", "cosigned.json");
  mkdirSync(join(dir, "home"));
  const cosign = (...args: string[]) => {
    const env = { HOME: join(dir, "home"), PATH: process.env.PATH ?? "", COSIGN_PASSWORD: "pass" };
    const { status, stdout, stderr } = spawnSync(clientPath("cosign") ?? "cosign", args, {
      cwd: dir,
      env,
      encoding: "utf8",
    });
    return { status, text: stdout + stderr };
  };
  t.equal(cosign("generate-key-pair", "--output-key-prefix", "cosigner").status, 0);
  const hasConfig = cosign("signing-config", "create", "--out", "offline.json").status === 0;
  const offline = hasConfig ? ["--signing-config", "offline.json"] : ["--new-bundle-format", "--tlog-upload=false"];
  const bundle = ["--bundle", "cosigned.json.sigstore.json"];
  const signed = cosign("sign-blob", "--key", "cosigner.key", ...offline, ...bundle, "--yes", "cosigned.json");
  t.equal(signed.status, 0, signed.text);
  const check = ["verify-blob", "--key", "cosigner.pub", ...bundle, "--insecure-ignore-tlog=true"];
  const good = cosign(...check, "cosigned.json");
  t.match([good.status, good.text], [0, /Verified OK/]);
  t.not(cosign(...check, "bad.json").status, 0);
});

t.test("with a trust root the page names it, its signers, and the time that was asked for", async (t) => {
  const report = await verify([join(dir, "good")], { trust: [join(dir, "key.pub")] });
  const trusted = [key, other].map(({ keyid }) => ({ keyid, file: "ann" }));
  const trustRoot = { name: "site-a", version: 3, digest: `sha256:${"7".repeat(64)}`, expires: "2028-01-01T00:00:00Z" };
  const signers = [key.keyid, other.keyid];
  const rooted = { ...report, trusted, trustRoot, signers, at: "2027-01-31T00:00:00Z" };
  const about = { folders: [join(dir, "good")], begun: new Date(), notices: [] };
  const shown = verificationPage(verificationOf(rooted, about));
  for (const it of ["site-a, version 3", trustRoot.digest, trustRoot.expires, rooted.at, "Judged as of", "Signer"])
    t.match(shown, it);
  t.match(shown, "signed by 1 signer of the trust root, 1 needed", "both keys are of one signer");
  t.notMatch(shown, "trusted keys that were given");
  const plain = verificationPage(verificationOf(report, about));
  t.match(plain, "signed by 1 trusted key, 1 needed");
  t.notMatch(plain, /Trust root|Judged as of/);
});
