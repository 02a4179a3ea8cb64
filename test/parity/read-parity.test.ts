/** Recovery files are hostile until the file that they rebuild has its digest. */
import { hash } from "node:crypto";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { PACKET_TYPES, setPackets } from "../../src/parity/packets.ts";
import { ParityPool } from "../../src/parity/parity-pool.ts";
import { readParity } from "../../src/parity/read-parity.ts";
import { noise, protect, withPool } from "../fixtures/parity.ts";
import { refusalOf } from "../fixtures/refusal.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";

const root = t.testdir();
writeFileSync(join(root, "data.tar.0000"), noise(60_000));
const good = protect(root, ["data.tar.0000"], 20, "data.0000").then(() => readFileSync(join(root, "data.0000.par2")));
let count = 0;

/** The sets in a file of these bytes. */
function setsIn(...bytes: Uint8Array[]) {
  const file = join(root, `${count++}.par2`);
  writeFileSync(file, Buffer.concat(bytes));
  return withPool((pool) => readParity([file], pool));
}

function packet(setId: Buffer, type: string, body: Buffer): Buffer {
  const rest = Buffer.concat([setId, Buffer.from(type.padEnd(16, "\0"), "latin1"), body]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(rest.length + 32));
  return Buffer.concat([Buffer.from("PAR2\0PKT"), length, hash("md5", rest, "buffer"), rest]);
}

/** A set whose main packet says this, with the description of a file that it may name. */
function withMain(blockSize: bigint, count: number, ids: Buffer[], ...more: (readonly [string, Buffer])[]): Buffer {
  const body = Buffer.alloc(12);
  body.writeBigUInt64LE(blockSize);
  body.writeUInt32LE(count, 8);
  const main = Buffer.concat([body, ...ids]);
  const setId = hash("md5", main, "buffer");
  return Buffer.concat([packet(setId, "PAR 2.0\0Main", main), ...more.map(([type, it]) => packet(setId, type, it))]);
}

t.test("a good file has one set", async (t) => {
  const [set, ...others] = await setsIn(await good);
  t.match(set, { blockSize: 4096, blocks: 15, files: [{ name: "data.tar.0000", size: 60_000, firstBlock: 0 }] });
  t.strictSame(
    set?.slices.map((it) => it.exponent),
    [0, 1, 2],
  );
  t.equal(others.length, 0);
});

t.test("packets are found wherever they begin, and only once", async (t) => {
  const bytes = await good;
  const [set] = await setsIn(noise(1001), bytes, noise(7), bytes, noise(300_001), bytes);
  t.equal(set?.slices.length, 3);
  for (const it of set?.slices ?? []) {
    const file = readFileSync(it.file);
    t.equal(file.readUInt32LE(it.offset - 4), it.exponent);
  }
});

t.test("mutated files give what is whole in them, and nothing else", async (t) => {
  const bytes = await good;
  const random = seeded(17);
  await withPool(async (pool) => {
    for (let round = 0; round < 150; round++) {
      let spoilt = mutated(bytes, random);
      for (let more = random(8); more > 0; more--) spoilt = mutated(spoilt, random);
      const file = join(root, "mutated.par2");
      writeFileSync(file, spoilt.subarray(0, random(4) === 0 ? random(spoilt.length) : spoilt.length));
      for (const { slices, blockSize, blocks } of await readParity([file], pool)) {
        if (blockSize !== 4096 || blocks !== 15) t.fail(`round ${round}: ${blockSize}, ${blocks}`);
        for (const it of slices) {
          const at = bytes.indexOf(spoilt.subarray(it.offset - 4, it.offset + blockSize));
          if (at < 0) t.fail(`round ${round}: a recovery block that was never written`);
        }
      }
    }
  });
  t.pass();
});

