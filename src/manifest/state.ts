/**
 * `x.state.json` beside the manifest: the serial of the stream and what was packed last. Losing it costs a serial chain,
 * not a bundle.
 */

import { readFile } from "node:fs/promises";
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { writeAtomic } from "../io/atomic.ts";
import { parseJson } from "../io/json.ts";

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const schema = z.strictObject({
  stream: z.string(),
  serial: z.int().min(0),
  previous: z.strictObject({ serial: z.int(), sha256: hex }),
  last: z.strictObject({
    lock: hex,
    name: z.string(),
    digest: hex,
    volumeSize: z.int(),
    volumesPerMedium: z.int().optional(),
  }),
});

export type State = z.infer<typeof schema>;
/** The last finished bundle: its lock's digest, folder name, digest of SHA256SUMS, and how it was cut. */
export type Packed = State["last"];

/** Undefined when nothing was packed yet. */
export async function readState(file: string): Promise<State | undefined> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return schema.parse(parseJson(text));
  } catch (cause) {
    throw new AirferryError("ERR_LOCK_INVALID", `cannot read state "${file}": not what airferry writes`, {
      path: file,
      hint: "remove it and give the next serial with --serial",
      cause,
    });
  }
}

export async function writeState(file: string, state: State): Promise<void> {
  await writeAtomic(file, `${JSON.stringify(state, null, 1)}\n`);
}
