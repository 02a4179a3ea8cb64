/**
 * `x.state.json` next to the manifest: the serial of the stream and what was packed last. Losing it breaks the serial
 * chain, not a bundle.
 */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { ifThere, writeAtomic } from "../io/atomic.ts";
import { hexOf } from "../io/digest.ts";
import { hexDigestSchema, parseOwn } from "../io/own-file.ts";

const schema = z.strictObject({
  stream: z.string(),
  serial: z.int().min(0),
  previous: z
    .strictObject({ serial: z.int(), sha256: hexDigestSchema })
    .transform(({ serial, sha256 }) => ({ serial, digest: sha256 })),
  last: z.strictObject({
    lock: hexDigestSchema,
    name: z.string(),
    digest: hexDigestSchema,
    volumeSize: z.int(),
    volumesPerMedium: z.int().optional(),
    parity: z.int().optional(),
    paritySet: z.int().optional(),
    /** What the far side had, which was left out. */
    delta: z.string().optional(),
  }),
});

export type State = z.output<typeof schema>;

/**
 * Undefined when nothing was packed yet.
 * @throws {AirferryError} ERR_LOCK_INVALID when airferry did not write it like this
 */
export async function readState(file: string): Promise<State | undefined> {
  const text = await ifThere(file, readFile(file, "utf8"));
  if (text === undefined) return undefined;
  const hint = "remove it and give the next serial with --serial";
  return parseOwn(schema, text, { file, what: "state", code: "ERR_LOCK_INVALID", hint });
}

export async function writeState(file: string, { previous, last, ...state }: State): Promise<void> {
  const written = {
    ...state,
    previous: { serial: previous.serial, sha256: hexOf(previous.digest) },
    last: { ...last, lock: hexOf(last.lock), digest: hexOf(last.digest) },
  };
  await writeAtomic(file, `${JSON.stringify(written, null, 1)}\n`);
}
