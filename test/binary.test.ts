/** The single-file program does what the checkout does: it is built and used here. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ROOT, scratch } from "./fixtures/program.ts";

t.test("one executable file packs, verifies, unpacks and knows the ready manifests", async (t) => {
  execFileSync(join(ROOT, "scripts", "build-binary"), { stdio: "pipe" });
  const program = join(ROOT, "dist", "airferry");
  t.ok(existsSync(program));
  const dir = scratch(t);
  const env = { PATH: "/usr/bin:/bin", HOME: dir, AIRFERRY_PASSWORD: "test" };
  const run = (...args: string[]) =>
    execFileSync(program, args, { cwd: dir, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  t.match(run("--version"), /^\d+\.\d+\.\d+\n$/);
  run("keygen", "--out", "site");
  mkdirSync(join(dir, "in"));
  writeFileSync(join(dir, "in", "a.bin"), Buffer.alloc(3_000_000, 7));
  writeFileSync(join(dir, "m.yaml"), "apiVersion: airferry/v1\nstream: one\nfiles:\n  - path: in/a.bin\n");
  t.equal(run("pack", "m.yaml", "--key", "site.key", "--out", "out"), "out/one-000001\n");
  t.match(run("verify", "out/one-000001", "--trust", "site.pub"), /^good: stream one, serial 1/);
  run("unpack", "out/one-000001", "--trust", "site.pub", "--store", "store");
  t.equal(JSON.parse(run("status", "--store", "store", "--json")).streams[0].stream, "one");
  run("init", "ready", "--for", "starter");
  t.ok(existsSync(join(dir, "ready", "starter.yaml")));
});
