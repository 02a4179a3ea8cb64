/**
 * The buffers that large responses are read into and written from. They are few, large and reused, so that memory stays
 * flat: when many clients are busy, each gets smaller ones. See docs/serve.md, "Large and small files".
 */
const KIB = 1024;

/** Size classes, largest first, with the bytes that may be lent out in all before the class is skipped. */
const CLASSES = [
  { size: 1024 * KIB, pair: true, budget: 16 * 1024 * KIB },
  { size: 256 * KIB, pair: true, budget: 24 * 1024 * KIB },
  { size: 64 * KIB, pair: false, budget: Number.POSITIVE_INFINITY },
] as const;
const MAX_SPARE_BYTES = 8 * 1024 * KIB;

/** Two buffers of one size (the second may be the first again): one is read into while the other is written out. */
export interface BufferPair {
  readonly first: Uint8Array;
  readonly second: Uint8Array;
}

let lent = 0;
let spareBytes = 0;
const spares = new Map<number, Uint8Array[]>();

/** Takes buffers for one response of `length` bytes: the largest class that the present load allows and the length needs. */
export function takeBuffers(length: number): BufferPair {
  const index = CLASSES.findIndex((c, i) => {
    const cost = c.pair ? 2 * c.size : c.size;
    const next = CLASSES[i + 1];
    return lent + cost <= c.budget && (next === undefined || length > next.size);
  });
  const { size, pair } = CLASSES[index === -1 ? CLASSES.length - 1 : index]!;
  const first = take(size);
  return { first, second: pair && length > size ? take(size) : first };
}

/**
 * Gives buffers back for the next response. Only after every write from them has been taken by the socket: of a response
 * that was cut off nobody can tell, so its buffers go through {@link dropBuffers}.
 */
export function returnBuffers(buffers: BufferPair): void {
  giveBack(buffers.first);
  if (buffers.second !== buffers.first) giveBack(buffers.second);
}

/** Leaves buffers to the garbage collector. */
export function dropBuffers(buffers: BufferPair): void {
  lent -= buffers.first.length;
  if (buffers.second !== buffers.first) lent -= buffers.second.length;
}

function take(size: number): Uint8Array {
  lent += size;
  const spare = spares.get(size)?.pop();
  if (spare === undefined) return Buffer.allocUnsafeSlow(size);
  spareBytes -= size;
  return spare;
}

function giveBack(buffer: Uint8Array): void {
  lent -= buffer.length;
  if (spareBytes + buffer.length > MAX_SPARE_BYTES) return;
  const list = spares.get(buffer.length);
  if (list === undefined) spares.set(buffer.length, [buffer]);
  else list.push(buffer);
  spareBytes += buffer.length;
}
