/**
 * Takes symbols and debug information off a 64-bit little-endian ELF program, as `strip` does: 18 MB of Node's 127 that
 * nothing reads when it runs. Done here so that the result depends on no tool of the host, for any architecture.
 */

const SECTION_BYTES = 64;
/** Offsets in the file header. */
const E_SHOFF = 40;
const E_SHNUM = 60;
const E_SHSTRNDX = 62;
/** Offsets in a section header. */
const SH_TYPE = 4;
const SH_FLAGS = 8;
const SH_OFFSET = 24;
const SH_SIZE = 32;
const SHT_NOBITS = 8;
const SHF_ALLOC = 2n;

/**
 * Returns the program without the sections behind the last one that is loaded; the names of sections stay.
 * @throws when it is no such program
 */
export function stripElf(program: Buffer): Buffer {
  if (program.readUInt32BE(0) !== 0x7f454c46 || program[4] !== 2 || program[5] !== 1) {
    throw new Error("cannot strip the program: expected a 64-bit little-endian ELF file");
  }
  const start = Number(program.readBigUInt64LE(E_SHOFF));
  const sections = Array.from({ length: program.readUInt16LE(E_SHNUM) }, (_, index) =>
    Buffer.from(program.subarray(start + index * SECTION_BYTES, start + (index + 1) * SECTION_BYTES)),
  );
  const offsetOf = (it: Buffer) => Number(it.readBigUInt64LE(SH_OFFSET));
  const sizeOf = (it: Buffer) => Number(it.readBigUInt64LE(SH_SIZE));
  const last = sections.findLastIndex((it) => (it.readBigUInt64LE(SH_FLAGS) & SHF_ALLOC) !== 0n);
  const kept = sections.slice(0, last + 1);
  const end = Math.max(...kept.map((it) => offsetOf(it) + (it.readUInt32LE(SH_TYPE) === SHT_NOBITS ? 0 : sizeOf(it))));
  const names = sections[program.readUInt16LE(E_SHSTRNDX)];
  if (last < 0 || names === undefined) throw new Error("cannot strip the program: it has no sections");
  const text = program.subarray(offsetOf(names), offsetOf(names) + sizeOf(names));
  const padding = Buffer.alloc(-(end + text.length) & 7);
  const head = Buffer.from(program.subarray(0, end));
  names.writeBigUInt64LE(BigInt(end), SH_OFFSET);
  head.writeBigUInt64LE(BigInt(end + text.length + padding.length), E_SHOFF);
  head.writeUInt16LE(kept.length + 1, E_SHNUM);
  head.writeUInt16LE(kept.length, E_SHSTRNDX);
  return Buffer.concat([head, text, padding, ...kept, names]);
}
