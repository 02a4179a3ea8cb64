/** The stores that the hall is served from: a folder, and a bucket of versitygw in the servers' namespace. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { airferryCommand } from "./content.ts";
import { type Hall, within } from "./network.ts";

export interface StorePlace {
  kind: "folder" | "bucket";
  /** For --store. */
  name: string;
  env: Record<string, string>;
}

const PORT = 7070;
const KEY = { id: "hallkey", secret: "hall-secret-0123456789" };
const START_TRIES = 200;

/** Starts a gateway on loopback of the servers' namespace, and unpacks a bundle into it. */
export async function fillBucket(
  hall: Hall,
  dir: string,
  bundle: string,
): Promise<{ store: StorePlace; stop(): Promise<void> }> {
  const folder = (name: string) => {
    mkdirSync(join(dir, name), { recursive: true });
    return join(dir, name);
  };
  folder("gateway/data/hall");
  const posix = ["posix", "--versioning-dir", folder("gateway/versions"), folder("gateway/data")];
  const options = ["--port", `127.0.0.1:${PORT}`, "--region", "us-east-1", "--keep-alive", "--quiet"];
  const command = ["versitygw", ...options, "--iam-dir", folder("gateway/iam"), ...posix];
  const [program = "", ...args] = within(hall.servers, ...command);
  const env = { ...process.env, ROOT_ACCESS_KEY_ID: KEY.id, ROOT_SECRET_ACCESS_KEY: KEY.secret };
  const gateway = spawn(program, args, { env, stdio: ["ignore", "ignore", "inherit"] });
  const stop = async () => {
    const ended = once(gateway, "exit");
    gateway.kill("SIGTERM");
    await ended;
  };
  const store: StorePlace = {
    kind: "bucket",
    name: `s3://hall/store?endpoint=http://127.0.0.1:${PORT}&region=us-east-1`,
    env: { AWS_ACCESS_KEY_ID: KEY.id, AWS_SECRET_ACCESS_KEY: KEY.secret, AWS_EC2_METADATA_DISABLED: "true" },
  };
  try {
    await answering(hall, gateway);
    const unpack = ["unpack", bundle, "--trust", "site.pub", "--store", store.name, "--quiet"];
    const [first = "", ...rest] = within(hall.servers, ...airferryCommand(...unpack));
    execFileSync(first, rest, {
      cwd: dir,
      env: { ...process.env, ...store.env },
      stdio: ["ignore", "ignore", "inherit"],
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { store, stop };
}

async function answering(hall: Hall, gateway: { exitCode: number | null }): Promise<void> {
  const [program = "", ...args] = within(hall.servers, "curl", "-s", "-o", "/dev/null", `http://127.0.0.1:${PORT}/`);
  for (let it = 0; it < START_TRIES && gateway.exitCode === null; it++) {
    try {
      return void execFileSync(program, args, { stdio: "ignore" });
    } catch {
      await sleep(100);
    }
  }
  throw new Error("versitygw does not answer");
}
