/**
 * A sample internet for ready manifests: every URL that they name, in a folder named after its host, with real signed
 * packages, a real DVD image and real checksum files; and the images in a real registry.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  createReadStream,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join, normalize } from "node:path";
import { gzipSync } from "node:zlib";
import type { Manifest } from "../../src/manifest/schema.ts";
import {
  buildRpms,
  makeElDvd,
  makeRepository,
  makeSigningKey,
  type RpmSpec,
  type SigningKey,
  signRpms,
} from "../../test/fixtures/el-dvd.ts";
import { kickstartFile } from "./builder-files.ts";
import { type SampleRegistry, startRegistry } from "./images.ts";
import { makeInitrd } from "./initrd.ts";

const ROOT = join(import.meta.dirname, "../..");
const KERNEL = join(ROOT, ".cache/clients/kernel/vmlinuz");
const BUSYBOX = join(ROOT, ".cache/clients/unpacked/bin/busybox");

export interface SampleUpstream {
  /** `http://127.0.0.1:PORT`; `https://HOST/…` is below `/HOST/…`. */
  url: string;
  registry: SampleRegistry;
  /** Replacements for values of the manifest by those of the sample: fingerprints of keys, digests of ISOs. */
  replaced: Map<string, string>;
  /** SHA-256 of the DVD. */
  isoDigest: string;
  close(): void;
}

/** URL of a kickstart file of image-builder: tag, then path below images/capi/packer. */
const KICKSTART = /\/image-builder\/refs\/tags\/(v[0-9.]+)\/images\/capi\/packer\/(ova\/linux\/[^?]+)$/;

/**
 * Creates and starts everything that the manifests in `dir` name; their local ISOs are written to `dir` too. `dir` must
 * have a short path, for gpg's socket. With `boot` the DVD has a real kernel.
 */
