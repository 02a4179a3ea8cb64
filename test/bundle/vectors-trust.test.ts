/** bundles/vectors: trust roots, and bundles that come into a store that had others. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { type Digest, digestOf } from "../../src/io/digest.ts";
import { type TrustFile, trustNameOf, verifyFirst } from "../../src/sign/trust-chain.ts";
import { settleTrust } from "../../src/sign/whom-to-trust.ts";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { scratch } from "../fixtures/program.ts";
import type { StoreState } from "../fixtures/vectors/cases.ts";
import type { TrustVector, Vector } from "../fixtures/vectors/make.ts";
import { bytesOf, type Written, writePatched } from "../fixtures/vectors/patch.ts";

const root = join(import.meta.dirname, "../../bundles/vectors");
const read = <T>(name: string) => JSON.parse(readFileSync(join(root, name), "utf8")) as T[];

/** Versions with their signatures, as a folder of them is read. */
function versionsIn(files: Record<string, Written>): TrustFile[] {
  const versions = new Map<number, TrustFile>();
  const named = Object.entries(files).map(([name, content]) => ({ name, bytes: bytesOf(content) }));
  for (const { name, bytes } of named) {
    const { version = 0, keyid16 } = trustNameOf(name) ?? {};
    if (keyid16 === undefined) versions.set(version, { version, path: name, bytes, signatures: [] });
  }
  for (const it of named) {
    const { version = 0, keyid16 } = trustNameOf(it.name) ?? {};
    if (keyid16 !== undefined) versions.get(version)?.signatures.push(it);
  }
  return [...versions.values()].sort((a, b) => a.version - b.version);
}

function newestOf({ fingerprint, stored, carried }: TrustVector): number | undefined {
  const had = versionsIn(stored);
  const newest = had.at(-1);
  const state = newest && {
    root: verifyFirst(newest),
    digests: new Map(had.map((it) => [it.version, digestOf(it.bytes)])),
  };
  const fingerprints = fingerprint === null ? [] : [`sha256:${fingerprint}` as Digest];
  const source = { threshold: 1, fingerprints, named: [], files: [] };
  return settleTrust(source, versionsIn(carried), state).root?.version;
}

t.test("versions of a trust root are followed, or refused, as the list says", async (t) => {
  const vectors = read<TrustVector>("trust.json");
  t.ok(vectors.filter((it) => it.code === null).length >= 15);
  t.ok(vectors.length >= 100);
  for (const it of vectors) {
    let outcome: string;
    try {
      outcome = `good ${newestOf(it)}`;
    } catch (error) {
      outcome = error instanceof AirferryError ? error.code : String(error);
    }
    t.equal(outcome, it.code ?? `good ${it.version}`, it.id);
  }
});

/** A store that had this. */
async function prepare(dir: string, { highest, newest, content = [] }: StoreState): Promise<void> {
  const store = await openStore(dir, { create: true });
  for (const text of content) {
    const path = store.blobPath(digestOf(text));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  if (highest === undefined) return;
  const { epoch, serial, sha256 } = highest;
  mkdirSync(join(dir, "releases/vectors"), { recursive: true });
  const floor = { epoch, serial, digest: `sha256:${sha256}`, created: newest };
  writeFileSync(join(dir, "releases/vectors/floor.json"), `${JSON.stringify(floor)}\n`);
}

t.test("a store takes in what its own state and the rules of a trust root allow", async (t) => {
  const dir = scratch(t);
  const store = join(dir, "store");
  const bundle = join(dir, "bundle");
  const vectors = read<Vector>("index.json").filter((it) => it.store !== undefined);
  t.ok(vectors.length >= 15);
  for (const { id, base, patch, media, at, code, trust: names, fingerprint, store: had = {} } of vectors) {
    const folder = join(root, "bases", base);
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((it) => it !== "signatures");
    writePatched(bundle, new Map(files.map((it) => [it, readFileSync(join(folder, it))])), patch);
    rmSync(store, { recursive: true, force: true });
    await prepare(store, had);
    const trust = fingerprint ? [`sha256:${fingerprint}`] : names.map((it) => join(root, "keys", `${it}.pub`));
    const folders = media.map((it) => join(bundle, it));
    const outcome = await unpack(folders, { trust, now: new Date(at), store }).then(
      (it) => (it.complete ? null : "ERR_BUNDLE_INCOMPLETE"),
      (error: unknown) => (error instanceof AirferryError ? error.code : String(error)),
    );
    t.equal(outcome, code, id);
  }
});
