/**
 * Small container images made from nothing, as OCI layouts, and a real registry to publish them in.
 */
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Header } from "tar";
import { freePort } from "../../test/fixtures/free-port.ts";

/** Writes an OCI layout with one image of one layer that holds `/etc/NAME`. */
function makeImage(dir: string, name: string): void {
  const blobs = join(dir, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const put = (bytes: Buffer) => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(blobs, hex), bytes);
    return { digest: `sha256:${hex}`, size: bytes.length };
  };
  const content = Buffer.from(`${name}\n`);
  const header = new Header({
    path: `etc/${name}`,
    mode: 0o644,
    size: content.length,
    mtime: new Date(0),
    type: "File",
    uid: 0,
    gid: 0,
  });
  const block = Buffer.alloc(512);
  header.encode(block, 0);
  const tar = Buffer.concat([block, content, Buffer.alloc(512 - content.length), Buffer.alloc(1024)]);
  const layer = put(gzipSync(tar));
  const config = put(
    Buffer.from(
      JSON.stringify({
        architecture: "amd64",
        os: "linux",
        config: { Cmd: ["/bin/true"] },
        rootfs: { type: "layers", diff_ids: [`sha256:${createHash("sha256").update(tar).digest("hex")}`] },
      }),
    ),
  );
  const manifest = put(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
        layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...layer }],
      }),
    ),
  );
  writeFileSync(join(dir, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(
    join(dir, "index.json"),
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [{ mediaType: "application/vnd.oci.image.manifest.v1+json", ...manifest }],
    }),
  );
}

/** A registry with the given `path:tag` images. */
export interface SampleRegistry {
  host: string;
  close(): void;
}

/** Starts docker-registry on loopback and pushes an image for each reference with skopeo. */
export async function startRegistry(dir: string, references: readonly string[]): Promise<SampleRegistry> {
  const port = await freePort();
  mkdirSync(dir, { recursive: true });
  const file = join(dir, "registry.yml");
  const storage = JSON.stringify(join(dir, "storage"));
  writeFileSync(
    file,
    `version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: ${storage}}\nhttp: {addr: "127.0.0.1:${port}"}\n`,
  );
  const child = spawn("docker-registry", ["serve", file], { stdio: "ignore" });
  const host = `127.0.0.1:${port}`;
  for (let i = 0; ; i++) {
    const up = await fetch(`http://${host}/v2/`).then(
      (it) => it.ok,
      () => false,
    );
    if (up) break;
    if (i === 100) throw new Error("docker-registry does not start");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const [i, reference] of references.entries()) {
    const layout = join(dir, `image-${i}`);
    makeImage(layout, reference.replace(/[^A-Za-z0-9]+/g, "-"));
    execFileSync(
      "skopeo",
      ["copy", "-q", "--dest-tls-verify=false", `oci:${layout}`, `docker://${host}/${reference}`],
      {
        stdio: ["ignore", "ignore", "inherit"],
      },
    );
  }
  return { host, close: () => void child.kill() };
}
