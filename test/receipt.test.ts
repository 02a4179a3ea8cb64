/** The verb receipt: it lists what is whole in a store, and changes nothing there. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { receipt } from "../src/receipt.ts";
import { unpack } from "../src/unpack.ts";
import { makeBundle, makeKey, noise, sha256 } from "./fixtures/bundle-maker.ts";
import { writeKeyPair } from "./fixtures/keys.ts";
import { scratch } from "./fixtures/program.ts";

const dir = scratch(t);
const store = join(dir, "st");
const key = makeKey();
writeFileSync(join(dir, "site.pub"), key.pem);
writeKeyPair(dir, "inside");
const signer = { key: join(dir, "inside.key"), passphrase: async () => "" };
const out = join(dir, "r.txt");
const bytes = (seed: number) => noise(2000, seed);

async function take(stream: string, serial: number, files: Record<string, Buffer>): Promise<string> {
  const bundle = join(dir, `${stream}-${serial}`);
  const { digest } = makeBundle(bundle, { stream, serial, files, keys: [key] });
  await unpack([bundle], { store, trust: [join(dir, "site.pub")] });
  return digest;
}

t.test("an empty or missing store has none", async (t) => {
  await t.rejects(receipt(store, { digests: false, signer }), { code: "ERR_NOT_FOUND" });
});

t.test("whole releases are listed, by stream, epoch and serial; files on request", async (t) => {
  const one = await take("b", 1, { "files/a": bytes(1) });
  const two = await take("b", 2, { "files/a": bytes(1), "files/b": bytes(2) });
  const three = await take("a", 9, { "files/c": bytes(3) });
  const before = readdirSync(store, { recursive: true }).length;
  const report = await receipt(store, { out, digests: true, signer, now: new Date("2026-11-30T12:00:00.9Z") });
  t.match(report, { files: [out, `${out}.sigstore.json`], made: "2026-11-30T12:00:00Z", digests: 3 });
  t.same(
    report.releases.map((it) => [it.stream, it.serial, it.digest]),
    [
      ["a", 9, three],
      ["b", 1, one],
      ["b", 2, two],
    ],
  );
  t.match(report.lines, [/^a e1 s9 /, /^b e1 s2 /]);
  const digests = [1, 2, 3].map((it) => sha256(bytes(it))).sort();
  t.ok(readFileSync(out, "utf8").endsWith(`\ndigests 3\n${digests.join("\n")}\nend\n`));
  t.equal(readdirSync(store, { recursive: true }).length, before);
  t.match(await receipt(store, { streams: ["a"], digests: false, signer }), {
    releases: [{ stream: "a" }],
    files: [],
    keyid: null,
    digests: null,
  });
  await t.rejects(receipt(store, { streams: ["a", "x"], digests: false, signer }), { code: "ERR_NOT_FOUND" });
});

t.test("a release that lacks a file is not listed, and its other files are", async (t) => {
  const gone = sha256(bytes(2));
  rmSync(join(store, "blobs/sha256", gone.slice(0, 2), gone));
  writeFileSync(join(store, "releases/a/000009/airferry.json"), "{}");
  const notices: string[] = [];
  const report = await receipt(store, { out, digests: true, signer, notice: (line) => notices.push(line) });
  t.match(report, { releases: [{ stream: "b", serial: 1 }], digests: 1 });
  t.match(notices.sort(), [/left out a 000009: cannot read release/, /left out b 000002: 1 of its files are missing/]);
});
