/** Opens a store for rendering: the input of `render` and `stage`. */
import { lookup } from "node:dns/promises";

import { isIP } from "node:net";
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";

import { readInstallTree } from "../iso/install-tree.ts";
import { IsoImage } from "../iso/iso-image.ts";
import { openStored, readStored } from "../store/read-blob.ts";
import { openStore } from "../store/store.ts";
import type { OpenBlob, StoreReader } from "../store/types.ts";
import { checkBaseUrl } from "./base-url.ts";
import { configFiles } from "./config-files.ts";
import type { ConfigFile, RenderInput, RenderTree } from "./types.ts";
import { addressOf } from "./view.ts";

/** Kickstart templates and similar files are small. */
const MAX_TEMPLATE_BYTES = 4 * 1024 * 1024;

/** The source of rendering. */
export interface RenderFrom {
  /** The store's folder, or an opened store. */
  store: string | StoreReader;
  /** Base URL that the builder and the machines being installed will use. */
  url: string;
  /** Use only this stream. */
  stream?: string | undefined;
  /** The certificate is from a public CA or one that clients already trust. */
  publicCa?: boolean | undefined;
  /** The proxy of `serve --proxy`, HOST:PORT, for its variables. */
  proxy?: string | undefined;
  /** Source of secrets; default: the environment. */
  env?: Readonly<Record<string, string | undefined>> | undefined;
}

/**
 * Opens a store for rendering: the list of what can be rendered, and the renderers' input.
 * @throws {AirferryError} ERR_RENDER when the store has no release, or not the stream; ERR_USAGE for a bad URL
 */
export async function openRender(
  options: RenderFrom,
): Promise<{ files: ConfigFile[]; input: RenderInput; store: StoreReader }> {
  const store = typeof options.store === "string" ? await openStore(options.store) : options.store;
  const releases = await store.releases();
  const [fault] = releases.length === 0 ? (store.faults ?? []) : [];
  if (fault !== undefined) throw fault.error;
  const [first] = releases;
  if (first === undefined) {
    throw new AirferryError("ERR_RENDER", `cannot render from "${store.dir}": the store has no release yet`, {
      hint: "run: airferry unpack BUNDLE --trust KEY --store DIR",
    });
  }
  if (options.stream !== undefined && !releases.some((it) => it.stream === options.stream)) {
    throw new AirferryError("ERR_RENDER", `cannot render stream "${options.stream}": the store does not have it`, {
      expected: releases.map((it) => it.stream).join(", "),
      actual: options.stream,
      hint: `use --stream ${first.stream}`,
    });
  }
  const trees = new Map<Digest, RenderTree>();
  // Damage in another stream does not affect this one.
  for (const release of releases.filter((it) => options.stream === undefined || it.stream === options.stream)) {
    for (const { name, path } of release.inventory.catalog.isos) {
      const entry = release.entries.get(path);
      if (entry === undefined || trees.has(entry.digest)) continue;
      const tree = await readTree(await openStored(store, entry.digest), `${name}.iso`);
      if (tree !== undefined) trees.set(entry.digest, tree);
    }
  }
  const baseUrl = checkBaseUrl(options.url);
  const input: RenderInput = {
    releases,
    baseUrl,
    stream: options.stream,
    trees,
    privateCa: baseUrl.startsWith("https:") && options.publicCa !== true,
    origins: { address: () => addressOfHost(baseUrl), proxyUrl: proxyUrlOf(options.proxy) },
    env: options.env ?? process.env,
  };
  const readText = async (digest: Digest) => (await readStored(store, digest, MAX_TEMPLATE_BYTES)).toString("utf8");
  return { files: configFiles(input, readText), input, store };
}

/** The address that this host knows a server by; undefined when it knows none. */
async function addressOfHost(baseUrl: string): Promise<string | undefined> {
  const { host } = addressOf(baseUrl);
  if (isIP(host) !== 0) return host;
  const found = await lookup(host).catch(() => undefined);
  return found?.address;
}

function proxyUrlOf(proxy: string | undefined): string | undefined {
  if (proxy === undefined) return undefined;
  if (/^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/.test(proxy)) return `http://${proxy}`;
  throw new AirferryError("ERR_USAGE", `cannot use --proxy "${proxy}": not an address`, {
    expected: "HOST:PORT",
    actual: proxy,
    hint: "give the address as clients reach it: --proxy 192.0.2.10:3128",
  });
}

async function readTree({ bytes, close }: OpenBlob, label: string): Promise<RenderTree | undefined> {
  try {
    return await readInstallTree(await IsoImage.open(bytes, label));
  } catch (error) {
    // An unreadable image provides no repositories.
    if (error instanceof AirferryError && error.code === "ERR_ISO_INVALID") return undefined;
    throw error;
  } finally {
    await close();
  }
}
