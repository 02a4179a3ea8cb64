/** A server of a store, and everything it serves, fetched by curl. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { sha256sums } from "./judge.ts";
import type { Outcome } from "./kind.ts";
import { drop, type Lab, type Release } from "./lab.ts";

const START_MS = 30_000;
const SWITCH_MS = 20_000;

export interface Server {
  url: string;
  pid: number;
  /** Ends it as systemd does; returns its exit status. */
  stop(): Promise<number | null>;
}

/** Starts `serve` in one thread, since each switches to a release for itself within a second, and waits for its address. */
export async function serveStore(lab: Lab, store: string, env: NodeJS.ProcessEnv = {}): Promise<Server> {
  const child = lab.start(["serve", "--store", store, "--listen", "127.0.0.1:0", "--workers", "1"], env);
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => reject(new Error("serve did not start")), START_MS);
    child.stdout?.on("data", (it: string) => {
      text += it;
      const [found] = /http:\/\/[0-9.]+:[0-9]+/.exec(text) ?? [];
      if (found === undefined) return;
      clearTimeout(timer);
      resolve(found);
    });
    void child.done.then((ran) => {
      clearTimeout(timer);
      reject(new Error(`serve ended with ${ran.status}: ${ran.stderr}`));
    });
  });
  const stop = async () => {
    child.kill("SIGTERM");
    return (await child.done).status;
  };
  return { url, pid: child.pid as number, stop };
}

/** Where clients find an entry; undefined for the few that only the server itself reads. */
export function urlPathOf(path: string): string | undefined {
  const [, hex] = /^images\/blobs\/sha256\/([0-9a-f]{64})$/.exec(path) ?? [];
  if (hex !== undefined) return `/v2/sample/pause/blobs/sha256:${hex}`;
  return path.startsWith("images/") || path.startsWith("keys/") ? undefined : `/${path}`;
}

/** Fetches everything of a release; missing bytes are lost, other bytes are corrupt. */
export function fetchAll(lab: Lab, url: string, release: Release): Outcome {
  const folder = lab.fresh("fetched");
  const outcome = { lost: 0, corrupt: 0, wrong: [] as string[] };
  const config: string[] = ["silent", "fail", "location", "create-dirs"];
  const wanted = [...release.truth].filter(([path]) => urlPathOf(path) !== undefined);
  for (const [path] of wanted) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    config.push(`url = "${url}${urlPathOf(path)}"`, `output = "${join(folder, path)}"`);
  }
  try {
    execFileSync("curl", ["--parallel", "--parallel-max", "8", "--noproxy", "*", "-K", "-"], {
      input: config.join("\n"),
      stdio: ["pipe", "pipe", "pipe"],
    });
  } catch {
    // What it could not fetch is missing below.
  }
  const got = sha256sums(folder);
  for (const [path, { hex, size }] of wanted) {
    if (got.get(path) === hex) continue;
    // A manifest is no blob of the registry, and a blob that is one is asked for by its other name.
    if (path.startsWith("images/blobs/") && isManifest(url, hex)) continue;
    const file = join(folder, path);
    if (!existsSync(file)) outcome.lost += Math.max(size, 1);
    else outcome.corrupt += statSync(file).size;
    outcome.wrong.push(`served ${path} of release ${release.serial}: ${got.get(path) ?? "nothing"}`);
  }
  drop(folder);
  return outcome;
}

function isManifest(url: string, hex: string): boolean {
  const path = `/v2/sample/pause/manifests/sha256:${hex}`;
  const script = `curl -sf --noproxy '*' -H 'Accept: */*' "$1" | sha256sum`;
  return execFileSync("sh", ["-c", script, "sh", url + path], { encoding: "utf8" }).startsWith(hex);
}

/** Waits until a server has switched to a release; whether it did. */
export async function switchedTo(url: string, serial: number): Promise<boolean> {
  for (const until = Date.now() + SWITCH_MS; Date.now() < until; ) {
    const answer = await fetch(`${url}/files/note.txt`).catch(() => undefined);
    if ((await answer?.text()) === `release ${serial}\n`) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return false;
}
