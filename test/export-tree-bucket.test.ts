/** `export tree s3://…` as a program: killed at any instant, and what it says. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { faultsOf } from "./fixtures/bucket-reader.ts";
import { noise } from "./fixtures/bundle-maker.ts";
import { needs } from "./fixtures/clients.ts";
import { unpackPageStream } from "./fixtures/page-store.ts";
import { CHECKOUT, commandEnvironment, scratch, start } from "./fixtures/program.ts";
import { startGateway } from "./fixtures/s3-gateway.ts";
import { seeded } from "./fixtures/seeded.ts";

const skip = !needs(t, "versitygw");
const dir = scratch(t, "af-tree-bucket");
const gateway = skip ? undefined : await startGateway(join(dir, "gateway"));
t.teardown(() => gateway?.stop());
const env = { ...gateway?.env, TMPDIR: join(dir, "tmp") };
const BASE = "http://mirror.example.com";

t.test("killed at any instant, what is there leads nowhere wrong, and a rerun finishes it", { skip }, async (t) => {
  if (gateway === undefined) return;
  mkdirSync(env.TMPDIR);
  const random = seeded(19);
  const stores = await Promise.all(
    [1, 2].map(async (serial) => {
      mkdirSync(join(dir, String(serial)));
      const packages = Array.from({ length: 5 }, (_, at) => ({
        name: `p${at}`,
        evr: at % 2 === 0 ? "1-1" : `${serial}-1`,
      }));
      const files = {
        "files/f": noise(20_000, serial),
        "files/same": noise(20_000, 9),
        "files/large": noise(2_000_000, serial),
      };
      return unpackPageStream(join(dir, String(serial)), { stream: "a", serial, packages, files, images: 5 });
    }),
  );
  const name = gateway.name("tree");
  const folder = join(gateway.data, gateway.bucket, "tree");
  const run = (store: string) =>
    spawn(CHECKOUT[0], [...CHECKOUT.slice(1), "export", "tree", name, "--store", store, "--base", BASE], {
      env: { ...commandEnvironment(dir), ...env },
      stdio: "ignore",
    });
  const lists = () => (existsSync(join(folder, ".airferry/lists")) ? readdirSync(join(folder, ".airferry/lists")) : []);
  /** Waits until a run begins to write: a list is there that was not. */
  const begun = async (child: ChildProcess) => {
    const before = new Set(lists());
    while (child.exitCode === null && lists().every((it) => before.has(it))) await sleep(5);
    return performance.now();
  };
  const first = run(stores[0] as string);
  const ended = once(first, "exit");
  const since = await begun(first);
  await ended;
  const spanMs = performance.now() - since;
  const tags = readdirSync(join(folder, "v2"), { recursive: true, encoding: "utf8" }).flatMap((it) => {
    const [, image, tag = ""] = /^(.+)\/manifests\/([^/]+)$/.exec(it) ?? [];
    return image === undefined || tag.startsWith("sha256:") ? [] : [`${image}:${tag}`];
  });
  t.ok(tags.length > 4);
  const repositories = readdirSync(join(folder, "rpms")).map((it) => `rpms/${it}`);
  t.strictSame(faultsOf(folder, repositories, tags), []);
  let killed = 0;
  for (let at = 0; killed < 5 && at < 12; at++) {
    const child = run(stores[(at + 1) % 2] as string);
    const gone = once(child, "exit");
    await begun(child);
    // It writes less than the first did.
    await sleep((spanMs * 0.3 * random(1000)) / 1000);
    if (child.kill("SIGKILL")) killed++;
    await gone;
    t.strictSame(faultsOf(folder, repositories, tags), [], `after the kill ${at}`);
  }
  t.ok(killed > 2, `${killed} were killed`);
  const args = ["export", "tree", name, "--store", stores[1] as string, "--base", BASE, "--cache", join(dir, "cache")];
  const last = await start(dir, args, env).done;
  t.equal(last.status, 0, last.stderr);
  t.strictSame(faultsOf(folder, repositories, tags), []);
  t.match(readFileSync(join(folder, "index.json"), "utf8"), /"serial": 2/);
  for (const [path, seed] of [
    ["files/f", 2],
    ["files/same", 9],
  ] as const)
    t.ok(readFileSync(join(folder, path)).equals(noise(20_000, seed)), path);
  t.strictSame(readdirSync(env.TMPDIR), [], "work folders of killed runs are gone as well");
  const state = JSON.parse(readFileSync(join(folder, ".airferry/tree.json"), "utf8"));
  t.match(state, { pending: [], retired: [] });
  const named = [state.current, ...state.before] as string[];
  t.strictSame(
    lists()
      .map((it) => `.airferry/lists/${it}`)
      .sort(),
    named.sort(),
    "only the lists that count",
  );

  const again = await start(dir, [...args, "--json"], env).done;
  t.match(JSON.parse(again.stdout), {
    dir: name,
    changed: false,
    written: { files: 0, bytes: 0 },
    nginx: ".airferry/nginx.conf",
    apache: null,
  });
});

t.test("what it says", { skip }, async (t) => {
  if (gateway === undefined) return;
  const store = await unpackPageStream(dir, { stream: "a", packages: [], files: { "files/x": Buffer.from("x") } });
  const run = (...args: string[]) => start(dir, ["export", "tree", ...args, "--store", store], env).done;
  const written = await run(gateway.name("said"));
  t.equal(written.status, 0, written.stderr);
  t.equal(written.stdout.trim(), gateway.name("said"));
  t.match(written.stderr, /without --base URL there is no rendered configuration/);
  t.match(written.stderr, /exported \d+ objects/);
  t.match(written.stderr, /next: aws --endpoint-url http:.* s3 cp s3:\/\/airferry\/said\/\.airferry\/README\.txt -/);
  const readme = readFileSync(join(gateway.data, gateway.bucket, "said/.airferry/README.txt"), "utf8");
  t.match(readme, /put-bucket-policy --bucket airferry/);
  const refused = await run(gateway.name("said"), "--link");
  t.equal(refused.status, 2);
  t.match(refused.stderr, /cannot make hard links in/);
});
