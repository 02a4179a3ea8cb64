/** `export tree` in processes that are killed: what is served is whole at any time, and a rerun finishes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { noise } from "./fixtures/bundle-maker.ts";
import { airferry } from "./fixtures/host.ts";
import { unpackPageStream } from "./fixtures/page-store.ts";
import { CHECKOUT, commandEnvironment, scratch } from "./fixtures/program.ts";
import { seeded } from "./fixtures/seeded.ts";

const BASE = "http://mirror.example.com";
const KILLS = 6;

t.test("killed at any instant, a tree is the one before or the next, and a rerun finishes it", async (t) => {
  const dir = scratch(t, "af-tree-killed");
  const random = seeded(18);
  const stores = await Promise.all(
    [1, 2].map(async (serial) => {
      mkdirSync(join(dir, String(serial)));
      const files = Object.fromEntries(
        Array.from({ length: 150 }, (_, at) => [`files/f${at}`, noise(20_000, at % 3 === 0 ? at : at * 10 + serial)]),
      );
      return unpackPageStream(join(dir, String(serial)), { stream: "a", serial, packages: [], files });
    }),
  );
  const tree = join(dir, "tree");
  const start = (store: string) =>
    spawn(CHECKOUT[0], [...CHECKOUT.slice(1), "export", "tree", tree, "--store", store, "--base", BASE], {
      env: commandEnvironment(dir),
      stdio: "ignore",
    });
  const isWhole = (): string => {
    const serial = /"serial": (\d)/.exec(readFileSync(join(tree, "current/tree/index.json"), "utf8"))?.[1] ?? "";
    for (let at = 0; at < 150; at++) {
      const expected = noise(20_000, at % 3 === 0 ? at : at * 10 + Number(serial));
      if (!readFileSync(join(tree, `current/tree/files/f${at}`)).equals(expected)) return `f${at} of ${serial}`;
    }
    return "whole";
  };
  let spanMs = 0;
  let killed = 0;
  for (let at = 0; killed < KILLS; at++) {
    // Every other release: what is killed here has something to write.
    const child = start(stores[at % 2] as string);
    const gone = once(child, "exit");
    const began = performance.now();
    // The first one compiles, the later ones may be much faster.
    if (spanMs > 0) await Promise.race([gone, sleep(spanMs * (0.3 + (0.7 * random(1000)) / 1000))]);
    if (spanMs > 0 && child.kill("SIGKILL")) killed++;
    await gone;
    if (spanMs === 0 || child.signalCode === null) spanMs = performance.now() - began;
    t.equal(isWhole(), "whole");
  }
  // As a kill leaves it that comes while a note is written.
  const leftovers = [".tmp-0123456789abcdef", "isos/.tmp-fedcba9876543210"].map((it) => join(tree, it));
  for (const it of leftovers) writeFileSync(it, "half");
  const { status, stderr } = await airferry(dir, [
    "export",
    "tree",
    tree,
    "--store",
    stores[1] as string,
    "--base",
    BASE,
    "--recheck",
  ]);
  t.equal(status, 0, stderr);
  t.equal(isWhole(), "whole");
  t.equal(readdirSync(join(tree, "generations")).length, 2);
  t.strictSame(readdirSync(join(tree, "pool/new")), []);
  for (const it of [tree, join(tree, "isos"), join(tree, "generations")])
    t.strictSame(
      readdirSync(it).filter((name) => name.startsWith(".")),
      [],
      it,
    );
});
