/**
 * A sample internet for a ready manifest: every URL that it names, below a folder of its host's name, with
 * real signed packages, a real DVD image and real checksum files; and the images in a real registry.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join, normalize } from "node:path";
import { gzipSync } from "node:zlib";
import type { Manifest } from "../../src/manifest/schema.ts";
import { buildRpms, makeElDvd, makeRepository, makeSigningKey, type SigningKey } from "../../test/fixtures/el-dvd.ts";
import { type SampleRegistry, startRegistry } from "./images.ts";
import { makeInitrd } from "./initrd.ts";

const ROOT = join(import.meta.dirname, "../..");
export const KERNEL = join(ROOT, ".cache/clients/kernel/vmlinuz");
export const BUSYBOX = join(ROOT, ".cache/clients/unpacked/bin/busybox");

export interface SampleUpstream {
  /** `http://127.0.0.1:PORT`; `https://HOST/…` is below `/HOST/…`. */
  url: string;
  registry: SampleRegistry;
  /** Fingerprints that stand in for the real vendors' ones: of the manifest → of the sample. */
  fingerprints: Map<string, string>;
  close(): void;
}

/**
 * Makes and starts everything that the manifest names, which is read from `dir`: its local ISO is put there too. `dir` must
 * have a short path, for gpg's socket. With `boot` the DVD has a real kernel.
 */
export async function startSampleUpstream(
  dir: string,
  manifest: Manifest,
  options: { boot?: boolean } = {},
): Promise<SampleUpstream> {
  const www = join(dir, "www");
  const place = (url: string) => join(www, url.replace(/^https?:\/\//, ""));
  const put = (url: string, bytes: Buffer | string) => {
    mkdirSync(dirname(place(url)), { recursive: true });
    writeFileSync(place(url), bytes);
  };
  const fingerprints = new Map<string, string>();

  const [iso] = manifest.isos!;
  const initrd = join(dir, "initrd.img");
  const bootable = options.boot === true && existsSync(KERNEL) && existsSync(BUSYBOX);
  if (bootable) writeFileSync(initrd, makeInitrd(BUSYBOX));
  const dvd = await makeElDvd(dir, bootable ? { kernel: KERNEL, initrd } : {});
  const isoFile = iso!.url === undefined ? join(dir, iso!.path!) : place(iso!.url);
  mkdirSync(dirname(isoFile), { recursive: true });
  renameSync(dvd.iso, isoFile);
  if (iso!.checksums?.url !== undefined) {
    const isoName = iso!.url!.split("/").pop()!;
    const digest = createHash("sha256").update(readFileSync(isoFile)).digest("hex");
    put(iso!.checksums.url, `# ${isoName}: ${statSync(isoFile).size} bytes\nSHA256 (${isoName}) = ${digest}\n`);
  }

  const keys = new Map<string, SigningKey>();
  for (const entry of manifest.rpms ?? []) {
    const keyUrl = entry.keys![0]!;
    const key = keys.get(keyUrl) ?? (await makeSigningKey(dir, `sample${keys.size}`));
    keys.set(keyUrl, key);
    for (const fingerprint of entry.fingerprints ?? []) fingerprints.set(fingerprint, key.fingerprint);
    const folder = place(entry.url!);
    const specs = entry.packages!.map((it) => {
      const [, name, version] = /^(.+?)(?:-(\d[\d.]*))?$/.exec(it)!;
      const requires =
        name === "kubelet" ? ["kubernetes-cni >= 1.2.0"] : name === "kubeadm" ? ["kubelet", "cri-tools"] : [];
      return {
        name: name!,
        ...(version === undefined ? {} : { version }),
        requires,
        noarch: entry.name !== "kubernetes",
      };
    });
    if (entry.name === "kubernetes")
      specs.push(
        { name: "kubernetes-cni", version: "1.3.0", requires: [], noarch: false },
        { name: "cri-tools", version: "1.29.0", requires: [], noarch: false },
      );
    await buildRpms(join(dir, "build"), folder, specs, key);
    await makeRepository(folder, entry.name === "kubernetes" ? key : undefined);
    put(keyUrl, readFileSync(key.file));
  }

  const clearSigner = await makeSigningKey(dir, "runc");
  for (const file of manifest.files ?? []) {
    const name = file.url!.split("/").pop()!;
    if (name === "runc.sha256sum") continue;
    const kickstart =
      'cdrom\nrepo --name="AppStream" --baseurl="https://download.rockylinux.org/pub/rocky/9/AppStream/x86_64/os/"\ntext\n%packages\n@core\n%end\n';
    const bytes = name.startsWith("ks.cfg")
      ? Buffer.from(kickstart)
      : gzipSync(Buffer.from(`sample of ${file.url}\n`.repeat(2000)));
    put(file.url!, bytes);
    const hex = createHash("sha256").update(bytes).digest("hex");
    if (name === "runc.amd64") {
      const list = join(dir, "runc.list");
      // Upstream signs a list of all architectures in the clear.
      writeFileSync(list, `${hex} *runc.amd64\n${"0".repeat(64)} *runc.arm64\n`);
      const signed = execFileSync("gpg", ["--homedir", clearSigner.home, "--batch", "--clearsign", "-o", "-", list]);
      execFileSync("gpgconf", ["--homedir", clearSigner.home, "--kill", "all"]);
      put(file.checksums!.url!, signed);
    } else if (file.checksums !== undefined) {
      const bare = file.checksums.url!.endsWith(".sha256");
      put(file.checksums.url!, bare ? `${hex}\n` : `${hex}  ${name}\n`);
    }
  }

  const references = (manifest.images ?? []).map((it) => it.ref!.replace(/^[^/]+\//, ""));
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
    fingerprints,
    close() {
      registry.close();
      server.closeAllConnections();
      server.close();
    },
  };
}
