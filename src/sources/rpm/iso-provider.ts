/**
 * The repositories inside an ISO of the same manifest, as providers for closures: what the DVD has counts as available
 * and is not carried again. Only for `isos:` entries with `packages: true`; the target then needs the DVD's
 * repositories enabled, as in the rendered airferry.repo.
 */
import { AirferryError } from "../../errors.ts";
import type { RandomAccess } from "../../io/types.ts";
import { readInstallTree } from "../../iso/install-tree.ts";
import { IsoImage } from "../../iso/iso-image.ts";
import { decompress, decompressChunks } from "../../rpm/codecs.ts";
import { ModuleIndex } from "../../rpm/modules.ts";
import { readModules } from "../../rpm/modules-thread.ts";
import { Primary } from "../../rpm/primary.ts";
import { MAX_REPOMD_BYTES, maxOpenBytes, parseRepomd } from "../../rpm/repomd.ts";
import type { LockContext } from "../types.ts";
import { isSeeded, type Repository } from "./repository.ts";

const MAX_METADATA_BYTES = 512 * 1024 * 1024;

interface IsoProviders {
  repositories: Repository[];
  /** ISOs that are not on this host yet: the closure must be computed again once they are. */
  pending: string[];
  /** Closes the image files. */
  close(): Promise<void>;
}

/**
 * Opens the repositories of every ISO that closures may use.
 * @throws {AirferryError} ERR_ISO_INVALID, ERR_UPSTREAM_INVALID, ERR_MANIFEST_INVALID when such an ISO holds no
 *   repository
 */
export async function openIsoProviders(context: LockContext): Promise<IsoProviders> {
  const providers: IsoProviders = { repositories: [], pending: [], close: async () => {} };
  if (!(context.manifest.rpms ?? []).some(isSeeded)) return providers;
  const closers: (() => Promise<void>)[] = [];
  providers.close = async () => {
    for (const close of closers) await close();
  };
  for (const { name, packages } of context.manifest.isos ?? []) {
    if (packages !== true) continue;
    const opened = await context.openIso(name);
    if (opened === undefined) {
      context.report(
        `closures do not use the packages of ISO "${name}" yet: it is not on this host; pack fetches it first`,
      );
      providers.pending.push(name);
      continue;
    }
    closers.push(opened.close);
    const found = await repositoriesOf(name, opened.bytes);
    if (found.length === 0) {
      throw new AirferryError(
        "ERR_MANIFEST_INVALID",
        `cannot use the packages of ISO "${name}": it holds no repository`,
        {
          path: `isos ${name}`,
          hint: "remove packages: true from this entry; minimal and boot images hold none",
        },
      );
    }
    providers.repositories.push(...found);
  }
  return providers;
}

async function repositoriesOf(name: string, bytes: RandomAccess): Promise<Repository[]> {
  const image = await IsoImage.open(bytes, `${name}.iso`);
  const tree = await readInstallTree(image);
  const repositories: Repository[] = [];
  for (const { id, path } of tree.repositories) {
    const label = `iso ${name} ${id}`;
    const folder = path === "" ? "" : `${path}/`;
    const read = async (member: string, maxBytes: number): Promise<Buffer | undefined> => {
      const located = await image.find(`${folder}${member}`);
      if (located?.entry.kind !== "file") return undefined;
      const file = image.member(located.entry);
      if (file.size > maxBytes) {
        throw new AirferryError(
          "ERR_UPSTREAM_INVALID",
          `cannot read "${member}" of ${label}: ${file.size} bytes: expected at most ${maxBytes}`,
        );
      }
      return Buffer.from(await file.read(0, file.size));
    };
    const repomdBytes = await read("repodata/repomd.xml", MAX_REPOMD_BYTES);
    if (repomdBytes === undefined) continue;
    const repomd = parseRepomd(repomdBytes, `${label}: repomd.xml`);
    const record = async (type: string) => {
      const href = repomd.records.find((it) => it.type === type)?.href;
      return href === undefined ? undefined : read(href, MAX_METADATA_BYTES);
    };
    const open = async (type: string) => {
      const packed = await record(type);
      return packed && decompress(packed, { name: `${label}: ${type}`, maxBytes: maxOpenBytes(type) });
    };
    const primary = await record("primary");
    if (primary === undefined) continue;
    const modules = await open("modules");
    repositories.push({
      entry: { name: label, packages: [] },
      name: label,
      provider: true,
      primary: await Primary.readCompressed(primary, label),
      comps: [],
      modules: new ModuleIndex(modules ? await readModules(modules, `${label}: modules.yaml`) : []),
      filelists: async () => {
        const packed = await record("filelists");
        return packed && decompressChunks(packed, { name: `${label}: filelists`, maxBytes: maxOpenBytes("filelists") });
      },
    });
  }
  return repositories;
}
