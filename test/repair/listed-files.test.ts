/**
 * Every kind of file of a bundle, damaged in every way: mended from a copy, by itself where it can be, and otherwise
 * named or refused. Nothing that is written is anything but what was signed.
 */
import { execFileSync } from "node:child_process";
import { randomBytes, sign } from "node:crypto";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { repair } from "../../src/repair.ts";
import { verify } from "../../src/verify.ts";
import { makeBundle, makeKey, noise, writeSignature } from "../fixtures/bundle-maker.ts";
import { burst, protect } from "../fixtures/parity.ts";
import { refusalOf } from "../fixtures/refusal.ts";
import {
  document,
  makePostQuantumKey,
  makeSigner,
  signedTrust,
  spkiText,
  trustNotes,
} from "../fixtures/trust-maker.ts";

const root = t.testdir();
const signers = [makeSigner("ann"), makeSigner("ben")];
const [ann, ben] = signers.map((it) => it.keys[0] ?? makeKey()) as [
  ReturnType<typeof makeKey>,
  ReturnType<typeof makeKey>,
];
const quantum = makePostQuantumKey();
signers[0]?.keys.push(quantum);
const first = signedTrust(document(signers), [ann, ben, quantum]);
const next = signedTrust(document(signers, { version: 2 }), [ann, ben, quantum]);
const trust = [digestOf(first.bytes)];
const options = {
  files: { "isos/big.iso": noise(1_500_000, 1), "files/small": noise(3000, 2) },
  keys: [ann, ben],
  volumeSize: 900_000,
  notes: {
    ...trustNotes([first, next]),
    "BOM.html": Buffer.from("<!doctype html>\n"),
    "BOM.cdx.json": Buffer.from("{}\n"),
    "FORMAT.txt": Buffer.from("as it is\n"),
    "manifest.yaml": Buffer.from("stream: test\n"),
    "scan.json": Buffer.from("{}\n"),
    "bin/airferry-linux-x64": Buffer.alloc(3000, 7),
  },
};
makeBundle(join(root, "first"), options);
await protect(join(root, "first"), ["data.tar.0000"], 20, "data.0000");
await protect(join(root, "first"), ["data.tar.0000", "data.tar.0001"], 100, "data.set");
const parity = readdirSync(join(root, "first")).filter((it) => it.endsWith(".par2"));
const good = join(root, "good");
makeBundle(good, {
  ...options,
  notes: { ...options.notes, ...Object.fromEntries(parity.map((it) => [it, readFileSync(join(root, "first", it))])) },
});
const sums = readFileSync(join(good, "SHA256SUMS"));
// As airferry writes them.
for (const key of [ann, ben])
  writeFileSync(join(good, `signatures/${key.keyid.slice(0, 16)}.sigstore.json`), "\n", { flag: "a" });
const post = join("signatures", `${quantum.keyid.slice(0, 16)}.mldsa65.sig`);
writeFileSync(join(good, post), sign(null, sums, quantum.privateKey));

const names = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((it) => !it.isDirectory())
    .map((it) => join(it.parentPath, it.name).slice(dir.length + 1))
    .sort();
const all = names(good);
/** One of each kind: what two have in common is tried once. */
const kinds = all.filter(
  (it) => !/^BOM|^trust\.1\..+\.|data\.set\.vol|data\.tar\.0000/.test(it) && !it.includes(ben.keyid.slice(0, 16)),
);
let count = 0;
const copyOf = () => {
  const dir = join(root, `copy-${count++}`);
  cpSync(good, dir, { recursive: true });
  return dir;
};
const differing = (dir: string) =>
  all.filter((it) => {
    const found = lstatSync(join(dir, it), { throwIfNoEntry: false });
    return found?.isFile() !== true || !readFileSync(join(dir, it)).equals(readFileSync(join(good, it)));
  });

const DAMAGES: Record<string, (path: string) => void> = {
  damaged: (path) => burst(path, Math.floor(readFileSync(path).length / 2), 1),
  missing: (path) => rmSync(path),
  truncated: (path) => truncateSync(path, readFileSync(path).length - 2),
  extended: (path) => writeFileSync(path, "x", { flag: "a" }),
  empty: (path) => truncateSync(path, 0),
  "a link": (path) => {
    rmSync(path);
    symlinkSync("/etc/passwd", path);
  },
  "an empty folder": (path) => {
    rmSync(path);
    mkdirSync(path);
  },
  "a pipe": (path) => {
    rmSync(path);
    execFileSync("mkfifo", [path]);
  },
};
const isSpare = (name: string) => name.endsWith(".par2");

