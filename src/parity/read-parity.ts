/**
 * Reads recovery files: the packets whose own checksum is right, wherever they begin, so that a damaged recovery file
 * still gives what is left of it. Their checksum is no proof of origin. So every number is compared with its limits,
 * and whoever rebuilds a file compares its SHA-256 with a signed one.
 */
import { hash } from "node:crypto";
import { stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { BLOCK_SUM_BYTES, compareFileIds, fileIdOf, MAX_BLOCKS, MAX_RECOVERY_BLOCKS, PACKET_TYPES } from "./packets.ts";
import type { ParityPool } from "./parity-pool.ts";
import type { FoundPacket } from "./parity-worker.ts";

/** A file of a set. */
interface SetFile {
  /** As it is written there: compare it with names that are known, and use it for nothing else. */
  name: string;
  size: number;
  /** MD5 and CRC-32 of each block. */
  sums: Uint8Array;
  /** Number of its first block in the set. */
  firstBlock: number;
}

/** A set of files and the recovery blocks that were found. */
export interface ParitySet {
  blockSize: number;
  /** In the order in which the set counts their blocks. */
  files: SetFile[];
  blocks: number;
  /** By exponent, each once: where its data begins. */
  slices: { exponent: number; file: string; offset: number }[];
}

/** Packets of all files, and bytes of these, but repeated ones. A set of ours has a hundredth of it. */
const MAX_PACKETS = 500_000;
const MAX_KEPT_BYTES = 256 * 1024 * 1024;

/** A packet and the file that it is in. */
export type PlacedPacket = FoundPacket & { file: string };

/**
 * Reads recovery files, and returns the sets that are described completely. Of several packets for the same thing the
 * one in the first file counts.
 * @throws {AirferryError} ERR_NOT_FOUND or ERR_IO when a file cannot be opened, ERR_PATH_UNSAFE for a link or device;
 *   ERR_SIZE_LIMIT for more than any bundle has
 */
export async function readParity(files: readonly string[], pool: ParityPool): Promise<ParitySet[]> {
  const found = files.map((): PlacedPacket[] => []);
  // Every recovery file repeats what describes the set.
  const known = new Set<string>();
  let count = 0;
  let kept = 0;
  await pool.each(files.entries(), async ([index, file], run) => {
    const { packets } = await run({ type: "scan", file, size: (await stat(file)).size });
    for (const it of packets ?? []) {
      const isSlice = it.type === PACKET_TYPES.slice;
      const id = isSlice ? "" : `${it.setId} ${it.type} ${hash("sha256", it.body, "base64")}`;
      if (known.has(id)) continue;
      if (!isSlice) known.add(id);
      count++;
      kept += it.body.length;
      if (count > MAX_PACKETS || kept > MAX_KEPT_BYTES) throw tooMuch(file);
      found[index]?.push({ ...it, file });
    }
  });
  return paritySets(found.flat());
}

function tooMuch(file: string): AirferryError {
  const fault = `more than ${MAX_PACKETS} different packets, or ${MAX_KEPT_BYTES / 1024 / 1024} MiB of them`;
  return new AirferryError("ERR_SIZE_LIMIT", `cannot read recovery files, as "${file}": ${fault}`, {
    path: file,
    hint: "give only the recovery files of this bundle with --from, or leave out those that somebody else made",
  });
}

/** The sets that packets describe completely. */
export function paritySets(packets: readonly PlacedPacket[]): ParitySet[] {
  const bySet = new Map<string, PlacedPacket[]>();
  for (const it of packets) {
    const known = bySet.get(it.setId);
    if (known === undefined) bySet.set(it.setId, [it]);
    else known.push(it);
  }
  return [...bySet].flatMap(([setId, own]) => setOf(setId, own) ?? []);
}

function setOf(setId: string, packets: readonly PlacedPacket[]): ParitySet | undefined {
  const main = packets.find((it) => it.type === PACKET_TYPES.main && hash("md5", it.body, "hex") === setId);
  const body = bytesOf(main);
  if (body === undefined || body.length < 12) return undefined;
  const blockSize = Number(body.readBigUInt64LE(0));
  const count = body.readUInt32LE(8);
  if (!Number.isSafeInteger(blockSize) || blockSize === 0 || blockSize % 4 !== 0) return undefined;
  if (count === 0 || count > MAX_BLOCKS || body.length < 12 + 16 * count) return undefined;
  const ids = Array.from({ length: count }, (_, index) => body.subarray(12 + 16 * index, 28 + 16 * index));
  if (ids.some((id, index) => index > 0 && compareFileIds(ids[index - 1] as Buffer, id) >= 0)) return undefined;
  const described = byFile(packets, PACKET_TYPES.file);
  const summed = byFile(packets, PACKET_TYPES.blocks);
  const files: SetFile[] = [];
  let blocks = 0;
  for (const id of ids) {
    const file = describedFile(id, described.get(id.toString("hex")));
    const sums = summed.get(id.toString("hex"))?.subarray(16);
    if (file === undefined || sums === undefined) return undefined;
    const own = Math.ceil(file.size / blockSize);
    if (sums.length !== own * BLOCK_SUM_BYTES || blocks + own > MAX_BLOCKS) return undefined;
    files.push({ ...file, sums, firstBlock: blocks });
    blocks += own;
  }
  return { blockSize, files, blocks, slices: slicesOf(packets, blockSize) };
}

function describedFile(id: Buffer, body: Buffer | undefined): { name: string; size: number } | undefined {
  if (body === undefined || body.length <= 56) return undefined;
  const size = Number(body.readBigUInt64LE(48));
  const text = body.subarray(56);
  const end = text.indexOf(0);
  const name = text.toString("utf8", 0, end < 0 ? text.length : end);
  if (!Number.isSafeInteger(size) || !fileIdOf({ name, size, md5Of16k: body.subarray(32, 48) }).equals(id))
    return undefined;
  return { name, size };
}

/** Packets about files, by the id that they begin with. */
function byFile(packets: readonly PlacedPacket[], type: string): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const it of packets) {
    const body = bytesOf(it);
    if (it.type !== type || body === undefined || body.length < 16) continue;
    const id = body.toString("hex", 0, 16);
    if (!found.has(id)) found.set(id, body);
  }
  return found;
}

function slicesOf(packets: readonly PlacedPacket[], blockSize: number): ParitySet["slices"] {
  const found = new Map<number, ParitySet["slices"][number]>();
  for (const it of packets) {
    const body = bytesOf(it);
    if (it.type !== PACKET_TYPES.slice || it.length !== 4 + blockSize || body?.length !== 4) continue;
    const exponent = body.readUInt32LE(0);
    if (exponent < MAX_RECOVERY_BLOCKS && !found.has(exponent))
      found.set(exponent, { exponent, file: it.file, offset: it.offset + 4 });
  }
  return [...found.values()].sort((a, b) => a.exponent - b.exponent);
}

function bytesOf(packet: FoundPacket | undefined): Buffer | undefined {
  const body = packet?.body;
  return body && Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}
