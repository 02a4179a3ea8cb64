/** src/store/incoming.ts: what an interrupted import finds of itself. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type Digest, hexOf } from "../../src/io/digest.ts";
import {
  bytesWaiting,
  Incoming,
  importedBlobs,
  isMediumName,
  mediaToCome,
  readIncoming,
} from "../../src/store/incoming.ts";
import { scratch } from "../fixtures/program.ts";

const DIGEST: Digest = `sha256:${"d".repeat(64)}`;
const ONE: Digest = `sha256:${"1".repeat(64)}`;
const TWO: Digest = `sha256:${"2".repeat(64)}`;

t.test("mediaToCome() tells the rest of a set only as far as the names do", async (t) => {
  const rows: readonly (readonly [read: string[], toCome: string[], why: string])[] = [
    [[], [], "nothing was read"],
    [["medium-1-of-3"], ["medium-2-of-3", "medium-3-of-3"], "the first"],
    [["medium-3-of-3", "medium-1-of-3"], ["medium-2-of-3"], "in any order"],
    [["medium-1-of-1"], [], "all"],
    [["medium-1-of-2", "medium-1-of-3"], [], "two sets: nobody knows"],
    [["usb"], [], "a name that tells nothing"],
    [["medium-1-of-99999999"], [], "a number that nobody means"],
  ];
  for (const [read, toCome, why] of rows) t.same(mediaToCome(read), toCome, why);
  for (const it of ["medium-1-of-3", "medium-12-of-30"]) t.ok(isMediumName(it), it);
  for (const it of ["medium-1", "x-medium-1-of-3", "medium-1-of-3x", "medium--1-of-3"]) t.notOk(isMediumName(it), it);
});

t.test(
  "what was done is found again, small files that were not are dropped, and nobody else sees any of it",
  async (t) => {
    const root = scratch(t);
    const first = await Incoming.open(root, DIGEST);
    t.equal(statSync(first.dir).mode & 0o777, 0o700);
    writeFileSync(first.smallFile(ONE), "half");
    writeFileSync(first.partFile(TWO), Buffer.alloc(20_000, 1));
    await first.markDone("data.tar.0000");
    await first.markDone("data.tar.0001");
    const again = await Incoming.open(root, DIGEST);
    t.same([...again.doneVolumes].sort(), ["data.tar.0000", "data.tar.0001"]);
    t.notOk(existsSync(again.smallFile(ONE)));
    t.equal(readFileSync(again.partFile(TWO)).length, 20_000);
    t.not(again.partFile(TWO), again.piecesFile(TWO));
    t.ok((await bytesWaiting(root, DIGEST)) >= 20_000);
    await again.forget(["data.tar.0000"]);
    t.same([...(await Incoming.open(root, DIGEST)).doneVolumes], ["data.tar.0001"]);
    await again.remove();
    t.notOk(existsSync(again.dir));
    t.equal(await bytesWaiting(root, DIGEST), 0);
  },
);

t.test("blobsMade() forgets no blob for a line that a kill has torn", async (t) => {
  const root = scratch(t);
  const incoming = await Incoming.open(root, DIGEST);
  t.equal((await importedBlobs(root, DIGEST)).size, 0);
  incoming.noteBlobs([ONE]);
  appendFileSync(join(incoming.dir, "blobs"), hexOf(TWO).slice(0, 30));
  incoming.noteBlobs([TWO]);
  t.strictSame([...(await importedBlobs(root, DIGEST))], [ONE, TWO]);
});

t.test("readIncoming() lists what says what it is, and leaves out what does not", async (t) => {
  const root = scratch(t);
  t.same(await readIncoming(root), []);
  const incoming = await Incoming.open(root, DIGEST);
  t.same(await readIncoming(root), [], "nothing is said yet");
  t.equal(await incoming.state(), undefined);
  const state = { stream: "a", epoch: 0, serial: 3, digest: DIGEST, missing: ["data.tar.0001"] };
  await incoming.saveState(state);
  for (const [name, text] of [
    ["torn", '{"stream":"a"'],
    ["other", "[]"],
    ["null", "null"],
  ] as const) {
    mkdirSync(join(root, "incoming", name));
    writeFileSync(join(root, "incoming", name, "bundle.json"), text);
  }
  t.same(await readIncoming(root), [state]);
  t.same(await incoming.state(), state);
});
