/** The server of a rehearsal: `airferry serve --origins`, as it will run inside the gap, in a process of its own. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { EXIT } from "../errors.ts";
import { parseWebIndex, WEB_INDEX } from "../io/web-index.ts";
import { ownCommand } from "./namespaces.ts";

/** Runs a program, and ends it when standard input does: when this process is gone, however it ended. */
const WITH_PARENT = 'exec 3<&0; "$@" </dev/null & p=$!; (cat <&3; kill "$p") >/dev/null 2>&1 & wait "$p"';

/** Of its own listener, as it prints it first. */
const OWN_URL = /http:\/\/127\.0\.0\.1:\d+/;

interface OriginServer {
  /** `127.0.0.1:PORT`, where the rehearsal itself asks. */
  own: string;
  /** Its process group. */
  group: number;
  /** PEM file of the CA that signs for the origins. */
  caFile: string;
  /** JSON lines, complete once it has stopped; so is `wanted`, as `serve --wanted` writes it. */
  accessLog: string;
  wanted: string;
  /** The URLs that have a recorded answer in a stream; none when they cannot be read. */
  recordedUrls(stream: string): Promise<string[]>;
  /** Stops it, and waits for that. */
  close(): Promise<void>;
}

/**
 * Verifies the bundles and serves them, or a store, at ports 80 and 443. Returns its exit status when it does not
 * start: it has said why.
 * @param dir an empty folder, for what the server writes
 * @param what the arguments that say what is served
 * @param say called with what it says before it is ready: progress, notes, an error
 * @param stop ends it before it is ready
 * @throws the reason of `stop`, when the server has ended
 */
export async function startOriginServer(
  dir: string,
  what: readonly string[],
  say: (text: string) => void,
  stop: AbortSignal,
): Promise<OriginServer | number> {
  const at = (name: string) => join(dir, name);
  const [accessLog, wanted, tls] = [at("access.jsonl"), at("wanted.json"), at("tls")];
  const listens = ["--listen", "127.0.0.1:0", "--listen-http", "0.0.0.0:80", "--listen-https", "0.0.0.0:443"];
  const files = ["--tls-dir", tls, "--access-log", accessLog, "--wanted", wanted];
  const [program, ...args] = ownCommand(["serve", ...what, "--origins", ...listens, ...files]);
  stop.throwIfAborted();
  // In a process group of its own: Ctrl-C is for the command.
  const wrapped = ["-c", WITH_PARENT, "airferry", program, ...args];
  const server = spawn("sh", wrapped, { stdio: ["pipe", "pipe", "pipe"], detached: true });
  server.stdin.on("error", () => {});
  let isReady = false;
  let base = "";
  server.stderr.on("data", (text: Buffer) => {
    if (!isReady && !stop.aborted) say(text.toString());
  });
  const ended = new Promise<number>((resolve, reject) => {
    server.once("error", reject);
    server.once("close", (status) => {
      server.stdin.destroy();
      resolve(status ?? EXIT.failed);
    });
  });
  const end = () => server.stdin.end();
  stop.addEventListener("abort", end);
  const status = await Promise.race([
    new Promise<void>((resolve) =>
      server.stdout.once("data", (text: Buffer) => {
        base = OWN_URL.exec(text.toString())?.[0] ?? "";
        resolve();
      }),
    ),
    ended,
  ]);
  stop.removeEventListener("abort", end);
  if (stop.aborted) {
    end();
    await ended;
    throw stop.reason;
  }
  if (status !== undefined) return status;
  isReady = true;
  return {
    own: base.slice("http://".length),
    group: server.pid ?? 0,
    caFile: join(tls, "origins-ca.crt"),
    accessLog,
    wanted,
    async recordedUrls(stream) {
      try {
        const answer = await fetch(`${base}/s/${stream}/${WEB_INDEX}`);
        return answer.ok ? [...parseWebIndex(await answer.text()).keys()] : [];
      } catch {
        return [];
      }
    },
    async close() {
      end();
      await ended;
    },
  };
}
