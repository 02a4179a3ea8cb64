/**
 * What an installation image provides besides its files: repositories, kernel and initrd, vendor keys. Found in the
 * image and its `.treeinfo`, which is trusted only for files that exist.
 */
import { textOf } from "../io/text.ts";
import type { IsoImage } from "./iso-image.ts";

const MAX_TREEINFO_BYTES = 1024 * 1024;
const MAX_REPOSITORIES = 32;
/** Most locations searched. */
const MAX_LOOKS = 500;
const MAX_KEY_BYTES = 64 * 1024;
const MAX_KEYS = 16;

/** One RPM repository inside an image. */
interface IsoRepository {
  /** Variant name, or the directory's: `BaseOS`, `AppStream`; "" never. */
  id: string;
  /** Directory that holds `repodata/`, without slashes at its ends; "" is the root. */
  path: string;
}

/** The result. All paths are relative to the image's root. */
export interface InstallTree {
  family?: string;
  version?: string;
  arch?: string;
  repositories: IsoRepository[];
  kernel?: string;
  initrd?: string;
  /** Such as `images/install.img`. */
  stage2?: string;
  /** OpenPGP keys of the vendor in the root directory, except those of test and beta builds. */
  keys: string[];
  /** The keys' texts by name, except those over 64 KiB. */
  keyTexts: Map<string, string>;
}

/**
 * Looks for the installation tree of an image; a plain image returns empty lists.
 * Reads the root directory, `.treeinfo`, keys and the directories of the repositories, nothing else.
 * @throws {AirferryError} ERR_ISO_INVALID when a directory on the way is malformed
 */
export async function readInstallTree(image: IsoImage): Promise<InstallTree> {
  const info = await readTreeInfo(image);
  // [general] is for old readers; if it is missing, the sections that it repeats exist.
  const value = (section: string, key: string) => info.get(section)?.get(key);
  const arch = value("general", "arch") ?? value("tree", "arch");
  const keyTexts = await readKeys(image);
  const tree: InstallTree = {
    repositories: await findRepositories(image, info),
    keys: [...keyTexts.keys()],
    keyTexts: new Map([...keyTexts].filter((it): it is [string, string] => it[1] !== undefined)),
  };
  if (arch !== undefined) tree.arch = arch;
  const family = value("general", "family") ?? value("release", "name");
  if (family !== undefined) tree.family = family;
  const version = value("general", "version") ?? value("release", "version");
  if (version !== undefined) tree.version = version;
  const images = info.get(`images-${arch}`);
  const kernel = await existing(image, images?.get("kernel"), "images/pxeboot/vmlinuz", "isolinux/vmlinuz");
  if (kernel !== undefined) tree.kernel = kernel;
  const initrd = await existing(image, images?.get("initrd"), "images/pxeboot/initrd.img", "isolinux/initrd.img");
  if (initrd !== undefined) tree.initrd = initrd;
  const stage2 = await existing(image, info.get("stage2")?.get("mainimage"), "images/install.img");
  if (stage2 !== undefined) tree.stage2 = stage2;
  return tree;
}

/** An installer finds its second stage and packages in the tree: `inst.repo=` works. */
export function isInstallable(tree: {
  readonly stage2?: string | undefined;
  readonly repositories: readonly unknown[];
}): boolean {
  return tree.stage2 !== undefined && tree.repositories.length > 0;
}

type Ini = Map<string, Map<string, string>>;

/**
 * Parses the INI text of a `.treeinfo`: sections of `key = value` or `key: value`; anything else is ignored. Repeated
 * sections are merged.
 */
export function parseTreeInfo(text: string): Ini {
  const sections: Ini = new Map();
  let section: Map<string, string> | undefined;
  for (const line of text.split("\n")) {
    const trimmed = line.trim();
    const [, name] = /^\[(.+)\]$/.exec(trimmed) ?? [];
    if (name !== undefined) {
      section = sections.get(name) ?? new Map();
      sections.set(name, section);
    } else if (section !== undefined && !trimmed.startsWith("#") && !trimmed.startsWith(";")) {
      const equals = trimmed.search(/[=:]/);
      if (equals > 0) section.set(trimmed.slice(0, equals).trim(), trimmed.slice(equals + 1).trim());
    }
  }
  return sections;
}

async function readTreeInfo(image: IsoImage): Promise<Ini> {
  const found = (await image.find(".treeinfo")) ?? (await image.find("treeinfo"));
  if (found === undefined || found.entry.kind !== "file" || found.entry.size > MAX_TREEINFO_BYTES) return new Map();
  const bytes = await image.member(found.entry).read(0, found.entry.size);
  return parseTreeInfo(textOf(bytes));
}

/** Variants that `.treeinfo` names come first, then every directory of the root with `repodata/`. */
async function findRepositories(image: IsoImage, info: Ini): Promise<IsoRepository[]> {
  const found = new Map<string, IsoRepository>();
  let looks = 0;
  const consider = async (id: string, path: string) => {
    if (++looks > MAX_LOOKS) return;
    const clean = path.replace(/^(\.?\/)+|^\.$|\/+$/g, "");
    if (found.size >= MAX_REPOSITORIES || found.has(clean) || clean.split("/").includes("..")) return;
    if ((await image.find(`${clean}/repodata/repomd.xml`))?.entry.kind !== "file") return;
    found.set(clean, { id: clean === "" ? id : (clean.split("/").pop() ?? id), path: clean });
  };
  for (const [name, section] of info) {
    const repository = section.get("repository");
    if (/^variant-/.test(name) && repository !== undefined) await consider(name.slice("variant-".length), repository);
  }
  await consider(info.get("general")?.get("variant") ?? "dvd", "");
  for (const entry of await image.list(image.root)) {
    if (entry.kind === "directory") await consider(entry.name, entry.name);
  }
  return [...found.values()];
}

/** The keys in the root directory, sorted by name; a text is undefined if the file is too large to be a key. */
async function readKeys(image: IsoImage): Promise<Map<string, string | undefined>> {
  const found = (await image.list(image.root))
    .filter(({ kind, name }) => kind === "file" && /^RPM-GPG-KEY/.test(name) && !/testing|beta|debug/i.test(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .slice(0, MAX_KEYS);
  const texts = new Map<string, string | undefined>();
  for (const entry of found) {
    const isKey = entry.size <= MAX_KEY_BYTES;
    texts.set(
      entry.name,
      isKey ? Buffer.from(await image.member(entry).read(0, entry.size)).toString("utf8") : undefined,
    );
  }
  return texts;
}

async function existing(image: IsoImage, ...paths: (string | undefined)[]): Promise<string | undefined> {
  for (const path of paths) {
    if (path !== undefined && path !== "" && (await image.find(path))?.entry.kind === "file") return path;
  }
  return undefined;
}
