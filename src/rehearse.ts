/**
 * `airferry rehearse`: runs a command where only the given bundles exist: no network, and `serve --origins` behind
 * every name of an origin. Says what it asked for and what was missing, before anybody carries the bundle. See
 * docs/rehearse.md.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { readContents } from "./bundle/contents.ts";
import type { Inventory } from "./bundle/inventory-types.ts";
import { readMedia } from "./bundle/media.ts";
import { AirferryError } from "./errors.ts";
import { systemFault } from "./io/atomic.ts";
import { formatBytes, plural } from "./io/format.ts";
import { makeSharedFolder } from "./io/shared-folder.ts";
import { nearOrigin } from "./origins/near-origin.ts";
import { hostsOf, originsOf } from "./origins/origin-hosts.ts";
import { clientEnvironment } from "./record/client-environment.ts";
import { canOverlay, requireProgram, runClient } from "./record/run-client.ts";
import { systemTrust } from "./record/system-trust.ts";
import { type AskedHost, readAsked } from "./rehearsal/asked.ts";
import { isName, startNameServer } from "./rehearsal/name-server.ts";
import {
  addAddress,
  endStragglers,
  isInside,
  prepareNetwork,
  refusedConnections,
  runInside,
} from "./rehearsal/namespaces.ts";
import { startOriginServer } from "./rehearsal/origin-server.ts";
import { leadPort } from "./rehearsal/ports.ts";
import { makeSystemFiles } from "./rehearsal/system-files.ts";
import { openStore } from "./store/store.ts";
import { readWanted, wantedUrls } from "./wanted/wanted-file.ts";

/** How many missing things are compared with what is there. */
const MAX_COMPARED = 100;

interface RehearseOptions {
  /** Folders of bundles, sets of media mixed; or a store. */
  bundles: readonly string[];
  trust: readonly string[];
  threshold?: number | undefined;
  store?: string | undefined;
  command: readonly [string, ...string[]];
  /** Globs of URLs or hosts that may be missing. */
  allowMissing: readonly string[];
  keepCaches?: boolean | undefined;
  /** How the server says what it says. */
  serverFlags: readonly string[];
  /** The command's output goes to standard error. */
  isQuiet?: boolean | undefined;
  /** What the server says while it verifies, as it comes. */
  say: (text: string) => void;
  /** Ends everything before the command has started; signals of the command are its own affair. */
  stop: AbortSignal;
  /** One line of text. */
  report: (line: string) => void;
}

/** Something that was asked for, and no bundle has it. */
interface Missing {
  /** A URL, or the name of a host. */
  what: string;
  count: number;
  /** What is most like it of what is there. */
  near?: string;
  /** Matches a glob of `allowMissing`. */
  isAllowed: boolean;
}

interface RehearseResult {
  /** By the host that was asked. */
  asked: AskedHost[];
  missing: Missing[];
  /** Requests for further URLs, which had no room in the list. */
  dropped: number;
  /** Connections to ports where nothing listens, to origins or to services of the command's own. */
  refused: number;
  /** Exit status of the command. */
  status: number;
}

/**
 * Starts the program again where there is no network, and returns its exit status; there, runs the command and returns
 * what it asked for, or the exit status of a server that refused to start.
 * @throws {AirferryError} ERR_TOOL where a system has no namespaces; ERR_USAGE, ERR_IO, ERR_STORE_INVALID; the reason
 *   of `stop`
 */
