/**
 * The rehearsed image builds: the four systems with both flavors. Those of the CAPI builder are the ready manifests.
 * image-builder has one ready manifest, from which those of the other systems are derived.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { parseManifest } from "../../src/manifest/load.ts";
import type { System } from "./builder-files.ts";

const MANIFESTS = join(import.meta.dirname, "../../manifests");

/** One image build. */
export interface Build {
  /** `rocky-9, spectro-capi`. */
  name: string;
  stream: string;
  flavor: "spectro-capi" | "image-builder";
  system: System;
  /** The tag of image-builder whose files this build uses. */
  tag: string;
  manifest: string;
}

/** The image-builder version that the CAPI builder 4.6 is based on. */
const BASE_OF_SPECTRO = "v0.1.28";
const SYSTEMS = ["rocky-9", "rhel-9", "rocky-8", "rhel-8"];
/** Tags for the systems without a ready manifest: the last one with Enterprise Linux 8, an early one and a late one. */
const TAGS: Record<string, string> = { "rhel-9": "v0.1.55", "rocky-8": "v0.1.47", "rhel-8": "v0.1.40" };

/** All eight builds; the one with the most rows is first. */
export function allBuilds(): Build[] {
  return [...SYSTEMS.map(spectroBuild), ...SYSTEMS.map(imageBuilderBuild)];
}

function systemOf(name: string): System {
  const [family, major] = name.split("-") as ["rocky" | "rhel", "8" | "9"];
  return { distro: family === "rocky" ? "rockylinux" : "rhel", major };
}

function spectroBuild(name: string): Build {
  const manifest = readFileSync(join(MANIFESTS, `${name}-capi.yaml`), "utf8");
  return {
    name: `${name}, spectro-capi`,
    stream: `${name}-capi`,
    flavor: "spectro-capi",
    system: systemOf(name),
    tag: BASE_OF_SPECTRO,
    manifest,
  };
}

function imageBuilderBuild(name: string): Build {
  const ready = readFileSync(join(MANIFESTS, "image-builder.yaml"), "utf8");
  const common = { name: `${name}, image-builder`, flavor: "image-builder", system: systemOf(name) } as const;
  const readyTag = parseManifest(ready, "image-builder.yaml").builder?.version ?? "v0.1.47";
  if (name === "rocky-9") return { ...common, stream: "image-builder", tag: readyTag, manifest: ready };
  // The system's ISO and repositories are those of its CAPI manifest.
  const mine = parse(ready) as Record<string, unknown> & { files: { url?: string }[]; builder: object };
  const theirs = parse(readFileSync(join(MANIFESTS, `${name}-capi.yaml`), "utf8")) as {
    isos: object[];
    rpms: { name: string }[];
  };
  const tag = TAGS[name]!;
  const { distro, major } = common.system;
  const file = tag === "v0.1.28" ? "ks.cfg" : "ks.cfg.tmpl";
  const isKickstart = (url: string | undefined) => url !== undefined && /\/ks\.cfg(\.tmpl)?$/.test(url);
  const stream = `image-builder-${name}`;
  const manifest = stringify({
    ...mine,
    stream,
    isos: theirs.isos.map((it) => ({ ...it, packages: undefined })),
    rpms: theirs.rpms
      .filter((it) => it.name === "baseos" || it.name === "appstream")
      .map((it) => ({ ...it, rpmrepo: undefined })),
    files: mine.files.map((it) =>
      isKickstart(it.url)
        ? { ...it, url: it.url!.replace(/v[0-9.]+(\/images.*\/linux\/).*$/, `${tag}$1${distro}/http/${major}/${file}`) }
        : it,
    ),
    builder: { ...mine.builder, version: tag },
  });
  return { ...common, stream, tag, manifest };
}
