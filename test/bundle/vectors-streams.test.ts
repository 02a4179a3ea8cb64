/** bundles/vectors/streams.json: streams, judged by airferry and by a reader that was written from docs/format.md alone. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { AirferryError } from "../../src/errors.ts";
import { HashPool } from "../../src/io/hash-pool.ts";
import { readNeed } from "../../src/receipt/need-file.ts";
import { type UnpackReport, unpackStream } from "../../src/unpack.ts";
import { verifyStream } from "../../src/verify.ts";
import { clientPath, needs } from "../fixtures/clients.ts";
import { scratch } from "../fixtures/program.ts";
import { streamOf, withStream } from "../fixtures/streams.ts";
import { type StreamVector, vectorBytes } from "../fixtures/vectors/stream-vectors.ts";

const root = join(import.meta.dirname, "../../bundles/vectors");
const vectors = JSON.parse(readFileSync(join(root, "streams.json"), "utf8")) as StreamVector[];

t.test("there are enough of them, and a writer makes the same bytes", async (t) => {
  t.ok(vectors.length >= 60);
  const verdicts = vectors.flatMap((it) => it.bundles.map(({ verdict }) => verdict));
  for (const verdict of ["good", "lost", "refused"])
    t.ok(verdicts.filter((it) => it === verdict).length >= 12, verdict);
  const bases = join(root, "bases");
  const tapes = new Map<string, Buffer>();
  for (const name of readdirSync(bases)) tapes.set(name, await streamOf(join(bases, name)));
  const dir = scratch(t);
  const pool = new HashPool();
  t.teardown(() => pool.close());
  for (const [index, { id, stream, sha256, trust: names, threshold, at, bundles }] of vectors.entries()) {
    const bytes = vectorBytes(stream, (it) => tapes.get(it) as Buffer);
    t.equal(createHash("sha256").update(bytes).digest("hex"), sha256, id);
    const trust = names.map((it) => join(root, "keys", `${it}.pub`));
    const options = { trust, threshold, now: new Date(at) };
    const judge = <T>(work: (fd: number) => Promise<T[]>) =>
      withStream(join(dir, "stream"), bytes, work).catch((error: unknown) => error as AirferryError);
    const verified = await judge((fd) => verifyStream({ ...options, pool }, fd));
    const codes = Array.isArray(verified) ? verified.map((it) => it.problems[0]?.code ?? null) : [verified.code];
    // What a store had only a reader with one knows.
    const expected = bundles
      .filter((it) => !["ERR_ROLLBACK", "ERR_DELTA_BASE"].includes(it.code ?? ""))
      .map((it) => it.code);
    t.same(codes.slice(0, expected.length), expected, `verify: ${id}`);
    // Each costs threads and syncs.
    const isRare = bundles.some((it) => ["ERR_ROLLBACK", "ERR_DELTA_BASE"].includes(it.code ?? ""));
    if (!id.startsWith("lost-") && !isRare && index % 6 !== 0) continue;
    const store = join(dir, "store");
    const need = join(dir, "need.json");
    const isLost = bundles.some((it) => it.verdict === "lost");
    const taken = await judge((fd) => unpackStream({ ...options, store, ...(isLost && { need }) }, fd));
    const last = bundles.at(-1);
    if (!Array.isArray(taken)) t.same([last?.verdict, taken.code], ["refused", last?.code], `unpack: ${id}`);
    else
      t.same(
        taken.map(outcomeOf),
        bundles.map(({ serial, verdict }) => ({ serial, verdict })),
        `unpack: ${id}`,
      );
    const lost = Object.assign({}, ...bundles.map((it) => it.lost ?? {}));
    t.same(existsSync(need) ? await lostIn(need) : {}, lost, `lost: ${id}`);
    for (const { serial, verdict } of bundles.filter((it) => it.serial !== null)) {
      const release = join(store, "releases/vectors", String(serial).padStart(6, "0"));
      t.equal(existsSync(release), verdict === "good", `${id}: ${serial}`);
    }
    for (const it of [store, need]) rmSync(it, { recursive: true, force: true });
  }
});

t.test("a reader that shares no code with src/ judges them in the same way", async (t) => {
  if (!needs(t, "python3", "openssl")) return;
  const reader = join(import.meta.dirname, "../fixtures/reader.py");
  const printed = execFileSync("python3", [reader, "streams", root, clientPath("openssl") as string], {
    encoding: "utf8",
  });
  const judged = printed
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Pick<StreamVector, "id" | "bundles">);
  t.equal(judged.length, vectors.length);
  for (const [index, { id, bundles }] of vectors.entries()) t.same(judged[index], { id, bundles }, id);
});

function outcomeOf({ serial, complete }: UnpackReport) {
  return { serial, verdict: complete ? "good" : "lost" };
}

/** What a need file lists, as in a vector. */
async function lostIn(file: string): Promise<Record<string, number[] | null>> {
  const { blobs } = await readNeed(file);
  return Object.fromEntries(
    blobs.map(({ digest, pieces }) => [
      digest.slice(7),
      pieces?.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at)) ?? null,
    ]),
  );
}
