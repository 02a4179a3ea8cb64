/** bundles/vectors: the same today, and judged as its index says. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { HashPool } from "../../src/io/hash-pool.ts";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { scratch } from "../fixtures/program.ts";
import { AT, makeVectors, type Vector } from "../fixtures/vectors/make.ts";
import { writePatched } from "../fixtures/vectors/patch.ts";

const root = join(import.meta.dirname, "../../bundles/vectors");
const read = (path: string) => readFileSync(join(root, path));
const vectors = JSON.parse(String(read("index.json"))) as Vector[];

/** Files below a folder, by path. */
function filesIn(folder: string): Map<string, Buffer> {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
  const paths = found.map((it) => join(it.parentPath, it.name).slice(folder.length + 1)).sort();
  return new Map(paths.map((it) => [it, readFileSync(join(folder, it))]));
}

t.test("its script makes the same bytes today", async (t) => {
  const made = makeVectors(JSON.parse(String(read("signatures.json"))));
  const there = [...filesIn(root).keys()].filter((it) => it !== "README.md");
  t.same([...made.keys()].sort(), there);
  for (const [path, bytes] of made) if (!bytes.equals(read(path))) t.fail(`node scripts/lib/vectors.ts: ${path}`);
});

t.test("there are enough of them, good and bad, of every code", async (t) => {
  t.ok(vectors.length >= 150);
  t.ok(vectors.filter((it) => it.verdict === "good").length >= 40);
  t.same([...new Set(vectors.map((it) => it.code))].sort(), [
    "ERR_ATTESTATION",
    "ERR_ATTESTATION_FAILED",
    "ERR_ATTESTATION_INVALID",
    "ERR_ATTESTATION_KEY",
    "ERR_ATTESTATION_OLD",
    "ERR_ATTESTATION_SUBJECT",
    "ERR_AUDIENCE",
    "ERR_BUNDLE_EXTRA",
    "ERR_BUNDLE_INCOMPLETE",
    "ERR_BUNDLE_INVALID",
    "ERR_BUNDLE_REQUIRES",
    "ERR_BUNDLE_VERSION",
    "ERR_DELTA_BASE",
    "ERR_DIGEST_MISMATCH",
    "ERR_EQUIVOCATION",
    "ERR_EXPIRED",
    "ERR_FINGERPRINT",
    "ERR_KEY_EXPIRED",
    "ERR_KEY_REVOKED",
    "ERR_KEY_UNTRUSTED",
    "ERR_PATH_UNSAFE",
    "ERR_ROLLBACK",
    "ERR_SERIAL_JUMP",
    "ERR_SIGNATURE_INVALID",
    "ERR_SIGNATURE_MISSING",
    "ERR_SIZE_LIMIT",
    "ERR_SIZE_MISMATCH",
    "ERR_STREAM_UNTRUSTED",
    "ERR_THRESHOLD",
    "ERR_TIMESTAMP",
    "ERR_TOO_OLD",
    "ERR_TRUST_EXPIRED",
    "ERR_TRUST_SIGNATURES",
    null,
  ]);
});

t.test("verify and unpack judge them as the index says", async (t) => {
  const dir = scratch(t);
  const bases = new Map(readdirSync(join(root, "bases")).map((it) => [it, filesIn(join(root, "bases", it))]));
  const pool = new HashPool();
  t.teardown(() => pool.close());
  const counts = new Map<string | null, number>();
  for (const { id, base, patch, trust: names, threshold, at, media, code, fingerprint, store: had } of vectors) {
    // vectors-trust.test.ts
    if (had !== undefined) continue;
    const bundle = join(dir, "bundle");
    writePatched(bundle, bases.get(base) as Map<string, Buffer>, patch);
    const folders = media.map((it) => join(bundle, it));
    const trust = fingerprint ? [`sha256:${fingerprint}`] : names.map((it) => join(root, "keys", `${it}.pub`));
    const options = { trust, now: new Date(at), ...(fingerprint === undefined && { threshold }) };
    const { ok, problems } = await verify(folders, { ...options, pool });
    const codes = problems.map((it) => it.code);
    if (ok !== (code === null) || (codes[0] ?? null) !== code)
      t.fail(`verify: ${id}: expected ${code}, got ${codes.join(" ")}`, { problems: problems.slice(0, 3) });
    else t.pass(id);
    // Each costs threads and syncs, and what refuses them is mostly the same code.
    const count = counts.get(code) ?? 0;
    counts.set(code, count + 1);
    if (["delta", "recipe", "large"].includes(base) || (count % 6 !== 0 && !id.startsWith("damaged-"))) continue;
    const store = join(dir, "store");
    const outcome = await unpack(folders, { ...options, store }).then(
      (it) => (it.complete ? null : "ERR_BUNDLE_INCOMPLETE"),
      (error: unknown) => (error instanceof AirferryError ? error.code : String(error)),
    );
    if (outcome !== code) t.fail(`unpack: ${id}: expected ${code}, got ${outcome}`);
    if (code !== null && existsSync(join(store, "releases/vectors/current"))) t.fail(`${id} is in the store`);
    rmSync(store, { recursive: true, force: true });
  }
});

t.test("unpack takes a set one medium after the other, also where entries end with a volume", async (t) => {
  const dir = scratch(t);
  const set = join(root, "bases/set");
  const options = { trust: [join(root, "keys/a.pub")], store: join(dir, "store"), now: new Date(AT) };
  for (const [index, order] of [
    [1, 2],
    [2, 1],
  ].entries()) {
    const store = join(dir, `store-${index}`);
    const [first, second] = order.map((it) => join(set, `medium-${it}-of-2`)) as [string, string];
    t.match(await unpack([first], { ...options, store }), {
      complete: false,
      missingMedia: [`medium-${order[1]}-of-2`],
    });
    t.match(await unpack([second], { ...options, store }), { complete: true });
  }
});
