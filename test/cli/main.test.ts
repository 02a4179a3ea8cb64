/** Every command as a user types it: stdout, stderr, exit status, and files that must not be there. */
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { printInterrupted } from "../../src/cli/main.ts";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { type Ran, scratch, seededBytes, start, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const TRACE = /\n\s+at .+:\d+:\d+|ERR_INTERNAL/;

/** One upstream, one key and one packed bundle for all of them: the commands are what is tested. */
const dir = scratch(t, "airferry-cli");
const iso = seededBytes(7, 300_000);
// At first sight pack wants to see what an ISO begins with.
iso.write("CD001", 16 * 2048 + 1);
const upstream = await startUpstream({
  files: new Map<string, Uint8Array | string>([
    ["/x.iso", iso],
    ["/plain.txt", "plain\n"],
    ["/a b+c~d%41 ü.txt", "odd name\n"],
    ["/empty.txt", ""],
  ]),
});
t.teardown(() => upstream.close());
const manifest = writeManifest(dir, {
  isos: [{ name: "x", url: `${upstream.url}/x.iso` }],
  files: [
    { url: `${upstream.url}/plain.txt` },
    { url: `${upstream.url}/a%20b+c~d%2541%20%C3%BC.txt` },
    { url: `${upstream.url}/empty.txt` },
  ],
});
const BUNDLE = join("bundles", "test-000001");

const run = (...args: string[]): Promise<Ran> => airferry(dir, args);

async function done(test: Test, ...args: string[]): Promise<void> {
  const { status, stdout, stderr } = await run(...args);
  test.equal(status, 0, `airferry ${args.join(" ")}: ${stdout}${stderr}`);
}

/** Runs a command that must be refused: in one voice, with a next command where there is one, and without a trace. */
async function refused(test: Test, args: string[], status: number, ...parts: (string | RegExp)[]): Promise<Ran> {
  const ran = await airferry(dir, args);
  test.equal(ran.status, status, `airferry ${args.join(" ")}: ${ran.stderr}`);
  test.equal(ran.stdout, "", "nothing on stdout");
  test.match(ran.stderr, /^airferry: error: /m);
  test.notMatch(ran.stderr, TRACE);
  for (const part of parts) test.match(ran.stderr, part);
  return ran;
}

t.test("the program itself", async (t) => {
  const none = await run();
  t.equal(none.status, 2, `stdout: ${none.stdout}, stderr: ${none.stderr}`);
  t.match(none.stderr, /Usage: airferry/);
  const help = await run("--help");
  t.equal(help.status, 0, `stdout: ${help.stdout}, stderr: ${help.stderr}`);
  t.match(help.stdout, /Exit status: 0 done, 1 failed, 2 usage/);
  await refused(t, ["verfy"], 2, /unknown command 'verfy'.*did you mean verify/);
  await refused(t, ["plan"], 2, /missing required argument 'manifest'/, /hint: airferry plan --help/);
  await refused(t, ["plan", "m.yaml", "--bogus"], 2, /unknown option '--bogus'/);
  await refused(t, ["status", "--store", "x", "--progress", "loud"], 2, /auto, plain, json, none/);
  await refused(t, ["verify", "--trust", "site.pub", "bundle"], 2, /--trust takes all values after it/);
  const json = await run("verify", "--json");
  t.equal(json.status, 2, `stdout: ${json.stdout}, stderr: ${json.stderr}`);
  t.equal(JSON.parse(json.stderr).code, "ERR_USAGE", "usage errors are JSON where JSON is asked for");
});

t.test("nothing comes after the error and its hint, although other work still ends", async (t) => {
  const bad = await startUpstream({
    files: new Map([
      ["/late", "late"],
      ["/a", "a"],
    ]),
    behaviour: { "/late": [{ status: 503, delayMs: 1000 }] },
  });
  t.teardown(() => bad.close());
  const lines = writeManifest(dir, { files: [{ url: `${bad.url}/late` }, { url: `${bad.url}/gone` }] }, "late.yaml");
  const ran = await run("lock", lines);
  t.equal(ran.status, 4, `stdout: ${ran.stdout}, stderr: ${ran.stderr}`);
  t.ok(bad.requests.some((it) => it.path === "/late"));
  t.match(ran.stderr, /\nairferry: error: .*\nairferry: hint: .*\n$/);
});

t.test("AIRFERRY_DEBUG adds the stack, and the cause where there is one", async (t) => {
  const none = await airferry(dir, ["verify", BUNDLE], { AIRFERRY_DEBUG: "1" });
  t.match(none.stderr, /\n {4}at /);
  t.notMatch(none.stderr, /undefined/);
  const one = await airferry(dir, ["keygen", "--out", "/proc/none/x"], { AIRFERRY_DEBUG: "1" });
  t.match(one.stderr, /\n {4}at (.*\n)*Error: ENOENT.*\n$/);
});

t.test("schema", async (t) => {
  const ran = await run("schema");
  t.equal(ran.status, 0, `stdout: ${ran.stdout}, stderr: ${ran.stderr}`);
  t.equal(JSON.parse(ran.stdout).title, "airferry manifest", "a schema");
});

t.test("keygen", async (t) => {
  const ran = await run("keygen", "--out", "site");
  t.equal(ran.status, 0, `stdout: ${ran.stdout}, stderr: ${ran.stderr}`);
  t.strictSame(ran.stdout.split("\n"), ["site.key", "site.pub", "site.rpm.key", "site.rpm.pub", ""]);
  const before = readFileSync(join(dir, "site.key"));
  await refused(t, ["keygen", "--out", "site"], 2, /exists already/, /choose another --out/);
  t.ok(readFileSync(join(dir, "site.key")).equals(before), "the key is what it was");
  const silent = await airferry(dir, ["keygen", "--out", "other"], { AIRFERRY_PASSWORD: undefined });
  t.equal(silent.status, 1, `stdout: ${silent.stdout}, stderr: ${silent.stderr}`);
  t.match(silent.stderr, /needs a passphrase and there is no terminal\n.*AIRFERRY_PASSWORD/);
  t.notOk(existsSync(join(dir, "other.key")) || existsSync(join(dir, "other.pub")), "no half a pair");
});

t.test("lock and plan", async (t) => {
  await refused(t, ["lock", "nope.yaml"], 2, /no such file/, /airferry init/);
  const gone = writeManifest(
    dir,
    { isos: [{ name: "a", path: "a.iso" }], files: [{ path: "b" }, { path: ".", as: "c" }] },
    "gone.yaml",
  );
  await refused(
    t,
    ["lock", gone],
    2,
    /isos\[0\]\.path: no such file: "a\.iso"/,
    /files\[0\]\.path/,
    /files\[1\]\.path: not a regular/,
  );
  const planned = await run("plan", manifest, "--json");
  t.equal(planned.status, 0, `stdout: ${planned.stdout}, stderr: ${planned.stderr}`);
  t.equal(upstream.requests.filter((it) => it.method === "GET").length, 0, "plan fetches no artifact");
  const locked = await run("lock", manifest, "--json");
  t.equal(locked.status, 0, `stdout: ${locked.stdout}, stderr: ${locked.stderr}`);
  t.equal(JSON.parse(locked.stdout).artifacts, 4, "artifacts");
  t.equal(upstream.of("/x.iso", "GET").length, 1, "fetched once");
  await refused(t, ["lock", manifest, "--update", "nothing"], 2, /no entry of that name/, /expected one of: /);
  await refused(t, ["plan", manifest, "--volume-size", "soft"], 2, /soft/);
});

t.test("pack", async (t) => {
  await refused(t, ["pack", manifest], 2, /no key to sign with/, /airferry keygen/);
  await refused(t, ["pack", manifest, "--key", "nope.key"], 1, /nope\.key.*no such file/);
  const wrong = await airferry(dir, ["pack", manifest, "--key", "site.key"], { AIRFERRY_PASSWORD: "wrong" });
  t.equal(wrong.status, 1, `stdout: ${wrong.stdout}, stderr: ${wrong.stderr}`);
  t.match(wrong.stderr, /passphrase/);
  t.notOk(existsSync(join(dir, "bundles")), "nothing was begun");

  const ran = await run("pack", manifest, "--key", "site.key", "--progress", "json");
  t.equal(ran.status, 0, `stdout: ${ran.stdout}, stderr: ${ran.stderr}`);
  t.equal(ran.stdout, `${BUNDLE}\n`, "the bundle's path, alone");
  for (const line of ran.stderr.trim().split("\n")) t.ok(JSON.parse(line).event, line);
  t.equal(upstream.of("/x.iso", "GET").length, 1, "what lock had fetched was used");
  const again = await run("pack", manifest, "--key", "site.key", "-q", "--frozen");
  t.strictSame([again.status, again.stdout, again.stderr], [0, `${BUNDLE}\n`, ""]);
  await refused(
    t,
    ["pack", manifest, "--unsigned", "--frozen", "--out", "/proc/none"],
    1,
    /create folder "\/proc\/none"/,
  );
});

t.test("one of a thing is not told as several", async (t) => {
  writeFileSync(join(dir, "one.txt"), "one");
  writeManifest(dir, { stream: "one", files: [{ path: "one.txt" }] }, "one.yaml");
  const several = /\b1 (?:files|entries|artifacts|changes|volumes|ISOs|images|keys|repositories)\b/;
  const said = [];
  for (const args of [
    ["lock", "one.yaml"],
    ["plan", "one.yaml"],
    ["pack", "one.yaml", "--key", "site.key"],
    ["inspect", "bundles/one-000001"],
    ["verify", "bundles/one-000001", "--trust", "site.pub"],
    ["unpack", "bundles/one-000001", "--trust", "site.pub", "--store", "one"],
  ]) {
    const ran = await run(...args);
    t.equal(ran.status, 0, `stdout: ${ran.stdout}, stderr: ${ran.stderr}`);
    said.push(ran.stdout, ran.stderr);
  }
  t.notMatch(said.join(""), several);
  t.match(said.join(""), /: 1 entry, 1 artifact, 1 change\n/);
});

t.test("plan and inspect list the same", async (t) => {
  const planned = JSON.parse((await run("plan", manifest, "--json")).stdout);
  const inspected = JSON.parse((await run("inspect", BUNDLE, "--json")).stdout);
  const brief = (it: { path: string; size: number; kind: string; source: string }) => [it.path, it.size, it.kind];
  t.strictSame(planned.entries.map(brief), inspected.entries.map(brief));
  for (const entry of inspected.entries) {
    const plan = planned.entries.find((it: { path: string }) => it.path === entry.path);
    t.match(entry.digest, /^sha256:[0-9a-f]{64}$/);
    if (plan.digest !== null) t.strictSame([entry.digest, entry.source], [plan.digest, plan.source], entry.path);
  }
  const text = await run("inspect", BUNDLE);
  t.match(text.stdout, /stream {4}test, serial 1/);
  await refused(t, ["inspect", "nope"], 1, /no such folder/);
  mkdirSync(join(dir, "hollow"));
  await refused(t, ["inspect", "hollow"], 3, /no SHA256SUMS/);
});

t.test("sign", async (t) => {
  writeKeyPair(dir, "second");
  writeKeyPair(dir, "third");
  const ran = await run("sign", BUNDLE, "--key", "second.key");
  t.equal(ran.status, 0, `stdout: ${ran.stdout}, stderr: ${ran.stderr}`);
  t.match(ran.stdout, /signatures\/[0-9a-f]{16}\.sig/);
  await refused(t, ["sign", BUNDLE, "--key", "second.key"], 2, /has signed it already/);
  await refused(t, ["sign", BUNDLE], 2, /exactly one of --key and --signer/);
  await refused(t, ["sign", BUNDLE, "--signer", "true"], 2, /--signer-key/);
  await refused(t, ["sign", BUNDLE, "--signer", "echo no", "--signer-key", "third.pub"], 1, /signature/);
});

t.test("verify", async (t) => {
  const good = await run("verify", BUNDLE, "--trust", "site.pub", "second.pub", "--threshold", "2");
  t.equal(good.status, 0, `stdout: ${good.stdout}, stderr: ${good.stderr}`);
  t.match(good.stdout, /^good: stream test, serial 1, /);
  symlinkSync(join(dir, BUNDLE), join(dir, "link"));
  t.equal((await run("verify", "link", "--trust", "site.pub")).status, 0, "the folder may be a link");
  await refused(t, ["verify", BUNDLE], 2, /no key to trust/, /--trust PUBLIC-KEY/);
  await refused(t, ["verify", BUNDLE, "--trust", "nope.pub"], 1, /no such file/);
  await refused(t, ["verify", BUNDLE, "--trust", "site.key"], 1, /private key never belongs/);
  await refused(
    t,
    ["verify", BUNDLE, "--trust", "site.pub", "site.pub", "--threshold", "2"],
    3,
    /2 distinct keys, got 1/,
  );
  const fromEnvironment = await airferry(dir, ["verify", BUNDLE], { AIRFERRY_TRUST: "site.pub:second.pub" });
  t.equal(fromEnvironment.status, 0, `stdout: ${fromEnvironment.stdout}, stderr: ${fromEnvironment.stderr}`);

  const volume = join(dir, BUNDLE, "data.tar.0000");
  const bytes = readFileSync(volume);
  const flipped = Buffer.from(bytes);
  flipped[200_000] = (flipped[200_000] as number) ^ 1;
  writeFileSync(volume, flipped);
  await refused(t, ["verify", BUNDLE, "--trust", "site.pub"], 3, /data\.tar\.0000/, /copy the named volumes again/);
  const short = bytes.subarray(0, 200_000);
  writeFileSync(volume, short);
  await refused(
    t,
    ["verify", BUNDLE, "--trust", "site.pub", "second.pub"],
    3,
    /: "data\.tar\.0000" in .* has the wrong size: .*; touches .*"isos\/x\.iso"/,
    /hint: .*: airferry repair bundles\/test-000001 --trust site\.pub second\.pub\n$/,
  );
  writeFileSync(volume, flipped);
  const json = await run("verify", BUNDLE, "--trust", "site.pub", "--json");
  t.equal(json.status, 3, `stdout: ${json.stdout}, stderr: ${json.stderr}`);
  const { ok, problems } = JSON.parse(json.stdout);
  t.equal(ok, false);
  for (const it of problems) t.ok(it.code && it.path && it.message);
  const store = await run("unpack", BUNDLE, "--trust", "site.pub", "--store", "tampered");
  t.equal(store.status, 3, `stdout: ${store.stdout}, stderr: ${store.stderr}`);
  t.match(JSON.parse((await run("status", "--store", "tampered", "--json")).stdout).streams, [], "no release");
  writeFileSync(volume, bytes);
  const inventory = join(dir, BUNDLE, "airferry.json");
  const text = readFileSync(inventory);
  writeFileSync(inventory, `${text} `);
  const torn =
    /^airferry: error: cannot (inspect|unpack) .* digest mismatch in .*\nairferry: hint: for details run: airferry verify/m;
  await refused(t, ["inspect", BUNDLE], 3, torn);
  await refused(t, ["unpack", BUNDLE, "--trust", "site.pub", "--store", "tampered"], 3, torn);
  writeFileSync(inventory, text);
});

t.test("unpack, status and prune", async (t) => {
  const unpacked = await run("unpack", BUNDLE, "--trust", "site.pub", "--store", "store");
  t.equal(unpacked.status, 0, `stdout: ${unpacked.stdout}, stderr: ${unpacked.stderr}`);
  t.match((await run("unpack", BUNDLE, "--trust", "site.pub", "--store", "store")).stdout, /already in the store/);
  await refused(t, ["unpack", BUNDLE, "--trust", "site.pub"], 2, /--store <dir>/);
  await refused(t, ["unpack", BUNDLE, "--trust", "site.pub", "--store", manifest], 1, /create folder/);
  await refused(t, ["status", "--store", "nope"], 1, /cannot open store "nope": no such folder/);
  const two = await run("pack", manifest, "--key", "site.key", "--serial", "2", "-q");
  t.equal(two.status, 0, `stdout: ${two.stdout}, stderr: ${two.stderr}`);
  await done(t, "unpack", join("bundles", "test-000002"), "--trust", "site.pub", "--store", "store");
  await refused(t, ["unpack", BUNDLE, "--trust", "site.pub", "--store", "store"], 3, /--allow-rollback/);
  const status = await airferry(dir, ["status", "--json"], { AIRFERRY_STORE: "store" });
  const [stream] = JSON.parse(status.stdout).streams;
  t.strictSame(
    stream.releases.map((it: { serial: number; current: boolean }) => [it.serial, it.current]),
    [
      [1, false],
      [2, true],
    ],
  );
  t.match((await run("prune", "--store", "store", "--keep", "1", "--dry-run")).stdout, /would remove test\/000001/);
  t.match((await run("prune", "--store", "store", "--keep", "1")).stdout, /^removed test\/000001/);
});

t.test("a long document arrives whole although the command fails", async (t) => {
  const copy = join(dir, "many");
  cpSync(join(dir, BUNDLE), copy, { recursive: true });
  for (let n = 0; n < 1500; n++) writeFileSync(join(copy, `extra-${String(n).padStart(60, "0")}`), "");
  const ran = await run("verify", "many", "--trust", "site.pub", "--json");
  t.equal(ran.status, 3, `stdout: ${ran.stdout}, stderr: ${ran.stderr}`);
  t.ok(ran.stdout.length > 200_000, `${ran.stdout.length} bytes`);
  const { ok, problems } = JSON.parse(ran.stdout) as { ok: boolean; problems: object[] };
  t.equal(ok, false);
  t.ok(problems.length >= 1000);
});

t.test("render replaces files of other content only when told to", async (t) => {
  const args = ["render", "checksum", "--store", "store", "--url", "http://192.0.2.10:9000", "--out", "CHECKSUM"];
  for (let i = 0; i < 2; i++) t.equal((await run(...args)).stdout, "CHECKSUM\n");
  const sums = readFileSync(join(dir, "CHECKSUM"), "utf8");
  writeFileSync(join(dir, "CHECKSUM"), "mine\n");
  await refused(t, args, 2, /"CHECKSUM" exists already with other content\n.*hint: .*--force/);
  t.equal(readFileSync(join(dir, "CHECKSUM"), "utf8"), "mine\n");
  await done(t, ...args, "--force");
  t.equal(readFileSync(join(dir, "CHECKSUM"), "utf8"), sums);
});

t.test("serve", async (t) => {
  await refused(t, ["serve", "--store", "nope"], 1, /nope/);
  await refused(t, ["serve", "--store", "store", "--listen", "foo"], 2, /expected HOST:PORT/);
  await refused(t, ["serve", "--store", "store", "--listen", upstream.host], 1, /another program has this port/);
  const server = start(dir, ["serve", "--store", "store", "--listen", "127.0.0.1:0", "--workers", "1"]);
  t.teardown(() => server.kill("SIGKILL"));
  const url = await new Promise<string>((resolve, reject) => {
    server.stdout?.on("data", (text: string) => /http\S+/.test(text) && resolve(/http\S+/.exec(text)?.[0] as string));
    void server.done.then((ran) => reject(new Error(ran.stderr)));
  });
  const get = async (path: string) => {
    const response = await fetch(url + path);
    return [response.status, Buffer.from(await response.arrayBuffer()).toString("latin1")];
  };
  t.strictSame(await get("/isos/x.iso"), [200, iso.toString("latin1")]);
  t.strictSame(await get("/files/a%20b+c~d%2541%20%C3%BC.txt"), [200, "odd name\n"]);
  t.strictSame(await get("/files/empty.txt"), [200, ""]);
  t.match(await get("/files/plain.txt.sha256sum"), [200, /^[0-9a-f]{64} {2}plain\.txt\n$/]);
  t.equal((await get("/files/nope"))[0], 404);
  server.kill("SIGINT");
  const ran = await server.done;
  t.equal(ran.status, 0, "stopped");
});

t.test("interrupted, with 130, and nothing under the final name", async (t) => {
  upstream.behaviour["/x.iso"] = { drip: { bytes: 1000, everyMs: 20 } };
  const other = writeManifest(
    dir,
    { stream: "slow", isos: [{ name: "x", url: `${upstream.url}/x.iso` }] },
    "slow.yaml",
  );
  for (const [args, gone] of [
    [["lock", other], "slow.lock.json"],
    [["pack", other, "--unsigned", "--out", "slow"], join("slow", "slow-000001")],
  ] as const) {
    const seen = upstream.of("/x.iso", "GET").length;
    const child = start(dir, args);
    while (upstream.of("/x.iso", "GET").length === seen) await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill("SIGINT");
    const ran = await child.done;
    t.equal(ran.status, 130, args.join(" "));
    t.match(ran.stderr, /interrupted; run the same command to resume/);
    t.notOk(existsSync(join(dir, gone)), gone);
  }
  delete upstream.behaviour["/x.iso"];
  const ran = await run("pack", other, "--unsigned", "--out", "slow");
  t.equal(ran.status, 0, `stdout: ${ran.stdout}, stderr: ${ran.stderr}`);
});

t.test("a rerun after a kill between the last steps of pack", async (t) => {
  const file = join(dir, "late.yaml");
  copyFileSync(join(dir, "slow.yaml"), file);
  copyFileSync(join(dir, "slow.lock.json"), join(dir, "late.lock.json"));
  const args = ["pack", file, "--key", "site.key", "--out", "late"];
  const first = await run(...args);
  t.equal(first.status, 0, `stdout: ${first.stdout}, stderr: ${first.stderr}`);
  // The name is there, the note of it is not.
  rmSync(join(dir, "late.state.json"));
  const seen = upstream.requests.length;
  const again = await run(...args);
  t.strictSame([again.status, again.stdout], [0, first.stdout], again.stderr);
  t.equal(upstream.requests.length, seen, "nothing was fetched");
  // Somebody else's folder under that name is not taken for it.
  rmSync(join(dir, "late.state.json"));
  rmSync(join(dir, first.stdout.trim(), "signatures"), { recursive: true });
  await refused(
    t,
    [...args, "--serial", String(Number(first.stdout.trim().slice(-6)))],
    2,
    /exists and is not this bundle/,
  );
});

t.test("pack notices what the lock does not say: the signer, the date of expiry", async (t) => {
  const unsigned = await run("pack", join(dir, "slow.yaml"), "--unsigned", "--out", "slow");
  const bundle = unsigned.stdout.trim();
  t.notOk(existsSync(join(dir, bundle, "signatures")));
  const signed = await run("pack", join(dir, "slow.yaml"), "--key", "site.key", "--out", "slow");
  t.equal(signed.stdout.trim(), bundle, "the same bundle");
  t.equal((await run("verify", bundle, "--trust", "site.pub")).status, 0, "signed now");
  writeManifest(
    dir,
    { stream: "slow", expires: "2d", isos: [{ name: "x", url: `${upstream.url}/x.iso` }] },
    "slow.yaml",
  );
  const next = await run("pack", join(dir, "slow.yaml"), "--key", "site.key", "--out", "slow", "--frozen");
  t.equal(next.stdout, `${join("slow", "slow-000002")}\n`, next.stderr);
  t.equal(typeof JSON.parse((await run("inspect", next.stdout.trim(), "--json")).stdout).notAfter, "string");
});

t.test("a signal: only verbs that resume say so", async (t) => {
  const said = (...argv: string[]) => {
    const caught = t.capture(process.stderr, "write", () => true);
    printInterrupted(argv);
    caught.restore();
    return caught()
      .map((it) => String(it.args[0]).trim())
      .join("");
  };
  t.equal(said("init", "--from", "-"), "airferry: interrupted");
  t.equal(said("--quiet", "keygen"), "");
  t.equal(said("--json", "unpack", "init"), "airferry: interrupted; run the same command to resume");
});
