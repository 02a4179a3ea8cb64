/**
 * What torture works on: the sample upstream, keys, a trust root of three versions, three releases packed from it, and what is
 * in each of them, by tar and sha256sum.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Ran, ROOT, start } from "../../test/fixtures/program.ts";
import { sha256sumOf, sha256sums } from "./judge.ts";
import type { Random } from "./kind.ts";

/** Volumes are so large: a release has several. */
const VOLUME_SIZE = "1MiB";
const OWN_BYTES = 1_600_000;
const SHARED_BYTES = 1_200_000;
/** Kinds of fsck, repair and media need recovery files. */
const PARITY = "30%";

/** One release as it should be. */
export interface Release {
  serial: number;
  /** Its bundle, as packed. */
  bundle: string;
  /** Digest (hex) and size of each entry, by path. */
  truth: Map<string, { hex: string; size: number }>;
  /** The entries, as tar took them out of the volumes. */
  files: string;
}

export class Lab {
  readonly dir: string;
  /** Milliseconds that one undisturbed pack took. */
  packMs = 0;
  releases: Release[] = [];
  /** What --trust takes: the fingerprint of the first version. */
  fingerprint = "";
  readonly #upstream: ChildProcess;
  readonly #epoch = Math.floor(Date.now() / 1000) - 3600;
  #folders = 0;

  private constructor(dir: string, upstream: ChildProcess) {
    this.dir = dir;
    this.#upstream = upstream;
  }

  static async open(dir: string, random: Random): Promise<Lab> {
    const upstream = spawn(process.execPath, [join(ROOT, "scripts/sample/serve.ts")], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const lab = new Lab(dir, upstream);
    try {
      const url = await new Promise<string>((resolve, reject) => {
        upstream.stdout?.setEncoding("utf8").once("data", (text: string) => resolve(text.trim()));
        upstream.once("error", reject);
      });
      await lab.#prepare(url, random);
    } catch (error) {
      lab.close();
      throw error;
    }
    return lab;
  }

  close(): void {
    this.#upstream.kill();
  }

  /** A path that nothing has. */
  fresh(name: string): string {
    return join(this.dir, `try-${this.#folders++}-${name}`);
  }

  /** A fresh copy of a folder. */
  copyOf(folder: string, name = "copy"): string {
    const to = this.fresh(name);
    cpSync(folder, to, { recursive: true, preserveTimestamps: true });
    return to;
  }

  start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess & { done: Promise<Ran> } {
    return start(this.dir, args, env);
  }

  run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return this.start(args, env).done;
  }

  /** A command that must succeed for anything else to make sense. */
  async must(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    const ran = await this.run(args, env);
    if (ran.status !== 0) throw new Error(`airferry ${args.join(" ")}: ${ran.status}\n${ran.stderr}`);
    return ran;
  }

  /** Arguments of a pack of release `serial` that gives the bytes that its bundle has. */
  packArgs(serial: number, out: string): string[] {
    const options = ["--volume-size", VOLUME_SIZE, "--parity", PARITY, "--key", "site.key", "--serial", String(serial)];
    return ["pack", `${serial}/sample.yaml`, ...options, "--trust-root", `trust-${serial}`, "--out", out, "-q"];
  }

