/**
 * Packs a ready manifest as it is, but for what cannot be had here: every host is rewritten to the sample upstream, and the
 * vendors' key fingerprints are those of the sample's keys.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { parseManifest } from "../../src/manifest/load.ts";
import { startSampleUpstream } from "./upstream.ts";

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

/**
 * Makes keys (`site.key`, `site.pub`) and a bundle of a ready manifest below `dir`; returns the bundle's folder. The sample
 * upstream is gone when it resolves.
 */
export async function packReady(dir: string, name: string, options: { boot?: boolean } = {}): Promise<string> {
  let text = readFileSync(join(ROOT, `manifests/${name}.yaml`), "utf8");
  const upstream = await startSampleUpstream(dir, parseManifest(text, `${name}.yaml`), options);
  try {
    for (const [real, sample] of upstream.fingerprints) text = text.replaceAll(real, sample);
    text = text.replaceAll("platforms: [linux/amd64] }", "platforms: [linux/amd64], insecure: true }");
    // The vendor's published digest is not the sample's.
    text = text.replace(/^( +)path: (\S+\.iso)$/m, (line, indent: string, iso: string) => {
      const sha256 = createHash("sha256")
        .update(readFileSync(join(dir, iso)))
        .digest("hex");
      return `${line}\n${indent}sha256: ${sha256}`;
    });
    // Entitlement certificates are for the vendor's own host alone, which is not asked here.
    text = text.replace(/^hosts:\n[\s\S]*$/m, "");
    const manifest = join(dir, `${name}.yaml`);
    writeFileSync(manifest, text);
    const hosts = [...new Set([...text.matchAll(/ref: ([^/]+)\//g)].map((it) => it[1]!))];
    const rewrites = [`https://=${upstream.url}/`, ...hosts.map((host) => `${host}=${upstream.registry.host}`)];
    await airferry(dir, "keygen", "--out", "site");
    const flags = ["--key", "site.key", "--out", "bundles", ...rewrites.flatMap((it) => ["--rewrite", it])];
    const out = await airferry(dir, "pack", manifest, ...flags);
    return resolve(dir, out.trim().split("\n").at(-1)!);
  } finally {
    upstream.close();
  }
}
