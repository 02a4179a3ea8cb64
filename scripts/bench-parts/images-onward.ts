/** Exporting images from a store, as an archive and to a registry, compared with skopeo from an OCI layout. */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { clientPath } from "../../test/fixtures/clients.ts";
import { startDockerRegistry, TestImages } from "../../test/fixtures/images.ts";
import { type Measured, measure, median, mib, secs } from "./measure.ts";
import type { Row } from "./row.ts";

const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const LAYERS = 3;
const LAYER_BYTES = 320 * 1024 * 1024;
const NAME = "example.com/bench/image:1";
const RUNS = 3;

/** Needs docker-registry and skopeo. */
export async function benchOnward(): Promise<Row[]> {
  if (clientPath("docker-registry") === undefined || clientPath("skopeo") === undefined) return [];
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-onward-"));
  const registry = await startDockerRegistry(join(dir, "registry"));
  try {
    const images = new TestImages();
    const layers = Array.from({ length: LAYERS }, (_, n) => ({ [`layer${n}`]: randomBytes(LAYER_BYTES) }));
    mkdirSync(join(dir, "layout"));
    images.writeLayout(join(dir, "layout"), { [NAME]: images.image("linux/amd64", layers) });
    const manifest = { apiVersion: "airferry/v1", stream: "bench", images: [{ archive: "layout" }] };
    writeFileSync(join(dir, "bench.yaml"), JSON.stringify(manifest));
    const env = { AIRFERRY_CACHE: join(dir, "cache"), HOME: dir, AIRFERRY_PASSWORD: "bench" };
    const airferry = (...args: string[]) =>
      measure(process.execPath, ["--disable-warning=ExperimentalWarning", BIN, ...args], { cwd: dir, env });
    airferry("keygen", "--out", "k");
    const bundle = airferry("pack", "bench.yaml", "--key", "k.key").stdout.trim();
    airferry("unpack", bundle, "--trust", "k.pub", "--store", "store");
    const skopeo = (to: string) =>
      measure("sh", ["-ec", `skopeo copy -q --dest-tls-verify=false oci:layout:${NAME} ${to}; sync -f .`], {
        cwd: dir,
        env,
      });
    const clean = () => {
      for (const it of ["e.tar", "s.tar", "registry/data"]) rmSync(join(dir, it), { recursive: true, force: true });
    };
    const row = (job: string, ours: () => Measured, theirs: () => Measured): Row => {
      const [a, b] = [median(RUNS, ours, clean), median(RUNS, theirs, clean)];
      return {
        job: `${job} of ${mib(LAYERS * LAYER_BYTES)}`,
        airferry: secs(a),
        peer: `${secs(b)} skopeo copy, synced`,
        ratio: a.seconds / b.seconds,
        required: "≤ 1.2",
        note: `peak ${mib(a.memory)}; hashed on its way out`,
      };
    };
    return [
      row(
        "export an image",
        () => airferry("export", "image", NAME, "--store", "store", "--out", "e.tar"),
        () => skopeo(`docker-archive:s.tar:${NAME}`),
      ),
      row(
        "publish an image",
        () => airferry("publish", registry.host, "--store", "store", "--insecure"),
        () => skopeo(`docker://${registry.host}/bench/image:1`),
      ),
    ];
  } finally {
    await registry.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}
