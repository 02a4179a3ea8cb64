/** What the server of a rehearsal was asked for: its access log, by host. */
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

const FAILED = 400;

/** The answers to one host's clients. */
export interface AskedHost {
  /** `HOST` or `HOST:PORT`, as clients wrote it. */
  host: string;
  /** Requests that were answered, and the bytes of the answers' bodies. */
  answers: number;
  bytes: number;
  /** Requests that were not. */
  failed: number;
}

/**
 * Reads an access log of airferry's own server; hosts by their names.
 * @param own the host and port at which only the rehearsal itself asks; left out
 */
export async function readAsked(file: string, own?: string): Promise<AskedHost[]> {
  const hosts = new Map<string, AskedHost>();
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    const { host = "", status, bytes } = JSON.parse(line) as { host?: string; status: number; bytes: number };
    const name = host.toLowerCase();
    if (name === own) continue;
    const known = hosts.get(name) ?? { host: name, answers: 0, bytes: 0, failed: 0 };
    hosts.set(name, known);
    if (status >= FAILED) known.failed++;
    else known.answers++;
    known.bytes += bytes;
  }
  return [...hosts.values()].sort((a, b) => (a.host < b.host ? -1 : 1));
}
