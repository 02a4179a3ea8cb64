/** The type of a fuzz target, and helpers of their files. */
import type { RandomAccess } from "../../../src/io/types.ts";

/** One parser of foreign bytes. A run that ends in anything but an AirferryError is a crash. */
export interface Target {
  /** Small inputs to start from; mutations follow. */
  samples: (string | Buffer)[];
  /** Throws an AirferryError for what it refuses; returns or resolves otherwise. */
  run(data: Buffer): unknown;
  /** Longest input; default 64 KiB. */
  maxBytes?: number;
  /** Most processor time of a run, counters included; default 1000 ms. */
  maxMs?: number;
  /** Most memory that a run may leave behind, heap and buffers: 256 MiB where nothing is said. */
  maxMiB?: number;
}

export type Targets = Record<string, Target>;

export const HEX = "0123456789abcdef".repeat(4);
export const DIGEST = `sha256:${HEX}` as const;
export const text = (data: Uint8Array): string => Buffer.from(data).toString("utf8");

/** Bytes as a file that `before` virtual zeros precede. */
export function inMemory(bytes: Uint8Array, before = 0): RandomAccess {
  return {
    size: before + bytes.length,
    read: async (position, length) => {
      const at = position - before;
      if (at >= 0) return bytes.subarray(at, at + length);
      const zeros = Buffer.alloc(Math.min(length, -at));
      return Buffer.concat([zeros, bytes.subarray(0, Math.max(0, length - zeros.length))]);
    },
  };
}

/** A property of what was accepted; its failure is a crash. */
export function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`violated: ${what}`);
}