  /** SOURCE_DATE_EPOCH of the pack that made a release. */
  epochOf(serial: number): string {
    return String(this.#epoch + serial);
  }

  unpackArgs(serial: number, store: string, bundle = this.release(serial).bundle): string[] {
    return ["unpack", bundle, "--trust", this.fingerprint, "--store", store, "-q"];
  }

  release(serial: number): Release {
    return this.releases[serial - 1] as Release;
  }

  /** A store with releases 1 to `newest`, which is made once. */
  async storeWith(newest: number): Promise<string> {
    const base = join(this.dir, `base-${newest}`);
    if (!readdirSync(this.dir).includes(`base-${newest}`)) {
      if (newest > 1) cpSync(await this.storeWith(newest - 1), base, { recursive: true });
      await this.must(this.unpackArgs(newest, base));
    }
    return this.copyOf(base, "store");
  }

  async #prepare(url: string, random: Random): Promise<void> {
    await this.must(["keygen", "--out", "site", "-q"]);
    await this.must([
      "trust",
      "init",
      "trust-1",
      "--name",
      "torture",
      "--add",
      "site.pub=Torture",
      "--stream",
      "*:max-age=90d",
    ]);
    await this.must(["trust", "sign", "trust-1", "--key", "site.key"]);
    const [root] = sha256sumOf([join(this.dir, "trust-1/trust.1.json")]).values();
    this.fingerprint = `sha256:${root}`;
    const noise = (size: number) => Buffer.from(Uint8Array.from({ length: size }, () => random(256)));
    const shared = noise(SHARED_BYTES);
    const manifest = readFileSync(join(ROOT, "scripts/sample/manifest.yaml"), "utf8")
      .replaceAll("@UPSTREAM@", url)
      .replaceAll("@REGISTRY@", url.slice("http://".length))
      .replace("\nfiles:", "\nfiles:\n  - path: shared.bin\n  - path: own.bin\n  - path: note.txt");
    for (const serial of [1, 2, 3]) {
      const folder = join(this.dir, String(serial));
      mkdirSync(folder);
      writeFileSync(join(folder, "sample.yaml"), manifest);
      writeFileSync(join(folder, "shared.bin"), shared);
      writeFileSync(join(folder, "own.bin"), noise(OWN_BYTES));
      writeFileSync(join(folder, "note.txt"), `release ${serial}\n`);
      if (serial > 1) await this.#nextTrust(serial);
      const since = Date.now();
      await this.must(this.packArgs(serial, "bundles"), { SOURCE_DATE_EPOCH: this.epochOf(serial) });
      this.packMs = Date.now() - since;
      this.releases.push(this.#truthOf(serial));
    }
  }

  async #nextTrust(serial: number): Promise<void> {
    const folder = `trust-${serial}`;
    cpSync(join(this.dir, `trust-${serial - 1}`), join(this.dir, folder), { recursive: true });
    await this.must(["trust", "rotate", folder, "--expires", `${serial}y`]);
    await this.must(["trust", "sign", folder, "--key", "site.key"]);
  }

  /** Reads a bundle without the program; what upstream has as well must be the same there. */
  #truthOf(serial: number): Release {
    const bundle = join(this.dir, `bundles/sample-00000${serial}`);
    const files = join(this.dir, `files-${serial}`);
    mkdirSync(files);
    const volumes = readdirSync(bundle).filter((it) => it.startsWith("data.tar."));
    const tar = Buffer.concat(volumes.sort().map((it) => readFileSync(join(bundle, it))));
    execFileSync("tar", ["-x", "-f", "-", "-C", files], { input: tar });
    const sums = sha256sums(files);
    const upstream = sha256sums(join(ROOT, "scripts/sample/upstream"));
    const known: [string, string | undefined][] = [...sums.keys()]
      .filter((it) => upstream.has(it))
      .map((it) => [it, upstream.get(it)]);
    known.push(["isos/sample-9.iso", upstream.get("isos/Sample-9.0-x86_64-dvd.iso")]);
    const own = sha256sums(join(this.dir, String(serial)));
    for (const it of ["own.bin", "shared.bin", "note.txt"]) known.push([`files/${it}`, own.get(it)]);
    for (const [path, hex] of known) {
      if (hex === undefined || sums.get(path) !== hex)
        throw new Error(`the bundle has other bytes than upstream: ${path}`);
    }
    const truth = new Map([...sums].map(([path, hex]) => [path, { hex, size: statSync(join(files, path)).size }]));
    return { serial, bundle, truth, files };
  }
}

/** Removes what an attempt made. */
export function drop(...paths: string[]): void {
  for (const it of paths) rmSync(it, { recursive: true, force: true });
}
