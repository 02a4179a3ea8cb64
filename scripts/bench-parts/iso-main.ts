/** Serves one ISO file from a store that has nothing else, in its own process; prints its URL. */
import { statSync } from "node:fs";
import { EntryTable } from "../../src/bundle/entry-table.ts";
import { serve } from "../../src/serve.ts";
import type { Release } from "../../src/store/types.ts";

const file = process.argv[2]!;
const entry = {
  path: "isos/dvd.iso",
  size: statSync(file).size,
  mode: "0644" as const,
  digest: `sha256:${"d".repeat(64)}` as const,
  offset: 0,
};
const release: Release = {
  stream: "bench",
  serial: 1,
  digest: `sha256:${"0".repeat(64)}`,
  signers: [],
  importedAt: "2026-01-01T00:00:00Z",
  inventory: {
    mediaType: "application/vnd.airferry.inventory.v1+json",
    requires: [],
    stream: "bench",
    epoch: 1,
    serial: 1,
    created: "2026-01-01T00:00:00Z",
    lock: `sha256:${"0".repeat(64)}`,
    tool: "bench",
    streamSize: 0,
    volumeSize: 0,
    volumes: [],
    entries: EntryTable.from([entry]),
    catalog: { isos: [{ name: "dvd", path: entry.path }], files: [], rpms: [], images: [], keys: [], provenance: [] },
    ext: {},
  },
  entries: new Map([[entry.path, entry]]),
};
const serving = await serve({
  store: "/",
  listen: "127.0.0.1:0",
  workers: 1,
  stopOnSignals: true,
  openStore: async () => ({ dir: "/", releases: async () => [release], blobPath: () => file }),
});
process.stdout.write(`${serving.urls[0]}\n`);
