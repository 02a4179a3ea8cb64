/** Memory that threads share. */

/** Bytes that are all zero, or start as others. */
export function sharedBytes(size: number, start?: Uint8Array): Buffer<SharedArrayBuffer> {
  const bytes = Buffer.from(new SharedArrayBuffer(size));
  if (start !== undefined) bytes.set(start);
  return bytes;
}

/** The same of numbers of 32 bits. */
export function sharedWords(count: number, start?: Uint32Array): Uint32Array<SharedArrayBuffer> {
  const words = new Uint32Array(new SharedArrayBuffer(Uint32Array.BYTES_PER_ELEMENT * count));
  if (start !== undefined) words.set(start);
  return words;
}

/** The same of numbers of 64 bits. */
export function sharedNumbers(count: number, start?: Float64Array): Float64Array<SharedArrayBuffer> {
  const numbers = new Float64Array(new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT * count));
  if (start !== undefined) numbers.set(start);
  return numbers;
}

/** The same memory, with what a Buffer can do: in a message that is lost. */
export function bufferOf(bytes: Uint8Array<SharedArrayBuffer>): Buffer<SharedArrayBuffer> {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
