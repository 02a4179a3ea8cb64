/**
 * What every renderer works from: the inventories of the current releases, the address that clients use, and what was
 * found inside the ISOs; and what it makes of them. Types only; renderers are pure functions of this.
 */
import type { KickstartFinding } from "../builder/kickstart-findings.ts";
import type { Inventory } from "../bundle/inventory-types.ts";
import type { Digest } from "../io/digest.ts";
import type { OriginPorts } from "../origins/origin-ports.ts";

/** The part of a release that renderers use. A store's `Release` is one. */
export interface RenderRelease {
  stream: string;
  serial: number;
  inventory: Inventory;
}

/** The contents of an installation image; paths are relative to its root. The iso folder's `InstallTree` is one. */
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

/** How clients reach what answers under the names of the origins. */
export interface OriginsAt {
  /** Finds the IP address of the server, for base URLs with a name; undefined when it is not known. */
  address?: () => Promise<string | undefined>;
  /** The ports of the listeners, where they are known. */
  ports?: OriginPorts | undefined;
  /** The proxy's URL, where there is one. */
  proxyUrl?: string | undefined;
}

export interface RenderInput {
  /** Current releases, at most one a stream; with `stream`, only that one is used. */
  releases: readonly RenderRelease[];
  /** Address that clients use, without trailing slash. */
  baseUrl: string;
  stream?: string | undefined;
  /** Installation trees by the SHA-256 (hex) of their ISO. */
  trees: ReadonlyMap<Digest, RenderTree>;
  /** The server's certificate is signed by its own CA, which clients need. */
  privateCa: boolean;
  /** Set where the server answers under the names of the origins. */
  origins?: OriginsAt | undefined;
  /** Source of secrets. Absent when rendering for the network: they then stay blank. */
  env?: Readonly<Record<string, string | undefined>> | undefined;
}

/** The CA's path on clients, in every file that names it. */
export const CLIENT_CA_PATH = "/etc/pki/ca-trust/source/anchors/airferry-ca.crt";

/** What `airferry render` can be asked for. */
export type RenderName =
  | "imageconfig"
  | "packer-vars"
  | "repo"
  | "kickstart"
  | "hosts-toml"
  | "registries-conf"
  | "docker-daemon"
  | "docker-daemon-25"
  | "k3s-registries"
  | "openshift-mirrors"
  | "talos-mirrors"
  | "buildkitd"
  | "composer-repositories"
  | "image-policy"
  | "registry-trust"
  | "boot-ipxe"
  | "checksum"
  | "origins"
  | "check";

/** One file to render. */
export interface ConfigFile {
  name: RenderName;
  /** Relative path: below `/config/`, and below the folder that `render --out DIR/` writes. */
  path: string;
  /** One line for people: what it is and where it goes. */
  summary: string;
  /** A text that other files of this name hold too: to be read, with no place of its own in a folder. */
  isLoose?: boolean;
  /**
   * Renders it.
   * @throws {AirferryError} ERR_RENDER when something that it needs was not packed
   */
  make(): Promise<string>;
  /** What will not do in it, although it can be made. Absent where nothing is looked at. */
  check?(): Promise<KickstartFinding[]>;
  /** Whether it holds a secret out of the environment. Absent where it never does. */
  hasSecret?(): Promise<boolean>;
}
