/** Makes the container image of a program, and renews SHA256SUMS. The layout follows the OCI image specification 1.1. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { VERSION } from "../../src/version.ts";
import { writeSums } from "../build-binary-parts/sums.ts";
import { buildTime, ROOT } from "../build-packages-parts/build-time.ts";
import { fillBase, fillProgram, OWN_FOLDERS, USER_ID } from "./root-tree.ts";

const ARCHITECTURES = { x64: "amd64", arm64: "arm64" } as const;
/** The name that loaded images get. */
const NAME = `localhost/airferry:${VERSION}`;
const OCI = "application/vnd.oci.image";

interface Blob {
  mediaType: string;
  digest: string;
  size: number;
}

/** A folder that becomes an OCI layout. */
class Layout {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
    mkdirSync(join(dir, "blobs/sha256"), { recursive: true });
  }

  add(mediaType: string, bytes: Uint8Array): Blob {
    const hex = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(this.dir, "blobs/sha256", hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  }

  addJson(mediaType: string, value: object): Blob {
    return this.add(mediaType, Buffer.from(JSON.stringify(value)));
  }
}

/** A tree as a tar archive whose bytes depend on names, modes and content alone. */
function tarOf(tree: string, time: number, ...more: string[]): Buffer {
  const same = ["--sort=name", "--numeric-owner", `--mtime=@${time}`, "--format=ustar"];
  return execFileSync("tar", [...same, ...more, "-C", tree, "-cf", "-", "."], { maxBuffer: 1 << 30 });
}

/** A layer's blob, and the digest of what is in it. */
function addLayer(layout: Layout, tar: Buffer): { blob: Blob; diffId: string } {
  const diffId = `sha256:${createHash("sha256").update(tar).digest("hex")}`;
  return { blob: layout.add(`${OCI}.layer.v1.tar+gzip`, gzipSync(tar, { level: 9 })), diffId };
}

/** Empty folders of the program's user. */
function ownFolders(work: string, time: number): Buffer {
  const tree = join(work, "own");
  for (const name of OWN_FOLDERS) mkdirSync(join(tree, name), { recursive: true, mode: 0o755 });
  return tarOf(tree, time, `--owner=${USER_ID}`, `--group=${USER_ID}`, "--exclude=.");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { out: { type: "string", default: join(ROOT, "dist") }, key: { type: "string" } },
  });
  const out = resolve(values.out);
  const arch = process.arch as keyof typeof ARCHITECTURES;
  const architecture = ARCHITECTURES[arch];
  if (architecture === undefined) throw new Error(`cannot make an image for ${arch}: expected x64 or arm64`);
  const program = `airferry-linux-${arch}`;
  if (!readdirSync(out).includes(program)) throw new Error(`no ${program} in ${out}: run scripts/build-binary first`);
  const time = buildTime();
  const created = new Date(time * 1000).toISOString().replace(".000Z", "Z");
  const work = mkdtempSync(join(out, ".image-"));
  process.on("exit", () => rmSync(work, { recursive: true, force: true }));
  const layout = new Layout(join(work, "layout"));
  const trees = { base: join(work, "base"), program: join(work, "program") };
  for (const it of Object.values(trees)) mkdirSync(it);
  const libraries = fillBase(trees.base, join(out, program), time);
  fillProgram(trees.program, join(out, program), out, time);
  const layers = [
    addLayer(layout, tarOf(trees.base, time, "--owner=0", "--group=0")),
    addLayer(layout, ownFolders(work, time)),
    addLayer(layout, tarOf(trees.program, time, "--owner=0", "--group=0")),
  ];
  const labels = {
    "org.opencontainers.image.title": "airferry",
    "org.opencontainers.image.description": "Carries what an operating-system image build needs across an air gap",
    "org.opencontainers.image.version": VERSION,
    "org.opencontainers.image.licenses": "Apache-2.0",
    "org.opencontainers.image.created": created,
    "airferry.libraries": libraries.map((it) => `${it.package}=${it.version}`).join(" "),
  };
  const config = layout.addJson(`${OCI}.config.v1+json`, {
    created,
    architecture,
    os: "linux",
    config: {
      User: `${USER_ID}:${USER_ID}`,
      ExposedPorts: { "9000/tcp": {} },
      Env: ["PATH=/usr/bin", "AIRFERRY_STORE=/store"],
      Entrypoint: ["/usr/bin/airferry"],
      Cmd: ["serve"],
      WorkingDir: "/",
      Labels: labels,
      StopSignal: "SIGTERM",
    },
    rootfs: { type: "layers", diff_ids: layers.map((it) => it.diffId) },
    history: [
      { created, created_by: "libraries of Debian", comment: labels["airferry.libraries"] },
      { created, created_by: "folders for a store and a cache" },
      { created, created_by: `airferry ${VERSION}` },
    ],
  });
  const manifest = layout.addJson(`${OCI}.manifest.v1+json`, {
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config,
    layers: layers.map((it) => it.blob),
    annotations: labels,
  });
  const names = { "io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": VERSION };
  const index = {
    schemaVersion: 2,
    mediaType: `${OCI}.index.v1+json`,
    manifests: [{ ...manifest, annotations: names }],
  };
  writeFileSync(join(layout.dir, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(layout.dir, "index.json"), JSON.stringify(index));
  // docker before 25 loads only what this file names.
  const path = (it: Blob) => `blobs/sha256/${it.digest.slice("sha256:".length)}`;
  const docker = [{ Config: path(config), RepoTags: [NAME], Layers: layers.map((it) => path(it.blob)) }];
  writeFileSync(join(layout.dir, "manifest.json"), JSON.stringify(docker));
  const name = `airferry-image-linux-${arch}.tar`;
  const made = join(work, name);
  writeFileSync(made, tarOf(layout.dir, time, "--owner=0", "--group=0", "--mode=u=rwX,go=rX"));
  chmodSync(made, 0o644);
  renameSync(made, join(out, name));
  console.log(`${join(out, name)}: ${NAME}, ${manifest.digest}`);
  const listed = readdirSync(out).filter((it) => !it.startsWith("SHA256SUMS") && !it.startsWith("."));
  await writeSums(out, listed, values.key);
}

try {
  await main();
} catch (error) {
  const { stderr } = error as { stderr?: Buffer };
  console.error(`scripts/build-image: ${error instanceof Error ? error.message : String(error)}${stderr ?? ""}`);
  process.exitCode = 1;
}
