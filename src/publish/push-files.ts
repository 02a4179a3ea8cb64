/** Pushes RPM repositories or files to a repository of the site, what is there already excepted. */
import { AirferryError } from "../errors.ts";
import { sleep } from "../http/retry.ts";
import { currentSignal, eachLimited, throwIfAborted } from "../io/limit.ts";
import type { RepositoryPlan } from "./repository-plan.ts";
import type { RepositoryFile, SiteRepository } from "./site-repository.ts";

export interface PushOptions {
  /** Ask what is there, and send nothing. */
  isDry: boolean;
  report?: ((line: string) => void) | undefined;
  /** Called with the number of bytes that are there, of all. */
  progress?: ((done: number, total: number, path: string) => void) | undefined;
  /** How long metadata that the site makes itself may take, and how often to look; tests are quicker. */
  metadataWaitMs?: number | undefined;
  metadataLookMs?: number | undefined;
}

/** What became of one file. `deployed`: the server had its bytes under another name. */
interface PushedFile {
  path: string;
  digest: string;
  size: number;
  done: "uploaded" | "deployed" | "present" | "would upload";
}

const CONCURRENCY = 4;
/** Nexus waits a minute for further uploads before it makes metadata. */
const METADATA_WAIT_MS = 15 * 60_000;
const METADATA_LOOK_MS = 5000;

/**
 * Pushes what a plan has, a step after the other. Running it again goes on where it ended.
 * @throws {AirferryError} ERR_PUBLISH, ERR_STORE_INVALID; ERR_USAGE for logins that are none
 */
export async function pushFiles(
  repository: SiteRepository,
  { steps, entryPoints }: RepositoryPlan,
  { isDry, report, progress, metadataWaitMs = METADATA_WAIT_MS, metadataLookMs = METADATA_LOOK_MS }: PushOptions,
): Promise<PushedFile[]> {
  const total = steps.flat().reduce((sum, it) => sum + it.size, 0);
  let done = 0;
  const pushed: PushedFile[] = [];
  const before = new Map<string, string | undefined>();
  if (!isDry) for (const it of entryPoints) before.set(it, await repository.stateOf(it));
  const pushOne = async (file: RepositoryFile): Promise<void> => {
    throwIfAborted();
    let sent = 0;
    const at = (bytes: number) => {
      done += bytes - sent;
      sent = bytes;
      progress?.(done, total, file.path);
    };
    const there = await repository.has(file);
    const result = there
      ? "present"
      : isDry
        ? "would upload"
        : (await repository.put(file, at))
          ? "uploaded"
          : "deployed";
    at(file.size);
    const { path, digest, size } = file;
    pushed.push({ path, digest, size, done: result });
    if (result === "uploaded" || result === "would upload") report?.(`${result} ${path}`);
  };
  for (const step of steps) await eachLimited(step, CONCURRENCY, pushOne);
  const sent = pushed.filter((it) => it.done === "uploaded" || it.done === "deployed");
  for (const path of entryPoints) {
    const folder = path.slice(0, -"repodata/repomd.xml".length);
    if (!sent.some((it) => it.path.startsWith(folder))) continue;
    const until = performance.now() + metadataWaitMs;
    while ((await repository.stateOf(path)) === before.get(path)) {
      if (performance.now() > until) throw noMetadata(path);
      await sleep(metadataLookMs, currentSignal());
    }
    report?.(`the site made ${path}`);
  }
  return pushed.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function noMetadata(path: string): AirferryError {
  return new AirferryError("ERR_PUBLISH", `cannot finish: the packages are there, but the site does not make ${path}`, {
    hint: "check the depth of its metadata (Nexus: Repodata Depth 1; Artifactory: RPM Metadata Folder Depth 1, Auto-calculate RPM Metadata), or publish to a raw repository with --metadata carried",
  });
}
