/**
 * Pulling ten images with shared layers from a local registry, compared with skopeo copy of the same into one OCI
 * layout.
 */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { clientPath } from "../../test/fixtures/clients.ts";
import { startDockerRegistry, TestImages } from "../../test/fixtures/images.ts";
import { measure, median, mib, secs } from "./measure.ts";
import type { Row } from "./row.ts";

const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const IMAGES = 10;
const SHARED_BYTES = 96 * 1024 * 1024;
const OWN_BYTES = 32 * 1024 * 1024;
const RUNS = 3;

/** Needs docker-registry and skopeo. */
export async function benchImages(): Promise<Row[]> {
  if (clientPath("docker-registry") === undefined || clientPath("skopeo") === undefined) return [];
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-images-"));
  const registry = await startDockerRegistry(join(dir, "registry"));
  try {
    const shared = randomBytes(SHARED_BYTES);
    const names: string[] = [];
    for (let number = 0; number < IMAGES; number++) {
      const images = new TestImages();
      const image = images.image("linux/amd64", [{ shared }, { own: randomBytes(OWN_BYTES) }]);
      await images.push(registry.host, `bench/image${number}`, { "1": image });
      names.push(`${registry.host}/bench/image${number}:1`);
    }
    const manifest = join(dir, "bench.yaml");
    const images = names.map((ref) => ({ ref, insecure: true }));
    writeFileSync(manifest, JSON.stringify({ apiVersion: "airferry/v1", stream: "bench", images }));
    const env = { AIRFERRY_CACHE: join(dir, "cache"), HOME: dir };
    const clean = () => {
      execFileSync("sync");
      for (const name of ["bundles", "bench.lock.json", "bench.lock.d", "bench.state.json", "layout"]) {
        rmSync(join(dir, name), { recursive: true, force: true });
      }
    };
    const node = ["--disable-warning=ExperimentalWarning", BIN, "pack", manifest, "--unsigned"];
    const ours = median(RUNS, () => measure(process.execPath, node, { cwd: dir, env }), clean);
    const copies = names.map(
      (name, index) => `skopeo copy -q --src-tls-verify=false docker://${name} oci:${dir}/layout:i${index}`,
    );
    const theirs = median(
      RUNS,
      () => measure("sh", ["-ec", `${copies.join("\n")}\nsync -f layout`], { cwd: dir, env }),
      clean,
    );
    const bytes = SHARED_BYTES + IMAGES * OWN_BYTES;
    return [
      {
        job: `pull ${IMAGES} images, ${mib(bytes)} in all, one layer shared`,
        airferry: secs(ours),
        peer: `${secs(theirs)} skopeo copy, synced`,
        ratio: ours.seconds / theirs.seconds,
        required: "≤ 1.2",
        note: `peak ${mib(ours.memory)}; locks, packs, hashes and syncs; each blob fetched once`,
      },
    ];
  } finally {
    await registry.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}
