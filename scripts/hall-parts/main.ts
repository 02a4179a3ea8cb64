/** Makes the content, installs once, and lets the hall fetch what that installation fetched. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { clientPath } from "../../test/fixtures/clients.ts";
import { describeMachine } from "../bench-parts/baseline.ts";
import { fillBucket, type StorePlace } from "./bucket.ts";
import { makeStore } from "./content.ts";
import { type Fetch, fetchesIn, installOnce } from "./installation.ts";
import { compareWithUpstream, type Measurement, measureHall, startServers, stopServers } from "./measure-hall.ts";
import { Hall } from "./network.ts";

const FILE = join(import.meta.dirname, "../../docs/hall.json");
const GB = 1e9;
const FOLDER: StorePlace = { kind: "folder", name: "store", env: {} };

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "200" },
    servers: { type: "string", default: "1,2,4" },
    "image-mib": { type: "string", default: "64" },
    json: { type: "boolean", default: false },
    save: { type: "boolean", default: false },
  },
});
const clients = Number(values.clients);
const counts = values.servers.split(",").map(Number);
const imageMib = Number(values["image-mib"]);
if (![clients, imageMib, ...counts].every((it) => Number.isInteger(it) && it > 0) || clients > 10_000) {
  console.error("hall: --clients, --servers and --image-mib take whole numbers above 0");
  process.exit(2);
}

const machine = describeMachine();
const dir = mkdtempSync(join(tmpdir(), "airferry-hall-"));
let hall: Hall | undefined;
const clean = () => {
  hall?.close();
  rmSync(dir, { recursive: true, force: true });
};
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    clean();
    process.exit(130);
  });
}
try {
  say("makes a distribution, packs and unpacks it");
  const bundle = makeStore(dir, imageMib);
  hall = new Hall(Math.max(...counts), clients);
  const fetches = await installation(hall);
  const bytes = fetches.reduce((sum, it) => sum + it.bytes, 0);
  say(`one installation: ${fetches.length} requests, ${(bytes / 1e6).toFixed(1)} MB`);
  const rows: Measurement[] = [];
  const measureOn = async (hall: Hall, store: StorePlace) => {
    for (const count of counts) {
      const servers = await startServers(hall, dir, store, count);
      try {
        // Also fills the caches of a bucket's servers.
        for (const it of servers) await compareWithUpstream(hall, dir, it, fetches);
        rows.push(await measureHall(hall, dir, store.kind, servers, fetches));
      } finally {
        await stopServers(servers);
      }
      say(textOf(rows.at(-1) as Measurement));
    }
  };
  await measureOn(hall, FOLDER);
  if (clientPath("versitygw") === undefined) say("no versitygw: nothing is measured on a bucket");
  else {
    const bucket = await fillBucket(hall, dir, bundle);
    try {
      await measureOn(hall, bucket.store);
    } finally {
      await bucket.stop();
    }
  }
  const result = { ...machine, installation: { requests: fetches.length, bytes }, rows };
  if (values.json) console.log(JSON.stringify(result, null, 2));
  if (values.save) writeFileSync(FILE, `${JSON.stringify(result, null, 2)}\n`);
} finally {
  clean();
}

/** What one genuine installation fetches. */
async function installation(hall: Hall): Promise<Fetch[]> {
  const servers = await startServers(hall, dir, FOLDER, 1);
  try {
    installOnce(dir, hall.clients[0] as string, servers[0]?.url as string);
  } finally {
    await stopServers(servers);
  }
  const log = join(dir, "installation.log");
  renameSync(join(dir, "access-0.log"), log);
  return fetchesIn(log);
}

function textOf({
  store,
  servers,
  clients,
  requests,
  bytes,
  seconds,
  cpuSeconds,
  peakBytes,
  clientSeconds,
}: Measurement): string {
  const [first, middle, last] = clientSeconds.map((it) => it.toFixed(1));
  return [
    `${store}, ${servers} ${servers === 1 ? "server" : "servers"}, ${clients} clients: ${seconds.toFixed(1)} s (first ${first}, middle ${middle}, last ${last})`,
    `${(bytes / GB).toFixed(1)} GB, ${requests} requests`,
    `servers' processors ${cpuSeconds.toFixed(1)} s: ${(requests / cpuSeconds).toFixed(0)} requests and ${(bytes / GB / cpuSeconds).toFixed(2)} GB per second of one core`,
    `at most ${(peakBytes / 1024 ** 2).toFixed(0)} MiB each`,
  ].join("; ");
}

function say(text: string): void {
  console.error(`hall: ${text}`);
}
