/** The OpenPGP keys of a repository or ISO entry: fetched or read, pinned by fingerprint, carried as one file. */
import { isAbsolute, resolve } from "node:path";
import { AirferryError } from "../../errors.ts";
import { BY_USER } from "../../http/named.ts";
import { systemFault } from "../../io/atomic.ts";
import { readNamed } from "../../io/named-file.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { MAX_OPENPGP_KEYS_BYTES } from "../../sign/openpgp-files.ts";
import type { OpenPgpKeyring } from "../../sign/openpgp-keyring.ts";
import type { UpstreamContext } from "../types.ts";
import { expandVariables } from "./variables.ts";

export interface RepositoryKeys {
  keyring: OpenPgpKeyring;
  /** The carried keys: every usable key, armored, one block each. */
  armored: Buffer;
}

/**
 * Reads `keys:`; undefined when the entry has none.
 * @throws {AirferryError} ERR_UPSTREAM*, ERR_MANIFEST_INVALID, ERR_UPSTREAM_SIGNATURE when none has a pinned
 *   fingerprint
 */
export async function readKeys(entry: RpmEntry, context: UpstreamContext): Promise<RepositoryKeys | undefined> {
  const keys = entry.keys?.map((key) => expandVariables(key, entry));
  return readKeysOf("rpms", { ...entry, keys }, context);
}

/** The same for an entry of any kind, `section` being its place in the manifest; its keys are used as written. */
export async function readKeysOf(
  section: "rpms" | "isos" | "images",
  entry: { name: string; keys?: readonly string[] | undefined; fingerprints?: readonly string[] | undefined },
  context: UpstreamContext,
): Promise<RepositoryKeys | undefined> {
  if (entry.keys === undefined) return undefined;
  const read = (key: string) => readKeyFile(key, `${section} "${entry.name}"`, MAX_OPENPGP_KEYS_BYTES, context);
  const files = await Promise.all(entry.keys.map(read));
  // A large library, which most manifests do without.
  const { readOpenPgpKeyring } = await import("../../sign/openpgp-keyring.ts");
  const keyring = await readOpenPgpKeyring(files, { fingerprints: entry.fingerprints, name: `keys of ${entry.name}` });
  for (const reason of keyring.skipped) context.report(`keys of ${entry.name}: skipped ${reason}`);
  return { keyring, armored: Buffer.from(keyring.keys.map((it) => `${it.armored.trim()}\n`).join("\n")) };
}

async function readKeyFile(key: string, owner: string, maxBytes: number, context: UpstreamContext): Promise<Buffer> {
  if (/^https?:\/\//.test(key)) {
    const { bytes } = await context.fetcher.fetchBytes({ urls: [key], named: BY_USER, maxBytes });
    return bytes;
  }
  const file = isAbsolute(key) ? key : resolve(context.baseDir, key);
  return readNamed(file).catch((cause: Error) => {
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot read key "${key}" of ${owner}: ${systemFault(cause)}`, {
      path: key,
      hint: "paths in a manifest are relative to the manifest's own folder",
      cause,
    });
  });
}