export async function startSampleUpstream(
  dir: string,
  manifests: readonly Manifest[],
  options: { boot?: boolean } = {},
): Promise<SampleUpstream> {
  const www = join(dir, "www");
  const place = (url: string) => join(www, url.replace(/^https?:\/\//, ""));
  const put = (url: string, bytes: Buffer | string) => {
    mkdirSync(dirname(place(url)), { recursive: true });
    writeFileSync(place(url), bytes);
  };
  const replaced = new Map<string, string>();

  const initrd = join(dir, "initrd.img");
  const bootable = options.boot === true && existsSync(KERNEL) && existsSync(BUSYBOX);
  if (bootable) writeFileSync(initrd, makeInitrd(BUSYBOX));
  const dvd = await makeElDvd(dir, bootable ? { kernel: KERNEL, initrd } : {});
  const digest = createHash("sha256").update(readFileSync(dvd.iso)).digest("hex");
  for (const iso of manifests.flatMap((it) => it.isos ?? [])) {
    const file = iso.url === undefined ? join(dir, iso.path!) : place(iso.url);
    mkdirSync(dirname(file), { recursive: true });
    if (!existsSync(file)) linkSync(dvd.iso, file);
    if (iso.sha256 !== undefined) replaced.set(iso.sha256, digest);
    if (iso.checksums?.url !== undefined) {
      const name = iso.url!.split("/").pop()!;
      put(iso.checksums.url, `# ${name}: ${statSync(file).size} bytes\nSHA256 (${name}) = ${digest}\n`);
    }
  }
  await makeRepositories(dir, manifests, place, replaced);
  await makeFiles(dir, manifests, put);

  const images = manifests.flatMap((it) => it.images ?? []);
  const references = [...new Set(images.map((it) => it.ref!.replace(/^[^/]+\//, "")))];
  const registry = await startRegistry(join(dir, "registry"), references);
  const server = createServer((req, res) => {
    const path = normalize(decodeURIComponent(new URL(req.url!, "http://x").pathname));
    const file = join(www, path);
    const size = statSync(file, { throwIfNoEntry: false })?.isFile() ? statSync(file).size : -1;
    if (size < 0) return void res.writeHead(404).end();
    const range = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? "");
    const start = range === null ? 0 : Number(range[1]);
    const end = range?.[2] ? Number(range[2]) : size - 1;
    const headers = { "content-length": end - start + 1, "accept-ranges": "bytes", etag: `"${size}"` };
    res.writeHead(
      range === null ? 200 : 206,
      range === null ? headers : { ...headers, "content-range": `bytes ${start}-${end}/${size}` },
    );
    if (req.method === "HEAD" || size === 0) res.end();
    else createReadStream(file, { start, end }).pipe(res);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    registry,
    replaced,
    isoDigest: digest,
    close() {
      registry.close();
      server.closeAllConnections();
      server.close();
    },
  };
}

/**
 * Every repository that the manifests name, with the packages that they request from it, signed by one key for each
 * vendor.
 */
async function makeRepositories(
  dir: string,
  manifests: readonly Manifest[],
  place: (url: string) => string,
  replaced: Map<string, string>,
): Promise<void> {
  const repositories = new Map<string, { keyUrl: string; specs: Map<string, RpmSpec> }>();
  const keys = new Map<string, SigningKey>();
  for (const entry of manifests.flatMap((it) => it.rpms ?? [])) {
    const keyUrl = entry.keys![0]!;
    const key = keys.get(keyUrl) ?? (await makeSigningKey(dir, `sample${keys.size}`));
    keys.set(keyUrl, key);
    for (const fingerprint of entry.fingerprints ?? []) replaced.set(fingerprint, key.fingerprint);
    const { specs } = repositories.get(entry.url!) ?? { specs: new Map<string, RpmSpec>() };
    repositories.set(entry.url!, { keyUrl, specs });
    for (const it of entry.packages!) {
      const [, name, version] = /^(.+?)(?:-(\d[\d.]*))?$/.exec(it)!;
      specs.set(it, packageSpec(name!, version));
    }
    // A repository that only serves the dependencies of others has other packages, too.
    if (entry.packages!.length === 0) specs.set("unneeded", packageSpec("unneeded"));
    if (entry.name !== "kubernetes") continue;
    specs.set("kubernetes-cni", packageSpec("kubernetes-cni", "1.3.0"));
    specs.set("cri-tools", packageSpec("cri-tools", "1.29.0"));
  }
  // Vendors have packages of the same names: each package is built once, and signed for each vendor.
  const wanted = new Map([...repositories.values()].flatMap((it) => [...it.specs]));
  const pool = join(dir, "pool");
  const files = await buildRpms(pool, [...wanted.values()]);
  const built = new Map([...wanted.keys()].map((name, i) => [name, files[i]!]));
  for (const [url, { keyUrl, specs }] of repositories) {
    const folder = place(url);
    const key = keys.get(keyUrl)!;
    mkdirSync(folder, { recursive: true });
    const files = [...specs.keys()].map((it) => built.get(it)!);
    for (const file of files) copyFileSync(join(pool, file), join(folder, file));
    await signRpms(folder, files, key);
    await makeRepository(folder, specs.has("kubernetes-cni") ? key : undefined);
    mkdirSync(dirname(place(keyUrl)), { recursive: true });
    copyFileSync(key.file, place(keyUrl));
  }
}

function packageSpec(name: string, version?: string): RpmSpec {
  const requires =
    name === "kubelet" ? ["kubernetes-cni >= 1.2.0"] : name === "kubeadm" ? ["kubelet", "cri-tools"] : [];
  const isKubernetes = /^(kube|cri-tools)/.test(name);
  return { name, ...(version !== undefined && { version }), requires, noarch: !isKubernetes };
}

/** Every file that the manifests name, and the checksums that upstream publishes beside it. */
async function makeFiles(
  dir: string,
  manifests: readonly Manifest[],
  put: (url: string, bytes: Buffer | string) => void,
): Promise<void> {
  const clearSigner = await makeSigningKey(dir, "runc");
  const lists = new Map<string, string[]>();
  for (const file of manifests.flatMap((it) => it.files ?? [])) {
    if (file.url === undefined) continue;
    const name = file.url.split("/").pop()!;
    if (name === "runc.sha256sum") continue;
    const kickstart = KICKSTART.exec(file.url);
    const bytes =
      kickstart === null
        ? gzipSync(Buffer.from(`sample of ${file.url}\n`.repeat(2000)))
        : kickstartFile(kickstart[1]!, kickstart[2]!);
    put(file.url, bytes);
    const sums = file.checksums?.url;
    if (sums === undefined) continue;
    const hex = createHash("sha256").update(bytes).digest("hex");
    // Upstream signs runc's list of all architectures in the clear.
    if (name === "runc.amd64") lists.set(sums, [`${hex} *runc.amd64`, `${"0".repeat(64)} *runc.arm64`]);
    else put(sums, sums.endsWith(".sha256") ? `${hex}\n` : `${hex}  ${name}\n`);
  }
  for (const [url, lines] of lists) {
    const list = join(dir, "runc.list");
    writeFileSync(list, `${lines.join("\n")}\n`);
    put(url, execFileSync("gpg", ["--homedir", clearSigner.home, "--batch", "--clearsign", "-o", "-", list]));
  }
  execFileSync("gpgconf", ["--homedir", clearSigner.home, "--kill", "all"]);
}
