/** Threads of a server share what the first one reads: a record is read once, and a new one is served by all. */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { serve } from "../../../src/serve.ts";
import { openReader } from "../../../src/store/bundle-store.ts";
import { unpack } from "../../../src/unpack.ts";
import { makeBundle, makeKey } from "../../fixtures/bundle-maker.ts";
import { scratch } from "../../fixtures/program.ts";

const LINUX = process.platform === "linux";
/** The kernel gives connections to threads by their ports: of so many each gets some. */
const CONNECTIONS = 40;

t.test(
  "workers serve what the first thread read, and what comes later",
  { skip: !LINUX && "Linux only" },
  async (t) => {
    const dir = scratch(t);
    const key = makeKey();
    const trust = [join(dir, "key.pub")];
    writeFileSync(join(dir, "key.pub"), key.pem);
    const store = join(dir, "store");
    const put = async (serial: number) => {
      const files = { "files/a": Buffer.from(`serial ${serial}`) };
      makeBundle(join(dir, `bundle-${serial}`), { files, keys: [key], serial });
      await unpack([join(dir, `bundle-${serial}`)], { trust, store });
    };
    await put(1);
    const reports: string[] = [];
    const serving = await serve({
      store,
      listen: "127.0.0.1:0",
      workers: 3,
      onMessage: (message) => reports.push(message),
      async openStore(of) {
        const opened = await openReader(of);
        await opened.releases();
        // Whoever reads it again fails.
        const file = join(store, "releases/test/000001/airferry.json");
        chmodSync(file, 0o644);
        writeFileSync(file, "damaged");
        return opened;
      },
    });
    t.teardown(() => serving.close());
    const answers = async () => {
      const all = Array.from({ length: CONNECTIONS }, async () => {
        const answer = await fetch(`${serving.urls[0]}/files/a`, { headers: { connection: "close" } });
        return answer.text();
      });
      return [...new Set(await Promise.all(all))];
    };
    t.same(await answers(), ["serial 1"], "no worker reads the record");
    await put(2);
    let seen = await answers();
    for (const endMs = Date.now() + 10_000; seen.join() !== "serial 2" && Date.now() < endMs; seen = await answers());
    t.same(seen, ["serial 2"], "all have the new one");
    t.same(reports, [], "and nobody has a fault to tell");
  },
);
