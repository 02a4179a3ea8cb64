/** What the shells' scripts ask for: names in manifests and stores. */
import { execFileSync } from "node:child_process";
import { cpSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { defaultBucketCache, nameInCache, prepareCache } from "../src/cache/cache-folder.ts";
import { parseS3Target } from "../src/s3/s3-target.ts";
import { completionBench } from "./fixtures/completion-bench.ts";
import { airferry } from "./fixtures/host.ts";

const { dir } = await completionBench(t);

t.test("airferry complete says nothing of what it cannot read, and asks nothing", async (t) => {
  writeFileSync(join(dir, "broken.yaml"), "isos: [\n");
  writeFileSync(join(dir, "evil.yaml"), 'rpms: [{ name: "a\\nb" }, { name: "\\e[31mred" }, { name: good }]\n');
  execFileSync("mkfifo", [join(dir, "pipe.yaml")]);
  symlinkSync("evil.yaml", join(dir, "link.yaml"));
  const rows: [args: string[], names: string][] = [
    [["entries", "--", "lock", "pipe.yaml"], ""],
    [["entries", "--", "lock", "link.yaml"], "good\n"],
    [["images", "--", "export", "image", "--store", "nowhere"], ""],
    [["images", "--", "export", "image"], ""],
    [["images", "--", "export", "", "--store", "store"], "registry.k8s.io/pause:3.10\nregistry.k8s.io/pause:3.9\n"],
    [["streams", "--", "render", "--store=store"], "test\n"],
    [["streams", "--", "render", "--store", "~/store"], "test\n"],
    [["releases", "--", "diff", "--store", "store"], "test\ntest-000001\n"],
    [["entries", "--", "lock", "nowhere.yaml"], ""],
    [["entries", "--", "lock", "broken.yaml"], ""],
    [["entries", "--", "lock", "evil.yaml"], "good\n"],
    [["nonsense", "--"], ""],
  ];
  for (const [args, names] of rows) {
    const ran = await airferry(dir, ["complete", ...args], { HOME: dir });
    t.strictSame([ran.status, ran.stdout, ran.stderr], [0, names, ""], args.join(" "));
  }
  const named = await airferry(dir, ["complete", "streams", "--", "render"], { AIRFERRY_STORE: "store" });
  t.equal(named.stdout, "test\n", "AIRFERRY_STORE names the store");
});

t.test("of a store in a bucket it lists what its cache has, without asking the bucket", async (t) => {
  const name = "s3://airferry/site?endpoint=http://127.0.0.1:1&region=a";
  const own = defaultBucketCache(nameInCache(parseS3Target(name, {})), { XDG_CACHE_HOME: join(dir, "caches") });
  for (const it of [own, join(dir, "cache")]) {
    await prepareCache(it, nameInCache(parseS3Target(name, {})));
    cpSync(join(dir, "store", "releases"), join(it, "releases"), { recursive: true });
  }
  rmSync(join(dir, "cache", "releases"), { recursive: true });
  const env = { HOME: dir, XDG_CACHE_HOME: join(dir, "caches"), CACHE_DIRECTORY: "" };
  for (const [args, names] of [
    [["images", "--", "export", "", "--store", name], "registry.k8s.io/pause:3.10\nregistry.k8s.io/pause:3.9\n"],
    [["streams", "--", "render", `--store=${name}`], "test\n"],
    [["streams", "--", "render", `--store=${name}`, "--cache", "cache"], ""],
    [["streams", "--", "render", "--store=s3://airferry/other"], ""],
    [["streams", "--", "render", "--store=s3://a"], ""],
  ] as const) {
    const ran = await airferry(dir, ["complete", ...args], env);
    t.strictSame([ran.status, ran.stdout, ran.stderr], [0, names, ""], args.join(" "));
  }
});

t.test("a hidden verb is in no help", async (t) => {
  const { stdout } = await airferry(dir, ["--help"]);
  t.match(stdout, /^ {2}completion /m);
  t.notMatch(stdout, /^ {2}complete /m);
});