t.test("from a copy everything is mended, and the bundle is as it was", async (t) => {
  t.ok((await verify([good], { trust })).ok);
  for (const [what, spoil] of Object.entries(DAMAGES)) {
    const bundle = copyOf();
    for (const name of kinds) {
      spoil(join(bundle, name));
      const shown = `${name}, ${what}`;
      const report = await repair([bundle], { trust, from: [good], inPlace: true });
      const isLeft = what === "missing" && (isSpare(name) || name.startsWith("data.tar."));
      // A volume may be on another medium, and nobody needs parity; of three keys two are enough.
      t.strictSame(differing(bundle), isLeft || (what === "missing" && name === post) ? [name] : [], shown);
      const states = [...report.files, ...report.volumes].map((it) => it.state);
      t.ok(
        states.every((it) => it === (isLeft ? "missing" : "repaired")),
        `${shown}: ${states}`,
      );
      if (isLeft) cpSync(join(good, name), join(bundle, name));
      if (name === post) cpSync(join(good, name), join(bundle, name));
      t.strictSame(names(bundle), all, `${shown}: nothing is left beside`);
    }
    t.ok((await verify([bundle], { trust })).ok, what);
    rmSync(bundle, { recursive: true });
  }
});

t.test("without a copy: parity mends volumes, each half of a signature the other; nothing else changes", async (t) => {
  for (const what of ["damaged", "missing", "empty", "a link"]) {
    const spoil = DAMAGES[what] ?? (() => {});
    for (const name of kinds) {
      const bundle = copyOf();
      spoil(join(bundle, name));
      const before = differing(bundle);
      const [report, refusal] = await repair([bundle], { trust, from: [], inPlace: true }).then(
        (it) => [it, undefined],
        (it) => [undefined, it],
      );
      const after = differing(bundle);
      const states = [...(report?.files ?? []), ...(report?.volumes ?? [])].map((it) => it.state);
      const shown = `${name}, ${what}: ${states} ${refusal?.message ?? ""}`;
      const isOdd = /^(a |an )/.test(what);
      if (/^data\.tar\./.test(name) && !isOdd) t.strictSame([after, states], [[], ["repaired"]], shown);
      else if (/^signatures\/.*\.(sig|sigstore\.json)$/.test(name) && name !== post)
        t.strictSame([after, states], [[], ["repaired"]], shown);
      else {
        t.strictSame(after, before, shown);
        const isFine = isSpare(name) && !isOdd;
        if (refusal === undefined && !(isFine || (what === "missing" && name === post)))
          t.match(states, ["lost"], shown);
        if (refusal !== undefined) t.match(refusal.code, /^ERR_(?!IO)/, shown);
      }
      rmSync(bundle, { recursive: true });
    }
  }
});

t.test("a folder with something in it is nobody's damage, and stays", async (t) => {
  for (const name of ["VERIFY.txt", "SHA256SUMS", "signatures", "data.tar.0000"]) {
    const bundle = copyOf();
    rmSync(join(bundle, name), { recursive: true });
    mkdirSync(join(bundle, name));
    writeFileSync(join(bundle, name, "diary.txt"), "mine");
    const refusal = await refusalOf(repair([bundle], { trust, from: [good], inPlace: true }));
    t.match(refusal.code, /ERR_BUNDLE_EXTRA|ERR_PATH_UNSAFE/, `${name}: ${refusal.message}`);
    t.equal(readFileSync(join(bundle, name, "diary.txt"), "utf8"), "mine");
  }
});

t.test("folders replaced by files, and everything small at once", async (t) => {
  for (const name of ["signatures", "bin"]) {
    for (const put of [(path: string) => writeFileSync(path, "x"), (path: string) => symlinkSync("/etc", path)]) {
      const bundle = copyOf();
      rmSync(join(bundle, name), { recursive: true });
      put(join(bundle, name));
      await repair([bundle], { trust, from: [good], inPlace: true });
      t.strictSame(differing(bundle), [], name);
    }
  }
  const bundle = copyOf();
  for (const name of all)
    if (!name.startsWith("data.") && name !== "ENTRIES.sha256") truncateSync(join(bundle, name), 0);
  const said = await repair([bundle], { trust, from: [good] });
  t.ok(said.files.every((it) => it.state === "repairable"));
  await repair([bundle], { trust, from: [good], inPlace: true });
  t.strictSame(differing(bundle), []);
  const out = join(root, "out");
  truncateSync(join(bundle, "SHA256SUMS"), 10);
  t.strictSame((await repair([bundle], { trust, from: [good], out })).written, [join(out, "SHA256SUMS")]);
  cpSync(out, bundle, { recursive: true });
  t.strictSame(differing(bundle), []);
});

