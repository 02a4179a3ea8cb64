/**
 * Opens bzip2 data with seek-bzip. The decoder pushes single bytes; they are gathered into pieces here, and a file that ends
 * between two blocks, which the decoder takes for complete, is refused.
 */
import Bunzip from "seek-bzip";

/** Most that is held before a piece is handed out: the decoder cannot be paused within a file. */
const PIECE_BYTES = 1024 * 1024;
const STREAM_END = 0x177245385090n;

/** Thrown by the output's guard. */
class Enough extends Error {}

/**
 * Returns the open bytes in pieces.
 * @param maxBytes decoding stops soon after so many bytes; what came until then is returned
 */
export function decodeBzip2(bytes: Uint8Array, maxBytes = Number.POSITIVE_INFINITY): Buffer[] {
  const pieces: Buffer[] = [];
  let piece = Buffer.allocUnsafe(PIECE_BYTES);
  let used = 0;
  let position = 0;
  const input = {
    readByte(): number {
      const byte = bytes[position++];
      if (byte === undefined) throw new Error("the data ends early");
      return byte;
    },
    read(buffer: Uint8Array, offset: number, length: number): number {
      for (let i = 0; i < length; i++) buffer[offset + i] = input.readByte();
      return length;
    },
    seek(to: number): void {
      position = to;
    },
    eof: (): boolean => position >= bytes.length,
  };
  const output = {
    writeByte(byte: number): void {
      piece[used++] = byte;
      if (used < PIECE_BYTES) return;
      pieces.push(piece);
      if (pieces.length * PIECE_BYTES > maxBytes) throw new Enough();
      piece = Buffer.allocUnsafe(PIECE_BYTES);
      used = 0;
    },
  };
  // Bundled, the library no longer stands in node_modules, and Node would warn people about its `new Buffer`.
  const { noDeprecation } = process;
  process.noDeprecation = true;
  try {
    Bunzip.decode(input, output, true);
  } catch (error) {
    if (error instanceof Enough) return pieces;
    throw error;
  } finally {
    if (noDeprecation === undefined) delete process.noDeprecation;
    else process.noDeprecation = noDeprecation;
  }
  if (!endsWithStreamEnd(bytes)) throw new Error("the data ends early");
  pieces.push(piece.subarray(0, used));
  return pieces;
}

/** The last thing in a stream: 48 bits that say so, a 32-bit checksum, and up to 7 bits to fill the byte. */
function endsWithStreamEnd(bytes: Uint8Array): boolean {
  if (bytes.length < 14) return false;
  const tail = BigInt(`0x${Buffer.from(bytes.subarray(-11)).toString("hex")}`);
  for (let fill = 0n; fill < 8n; fill++) {
    if (((tail >> (32n + fill)) & 0xffffffffffffn) === STREAM_END) return true;
  }
  return false;
}