t.test("packets with a right checksum and wrong numbers are no set", async (t) => {
  const id = noise(16);
  const file = (size: bigint, name: string) => {
    const body = Buffer.alloc(56);
    body.writeBigUInt64LE(size, 48);
    const own = hash("md5", Buffer.concat([body.subarray(32, 56), Buffer.from(name)]), "buffer");
    own.copy(body);
    return {
      own,
      packet: ["PAR 2.0\0FileDesc", Buffer.concat([body, Buffer.from(`${name}\0\0\0\0`.slice(0, 16))])] as const,
    };
  };
  const sums = (own: Buffer, blocks: number) =>
    ["PAR 2.0\0IFSC", Buffer.concat([own, Buffer.alloc(20 * blocks)])] as const;
  const name = "data.tar.0000...";
  const { own, packet } = file(8000n, name);
  t.equal((await setsIn(withMain(4000n, 1, [own], packet, sums(own, 2)))).length, 1, "this one is");
  const huge = file(2n ** 62n, name);
  const many = file(4n * 40_000n, name);
  const cases: Record<string, Buffer> = {
    "no blocks at all": withMain(0n, 1, [own], packet, sums(own, 2)),
    "blocks of 3 bytes": withMain(3n, 1, [own], packet, sums(own, 2)),
    "blocks of 2^63 bytes": withMain(2n ** 63n, 1, [own], packet, sums(own, 1)),
    "more files than ids": withMain(4000n, 2, [own], packet, sums(own, 2)),
    "four billion files": withMain(4000n, 2 ** 32 - 1, [own], packet, sums(own, 2)),
    "the same file twice": withMain(4000n, 2, [own, own], packet, sums(own, 2)),
    "a file that is not described": withMain(4000n, 1, [id], packet, sums(own, 2)),
    "a file without checksums": withMain(4000n, 1, [own], packet),
    "too few checksums": withMain(4000n, 1, [own], packet, sums(own, 1)),
    "too many checksums": withMain(4000n, 1, [own], packet, sums(own, 3)),
    "an exbibyte in one block": withMain(2n ** 52n, 1, [huge.own], huge.packet, sums(huge.own, 1024)),
    "40,000 blocks": withMain(4n, 1, [many.own], many.packet, sums(many.own, 40_000)),
    "a main packet of nothing": withMain(4000n, 0, []),
  };
  for (const [what, bytes] of Object.entries(cases)) t.equal((await setsIn(bytes)).length, 0, what);
});

t.test("claims of long packets cost no more than a long file", async (t) => {
  const size = 8 * 1024 * 1024;
  const claims = Buffer.alloc(size);
  for (let at = 0; at + 64 <= size; at += 64) {
    claims.write("PAR2\0PKT", at, "latin1");
    claims.writeBigUInt64LE(BigInt(size - at), at + 8);
  }
  const before = process.cpuUsage();
  const { bytes } = { bytes: await good };
  const sets = await setsIn(claims, bytes);
  const { user, system } = process.cpuUsage(before);
  t.ok(sets.length <= 1);
  t.ok((user + system) / 1e6 < 10, `${(user + system) / 1e6} s`);
});

t.test("a link is not followed", async (t) => {
  mkdirSync(join(root, "links"));
  symlinkSync(join(root, "data.0000.par2"), join(root, "links/x.par2"));
  await good;
  await t.rejects(
    withPool((pool) => readParity([join(root, "links/x.par2")], pool)),
    { code: "ERR_PATH_UNSAFE" },
  );
});

t.test("a set is described in the order of its ids, whatever the order of the files", async (t) => {
  const file = (name: string) => ({ name, size: 4096, md5: noise(16), md5Of16k: noise(16), sums: noise(20) });
  const files = Array.from({ length: 20 }, (_, index) => file(`data.tar.${index}`));
  const set = setPackets(files, 4096);
  t.ok(set.packets.equals(setPackets([...files].reverse(), 4096).packets));
  const [read] = await setsIn(set.packets);
  t.strictSame(
    read?.files.map((it) => it.name),
    set.files.map((it) => it.name),
  );
});

t.test("of many hostile files only so much is kept, and repeated packets count once", async (t) => {
  await good;
  const file = join(root, "data.0000.par2");
  class Fake extends ParityPool {
    different = 0;
    override async run() {
      const body = Buffer.alloc(60 * 1024 * 1024);
      body.writeUInt32LE(this.different++ % this.most);
      return { packets: [{ setId: "0".repeat(32), type: PACKET_TYPES.file, body, offset: 64, length: body.length }] };
    }
    most = 2;
  }
  const pool = new Fake();
  t.strictSame(await readParity([file, file, file, file, file], pool), []);
  pool.most = 5;
  t.match(await refusalOf(readParity([file, file, file, file, file], pool)), {
    code: "ERR_SIZE_LIMIT",
    message: /^cannot read recovery files, as ".*": more than /,
  });
  await pool.close();
});
