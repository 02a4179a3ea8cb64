/** One signature packet, read by a call that openpgp has and does not promise: an update that changes it shows here. */
import { SignaturePacket } from "openpgp";
import t from "tap";
import { readSignatures } from "../../src/sign/openpgp-packets.ts";

const CREATED = new Date("2026-03-04T05:06:07Z");

/** A version 4 signature packet, RSA with SHA-256, as RFC 9580 5.2.3 lays it out. */
function signature(mpi = Buffer.from([0x00, 0x08, 0xa5])): Buffer {
  const time = Buffer.alloc(4);
  time.writeUInt32BE(CREATED.getTime() / 1000);
  const hashed = Buffer.concat([Buffer.from([5, 2]), time]);
  const unhashed = Buffer.from([9, 16, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
  const body = Buffer.concat([
    Buffer.from([4, 0, 1, 8, 0, hashed.length]),
    hashed,
    Buffer.from([0, unhashed.length]),
    unhashed,
    Buffer.from([0xbe, 0xef]),
    mpi,
  ]);
  return Buffer.concat([Buffer.from([0xc2, body.length]), body]);
}

t.test(
  "readSignatures() reads a packet with SignaturePacket's own read(), whose types lack the configuration",
  async (t) => {
    t.type(Reflect.get(SignaturePacket.prototype, "read"), "function");
    const skipped: string[] = [];
    const [read, ...more] = readSignatures(signature(), (reason) => skipped.push(reason));
    t.strictSame(skipped, []);
    t.strictSame(more, []);
    t.match(read, { version: 4, type: 0, algorithm: 1, hash: 8, created: CREATED, keyid: "0123456789ABCDEF" });
    t.strictSame(Buffer.from(read?.material ?? []), Buffer.from([0x00, 0x08, 0xa5]));
  },
);

t.test("readSignatures() reports what read() throws", async (t) => {
  const cut = signature().subarray(0, 12);
  cut[1] = cut.length - 2;
  const skipped: string[] = [];
  t.strictSame(
    readSignatures(cut, (reason) => skipped.push(reason)),
    [],
  );
  t.equal(skipped.length, 1);
});
