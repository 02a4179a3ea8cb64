/**
 * The flags of V8 that the program sets while it runs. V8 takes compiled code only under the flags that it was compiled
 * under, so the single file sets these back while it loads code (scripts/build-binary-parts/loader.ts): only flags that
 * do not change what is compiled belong here.
 */
import { setFlagsFromString } from "node:v8";

/** Each flag, and what sets it back to V8's default. */
export const V8_FLAGS = {
  "--expose-gc": "--no-expose-gc",
  "--semi-space-growth-factor=1": "--semi-space-growth-factor=2",
  "--heap-growing-percent=20": "--heap-growing-percent=0",
  // Marking in small steps keeps pauses short, which does not matter here, while dead buffers pile up.
  "--no-incremental-marking": "--incremental-marking",
} as const;

/** Sets flags for all threads of this process, from now on. */
export function setV8Flags(...flags: readonly (keyof typeof V8_FLAGS)[]): void {
  for (const flag of flags) setFlagsFromString(flag);
}

/** Sets flags back to V8's defaults. */
export function resetV8Flags(...flags: readonly (keyof typeof V8_FLAGS)[]): void {
  for (const flag of flags) setFlagsFromString(V8_FLAGS[flag]);
}
