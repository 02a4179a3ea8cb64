/** scripts/quickstart does the whole job, says where everything is, and leaves nothing running unless it is asked to. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { needs } from "../fixtures/clients.ts";
import { ROOT, scratch } from "../fixtures/program.ts";

function quickstart(t: Test, ...args: string[]): Promise<{ status: number; out: string; left: string[] }> {
  const TMPDIR = scratch(t, "airferry-quickstart");
  const env: NodeJS.ProcessEnv = { ...process.env, TMPDIR };
  // tap's loaders belong to the test process.
  delete env["NODE_OPTIONS"];
  return new Promise((resolve) => {
    execFile(join(ROOT, "scripts/quickstart"), args, { env, timeout: 120_000 }, (error, stdout, stderr) => {
      const left = readdirSync(TMPDIR).filter((it) => it.startsWith("airferry-quickstart-"));
      resolve({ status: error === null ? 0 : 1, out: `${stdout}${stderr}`, left });
    });
  });
}

const healthOf = (out: string) => /http:\/\/[0-9.:]+\/healthz/.exec(out)?.[0] as string;

t.test("it stops what it started", async (t) => {
  const ran = await quickstart(t);
  t.equal(ran.status, 0, ran.out);
  t.match(ran.out, /== done/);
  await t.rejects(fetch(healthOf(ran.out)), "the server is gone");
  t.same(ran.left, []);
});

t.test("--store s3 does the same with a bucket of a gateway that it starts", async (t) => {
  if (!needs(t, "versitygw")) return;
  const ran = await quickstart(t, "--store", "s3");
  t.equal(ran.status, 0, ran.out);
  t.match(ran.out, /unpack .* --store 's3:\/\/airferry\/site\?endpoint=/);
  t.match(ran.out, /everything hashed against signed digests, 0 problems left/);
  t.match(ran.out, /== done/);
  await t.rejects(fetch(healthOf(ran.out)), "the server is gone");
  const [endpoint = ""] = /(?<=endpoint=)http:\/\/[0-9.:]+/.exec(ran.out) ?? [];
  await t.rejects(fetch(endpoint), "and the gateway");
  t.same(ran.left, []);
});

t.test("--keep leaves the server, and says how to stop it", async (t) => {
  const ran = await quickstart(t, "--keep");
  t.equal(ran.status, 0, ran.out);
  const pid = Number(/Stop it with: kill (\d+)/.exec(ran.out)?.[1]);
  t.match(await (await fetch(healthOf(ran.out))).text(), /^ok/);
  process.kill(pid);
  // One process may answer for a moment while the other is gone, and a connection that is kept may break: several in a row count.
  for (let attempt = 0, failed = 0; attempt < 100 && failed < 5; attempt++) {
    const answers = await fetch(healthOf(ran.out), { headers: { connection: "close" } }).then(
      () => true,
      () => false,
    );
    failed = answers ? 0 : failed + 1;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await t.rejects(fetch(healthOf(ran.out)), "that stops it, workers and all");
  t.equal((await quickstart(t, "--bogus")).status, 1);
});
