/** Upstream checksum files: every published form, and signatures over them made by real GnuPG, fetched over HTTP. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { createFetcher } from "../../src/fetch/fetcher.ts";
import type { ChecksumsEntry } from "../../src/manifest/schema.ts";
import { MAX_CHECKSUMS_BYTES, parseChecksums } from "../../src/sources/checksum-file.ts";
import { resolveChecksums } from "../../src/sources/checksums.ts";
import { clientPath, needs } from "../fixtures/clients.ts";
import { Gnupg } from "../fixtures/gnupg.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const hex = (algorithm: string, text = "x") => createHash(algorithm).update(text).digest("hex");
const digest = (algorithm: string, text = "x") => `${algorithm}:${hex(algorithm, text)}`;
const s256 = hex("sha256");
const s512 = hex("sha512");
const other = hex("sha256", "y");
const want256 = digest("sha256");
const want512 = digest("sha512");
const parse = (text: string, name = "a.iso", url?: string) => parseChecksums(Buffer.from(text), { name, url });

t.test("parseChecksums() reads every form", async (t) => {
  const groups = s512.toUpperCase().match(/.{8}/g)!;
  const printMd = `a.iso: ${groups.slice(0, 6).join(" ")}\n       ${groups.slice(6, 12).join(" ")}\n       ${groups.slice(12).join(" ")}\n`;
  const good = new Map<string, [text: string, integrity: string, size?: number]>([
    ["GNU, text", [`${s256}  a.iso\n`, want256]],
    ["GNU, binary", [`${s256} *a.iso\n`, want256]],
    ["GNU, no last newline", [`${s256}  a.iso`, want256]],
    ["GNU, CRLF and a byte order mark", [`\uFEFF${other}  b.iso\r\n${s256}  a.iso\r\n`, want256]],
    ["GNU, upper case", [`${s256.toUpperCase()}  a.iso\n`, want256]],
    ["GNU, in this folder", [`${s256}  ./a.iso\n${other}  ./b.iso\n`, want256]],
    ["GNU, in another folder", [`${s256}  out/linux/a.iso\n`, want256]],
    ["GNU, a Windows path", [`${s256} *dist\\a.iso\n`, want256]],
    ["one space", [`${s256} a.iso\n`, want256]],
    ["a tab", [`${s256}\ta.iso\n`, want256]],
    ["with the algorithm before", [`sha256:${s256}  a.iso\n`, want256]],
    ["several files", [`${other}  b.iso\n${s256}  a.iso\n${other}  c.iso\n`, want256]],
    ["the file twice", [`${s256}  a.iso\n${s256}  a.iso\n`, want256]],
    ["several algorithms", [`${s512}  a.iso\n${s256}  a.iso\n${hex("sha1")}  a.iso\n`, `${want512} ${want256}`]],
    ["MD5 beside a good one", [`${hex("md5")}  a.iso\n${s256}  a.iso\n`, want256]],
    ["openssl -r of standard input", [`${s256} *stdin\n`, want256]],
    ["openssl 3 of standard input", [`SHA2-256(stdin)= ${s256}\n`, want256]],
    ["openssl 1.0 of standard input", [`(stdin)= ${s256}\n`, want256]],
    ["SHA-384", [`${hex("sha384")}  a.iso\n`, digest("sha384")]],
    ["BSD", [`SHA256 (a.iso) = ${s256}\n`, want256]],
    [
      "BSD, several",
      [`SHA256 (b.iso) = ${other}\nSHA512 (a.iso) = ${s512}\nSHA256 (a.iso) = ${s256}\n`, `${want512} ${want256}`],
    ],
    ["openssl 1", [`SHA256(a.iso)= ${s256}\n`, want256]],
    ["openssl 3", [`SHA2-256(/tmp/a.iso)= ${s256}\n`, want256]],
    [
      "Rocky, with a size",
      [`# a.iso: 12345 bytes\nSHA256 (a.iso) = ${s256}\n# b.iso: 9 bytes\nSHA256 (b.iso) = ${other}\n`, want256, 12345],
    ],
    ["Fedora, GNU with a size", [`# a.iso: 7 bytes\n${s256}  a.iso\n`, want256, 7]],
    ["a bare hash", [s256, want256]],
    ["a bare hash with line end", [`${s256}\r\n`, want256]],
    ["a bare hash with its algorithm", [`sha256:${s256}\n`, want256]],
    ["sha256sum of standard input", [`${s256}  -\n`, want256]],
    ["bare hashes of two algorithms", [`${s256}\n${s512}\n`, `${want512} ${want256}`]],
    ["comments and headings around", [`# SHA256\n\nSHA-256 sums:\n${s256}  a.iso\n-- \n`, want256]],
    ["gpg --print-md", [printMd, want512]],
    ["gpg --print-md of several", [`${printMd}b.iso: ${other.match(/.{8}/g)!.join(" ")}\n`, want512]],
  ]);
  for (const [form, [text, integrity, size]] of good) {
    t.same(parse(text), size === undefined ? { integrity } : { integrity, size }, form);
  }
});

t.test("parseChecksums() takes names as they are meant", async (t) => {
  t.equal(parse(`\\${s256}  a\\nb\\\\c\n`, "a\nb\\c").integrity, want256, "coreutils escapes");
  t.equal(parse(`${s256}  a b (1).iso\n`, "a b (1).iso").integrity, want256, "spaces");
  t.equal(parse(`SHA256 (a (1) = b.iso) = ${s256}\n`, "a (1) = b.iso").integrity, want256, "brackets");
  t.equal(parse(`${s256}  a%2Bb.rpm\n`, "a+b.rpm").integrity, want256, "percent-encoded");
  t.equal(parse(`${other}  x/a.iso\n${s256}  a.iso\n`).integrity, want256, "an exact name before one in a folder");
  t.equal(parse(`${other}  x/a.iso\n${s256}  ./a.iso\n`).integrity, want256);
  const twins = `${s256}  linux/amd64/kubelet\n${other}  linux/arm64/kubelet\n`;
  t.equal(parse(twins, "kubelet", "https://dl.example/v1/bin/linux/amd64/kubelet").integrity, want256);
  t.equal(parse(twins, "kubelet", "https://dl.example/v1/bin/linux/arm64/kubelet").integrity, digest("sha256", "y"));
});

t.test("parseChecksums() refuses absence and ambiguity", async (t) => {
  const bad = new Map<string, [text: string, message: RegExp]>([
    ["empty", ["", /holds no checksum/]],
    ["only comments", ["# a.iso: 12 bytes\n", /holds no checksum/]],
    ["a web page", ["<!DOCTYPE html>\n<html>", /is a web page/]],
    ["other files", [`${s256}  b.iso\n${s256}  c.iso\n`, /no digest of "a.iso": it lists "b.iso", "c.iso"/]],
    ["many others", [Array.from({ length: 9 }, (_, i) => `${s256}  f${i}`).join("\n"), /and 4 more/]],
    ["a name that only ends alike", [`${s256}  xa.iso\n`, /no digest/]],
    [
      "a bare hash beside names",
      [`${s256}\n${s256}  b.iso\n`, /no digest of "a.iso": it lists "\(a bare hash\)", "b.iso"/],
    ],
    ["two digests", [`${s256}  a.iso\n${other}  a.iso\n`, /2 different sha256 digests/]],
    ["two bare hashes", [`${s256}\n${other}\n`, /2 different sha256 digests/]],
    ["twins in folders", [`${s256}  x/a.iso\n${other}  y/a.iso\n`, /2 different sha256 digests/]],
    ["only MD5", [`${hex("md5")}  a.iso\n`, /no strong digest.*expected SHA-224 or better, got md5/]],
    ["only SHA-1", [`${hex("sha1")}  a.iso\n`, /no strong digest.*expected SHA-224 or better, got sha1/]],
    ["an odd length", [`${s256}00  a.iso\n`, /holds no checksum/]],
    ["a digest of another length than it says", [`SHA512 (a.iso) = ${s256}\n`, /holds no checksum/]],
    ["BLAKE2 in BSD form", [`BLAKE2b (a.iso) = ${s512}\n`, /holds no checksum/]],
  ]);
  for (const [reason, [text, message]] of bad)
    t.throws(() => parse(text), { code: "ERR_UPSTREAM_INVALID", message }, reason);
  t.throws(() => parseChecksums(Buffer.from(`${s512}  a.iso`), { name: "a.iso", path: "https://x/B2SUMS?y=1" }), {
    code: "ERR_UPSTREAM_INVALID",
  });
  t.throws(() => parseChecksums(Buffer.alloc(MAX_CHECKSUMS_BYTES + 1), { name: "a" }), {
    code: "ERR_UPSTREAM_INVALID",
  });
});

t.test("parseChecksums() reads what PowerShell writes", (t) => {
  const text = `${s256.toUpperCase()} *a.iso\r\n${other.toUpperCase()} *b.iso\r\n`;
  const little = Buffer.from(`\uFEFF${text}`, "utf16le");
  for (const [bytes, what] of [
    [little, "UTF-16, little end first"],
    [Buffer.from(little).swap16(), "UTF-16, big end first"],
    [Buffer.from(`\uFEFF${text}`), "UTF-8 with a byte order mark"],
  ] as const) {
    t.equal(parseChecksums(bytes, { name: "a.iso" }).integrity, want256, what);
  }
  t.throws(() => parseChecksums(Buffer.from(text, "utf16le"), { name: "a.iso" }), { code: "ERR_UPSTREAM_INVALID" });
  t.end();
});

t.test("parseChecksums() is quick with hostile text", async (t) => {
  const hostile = [
    `${"a: 00 ".repeat(100)}\n${" 00\n".repeat(100_000)}`,
    `#${": 1 ".repeat(500_000)}`,
    `${`#${":1 ".repeat(2000)}\n`.repeat(500)}`,
    `${"0".repeat(64)}${" ".repeat(1_000_000)}`,
    `SHA256 ${"(".repeat(1_000_000)}`,
    `${`${s256}  x\n`.repeat(50_000)}`,
  ];
  for (const [index, text] of hostile.entries()) {
    const start = performance.now();
    t.throws(() => parse(text), { code: "ERR_UPSTREAM_INVALID" });
    t.ok(performance.now() - start < 3000, `case ${index}`);
  }
});

t.test("the real programs' output", async (t) => {
  if (!needs(t, "sha256sum", "openssl")) return;
  const dir = mkdtempSync(join(tmpdir(), "airferry-sums-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const names = ["plain.iso", "with space.iso", "back\\slash.iso", "new\nline.iso", "(odd) = name.iso"];
  for (const name of names) writeFileSync(join(dir, name), name);
  const run = (program: string, ...args: string[]) => execFileSync(program, args, { cwd: dir });
  for (const name of names) {
    const want = digest("sha256", name);
    t.equal(parseChecksums(run("sha256sum", ...names), { name }).integrity, want, `sha256sum ${name}`);
    t.equal(parseChecksums(run("sha256sum", "--binary", `./${name}`), { name }).integrity, want);
    t.equal(parseChecksums(run("sha256sum", "--tag", ...names), { name }).integrity, want, `--tag ${name}`);
    // openssl does not escape.
    if (!name.includes("\n")) {
      t.equal(parseChecksums(run("openssl", "dgst", "-sha256", name), { name }).integrity, want, `openssl ${name}`);
    }
  }
  const input = execFileSync("sha512sum", { input: "x" });
  t.equal(parseChecksums(input, { name: "anything" }).integrity, want512, "of standard input");
  if (!clientPath("gpg")) return;
  for (const algorithm of ["SHA256", "SHA512"]) {
    const printed = run("gpg", "--print-md", algorithm, "plain.iso");
    t.equal(
      parseChecksums(printed, { name: "plain.iso" }).integrity,
      digest(algorithm.toLowerCase(), "plain.iso"),
      `gpg ${algorithm}`,
    );
  }
});

t.test("whatever mutation of a checksum file is read gives a digest of one of its lines", async (t) => {
  const text = `# a.iso: 5 bytes\nSHA256 (a.iso) = ${s256}\n${s512} *a.iso\n${other}  b.iso\n`;
  const random = seeded(3);
  for (let round = 0; round < 3000; round++) {
    const bytes = mutated(Buffer.from(text), random);
    try {
      const { integrity } = parseChecksums(bytes, { name: "a.iso" });
      for (const part of integrity.split(" ")) {
        const hex = part.slice(part.indexOf(":") + 1);
        if (!bytes.toString("latin1").toLowerCase().includes(hex)) t.fail(`round ${round}: ${integrity}`);
      }
    } catch (error) {
      if ((error as { code: string }).code !== "ERR_UPSTREAM_INVALID") throw error;
    }
  }
  t.pass("3000 mutations");
});

t.test("resolveChecksums() fetches, verifies and says how the digest was established", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "airferry-resolve-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const sums = `# a.iso: 1 bytes\n${s256}  a.iso\n`;
  writeFileSync(join(dir, "SHA256SUMS"), sums);
  const hasGpg = clientPath("gpg") !== undefined;
  const gpg = hasGpg ? new Gnupg() : undefined;
  t.teardown(() => gpg?.close());
  const files = new Map<string, string | Uint8Array>([
    ["/SHA256SUMS", sums],
    ["/page", "<html>not found</html>"],
  ]);
  const fingerprints: Record<string, string> = {};
  if (gpg) {
    for (const name of ["ann", "bob"]) {
      fingerprints[name] = gpg.generate(name, name === "ann" ? "rsa2048" : "ed25519");
      files.set(`/${name}.asc`, gpg.publicKey(name));
      files.set(`/SHA256SUMS.${name}.sig`, gpg.run(["-u", fingerprints[name]!, "--detach-sign"], sums));
      files.set(`/SHA256SUMS.${name}.asc`, gpg.run(["-u", fingerprints[name]!, "--armor", "--detach-sign"], sums));
      files.set(`/CHECKSUM.${name}`, gpg.run(["-u", fingerprints[name]!, "--clear-sign"], sums));
    }
    const signed = files.get("/CHECKSUM.ann")!.toString();
    files.set("/CHECKSUM.changed", signed.replace(s256, other));
    files.set("/CHECKSUM.before", `${other}  a.iso\n${signed}`);
    files.set("/CHECKSUM.after", `${signed}${other}  a.iso\n`);
    files.set("/keys.asc", Buffer.concat([gpg.publicKey("bob"), gpg.publicKey("ann")]));
    writeFileSync(join(dir, "ann.asc"), files.get("/ann.asc")!);
    writeFileSync(join(dir, "CHECKSUM"), signed);
    files.set("/big.sig", Buffer.alloc(1024 * 1024));
  }
  const upstream = await startUpstream({ files });
  const fetcher = createFetcher({});
  t.teardown(async () => {
    await fetcher.close();
    await upstream.close();
  });
  const at = (path: string) => `${upstream.url}${path}`;
  let read: string[] = [];
  const resolve = async (entry: ChecksumsEntry, name = "a.iso") => {
    const { documents, ...found } = await resolveChecksums(entry, name, { fetcher, baseDir: dir });
    for (const { url, bytes } of documents)
      t.ok(bytes.equals(Buffer.from(files.get(url.slice(upstream.url.length))!)), `${url} as upstream has it`);
    read = documents.map((it) => `${it.url.slice(upstream.url.length)} ${it.established} ${it.signedBy?.length ?? 0}`);
    return found;
  };

  const plain = { integrity: want256, size: 1, established: "upstream-checksum" };
  t.same(await resolve({ url: at("/SHA256SUMS") }), plain, "by URL, unsigned");
  t.strictSame(read, ["/SHA256SUMS first-sight 0"]);
  t.same(await resolve({ path: "SHA256SUMS" }), plain, "by path");
  t.strictSame(read, [], "a file of this host has no URL");
  await t.rejects(resolve({ path: "none" }), { code: "ERR_MANIFEST_INVALID" });
  await t.rejects(resolve({ path: "." }), { code: "ERR_MANIFEST_INVALID" });
  await t.rejects(resolve({ url: at("/page") }), { code: "ERR_UPSTREAM_INVALID", path: at("/page") });
  await t.rejects(resolve({ url: at("/SHA256SUMS") }, "b.iso"), {
    code: "ERR_UPSTREAM_INVALID",
    message: /no digest of "b.iso"/,
  });
  await t.rejects(resolve({ url: at("/missing") }), { code: "ERR_UPSTREAM" });

  if (!needs(t, "gpg") || !gpg) return;
  const { ann, bob } = fingerprints as { ann: string; bob: string };
  const byAnn = { integrity: want256, size: 1, established: "upstream-signed", signedBy: [ann] };
  const url = at("/SHA256SUMS");
  for (const suffix of ["sig", "asc"]) {
    const signature = at(`/SHA256SUMS.ann.${suffix}`);
    t.same(await resolve({ url, signature, keys: [at("/ann.asc")] }), byAnn, `detached ${suffix}`);
    const signed = ["/SHA256SUMS upstream-signed 1", `/SHA256SUMS.ann.${suffix} upstream-signed 1`];
    t.strictSame(read, [...signed, "/ann.asc first-sight 0"]);
  }
  t.same(await resolve({ url: at("/CHECKSUM.ann"), keys: ["ann.asc"] }), byAnn, "clear-signed, key from disk");
  t.same(await resolve({ path: "CHECKSUM", keys: [at("/keys.asc")], fingerprints: [ann] }), byAnn, "pinned");
  t.strictSame(read, ["/keys.asc manifest 0"]);
  t.same(await resolve({ url: at("/CHECKSUM.ann") }), plain, "clear-signed, but nobody gave a key");
  for (const place of ["before", "after"]) {
    const outcome = await resolve({ url: at(`/CHECKSUM.${place}`), keys: ["ann.asc"] }).catch((error) => error.code);
    if (outcome !== "ERR_UPSTREAM_INVALID") t.same(outcome, byAnn, `lines ${place} the signed text are not believed`);
  }

  const wrong = { code: "ERR_UPSTREAM_SIGNATURE" };
  const named = {
    ...wrong,
    message: new RegExp(`${url}.*${sums.length} bytes, checksums of "a.iso".*${bob}.*${ann.slice(-16)}`),
  };
  await t.rejects(resolve({ url, signature: at("/SHA256SUMS.ann.sig"), keys: [at("/bob.asc")] }), named, "another key");
  await t.rejects(resolve({ url: at("/CHECKSUM.changed"), keys: ["ann.asc"] }), wrong, "changed");
  await t.rejects(resolve({ url, keys: ["ann.asc"] }), wrong, "keys, but nothing signed");
  await t.rejects(
    resolve({ path: "CHECKSUM", keys: [at("/keys.asc")], fingerprints: [bob] }),
    wrong,
    "pinned to another",
  );
  await t.rejects(
    resolve({ path: "CHECKSUM", keys: ["ann.asc"], fingerprints: [bob] }),
    wrong,
    "the key is not the pinned",
  );
  await t.rejects(resolve({ path: "CHECKSUM", keys: [at("/page")] }), wrong, "a web page for a key");
  await t.rejects(resolve({ url, signature: at("/page"), keys: ["ann.asc"] }), wrong, "a web page for a signature");
  await t.rejects(
    resolve({ url: at("/CHECKSUM.ann"), signature: at("/SHA256SUMS.ann.sig"), keys: ["ann.asc"] }),
    wrong,
  );
  await t.rejects(resolve({ url, signature: at("/big.sig"), keys: ["ann.asc"] }), /./, "a signature of a megabyte");
});

t.test("plan, inspect and the inventory name the algorithm of the digest that was published", async (t) => {
  const dir = scratch(t);
  const bytes = Buffer.from("x");
  const line = (algorithm: string) => `${createHash(algorithm).update(bytes).digest("hex")}  a\n`;
  const files = new Map<string, string | Uint8Array>([["/one/a", bytes]]);
  for (const algorithm of ["sha256", "sha384", "sha512"]) files.set(`/${algorithm}`, line(algorithm));
  files.set("/all", line("sha256") + line("sha512"));
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  writeFileSync(join(dir, "a"), bytes);
  const entry = (name: string, more: object = { url: `${upstream.url}/one/a` }) => ({
    ...more,
    as: `${name}/a`,
    checksums: { url: `${upstream.url}/${name.replace("local-", "")}` },
  });
  const local = { path: "./a" };
  const manifest = writeManifest(dir, {
    files: [
      ...["sha256", "sha384", "sha512", "all"].map((name) => entry(name)),
      ...["sha256", "sha512"].map((name) => entry(`local-${name}`, local)),
      { url: `${upstream.url}/one/a`, as: "seen/a" },
    ],
  });
  const expected = new Map<string, string | undefined>([
    ["files/all/a", "sha512"],
    ["files/local-sha256/a", "sha256"],
    ["files/local-sha512/a", "sha512"],
    ["files/seen/a", undefined],
    ["files/sha256/a", "sha256"],
    ["files/sha384/a", "sha384"],
    ["files/sha512/a", "sha512"],
  ]);
  for (const [args, column] of [
    [["plan", manifest], /upstream-checksum sha384 +files\/sha384\/a/],
    [["inspect", "bundles/test-000001"], /upstream-checksum sha512 +files\/local-sha512\/a/],
  ] as const) {
    const json = await airferry(dir, [...args, "--json"]);
    t.equal(json.status, 0, json.stderr);
    const { entries } = JSON.parse(json.stdout) as { entries: { path: string; algorithm?: string }[] };
    const got = entries.filter((it) => expected.has(it.path)).map((it) => [it.path, it.algorithm]);
    t.strictSame(got.sort(), [...expected], args[0]);
    t.match((await airferry(dir, args)).stdout, column);
    if (args[0] === "plan") t.equal((await airferry(dir, ["pack", manifest, "--unsigned"])).status, 0);
  }
});