t.test("two damaged copies mend each other", async (t) => {
  const [one, two] = [copyOf(), copyOf()];
  for (const [at, name] of all.entries()) burst(join(at % 2 === 0 ? one : two, name), 0, 1);
  await repair([one], { trust, from: [two], inPlace: true });
  t.strictSame(differing(one), []);
  await repair([two], { trust, from: [one], inPlace: true });
  t.strictSame(differing(two), []);
});

t.test("nothing that proves nothing is taken", async (t) => {
  const other = join(root, "other");
  makeBundle(other, { ...options, serial: 2, files: { "files/other": noise(100, 3) } });
  const bundle = copyOf();
  rmSync(join(bundle, "SHA256SUMS"));
  t.match(await refusalOf(repair([bundle], { trust, from: [other], inPlace: true })), {
    code: "ERR_BUNDLE_INCOMPLETE",
  });
  t.notOk(existsSync(join(bundle, "SHA256SUMS")), "another bundle's root, however well signed");
  writeFileSync(join(bundle, "SHA256SUMS"), readFileSync(join(good, "SHA256SUMS")).subarray(1));
  t.match(await refusalOf(repair([bundle], { trust, from: [other], inPlace: true })), { code: "ERR_BUNDLE_INVALID" });

  // A copy of somebody who can write everything but sign: another root, signatures that are none, the right names.
  const forged = copyOf();
  const stranger = makeKey();
  writeFileSync(join(forged, "VERIFY.txt"), "trust me");
  const hex = (bytes: Buffer) => digestOf(bytes).slice(7);
  const wrong = readFileSync(join(good, "SHA256SUMS"), "utf8").replace(
    hex(readFileSync(join(good, "VERIFY.txt"))),
    hex(Buffer.from("trust me")),
  );
  writeFileSync(join(forged, "SHA256SUMS"), wrong);
  rmSync(join(forged, "signatures"), { recursive: true });
  mkdirSync(join(forged, "signatures"));
  writeSignature(forged, stranger, Buffer.from(wrong), sign("sha256", Buffer.from(wrong), stranger.privateKey));
  for (const key of [ann, ben]) writeSignature(forged, key, Buffer.from(wrong), randomBytes(70));
  const damaged = copyOf();
  for (const name of all.filter((it) => it.startsWith("signatures/"))) truncateSync(join(damaged, name), 5);
  const refusal = await refusalOf(repair([damaged], { trust, from: [forged], inPlace: true }));
  t.match(refusal, { code: "ERR_SIGNATURE_INVALID", hint: /give a second copy of the bundle with --from/ });
  truncateSync(join(damaged, "SHA256SUMS"), 100);
  t.match((await refusalOf(repair([damaged], { trust, from: [forged], inPlace: true }))).code, /ERR_/);
  t.notOk(readFileSync(join(damaged, "SHA256SUMS")).equals(readFileSync(join(forged, "SHA256SUMS"))));
});

t.test("a stranger's signature is mended only where half of it is there", async (t) => {
  const stranger = makeKey();
  const id = stranger.keyid.slice(0, 16);
  const copy = copyOf();
  writeSignature(copy, stranger, sums, sign("sha256", sums, stranger.privateKey));
  const pair = (dir: string) => [`${id}.sig`, `${id}.sigstore.json`].map((it) => join(dir, "signatures", it));
  for (const at of [0, 1]) {
    const bundle = join(root, `strange-${at}`);
    cpSync(copy, bundle, { recursive: true });
    burst(pair(bundle)[at] ?? "", 5, 1);
    await repair([bundle], { trust, from: [copy], inPlace: true });
    t.ok((await verify([bundle], { trust })).ok);
    for (const file of pair(bundle)) burst(file, 5, 1);
    const { files } = await repair([bundle], { trust, from: [copy], inPlace: true });
    t.match(files, [{ state: "lost" }, { state: "lost" }]);
    // Whoever knows its key can mend it.
    writeFileSync(join(root, "keys.pub"), [ann, stranger].map((it) => it.pem).join(""));
    await repair([bundle], { trust: [join(root, "keys.pub")], from: [copy], inPlace: true });
    t.ok((await verify([bundle], { trust })).ok);
  }
  t.ok(spkiText(stranger).length > 0);
  const bundle = copyOf();
  renameSync(join(bundle, post), join(bundle, "signatures", "readme.txt"));
  t.match(await refusalOf(repair([bundle], { trust, from: [good] })), { code: "ERR_BUNDLE_EXTRA" });
});
