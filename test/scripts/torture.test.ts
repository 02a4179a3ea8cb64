/** scripts/torture for a moment, and that it does see what is wrong. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { judgeBundle, judgeFinished, judgeStore } from "../../scripts/torture-parts/judge.ts";
import type { Release } from "../../scripts/torture-parts/lab.ts";
import { sha256 } from "../fixtures/bundle-maker.ts";
import { ROOT, scratch } from "../fixtures/program.ts";

const MAIN = join(ROOT, "scripts/torture-parts/main.ts");
const torture = (...args: string[]) => {
  const env = { ...process.env, NODE_COMPILE_CACHE: join(ROOT, ".cache/node-compile") };
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8", env });
};

t.test(
  "a moment of everything that is quick: nothing is lost, corrupt or otherwise than expected",
  { timeout: 250_000 },
  async (t) => {
    const { status, stdout, stderr } = torture(
      "--minutes",
      "0.08",
      "--seed",
      "7",
      "--only",
      "media",
      "kill-unpack",
      "disk-small",
    );
    t.comment(stdout);
    t.equal(status, 0, stderr);
    t.match(stdout, /^seed 7, 0.08 minutes/);
    const rows = [...stdout.matchAll(/^(kill-unpack|disk-small|media) +(?:skipped: \w.+|\d+ +\d+ +\d+ +0 +0 +0)$/gm)];
    t.strictSame(
      rows.map(([, name]) => name),
      ["kill-unpack", "disk-small", "media"],
    );
    t.match(stdout, /^[1-9]\d* attempts: 0 bytes lost, 0 bytes corrupt, 0 faults$/m);
  },
);

t.test("wrong arguments are refused in words", async (t) => {
  for (const [args, said] of [
    [["--only", "nothing"], 'no kind "nothing": expected kill, power'],
    [["--minutes", "0"], "--minutes"],
    [["--minutes", "soon"], "--minutes"],
    [["--seed", "-1"], "--seed"],
    [["media"], 'unknown argument "media"'],
    [["--wrong"], "--wrong"],
  ] as const) {
    const { status, stderr, stdout } = torture(...args);
    t.equal(status, 2, args.join(" "));
    t.ok(stderr.includes(said), stderr);
    t.equal(stdout, "");
  }
});

t.test("its judges see bytes that are lost and bytes that are wrong", async (t) => {
  const dir = scratch(t);
  const content = { "files/a": Buffer.from("aaa"), "files/b": Buffer.from("bbbb") };
  const truth = new Map(Object.entries(content).map(([path, it]) => [path, { hex: sha256(it), size: it.length }]));
  const release: Release = { serial: 1, bundle: "", files: "", truth };
  const store = join(dir, "store");
  mkdirSync(join(store, "releases/sample/000001"), { recursive: true });
  writeFileSync(join(store, "releases/sample/000001/import.json"), "{}");
  writeFileSync(join(store, "releases/sample/current"), "000001\n");
  const blobs = Object.values(content).map((it) => {
    const path = join(store, "blobs/sha256", sha256(it).slice(0, 2), sha256(it));
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, it);
    return path;
  });
  t.match(judgeFinished(store, [release], 1), { lost: 0, corrupt: 0, wrong: [] });
  t.match(judgeFinished(store, [release], 2), { lost: 1 });
  writeFileSync(blobs[0] as string, "abc");
  t.match(judgeStore(store, [release]), { lost: 0, corrupt: 3, wrong: [/^blobs.sha256.* has the digest/] });
  rmSync(blobs[1] as string);
  t.match(judgeStore(store, [release]), { lost: 4, corrupt: 3 });
  writeFileSync(join(store, "releases/sample/current"), "000009\n");
  t.match(judgeStore(store, [release]), { lost: 5 });

  const [good, other] = [join(dir, "good"), join(dir, "other")];
  mkdirSync(good);
  for (const it of ["x", "y", "z"]) writeFileSync(join(good, it), it.repeat(10));
  cpSync(good, other, { recursive: true });
  t.match(judgeBundle(other, good), { lost: 0, corrupt: 0, wrong: [] });
  writeFileSync(join(other, "x"), "x");
  rmSync(join(other, "y"));
  t.match(judgeBundle(other, good), { lost: 10, corrupt: 10 });
});

t.test("the kinds of its help are those that it has", async (t) => {
  const help = readFileSync(join(ROOT, "scripts/torture"), "utf8");
  const [, groups] = /only these: (.*), or rows/.exec(help) ?? [];
  t.match(torture("--only", "x").stderr, `expected ${groups}, or`);
});