export async function rehearse(options: RehearseOptions): Promise<RehearseResult | number> {
  if (!isInside()) {
    await requireProgram(options.command[0], process.env);
    return runInside(options.stop);
  }
  await prepareNetwork();
  const dir = await makeSharedFolder("airferry-rehearsal-");
  try {
    return await rehearseIn(dir, options);
  } finally {
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function rehearseIn(dir: string, options: RehearseOptions): Promise<RehearseResult | number> {
  const { bundles, trust, threshold, store, stop } = options;
  const what =
    store === undefined
      ? [...bundles, "--trust", ...trust, ...(threshold === undefined ? [] : ["--threshold", String(threshold)])]
      : ["--store", store];
  const own = join(dir, "server");
  await mkdir(own, { mode: 0o700 });
  const server = await startOriginServer(own, [...what, ...options.serverFlags], options.say, stop);
  if (typeof server === "number") return server;
  let ran: Ran;
  const recorded: string[] = [];
  try {
    // They are verified now.
    const inventories = store === undefined ? await inventoriesOf(bundles) : await inventoriesIn(store);
    ran = await runCommand(dir, server.caFile, inventories, options);
    for (const { stream, catalog } of inventories)
      if (catalog.web !== undefined) recorded.push(...(await server.recordedUrls(stream)));
  } finally {
    const left = await endStragglers(server.group);
    if (left > 0) options.report(`ended ${plural(left, "process", "processes")} that the command left running`);
    await server.close();
  }
  const { wanted, dropped } = { ...(await readWanted(server.wanted)) };
  const urls = wantedUrls({ wanted, dropped });
  const missing = [
    ...urls.map(({ url, count }, at) => {
      const near = at < MAX_COMPARED ? nearOrigin(ran.inventories, url, recorded) : undefined;
      return { what: url, count, ...(near !== undefined && { near }) };
    }),
    ...[...ran.unknown].map(([host, count]) => ({ what: host, count })),
  ].map((it) => ({ ...it, isAllowed: options.allowMissing.some((glob) => mayBeMissing(it.what, glob)) }));
  return {
    asked: await readAsked(server.accessLog, server.own),
    missing,
    dropped,
    refused: ran.refused,
    status: ran.status,
  };
}

interface Ran {
  status: number;
  /** Hosts that no origin has, with the number of questions for them. */
  unknown: ReadonlyMap<string, number>;
  refused: number;
  inventories: readonly Inventory[];
}

/** Makes the names and ports of the origins lead to the server, and runs the command. */
async function runCommand(
  dir: string,
  caFile: string,
  inventories: readonly Inventory[],
  options: RehearseOptions,
): Promise<Ran> {
  const { command, keepCaches = false, isQuiet = false } = options;
  const origins = originsOf(inventories.map((inventory) => ({ inventory })));
  const hosts = hostsOf(origins);
  const names = hosts.filter((it) => isName(it));
  for (const it of hosts) if (!isName(it)) await addAddress(it);
  const closing: (() => unknown)[] = [];
  try {
    for (const port of furtherPorts(origins)) {
      const listener = await leadPort(port, { http: 80, https: 443 });
      closing.push(() => listener.close());
    }
    const { unknown, close } = await startNameServer(new Set(names)).catch((cause: unknown) => {
      throw new AirferryError("ERR_IO", `cannot answer for names: ${systemFault(cause)}`, { cause });
    });
    closing.push(close);
    const { bundle, overlays } = await makeSystemFiles(dir, names, await systemTrust(process.env), caFile);
    const env = await clientEnvironment(process.env, { dir, bundle, caFile, keepCaches });
    if (!(await canOverlay(env)))
      throw new AirferryError("ERR_TOOL", "cannot rehearse: no mount namespace, so names would lead nowhere", {
        hint: "run it as root",
      });
    options.stop.throwIfAborted();
    options.report(`rehearsing with ${plural(origins.length, "origin")} and no network`);
    const before = await refusedConnections();
    const status = await runClient({ command, env, overlays, isQuiet });
    return { status, unknown, refused: (await refusedConnections()) - before, inventories };
  } finally {
    for (const close of closing) close();
  }
}

/** The inventories of bundles that were verified; each medium of a set has it. */
async function inventoriesOf(bundles: readonly string[]): Promise<Inventory[]> {
  const found = new Map<string, Inventory>();
  for (const dir of bundles) {
    const { contents } = await readContents(await readMedia([dir]));
    if (contents !== undefined)
      found.set(`${contents.inventory.stream}/${contents.inventory.serial}`, contents.inventory);
  }
  return [...found.values()];
}

async function inventoriesIn(store: string): Promise<Inventory[]> {
  return (await (await openStore(store)).releases()).map((it) => it.inventory);
}

/** Ports of origins besides 80 and 443. */
function furtherPorts(origins: readonly string[]): Set<number> {
  return new Set(origins.map((it) => Number(new URL(it).port)).filter((it) => it !== 0 && it !== 80 && it !== 443));
}

/**
 * Whether a URL, its host, or a host that has no URL matches a glob: `*` within a part of a path, `**` across parts.
 * All other characters are themselves, since URLs have `?`, `[` and names with dots.
 */
export function mayBeMissing(what: string, glob: string): boolean {
  const parts = glob
    .split(/\*{2,}/)
    .map((it) => it.split("*").map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")));
  const pattern = new RegExp(`^${parts.map((it) => it.join("[^/]*")).join(".*")}$`);
  // A build may ask a name server for anything, also for what looks like a URL.
  const host = what.includes("://") ? URL.parse(what)?.host : undefined;
  const others = host === undefined ? [`https://${what}/`, `http://${what}/`] : [host];
  return [what, ...others].some((it) => pattern.test(it));
}

/** One line for each host: what was answered, and how often something was missing. */
export function askedRows(asked: readonly AskedHost[]): string[][] {
  return asked.map(({ host, answers, bytes, failed }) => [
    host,
    String(answers),
    formatBytes(bytes),
    failed === 0 ? "-" : String(failed),
  ]);
}
