/** A locked entry of `web:` in the lock: the bodies as artifacts, and the answers that they belong to. */
import { z } from "zod";
import { digestSchema } from "../io/own-file.ts";
import { lockedEntry } from "./locked-artifact.ts";

const lockedAnswer = z.strictObject({
  headers: z.record(z.string(), z.string()),
  method: z.enum(["GET", "HEAD"]),
  /** Path of the artifact that is its body; absent when that is empty. */
  path: z.string().exactOptional(),
  status: z.int(),
  url: z.string(),
  vary: z
    .strictObject({ accept: z.string().exactOptional(), "accept-language": z.string().exactOptional() })
    .exactOptional(),
});

const lockedRepository = z.strictObject({
  format: z.enum(["sha1", "sha256"]),
  head: z.string().exactOptional(),
  /** Path of the artifact that is its pack; absent if there are no objects. */
  path: z.string().exactOptional(),
  refs: z.array(z.strictObject({ name: z.string(), oid: z.string(), peeled: z.string().exactOptional() })),
  url: z.string(),
});

const webDetail = z.strictObject({
  /** Sorted by URL, method and variant. */
  answers: z.array(lockedAnswer),
  /** Git repositories. */
  git: z.array(lockedRepository).exactOptional(),
  /** SHA-256 of `answers.jsonl` as it was read, and of `git.jsonl`: when it changes, the recording is read again. */
  recording: digestSchema.exactOptional(),
});

export const lockedWeb = lockedEntry("web", "web/").extend({ detail: webDetail });
