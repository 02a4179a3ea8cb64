/**
 * Adds timestamps to the signatures of a bundle: asks an authority (RFC 3161) over HTTP, and keeps its reply beside
 * each signature. Only the digest of a signature leaves this host. docs/format.md, "Timestamps".
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { SIGNATURES_NAME } from "../bundle/media-names.ts";
import { readSignedRoot } from "../bundle/signatures.ts";
import { AirferryError } from "../errors.ts";
import { HttpClient } from "../http/client.ts";
import { AttemptFailure, upstreamError } from "../http/failure.ts";
import { writeAtomic } from "../io/atomic.ts";
import { digestOf } from "../io/digest.ts";
import { readSmall } from "../io/safe-open.ts";
import { MAX_SIGNATURE_BYTES } from "../sign/sigstore-bundle.ts";
import { SIGNATURE_SUFFIXES } from "../sign/stamped-signers.ts";
import { checkTimestamp, MAX_TIMESTAMP_BYTES, nonceOf, timestampQuery } from "../sign/timestamp.ts";

/**
 * Writes `<keyid16>.tsr` beside each of these signatures that has none, in every folder of the bundle; returns the
 * paths.
 * @throws {AirferryError} ERR_UPSTREAM when the authority does not answer, ERR_TIMESTAMP for a reply that is wrong
 */
export async function addTimestamps(bundle: string, keyids16: readonly string[], url: string): Promise<string[]> {
  const { folders } = await readSignedRoot(bundle);
  const replies = new Map<string, Buffer>();
  const written: string[] = [];
  for (const folder of folders) {
    for (const keyid16 of keyids16) {
      const place = join(folder, SIGNATURES_NAME);
      let signature: Buffer | undefined;
      for (const suffix of SIGNATURE_SUFFIXES) signature ??= await there(join(place, `${keyid16}.${suffix}`));
      const target = join(place, `${keyid16}.tsr`);
      if (signature === undefined || (await there(target)) !== undefined) continue;
      const digest = digestOf(signature);
      const reply = replies.get(digest) ?? (await askAuthority(url, signature));
      replies.set(digest, reply);
      await writeAtomic(target, reply);
      written.push(target);
    }
  }
  return written;
}

async function there(file: string): Promise<Buffer | undefined> {
  return readSmall(file, MAX_SIGNATURE_BYTES).catch((error: unknown) => {
    if (!(error instanceof AirferryError) || error.code !== "ERR_NOT_FOUND") throw error;
    return undefined;
  });
}

async function askAuthority(url: string, signature: Buffer): Promise<Buffer> {
  const nonce = nonceOf(randomBytes(8));
  const client = new HttpClient();
  try {
    const answer = await client.send({
      method: "POST",
      url,
      headers: { "content-type": "application/timestamp-query", accept: "application/timestamp-reply" },
      body: timestampQuery(signature, nonce),
      follow: false,
      maxBytes: MAX_TIMESTAMP_BYTES,
    });
    if (answer.status !== 200) throw upstreamError("ERR_UPSTREAM", url, `it answered ${answer.said}`, {});
    try {
      checkTimestamp(answer.body, signature, undefined, nonce);
    } catch (cause) {
      throw new AirferryError("ERR_TIMESTAMP", `cannot use the timestamp of "${url}": ${(cause as Error).message}`, {
        path: url,
        hint: "check that the URL is that of a timestamp authority (RFC 3161) with ESSCertIDv2 and SHA-256",
        cause,
      });
    }
    return answer.body;
  } catch (error) {
    throw error instanceof AttemptFailure ? error.error : error;
  } finally {
    client.close();
  }
}
