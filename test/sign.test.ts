/** The verb sign, on folders as pack leaves them. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../src/io/digest.ts";
import { keygen } from "../src/keygen.ts";
import { readTrustedKeys } from "../src/sign/keys.ts";
import { verifySums } from "../src/sign/verify-sums.ts";
import { sign } from "../src/sign.ts";
import { type MakeOptions, makeBundle } from "./fixtures/bundle-maker.ts";
import { scratch } from "./fixtures/program.ts";

const root = scratch(t);
const passphrase = async () => "pw";
const ann = await keygen({ out: join(root, "keys", "ann"), password: "pw", rpm: false });
await keygen({ out: join(root, "keys", "bob"), password: "", allowEmpty: true, rpm: false });
const key = (name: string) => join(root, "keys", `${name}.key`);
const pub = (name: string) => join(root, "keys", `${name}.pub`);

let count = 0;
/** A bundle without signatures. */
function bundle(media = 0, more: Partial<MakeOptions> = {}): string {
  const dir = join(root, `bundle-${count++}`);
  const files = { "files/a": Buffer.alloc(media === 0 ? 1 : (media - 1) * 4096) };
  const made = makeBundle(dir, { files, keys: [], volumeSize: 4096, ...(media > 0 && { perMedium: 1 }), ...more });
  for (const folder of made.folders) rmSync(join(folder, "signatures"), { recursive: true });
  return dir;
}

async function verdict(folder: string, names: string[], threshold: number) {
  const place = join(folder, "signatures");
  const files = readdirSync(place).map((name) => ({ name, bytes: readFileSync(join(place, name)) }));
  return verifySums(readFileSync(join(folder, "SHA256SUMS")), files, await readTrustedKeys(names.map(pub)), threshold);
}

t.test("sign() adds signers one after the other", async (t) => {
  const dir = bundle();
  const first = await sign(dir, { key: key("ann"), passphrase });
  t.equal(first.keyid, ann.keyid);
  t.match(first, { stream: "test", epoch: 1, serial: 1 });
  t.equal(first.digest, digestOf(readFileSync(join(dir, "SHA256SUMS"))));
  await sign(dir, { key: key("bob"), passphrase: async () => "" });
  const { signers, problems } = await verdict(dir, ["ann", "bob"], 2);
  t.same([signers.length, problems], [2, []]);
  t.equal(readdirSync(join(dir, "signatures")).length, 4);
  await t.rejects(sign(dir, { key: key("ann"), passphrase }), { code: "ERR_USAGE", message: /has signed it already/ });
  await t.rejects(sign(dir, { key: key("ann"), passphrase: async () => "no" }), { code: "ERR_PASSWORD" });
});

t.test("sign() finishes what a killed run began", async (t) => {
  const dir = bundle();
  const { files } = await sign(dir, { key: key("ann"), passphrase });
  rmSync(files[1]!);
  writeFileSync(join(dir, "signatures", ".tmp-0123456789abcdef"), "half");
  await sign(dir, { key: key("ann"), passphrase });
  t.same((await verdict(dir, ["ann"], 1)).problems, []);
  t.equal(readdirSync(join(dir, "signatures")).length, 2);
});

t.test("sign() signs every medium of a set alike", async (t) => {
  const dir = bundle(3);
  await sign(dir, { key: key("ann"), passphrase });
  const places = readdirSync(dir).map((name) => join(dir, name));
  for (const place of places) t.same((await verdict(place, ["ann"], 1)).problems, []);
  const name = `${ann.keyid.slice(0, 16)}.sig`;
  t.same(readFileSync(join(places[0]!, "signatures", name)), readFileSync(join(places[2]!, "signatures", name)));
  rmSync(join(places[1]!, "signatures"), { recursive: true });
  await sign(dir, { key: key("ann"), passphrase });
  t.same((await verdict(places[1]!, ["ann"], 1)).problems, [], "a medium that lacked it");
  const odd = bundle(2);
  writeFileSync(join(odd, "medium-2-of-2", "SHA256SUMS"), `${"0".repeat(64)}  airferry.json\n`);
  await t.rejects(sign(odd, { key: key("ann"), passphrase }), { code: "ERR_BUNDLE_INVALID" });
  t.notOk(existsSync(join(odd, "medium-1-of-2", "signatures")));
});

t.test("sign() refuses what is no bundle, before it asks for anything", async (t) => {
  const asked = async (): Promise<string> => {
    throw new Error("asked");
  };
  const bad = new Map<string, [code: string, change: (dir: string) => void]>([
    ["no SHA256SUMS", ["ERR_NOT_FOUND", (dir) => rmSync(join(dir, "SHA256SUMS"))]],
    ["no inventory", ["ERR_NOT_FOUND", (dir) => rmSync(join(dir, "airferry.json"))]],
    ["another inventory", ["ERR_DIGEST_MISMATCH", (dir) => writeFileSync(join(dir, "airferry.json"), "{}")]],
    ["a comment in the sums", ["ERR_BUNDLE_INVALID", (dir) => writeFileSync(join(dir, "SHA256SUMS"), "# x\n")]],
    [
      "a path in the sums",
      ["ERR_PATH_UNSAFE", (dir) => writeFileSync(join(dir, "SHA256SUMS"), `${"0".repeat(64)}  ../x\n`)],
    ],
    ["huge sums", ["ERR_SIZE_LIMIT", (dir) => writeFileSync(join(dir, "SHA256SUMS"), Buffer.alloc(2 ** 22 + 1))]],
    [
      "a link for the sums",
      [
        "ERR_PATH_UNSAFE",
        (dir) => {
          cpSync(join(dir, "SHA256SUMS"), join(dir, "x"));
          rmSync(join(dir, "SHA256SUMS"));
          symlinkSync("x", join(dir, "SHA256SUMS"));
        },
      ],
    ],
  ]);
  for (const [reason, [code, change]] of bad) {
    const dir = bundle();
    change(dir);
    await t.rejects(sign(dir, { key: key("ann"), passphrase: asked }), { code }, reason);
    t.notOk(existsSync(join(dir, "signatures")), reason);
  }
  const mixed = bundle(0, { identity: "airferry-v1.test.e1.s2" });
  await t.rejects(sign(mixed, { key: key("ann"), passphrase: asked }), {
    code: "ERR_BUNDLE_INVALID",
    message: /do not belong together: expected airferry-v1.test.e1.s2, got airferry-v1.test.e1.s1/,
  });
  t.notOk(existsSync(join(mixed, "signatures")));
  await t.rejects(sign(join(root, "nowhere"), { key: key("ann"), passphrase: asked }), { code: "ERR_NOT_FOUND" });
  const linked = bundle();
  const outside = join(root, "outside");
  mkdirSync(outside);
  symlinkSync(outside, join(linked, "signatures"));
  await t.rejects(sign(linked, { key: key("ann"), passphrase }), { code: "ERR_PATH_UNSAFE" });
  t.same(readdirSync(outside), [], "nothing is written through a link");
});
