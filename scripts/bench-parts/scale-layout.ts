/**
 * A terabyte of which nobody hashes the content: sparse files with a lock, then a signed bundle and a store of them.
 * Real are the sizes, offsets, tar headers, volumes (sparse), digests of files and pieces (of zeros, which follow from
 * those of a shorter file), inventory and signatures. Made up are the digests of the volumes, so that what compares
 * them (verify, unpack) is not measured on it. Each step is this file, run by itself: the benchmark stays small.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { readInventory } from "../../src/bundle/read-inventory.ts";
import { parseVolumeSize } from "../../src/bundle/volume-layout.ts";
import { WorkFolder } from "../../src/bundle/work-folder.ts";
import { type Digest, digestOf, parseHex } from "../../src/io/digest.ts";
import { PIECE_BYTES } from "../../src/io/piece-digests.ts";
import { requestDigest } from "../../src/manifest/request.ts";
import { openJob } from "../../src/pack/job.ts";
import { layOutBundle } from "../../src/pack/lay-out.ts";
import { resolveManifest } from "../../src/pack/resolve.ts";
import { sealBundle } from "../../src/pack/seal.ts";
import { openWorkspace } from "../../src/pack/workspace.ts";
import { openSigners } from "../../src/sign/signer.ts";
import { formatLock, type Lock } from "../../src/sources/lock-document.ts";
import { importRelease } from "../../src/store/import-release.ts";
import { openNamedStore } from "../../src/store/object-store.ts";

const GIB = 1024 ** 3;
/** What a file has more than the one before it: none has the digest of another. */
const STEP_BYTES = 4096;
const TIME = "2026-01-01T00:00:00Z";

const pathOf = (index: number) => `z${index}`;
const sizeOf = (index: number) => GIB + index * STEP_BYTES;

/** SHA-256 of the files `z0`, `z1`, … in order: each continues the one before it. */
function digestsOfZeros(count: number): Digest[] {
  const hash = createHash("sha256");
  const zeros = new Uint8Array(PIECE_BYTES);
  for (let position = 0; position < GIB; position += PIECE_BYTES) hash.update(zeros);
  return Array.from({ length: count }, (_, index) => {
    if (index > 0) hash.update(zeros.subarray(0, STEP_BYTES));
    return parseHex(hash.copy().digest("hex")) as Digest;
  });
}

/** SHA-256 of every MiB of as many zeros. */
function piecesOfZeros(size: number): Uint8Array {
  const digest = (bytes: number) => createHash("sha256").update(new Uint8Array(bytes)).digest();
  const whole = digest(PIECE_BYTES);
  const pieces = Array.from({ length: Math.floor(size / PIECE_BYTES) }, () => whole);
  return Buffer.concat(size % PIECE_BYTES === 0 ? pieces : [...pieces, digest(size % PIECE_BYTES)]);
}

/** Sparse files, the manifest that names them, its lock, and a key. */
export async function makeSparse(dir: string, gib: number): Promise<void> {
  const digests = digestsOfZeros(gib);
  const entries: Lock["entries"] = digests.map((integrity, index) => {
    const path = pathOf(index);
    closeSync(openSync(join(dir, path), "w"));
    truncateSync(join(dir, path), sizeOf(index));
    const artifact = {
      path: `files/${path}`,
      file: path,
      size: sizeOf(index),
      integrity,
      established: "first-sight",
    } as const;
    return { kind: "file", name: path, request: requestDigest({ path }), artifacts: [artifact] };
  });
  const files = entries.map((it) => `- path: ${it.name}\n`).join("");
  writeFileSync(join(dir, "m.yaml"), `apiVersion: airferry/v1\nstream: bench\nfiles:\n${files}`);
  writeFileSync(join(dir, "m.lock.json"), formatLock({ lockVersion: 1, stream: "bench", time: TIME, entries }));
  const made = spawnSync(join(import.meta.dirname, "../airferry"), ["keygen", "--out", "site", "-q"], {
    cwd: dir,
    env: { ...process.env, AIRFERRY_PASSWORD: "bench" },
    encoding: "utf8",
  });
  if (made.status !== 0) throw new Error(`airferry keygen: ${made.stderr}`);
}

