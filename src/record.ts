/**
 * `airferry record`: a proxy that writes down what a build asks for, and a manifest of it. See docs/record.md.
 */
import { rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { AirferryError } from "./errors.ts";
import { createFetcher } from "./fetch/fetcher.ts";
import type { Fetcher } from "./fetch/types.ts";
import type { ProxyEnv } from "./http/proxy.ts";
import { makeFolder } from "./io/atomic.ts";
import type { Digest } from "./io/digest.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { formatBytes, plural } from "./io/format.ts";
import { otherGitUrl } from "./io/git-index.ts";
import { NAME } from "./io/path-grammar.ts";
import { makeSharedFolder, writeShared } from "./io/shared-folder.ts";
import type { RecordedAnswer } from "./io/web-recording.ts";
import { pathsOf } from "./manifest/file-names.ts";
import { clientEnvironment } from "./record/client-environment.ts";
import { repositoryIn } from "./record/git-repositories.ts";
import { type Recorder, startRecorder } from "./record/proxy-recorder.ts";
import { openManifest } from "./record/recorded-manifest.ts";
import { canOverlay, requireProgram, runClient } from "./record/run-client.ts";
import { readTrusted, systemTrust } from "./record/system-trust.ts";
import type { HostTally, RecordedManifest } from "./record/types.ts";
import { listenUrls, parseListen } from "./server/http/address.ts";
import { GitQueue } from "./sort/git-queue.ts";
import { readHosts } from "./sort/lock-recorded.ts";
import { type Sorted, sortRecording } from "./sort/sort-recording.ts";

/** How long bodies that clients have left may still take without a word about it. */
const PATIENCE_MS = 2000;

/** Of requests of its own. Clients do not wait for an upstream that is gone, and neither do people at the end. */
const RETRIES = 1;

interface RecordOptions {
  /** The manifest, `NAME.yaml`; the recording is `NAME.recording` beside it. */
  out: string;
  /** `HOST:PORT`; port 0 lets the system choose. Without a command clients are elsewhere. */
  listen: string;
  /** PEM file of certificates that upstream is verified with besides the system's. */
  ca?: string | undefined;
  command: readonly string[];
  keepCaches?: boolean | undefined;
  /** Record RPM repositories whole. */
  isWhole?: boolean | undefined;
  /** The command's output goes to standard error. */
  isQuiet?: boolean | undefined;
  /** Called when the proxy listens, without a command. */
  onReady?: ((ready: { urls: string[] }) => void) | undefined;
  /** Ends a recording without a command. */
  stop: AbortSignal;
  /** Ends waiting for bodies that are not complete. */
  giveUp: AbortSignal;
  /** One line of text. */
  report: (line: string) => void;
}

/** What came of a host, and as what its recorded answers are carried: how many, by key of the manifest, and `git`. */
interface HostRow extends HostTally {
  kinds: Record<string, number>;
}

interface RecordResult {
  manifest: string;
  recording: string;
  /** Answers that are recorded, with those of earlier runs. */
  answers: number;
  /** Entries of the manifest that were made of the recording; `id`: their URL, or the reference of an image. */
  sorted: { kind: string; id: string; name: string; packages?: number }[];
  /** What looked like one and is under `web:` alone. */
  left: { kind: string; id: string; reason: string }[];
  /** Of this run, by host. */
  hosts: HostRow[];
  /** URLs that could not be written, at most 20, and how many there were. */
  lost: { count: number; urls: string[] };
  /** Exit status of the command. */
  status?: number;
}

/**
 * Records until the command has ended, or `stop`. Bodies that began are then received to their end, unless `stop` says
 * otherwise.
 * @throws {AirferryError} ERR_USAGE, ERR_BUSY, ERR_MANIFEST_INVALID, ERR_SPACE, ERR_IO
 */
export async function record(options: RecordOptions): Promise<RecordResult> {
  keepHeapSmall();
  const { out, report } = options;
  const name = basename(out).replace(/\.ya?ml$/, "");
  if (name === basename(out) || !NAME.test(name)) {
    throw new AirferryError("ERR_USAGE", `cannot record into "${out}": expected a name such as build.yaml`, {
      path: out,
      hint: "give --out NAME.yaml; NAME begins with a letter or digit and has only letters, digits, '.', '_' and '-'",
    });
  }
  // Before anything is written: what cannot be run, and a manifest that cannot be completed, are reported at once.
  const [program] = options.command;
  if (program !== undefined) await requireProgram(program, process.env);
  const { hosts } = await openManifest(out, name);
  const { host, port } = parseListen(options.listen);
  const system = await systemTrust(process.env);
  const trusted = options.ca === undefined ? system.pem : `${system.pem}\n${await readTrusted(options.ca)}`;
  await makeFolder(dirname(resolve(out)));
  const recording = join(dirname(out), `${name}.recording`);
  let git: GitQueue | undefined;
  const recorder = await startRecorder({
    dir: recording,
    host,
    port,
    trusted,
    env: { ...process.env },
    report,
    onRepository: (url, login) => git?.add(url, login),
  });
  const own = await recorder.ownProxy();
  const login = readHosts(hosts);
  const paths = pathsOf(out);
  const fetcher = createFetcher({
    ca: recorder.ca,
    env: proxiedBy(own),
    baseDir: paths.baseDir,
    retries: RETRIES,
    ...(login && { hosts: login }),
  });
  git = new GitQueue({ fetcher, add: (it, pack) => recorder.addRepository(it, pack), report });
  let status: number | undefined;
  let answers = 0;
  let manifest: RecordedManifest | undefined;
  let sorted: Sorted | undefined;
  let rows: HostRow[] = [];
  try {
    status = await runOrWait(options, recorder, system);
    await finishBodies(recorder, git, options.giveUp, report);
    ({ manifest, sorted } = await sort(options, { name, paths, folder: recording, recorder, fetcher }));
  } finally {
    await fetcher.close();
    await recorder.close(async (all) => {
      const recorded = [...all];
      answers = recorded.length;
      const carried = new Set(recorder.repositories().map((it) => it.url));
      manifest ??= await openManifest(out, name);
      manifest.addRecording(name, `./${name}.recording`);
      // What could not be fetched, or was not by a recording that was killed.
      for (const url of new Set(recorded.map(repositoryIn)))
        if (url !== undefined && !carried.has(url) && !carried.has(otherGitUrl(url))) manifest.addRepository(url);
      await manifest.write();
      rows = recorder.tally.hosts().map((it) => ({ ...it, kinds: {} }));
      const carriedAs = kindsByHost(recorded, recorder.repositories(), sorted?.keyOf ?? new Map());
      for (const it of rows) it.kinds = carriedAs.get(it.host) ?? {};
    });
  }
  const { lost, lostCount } = recorder.tally;
  return {
    manifest: out,
    recording,
    answers,
    sorted: (sorted?.entries ?? []).map(({ name: it, key, ...rest }) => ({ kind: key, name: it, ...rest })),
    left: (sorted?.left ?? []).map(({ key, ...rest }) => ({ kind: key, ...rest })),
    hosts: rows,
    lost: { count: lostCount, urls: lost },
    ...(status !== undefined && { status }),
  };
}

async function runOrWait(
  options: RecordOptions,
  recorder: Recorder,
  system: { pem: string; files: readonly string[] },
): Promise<number | undefined> {
  const [program, ...args] = options.command;
  if (program === undefined) {
    options.onReady?.({ urls: listenUrls("http", recorder.address) });
    await aborted(options.stop);
    return undefined;
  }
  const dir = await makeSharedFolder("airferry-record-");
  try {
    const caFile = join(dir, "ca.crt");
    const bundle = join(dir, "bundle.crt");
    await writeShared(caFile, recorder.ca);
    await writeShared(bundle, `${system.pem.trimEnd()}\n${recorder.ca}`);
    const proxy = `http://127.0.0.1:${recorder.address.port}`;
    const places = { proxy, dir, bundle, caFile, keepCaches: options.keepCaches === true };
    const env = await clientEnvironment(process.env, places);
    const overlays = system.files.map((over) => ({ file: bundle, over }));
    if (overlays.length === 0 || !(await canOverlay(env)))
      options.report(
        "programs that read only the system's certificates (dnf, wget) will refuse: run as root, or give dnf sslcacert=$SSL_CERT_FILE",
      );
    const command: [string, ...string[]] = [program, ...args];
    return await runClient({ command, env, overlays, isQuiet: options.isQuiet === true });
  } finally {
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  }
}

interface SortTools {
  name: string;
  paths: ReturnType<typeof pathsOf>;
  folder: string;
  recorder: Recorder;
  fetcher: Fetcher;
}

/** What fails here costs entries of the manifest, and nothing of the recording. */
async function sort(
  { out, giveUp, isWhole, report }: RecordOptions,
  { name, recorder, fetcher, ...places }: SortTools,
): Promise<{ manifest?: RecordedManifest; sorted?: Sorted }> {
  if (giveUp.aborted) return {};
  const timer = setTimeout(() => report("sorting what was recorded into the manifest; Ctrl-C ends that"), PATIENCE_MS);
  const stop = () => void fetcher.close();
  giveUp.addEventListener("abort", stop);
  try {
    const manifest = await openManifest(out, name);
    const sorted = await sortRecording({
      ...places,
      manifest,
      answers: () => recorder.answers(),
      watch: (listener) => recorder.watch(listener),
      settled: () => recorder.settled(),
      fetcher,
      isWhole: isWhole === true,
      report,
    });
    return { manifest, sorted };
  } catch (error) {
    report(`all of it stays under web: ${(error as Error).message}`);
    return {};
  } finally {
    giveUp.removeEventListener("abort", stop);
    clearTimeout(timer);
  }
}

/** The environment, with a proxy for everything. */
function proxiedBy(proxy: string): ProxyEnv {
  return { ...process.env, http_proxy: proxy, https_proxy: proxy, no_proxy: "" };
}

/** What clients left before its end is received whole, and so are git repositories. */
async function finishBodies(
  recorder: Recorder,
  git: GitQueue,
  giveUp: AbortSignal,
  report: (line: string) => void,
): Promise<void> {
  const timer = setTimeout(() => {
    const running = recorder.running();
    const what = running > 0 ? plural(running, "answer") : "git repositories";
    report(`receiving ${what} to the end; Ctrl-C ends that`);
  }, PATIENCE_MS);
  try {
    await Promise.race([recorder.settled().then(() => git.settled()), aborted(giveUp)]);
  } finally {
    clearTimeout(timer);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** What each host's answers are carried as. */
function kindsByHost(
  recorded: readonly RecordedAnswer[],
  repositories: readonly { url: string }[],
  keyOf: ReadonlyMap<Digest, string>,
): Map<string, Record<string, number>> {
  const hosts = new Map<string, Record<string, number>>();
  const count = (url: string, kind: string) => {
    const host = hostOfUrl(url);
    const kinds = hosts.get(host) ?? {};
    hosts.set(host, kinds);
    kinds[kind] = (kinds[kind] ?? 0) + 1;
  };
  for (const { url, digest, status, method } of recorded)
    count(url, (method === "GET" && status === 200 && keyOf.get(digest)) || "web");
  for (const { url } of repositories) count(url, "git");
  return hosts;
}

function hostOfUrl(url: string): string {
  return new URL(url).host;
}

/** One line for each host: what was recorded, as what it is carried, and what could not be. */
export function hostRows(hosts: readonly HostRow[]): string[][] {
  return hosts.map(({ host, answers, bytes, kinds, missed }) => [
    host,
    String(answers),
    formatBytes(bytes),
    Object.entries(kinds)
      .sort()
      .map(([kind, count]) => `${kind} ${count}`)
      .join(", ") || "-",
    Object.entries(missed)
      .map(([reason, count]) => `${count} × ${reason}`)
      .join(", ") || "-",
  ]);
}
