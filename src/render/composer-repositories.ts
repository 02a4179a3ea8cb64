/**
 * The repositories for osbuild-composer and image-builder: JSON by architecture, with keys inline. See
 * osbuild-composer's "Repository overrides": `/etc/osbuild-composer/repositories/DISTRO.json`.
 */
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { repositoriesOf, type ServedRepository } from "./rpm-repositories.ts";
import type { RenderInput } from "./types.ts";
import {} from "./view.ts";

/** Reads the text of a small file of the store by its SHA-256 (hex). */
type ReadText = (digest: Digest) => Promise<string>;

interface ComposerRepository {
  name: string;
  baseurl: string;
  gpgkey?: string;
  check_gpg: boolean;
  metadata_expire: string;
  module_hotfixes?: true;
}

const DEFAULT_ARCH = "x86_64";

/**
 * Renders the file; it has no member for signed metadata. Several keys share one `gpgkey`, as in composer's own files.
 * A repository without a known architecture counts as x86_64. One with `gpgcheck` but without keys is refused: composer
 * would install from it unchecked or fail late.
 * @throws {AirferryError} ERR_RENDER when there is no repository, or a key is missing
 */
export async function renderComposerRepositories(input: RenderInput, readText: ReadText): Promise<string> {
  const byArch: Record<string, ComposerRepository[]> = {};
  for (const repository of repositoriesOf(input)) {
    const entry = await composerRepository(repository, input, readText);
    for (const arch of archesOf(repository, input)) {
      byArch[arch] ??= [];
      byArch[arch].push(entry);
    }
  }
  if (Object.keys(byArch).length === 0) {
    throw new AirferryError("ERR_RENDER", 'cannot render "composer-repositories": no RPM repository is in the store', {
      expected: "rpms: or isos: in the manifest",
      hint: "add repositories to the manifest, then pack again",
    });
  }
  return `${JSON.stringify(byArch, null, 2)}\n`;
}

async function composerRepository(
  repository: ServedRepository,
  input: RenderInput,
  readText: ReadText,
): Promise<ComposerRepository> {
  const keys = await keyTexts(repository, input, readText);
  if (repository.gpgcheck && keys.length === 0) {
    throw new AirferryError(
      "ERR_RENDER",
      `cannot render "composer-repositories": "${repository.title}" has no packed key`,
      {
        expected: "the OpenPGP key of its packages",
        actual: "none",
        hint: "add keys: to the entry in the manifest (gpgcheck: false if upstream signs nothing), then pack again",
      },
    );
  }
  return {
    name: repository.id,
    baseurl: repository.url,
    ...(keys.length > 0 && { gpgkey: keys.map((it) => `${it.trimEnd()}\n`).join("") }),
    check_gpg: repository.gpgcheck,
    // A new release may appear any day, and a request on the same network is cheap.
    metadata_expire: "1m",
    ...(repository.moduleHotfixes && { module_hotfixes: true }),
  };
}

async function keyTexts(repository: ServedRepository, input: RenderInput, readText: ReadText): Promise<string[]> {
  const { release, iso } = repository;
  const carried = await Promise.all(
    repository.keyPaths.map((path) => {
      const entry = release.inventory.entries.get(path);
      return entry === undefined ? undefined : readText(entry.digest);
    }),
  );
  const texts = carried.filter((it) => it !== undefined);
  if (texts.length > 0 || iso === undefined) return texts;
  const image = release.inventory.entries.get(`isos/${iso.name}.iso`);
  const tree = image === undefined ? undefined : input.trees.get(image.digest);
  return [...(tree?.keyTexts?.values() ?? [])];
}

function archesOf({ release, iso, arch }: ServedRepository, input: RenderInput): readonly string[] {
  if (iso !== undefined) {
    const image = release.inventory.entries.get(`isos/${iso.name}.iso`);
    const tree = image === undefined ? undefined : input.trees.get(image.digest);
    return [tree?.arch ?? DEFAULT_ARCH];
  }
  const real = arch.filter((it) => it !== "noarch" && it !== "src" && it !== "i686");
  return real.length > 0 ? real : [DEFAULT_ARCH];
}