/** The bundle of these files, whose volumes are removed, and the store that it would become. */
export async function layOutSparse(dir: string): Promise<void> {
  const ran = spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", import.meta.filename, dir], {
    cwd: dir,
    encoding: "utf8",
  });
  if (ran.status !== 0) throw new Error(`cannot lay out: ${ran.stderr}`);
}

async function seal(): Promise<string> {
  await using workspace = await openWorkspace("m.yaml", { cacheDir: "cache" });
  const signers = await openSigners({ key: "site.key", passphrase: async () => "bench" });
  const { volumeSize } = parseVolumeSize("fat32");
  const options = { out: "bundles", signers, volumeSize, frozen: true, programs: [], concurrency: 4 };
  await using job = await openJob(workspace, options);
  const { lock } = await resolveManifest(workspace, { pinFirstSight: false, frozen: true });
  const plan = await layOutBundle(workspace, lock, volumeSize);
  mkdirSync("bundles");
  const work = await WorkFolder.open("bundles", plan, job.pool);
  const digests = new Map<string, Digest>();
  for (const item of plan.items) {
    if (item.source.from === "generated") {
      const bytes = await item.source.make((path) => digests.get(path) as Digest, item.path);
      item.digest = digestOf(bytes);
      await work.volumes.write(item.offset, bytes);
    } else {
      item.digest = item.integrity as Digest;
      digests.set(item.path, item.digest);
      work.pieces.set(item.digest, piecesOfZeros(item.size));
    }
    await work.writeFrame(item);
  }
  work.finishVolumes = async () => plan.volumes.map((it) => ({ ...it, digest: digestOf(it.name) }));
  const filled = { digestAt: (path: string) => digests.get(path), faults: [], cached: [] };
  const target = { serial: 1, path: join("bundles", "bench-000001"), held: undefined };
  const { bundle } = await sealBundle(job, { lock, plan, planner: undefined, work, filled }, target);
  await work.close();
  return bundle;
}

async function fillStore(bundle: string): Promise<void> {
  const file = join(bundle, "airferry.json");
  const sums = readFileSync(join(bundle, "SHA256SUMS"));
  const documentOf = (name: string) => ({
    name,
    file: join(bundle, name),
    digest: digestOf(readFileSync(join(bundle, name))),
  });
  const inventoryFile = documentOf("airferry.json");
  const inventory = await readInventory(file, inventoryFile.digest);
  const store = await openNamedStore("store", { create: true });
  for (const { digest, size, path } of inventory.entries) {
    const blob = store.blobPath(digest);
    mkdirSync(join(blob, ".."), { recursive: true });
    const isSidecar = path.includes(".sha256");
    const name = path.slice("files/".length).replace(/\.sha256.*$/, "");
    const of = inventory.entries.at(inventory.entries.find(`files/${name}`));
    const hex = of.digest.slice("sha256:".length);
    writeFileSync(blob, isSidecar ? (path.endsWith("sum") ? `${hex}  ${name}\n` : `${hex}\n`) : "");
    truncateSync(blob, size);
  }
  const dir = join("store", "incoming", "bench");
  mkdirSync(dir, { recursive: true });
  const signatures = readdirSync(join(bundle, "signatures")).map((name) => ({
    name,
    bytes: readFileSync(join(bundle, "signatures", name)),
  }));
  const incoming = { dir } as Parameters<typeof importRelease>[1];
  await importRelease(store, incoming, {
    packages: undefined,
    inventory,
    sums,
    signatures,
    trust: [{ name: "site.pub", pem: readFileSync("site.pub", "utf8") }],
    documents: [inventoryFile, documentOf("data.pieces")],
    record: {
      digest: digestOf(sums),
      importedAt: TIME,
      signers: [],
      threshold: 1,
      media: [],
      host: "bench",
      tool: "bench",
      written: 0,
    },
  });
  rmSync(dir, { recursive: true });
}

if (import.meta.main) {
  const bundle = await seal();
  // Nobody may take them for right: only their names and sizes are.
  for (const name of readdirSync(bundle)) if (name.startsWith("data.tar.")) rmSync(join(bundle, name));
  await fillStore(bundle);
}
