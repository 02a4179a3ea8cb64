/**
 * What every renderer works from: the inventories of the current releases, the address that clients use, and what was
 * found inside the ISOs. Types only; renderers are pure functions of this.
 */
import type { Inventory } from "../bundle/inventory-types.ts";
import type { Digest } from "../io/digest.ts";

/** One release, as far as renderers look at it. A store's `Release` is one. */
export interface RenderRelease {
  stream: string;
  serial: number;
  inventory: Inventory;
}

/** What an installation image holds; paths are relative to its root. The iso folder's `InstallTree` is one. */
export interface RenderTree {
  repositories: readonly { id: string; path: string }[];
  keys: readonly string[];
  /** The keys' texts by name. */
  keyTexts?: ReadonlyMap<string, string> | undefined;
  arch?: string | undefined;
  kernel?: string | undefined;
  initrd?: string | undefined;
  stage2?: string | undefined;
}

export interface RenderInput {
  /** Current releases, at most one a stream; with `stream`, that one alone is looked at. */
  releases: readonly RenderRelease[];
  /** Address that clients use, without a slash at its end. */
  baseUrl: string;
  stream?: string | undefined;
  /** Installation trees by the SHA-256 (hex) of their ISO. */
  trees: ReadonlyMap<Digest, RenderTree>;
  /** The server's certificate is signed by a CA of its own, which clients must be given. */
  privateCa: boolean;
  /** Where secrets come from. Left out when rendering for the network: they then stay blank. */
  env?: Readonly<Record<string, string | undefined>> | undefined;
}

/** Where clients put the CA of the server, in every file that names it. */
export const CLIENT_CA_PATH = "/etc/pki/ca-trust/source/anchors/airferry-ca.crt";
