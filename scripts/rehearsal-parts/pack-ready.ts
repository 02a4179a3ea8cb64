/**
 * Packs ready manifests unchanged, except for what is unavailable here: every host is rewritten to the sample upstream,
 * and the vendors' key fingerprints and ISO digests are those of the sample.
 */
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { parse, stringify } from "yaml";
import { parseManifest } from "../../src/manifest/load.ts";
import { type SampleUpstream, startSampleUpstream } from "./upstream.ts";

const ROOT = join(import.meta.dirname, "../..");
/** The program, as a user runs it from a checkout. */
export const AIRFERRY = join(ROOT, "scripts/airferry");
const run = promisify(execFile);

/** Runs the program in `dir`; the sample upstream lives in this process, so nothing here may block. */
export async function airferry(dir: string, ...command: string[]): Promise<string> {
  const env = { ...process.env, AIRFERRY_PASSWORD: "rehearsal", AIRFERRY_CACHE: join(dir, "cache"), HOME: dir };
  try {
    const options = { cwd: dir, env, maxBuffer: 1 << 26 };
    return (await run(AIRFERRY, [...command, "--progress", "none"], options)).stdout;
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    throw new Error(`airferry ${command[0]}: ${(stderr || message).trim().split("\n").slice(-6).join(" | ")}`);
  }
}

/** What is packed: a manifest's text, and the name of its file. */
interface Packed {
  stream: string;
  manifest: string;
}

/**
 * Makes keys (`site.key`, `site.pub`) and a bundle of a ready manifest below `dir`; returns the bundle's folder. The
 * sample upstream is gone when it resolves.
 */
export async function packReady(dir: string, name: string, options: { boot?: boolean } = {}): Promise<string> {
  const manifest = readFileSync(join(ROOT, `manifests/${name}.yaml`), "utf8");
  return (await packAll(dir, [{ stream: name, manifest }], options))[0]!;
}

/** The same for several manifests, two at a time, from one upstream. */
export async function packAll(
  dir: string,
  manifests: readonly Packed[],
  options: { boot?: boolean } = {},
): Promise<string[]> {
  const parsed = manifests.map((it) => parseManifest(it.manifest, `${it.stream}.yaml`));
  const upstream = await startSampleUpstream(dir, parsed, options);
  try {
    await airferry(dir, "keygen", "--out", "site");
    const bundles: string[] = [];
    const waiting = [...manifests.entries()];
    const worker = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
        bundles[next[0]] = await packOne(dir, next[1], upstream);
    };
    await Promise.all([worker(), worker()]);
    return bundles;
  } finally {
    upstream.close();
  }
}

async function packOne(dir: string, { stream, manifest }: Packed, upstream: SampleUpstream): Promise<string> {
  const value = parse(manifest) as {
    hosts?: unknown;
    images?: { ref: string; insecure?: boolean }[];
    isos?: { path?: string; sha256?: string }[];
  };
  // Entitlement certificates are for the vendor's own host only, which gets no request here.
  delete value.hosts;
  for (const image of value.images ?? []) image.insecure = true;
  // The vendor's published digest is not the sample's.
  for (const iso of value.isos ?? []) if (iso.path !== undefined) iso.sha256 = upstream.isoDigest;
  let text = stringify(value);
  for (const [real, sample] of upstream.replaced) text = text.replaceAll(real, sample);
  const file = join(dir, `${stream}.yaml`);
  writeFileSync(file, text);
  const hosts = new Set((value.images ?? []).map((it) => it.ref.split("/")[0]!));
  const rewrites = [`https://=${upstream.url}/`, ...[...hosts].map((host) => `${host}=${upstream.registry.host}`)];
  const flags = ["--key", "site.key", "--out", "bundles", ...rewrites.flatMap((it) => ["--rewrite", it])];
  const out = await airferry(dir, "pack", file, ...flags);
  return resolve(dir, out.trim().split("\n").at(-1)!);
}
