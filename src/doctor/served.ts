/**
 * What the server claims to hold: its `/index.json`, the basis of the content checks. See docs/serve.md, "Index".
 */

import { z } from "zod";
import { parseJson } from "../io/json.ts";
import { digestSchema } from "../io/own-file.ts";
import { type DoctorClient, firstLines } from "./doctor-client.ts";
import { Remedy } from "./remedy.ts";

const MEDIA_TYPE = "application/vnd.airferry.index.v1+json";
const MAX_INDEX_BYTES = 256 * 1024 * 1024;

/** Appended to the server's address; never a separate URL. */
const path = z.string().regex(/^\//);
const file = { stream: z.string(), path, size: z.number().int().min(0), digest: digestSchema };

/** Additional keys of a newer server are ignored. */
const index = z.object({
  mediaType: z.literal(MEDIA_TYPE),
  releases: z.array(z.object({ stream: z.string(), serial: z.number(), notAfter: z.string().optional() })),
  isos: z.array(z.object({ ...file, name: z.string(), tree: path.optional(), installable: z.boolean() })),
  repositories: z.array(z.object({ id: z.string(), path, repoGpgcheck: z.boolean(), keys: z.array(path) })),
  files: z.array(z.object(file)),
  images: z.array(
    z.object({
      reference: z.string(),
      repository: z.string(),
      tag: z.string().optional(),
      digest: digestSchema,
      tags: z.record(z.string(), digestSchema).optional(),
    }),
  ),
  keys: z.array(z.object({ ...file, fingerprints: z.array(z.string()) })),
  builders: z.array(z.object({ stream: z.string(), flavor: z.enum(["spectro-capi", "image-builder"]) })),
});

/** A server's index, as far as doctor reads it. */
export type Served = z.infer<typeof index>;

/** Reads the index. @throws {Remedy} when there is none, or it is of another version */
export async function readServed(client: DoctorClient): Promise<Served> {
  const answer = await client.get("/index.json", MAX_INDEX_BYTES);
  const update = "is this an airferry server? this version needs /index.json: update the server";
  if (answer.status !== 200) {
    throw new Remedy(`/index.json answers ${answer.status}: ${firstLines(answer.body)}`, update);
  }
  let value: unknown;
  try {
    value = parseJson(answer.body.toString("utf8"));
  } catch {
    throw new Remedy("/index.json is not JSON", update);
  }
  const parsed = index.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Remedy(`/index.json is not ${MEDIA_TYPE}: ${issue?.path.join(".")}: ${issue?.message}`, update);
  }
  return parsed.data;
}
