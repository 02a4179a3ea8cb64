/** Streams with parity: damaged volumes are completed as they come, also from recovery files that stock par2 made. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parseInventory } from "../../src/bundle/inventory.ts";
import { HashPool } from "../../src/io/hash-pool.ts";
import { StreamMender } from "../../src/repair/stream-mender.ts";
import { unpackStream } from "../../src/unpack.ts";
import { verifyStream } from "../../src/verify.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { noise } from "../fixtures/parity.ts";
import { makeParityBundle } from "../fixtures/parity-bundle.ts";
import { changed, doubled, dropped, headerAt, streamOf, withStream } from "../fixtures/streams.ts";

const root = t.testdir();
const { good, trust, volumes } = await makeParityBundle(root);
const whole = await streamOf(good);
let count = 0;
const fresh = (name: string) => join(root, `${name}-${count++}`);
const inVolume = (index: number, at: number) => headerAt(whole, `data.tar.000${index}`) + 512 + at;

/** What unpack and verify say of it. */
async function judged(bytes: Uint8Array, by = trust) {
  const notes: string[] = [];
  const notice = (it: string) => void notes.push(it);
  const store = fresh("store");
  const run = <T>(work: (fd: number) => Promise<T>) => withStream(join(root, "stream"), bytes, work);
  const [taken] = await run((fd) => unpackStream({ trust: by, store, notice }, fd));
  const [verified] = await run((fd) => verifyStream({ trust: by, notice }, fd));
  const left = existsSync(join(store, "incoming"))
    ? readdirSync(join(store, "incoming"), { recursive: true }).filter((it) => String(it).includes("spool"))
    : [];
  t.same(left, [], "nothing of it stays");
  return { taken, verified, notes };
}

t.test("what a link does to a volume is mended from its parity", async (t) => {
  const faults: [string, Buffer, number][] = [
    ["a changed bit", changed(whole, inVolume(1, 400_000)), 1],
    ["several gaps", dropped(dropped(whole, inVolume(1, 700_000), 1400), inVolume(1, 50_000), 999), 1],
    ["bytes that came twice", doubled(whole, inVolume(1, 300_000), 4096), 1],
    ["the end of a volume, and what begins there", changed(whole, inVolume(0, 999_930)), 0],
    ["its header and its first bytes", dropped(whole, inVolume(2, -512), 20_000), 2],
    ["the last volume", dropped(whole, inVolume(volumes.length - 1, 1000), 3), volumes.length - 1],
  ];
  for (const [name, bytes, index] of faults) {
    const { taken, verified, notes } = await judged(bytes);
    t.match(taken, { complete: true }, name);
    t.match(verified, { ok: true, problems: [] }, name);
    t.match(
      notes.find((it) => it.includes("completed")),
      new RegExp(`^"data.tar.000${index}" came damaged: completed`),
      name,
    );
  }
});

t.test("of a good stream nothing is said, and too much damage is told", async (t) => {
  const { taken, verified, notes } = await judged(whole);
  t.match([taken, verified], [{ complete: true }, { ok: true }]);
  t.same(notes, []);
  const much = await judged(dropped(whole, inVolume(1, 100_000), 300_000));
  t.match(much.taken, { complete: false });
  t.match(much.verified, { ok: false, problems: [{ path: "data.tar.0001" }] });
  t.match(
    much.notes.find((it) => it.includes("parity")),
    /^"data.tar.0001" came damaged, and its parity does not suffice: it has \d+ damaged blocks and \d+ recovery blocks$/,
  );
});

t.test("damaged recovery files give what is left of them", async (t) => {
  const parity = readdirSync(good)
    .filter((it) => /^data\.0001\..*par2$/.test(it))
    .sort();
  const last = headerAt(whole, parity.at(-1) ?? "") + 600;
  t.match(await judged(changed(changed(whole, last), inVolume(1, 100_000))), { taken: { complete: true } });
});

t.test("recovery files of stock par2 do as well, and stock par2 mends what stock tar wrote", async (t) => {
  if (!needs(t, "par2", "tar")) return;
  const key = makeKey();
  writeFileSync(join(root, "own.pub"), key.pem);
  const options = {
    files: { "isos/x.iso": noise(3_000_000, 5), "files/a": noise(9000, 6) },
    keys: [key],
    volumeSize: 1_000_000,
  };
  const [first, second] = [fresh("first"), fresh("second")];
  makeBundle(first, options);
  for (const name of readdirSync(first).filter((it) => /^data\.tar/.test(it)))
    execFileSync("par2", ["create", "-q", "-q", "-r10", "-n1", `data.${name.slice(-4)}.par2`, name], { cwd: first });
  // It writes names with a plus, which a signed root cannot list.
  for (const it of readdirSync(first)) renameSync(join(first, it), join(first, it.replace("+", "-")));
  const parity = readdirSync(first).filter((it) => it.endsWith(".par2"));
  makeBundle(second, {
    ...options,
    notes: Object.fromEntries(parity.map((it) => [it, readFileSync(join(first, it))])),
  });
  const sent = await streamOf(second);
  const bytes = dropped(sent, headerAt(sent, "data.tar.0001") + 512 + 5000, 1400);
  t.match(await judged(bytes, [join(root, "own.pub")]), { taken: { complete: true }, verified: { ok: true } });
  const dir = fresh("tar");
  mkdirSync(dir);
  execFileSync("tar", ["-xf", "-"], { cwd: dir, input: changed(sent, headerAt(sent, "data.tar.0001") + 512 + 5000) });
  execFileSync("par2", ["repair", "-q", "-q", "data.0001.par2"], { cwd: join(dir, "test-000001") });
  execFileSync("sha256sum", ["-c", "--quiet", "SHA256SUMS"], { cwd: join(dir, "test-000001") });
});

t.test("its folder has only what is still of use, and recovery files without end are not kept", async (t) => {
  const dir = fresh("spool");
  const pool = HashPool.sizedFor(1);
  const notes: string[] = [];
  const inventory = parseInventory(readFileSync(join(good, "airferry.json")));
  const mender = StreamMender.open(dir, inventory, pool, (it) => void notes.push(it));
  if (mender === undefined) return t.fail("the volumes are small");
  const recovery = async (bytes: Buffer) =>
    mender.recovery(
      (async function* () {
        yield bytes;
      })(),
    );
  const bytes = readFileSync(join(good, "data.tar.0000"));
  const parity = readdirSync(good).filter((it) => /^data\.0000\..*par2$/.test(it));
  const damaged = changed(bytes, 5000);
  try {
    await mender.ended(0, [damaged]);
    t.notOk(mender.wants("data.0001.par2", 100), "that of another volume");
    let kept = 0;
    for (; kept < 2000 && mender.wants("data.0000.par2", 0); kept++) await recovery(Buffer.alloc(0));
    t.equal(kept, 1000);
    t.equal(await mender.mend(), undefined);
    t.match(notes, [/its parity does not suffice: what came of it describes nothing$/]);
    t.notOk(existsSync(dir), "what could not be mended is gone");
    await mender.ended(0, [damaged]);
    for (const name of parity) {
      t.ok(mender.wants(name, 100));
      await recovery(readFileSync(join(good, name)));
    }
    const mended = await mender.mend();
    t.equal(mended?.index, 0);
    t.same(readFileSync(mended?.file ?? ""), bytes);
    t.notOk(mender.wants("data.0000.par2", 100), "it is good");
    t.equal(await mender.mend(), undefined);
    t.notOk(existsSync(dir), "what was mended has been taken");
    t.equal(notes.length, 2);
  } finally {
    await mender.close();
    await pool.close();
  }
});
