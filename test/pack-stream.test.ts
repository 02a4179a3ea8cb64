import { execFile, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { planStream } from "../src/bundle/write-stream.ts";
import { openStore } from "../src/store/store.ts";
import { writeKeyPair } from "./fixtures/keys.ts";
import { CHECKOUT, commandEnvironment, scratch, seededBytes, writeManifest } from "./fixtures/program.ts";

const run = promisify(execFile);
const MIB = 1024 * 1024;

t.test("pack --stream writes to stdout what unpack - reads, and nothing else", async (t) => {
  const dir = scratch(t);
  const env = commandEnvironment(dir);
  const airferry = CHECKOUT.map((it) => `'${it}'`).join(" ");
  const sh = (line: string) => run("bash", ["-c", `set -o pipefail; ${line}`], { cwd: dir, env });
  writeKeyPair(dir);
  writeFileSync(join(dir, "large.bin"), seededBytes(7, 3 * MIB));
  writeFileSync(join(dir, "small.bin"), seededBytes(8, 5000));
  writeManifest(dir, { files: [{ path: "large.bin" }, { path: "small.bin" }] });
  const pack = `${airferry} pack m.yaml --key k.key --stream`;
  const unpack = `${airferry} unpack - --trust k.pub --store store`;
  const { stdout, stderr } = await sh(`${pack} --volume-size 1MiB | tee all.tar | ${unpack}`);
  t.match(stdout, /^stream test, serial 1: \d+ files, /);
  t.match(stderr, /^airferry: sent bundles\/test-000001: 3\.\d+ MiB$/m);
  t.equal((await (await openStore(join(dir, "store"))).releases()).length, 1);
  await sh("mkdir tar && tar -xf all.tar -C tar && diff -r tar/test-000001 bundles/test-000001");

  // Of a stream without the middle, the named volumes complete it.
  const cut = `${airferry} unpack - --trust k.pub --store other --need need.json`;
  const lost = await sh(`{ head -c 1500000 all.tar; tail -c 1500000 all.tar; } | ${cut}`).catch(
    (error: { code: number; stderr: string }) => error,
  );
  t.match(lost, { code: 5, stderr: /--stream --only-volumes [\d,-]+; and run this again/ });
  const [, numbers = ""] = /--only-volumes ([\d,-]+);/.exec(lost.stderr) ?? [];
  const again = await sh(`${pack} --volume-size 1MiB --only-volumes ${numbers} | ${cut}`);
  t.match(again.stdout, /^stream test, serial 1: /);

  const fails = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(CHECKOUT[0], [...CHECKOUT.slice(1), "pack", "m.yaml", ...args], {
      cwd: dir,
      env,
      encoding: "utf8",
    });
    t.match({ status, stdout }, { status: 2, stdout: "" });
    return stderr;
  };
  t.match(fails("--key", "k.key", "--stream", "--json"), /both write to stdout/);
  const only = ["--stream", "--only-volumes", "0", "--out", "elsewhere", "--no-program"];
  t.match(fails("--key", "k.key", ...only), /it was packed just now, and nobody has the others/);
  t.match(fails("--unsigned", "--stream"), /cannot use --stream with --unsigned/);
  t.match(fails("--key", "k.key", "--repeat", "2"), /cannot use --repeat without --stream/);
  await t.rejects(planStream(join(dir, "bundles/test-000001"), new Set([9])), { code: "ERR_USAGE" });
});
