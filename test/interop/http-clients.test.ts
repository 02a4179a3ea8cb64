/** Real clients against the server: curl, wget and aria2c, resuming, ranged, conditional and aborting. */
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { patterned, startServer } from "../fixtures/serving.ts";

const run = promisify(execFile);
const BIG = patterned(24 * 1024 * 1024 + 5);
const CONTENT = { "isos/r.iso": BIG, "files/x.tgz": "tarball" };

async function client(name: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(name, args, { env: clientEnv({ http_proxy: "", no_proxy: "*" }) });
  return stdout;
}

t.test("curl", async (t) => {
  if (!needs(t, "curl")) return;
  const { url } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const file = join(t.testdir(), "r.iso");

  await writeFile(file, BIG.subarray(0, 5_000_001));
  await client("curl", "-fsS", "-C", "-", "-o", file, `${url}/isos/r.iso`);
  t.ok(BIG.equals(await readFile(file)), "resumes at the byte");

  const head = await client("curl", "-fsSI", `${url}/isos/r.iso`);
  t.match(head, `Content-Length: ${BIG.length}`);
  const etag = /^ETag: (.*)\r$/m.exec(head)![1]!;
  const status = (...more: string[]) =>
    client("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", ...more);
  t.equal(await status("-H", `If-None-Match: ${etag}`, `${url}/isos/r.iso`), "304 0");
  t.equal(await status("-r", "100-299", `${url}/isos/r.iso`), "206 200");
  t.equal(await status("-r", `${BIG.length}-`, `${url}/isos/r.iso`), "416 0");
  t.match(await status("-r", "0-9,100-109", `${url}/isos/r.iso`), /^206 [2-4]\d\d$/);
  t.equal(
    (await client("curl", "-fsS", `${url}/files/x.tgz.sha256`)).trim(),
    createHash("sha256").update("tarball").digest("hex"),
  );
});

t.test("wget", async (t) => {
  if (!needs(t, "wget")) return;
  const { url } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const dir = t.testdir();
  const file = join(dir, "r.iso");
  await client("wget", "-q", "-P", dir, `${url}/isos/r.iso`);
  t.ok(BIG.equals(await readFile(file)), "whole");
  await truncate(file, 1_234_567);
  await client("wget", "-q", "-c", "-P", dir, `${url}/isos/r.iso`);
  t.ok(BIG.equals(await readFile(file)), "continued");
});

t.test("aria2c takes a file in four parts while others break off", async (t) => {
  if (!needs(t, "aria2c", "curl")) return;
  const { url } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const dir = t.testdir();
  const aborted = Array.from({ length: 8 }, () => {
    const child = spawn("curl", ["-s", "--limit-rate", "2M", "-o", "/dev/null", `${url}/isos/r.iso`], {
      env: clientEnv(),
    });
    setTimeout(() => child.kill("SIGKILL"), 300);
    return new Promise((resolve) => child.on("exit", resolve));
  });
  await client(
    "aria2c",
    "-q",
    "-x4",
    "-s4",
    "-k1M",
    "--file-allocation=none",
    "-d",
    dir,
    "-o",
    "out.iso",
    `${url}/isos/r.iso`,
  );
  t.ok(BIG.equals(await readFile(join(dir, "out.iso"))));
  await Promise.all(aborted);
});
