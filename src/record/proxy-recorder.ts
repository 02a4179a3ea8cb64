/** A recording that runs: the proxy, its CA, the folder that it writes. */
import type { LookupFunction } from "node:net";
import { createCa } from "../certs/certificates.ts";
import { HostCertificates } from "../certs/host-certificates.ts";
import { isLoopbackHost } from "../http/network-rank.ts";
import type { ProxyEnv } from "../http/proxy.ts";
import type { RecordedRepository } from "../io/git-recording.ts";
import type { RecordedAnswer } from "../io/web-recording.ts";
import { Exchanges } from "./exchange.ts";
import { ProxyFront } from "./front.ts";
import { HostTallies } from "./host-tally.ts";
import { RangedAnswers } from "./ranged.ts";
import { Recording } from "./recording.ts";
import { Upstream } from "./upstream.ts";

/** It is needed as long as the recording runs; its private key is in no file. */
const CA_DAYS = 32;

interface RecorderOptions {
  /** The recording's folder. */
  dir: string;
  host: string;
  port: number;
  /** PEM certificates that upstream is verified with: no others. */
  trusted: string;
  /** For upstream's proxy. */
  env: ProxyEnv;
  /** One line of text. */
  report: (line: string) => void;
  lookup?: LookupFunction | undefined;
  patienceMs?: number | undefined;
  /** Called when a client asked for the refs of a git repository, with the login that it used. */
  onRepository?: ((url: string, login: string | undefined) => void) | undefined;
}

/** Its starter ends it: first `settled`, then `close`. */
export interface Recorder {
  /** Where the proxy listens. */
  address: { host: string; port: number };
  /** PEM of its CA. */
  ca: string;
  tally: HostTallies;
  /** Answers that the folder had before. */
  before: number;
  /** Questions without a complete answer yet. */
  running(): number;
  /** Lets go of all clients, and waits until all bodies that began are stored, or failed. */
  settled(): Promise<void>;
  /** URL of a proxy for requests of airferry's own, which are recorded too. It stays when clients are let go of. */
  ownProxy(): Promise<string>;
  /** What is recorded so far. */
  answers(): Iterable<RecordedAnswer>;
  /** Calls `listener` with each answer that is recorded from now on. */
  watch(listener: (answer: RecordedAnswer) => void): void;
  /** Git repositories that are recorded. */
  repositories(): RecordedRepository[];
  /** Adds one with its pack. @throws {AirferryError} ERR_IO, ERR_SPACE */
  addRepository(repository: Omit<RecordedRepository, "pack">, pack: Buffer | undefined): Promise<void>;
  /**
   * Ends it. Calls `use` with what is recorded, while nobody else can change the folder.
   * @throws {AirferryError} ERR_IO, ERR_SPACE
   */
  close(use: (answers: Iterable<RecordedAnswer>) => Promise<void>): Promise<void>;
}

/** Starts one. @throws {AirferryError} ERR_BUSY for the port or the folder; ERR_IO, ERR_SPACE */
export async function startRecorder(options: RecorderOptions): Promise<Recorder> {
  const { dir, host, port, trusted, env, report, lookup } = options;
  const recording = await Recording.open(dir);
  // Who can reach a proxy that listens on loopback can reach everything else there too.
  const isForOthers = !isLoopbackHost(host);
  const upstream = new Upstream({ ca: trusted, env, lookup, isForOthers });
  const tally = new HostTallies();
  try {
    const authority = await createCa("airferry recording", CA_DAYS);
    const tools = {
      recording,
      upstream,
      tally,
      report,
      patienceMs: options.patienceMs,
      onRepository: options.onRepository,
    };
    const exchanges = new Exchanges(tools);
    const ranged = new RangedAnswers(exchanges, tools);
    const certificates = new HostCertificates(authority);
    const newFront = () => new ProxyFront({ ...tools, exchanges, ranged, certificates, ca: authority.cert });
    const front = newFront();
    const address = await front.listen(host, port);
    const ownFront = newFront();
    let own: Promise<string> | undefined;
    return {
      address,
      ca: authority.cert,
      tally,
      before: recording.before,
      running: () => exchanges.running,
      ownProxy() {
        own ??= ownFront.listen("127.0.0.1", 0).then((it) => `http://127.0.0.1:${it.port}`);
        return own;
      },
      answers: () => recording.answers(),
      watch(listener) {
        recording.onAdded = listener;
      },
      repositories: () => recording.repositories(),
      addRepository: (repository, pack) => recording.addRepository(repository, pack),
      async settled() {
        await front.close();
        await exchanges.settled();
      },
      async close(use) {
        await front.close();
        await ownFront.close();
        upstream.close();
        await exchanges.settled();
        await ranged.close();
        try {
          await use(recording.answers());
        } finally {
          await recording.close();
        }
      },
    };
  } catch (error) {
    upstream.close();
    await recording.abandon();
    throw error;
  }
}
