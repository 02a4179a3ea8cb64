/** `web:` from an upstream through a bundle to curl: bodies as plain files, the index, pages and status. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { findWebAnswer, parseWebIndex } from "../../src/io/web-index.ts";
import { serve } from "../../src/serve.ts";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, seededBytes, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";
import { record } from "../fixtures/web-recording.ts";

t.test("what was asked for outside is there for curl inside", { timeout: 120_000 }, async (t) => {
  if (!needs(t, "curl")) return;
  const archive = seededBytes(1, 300_000);
  const script = `<script>document.title="RAN"</script>`;
  const upstream = await startUpstream({
    files: new Map<string, string | Buffer>([
      ["/simple/six/", script],
      ["/files/six-1.16.0.tar.gz", archive],
      ["/files/six%2b1?v=2&%C3%BC", "odd"],
    ]),
    behaviour: { "/simple/six/": { headers: { "content-type": "text/html" } } },
  });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  record(join(dir, "r.recording"), [["https://recorded.example/none", "not here", { status: 404 }]]);
  const urls = [...upstream.files.keys()].map((path) => upstream.url + path);
  writeManifest(dir, {
    web: [
      { name: "pypi", urls },
      { name: "recorded", recording: "./r.recording" },
    ],
  });
  for (const args of [
    ["check", "m.yaml"],
    ["keygen", "--out", "k"],
    ["pack", "m.yaml", "--key", "k.key", "--out", "out"],
    ["verify", "out/test-000001", "--trust", "k.pub"],
    ["unpack", "out/test-000001", "--trust", "k.pub", "--store", "s"],
  ]) {
    const { status, stderr } = await airferry(dir, args);
    t.equal(status, 0, `${args[0]}: ${stderr}`);
  }
  await upstream.close();
  const serving = await serve({ store: join(dir, "s"), listen: "127.0.0.1:0" });
  t.teardown(() => serving.close());
  const base = serving.urls.at(-1) ?? "";
  const run = promisify(execFile);
  const curl = async (path: string, ...more: string[]) => {
    const args = ["-sS", "-m", "20", "--noproxy", "*", ...more, base + path];
    return (await run("curl", args, { env: clientEnv(), encoding: "buffer", maxBuffer: 1 << 24 })).stdout;
  };

  const index = parseWebIndex(String(await curl("/web/index.json")));
  const body = (url: string) => {
    const path = findWebAnswer(index, { url, method: "GET" })?.path ?? "";
    return curl(`/${path.split("/").map(encodeURIComponent).join("/")}`, "-f");
  };
  t.ok((await body(`${upstream.url}/files/six-1.16.0.tar.gz`)).equals(archive));
  t.equal(String(await body(`${upstream.url}/files/six+1?v=2&%C3%BC`)), "odd");
  t.equal(String(await body("https://recorded.example/none")), "not here");
  const folder = `/web/${upstream.host.replace(":", "_")}`;
  t.ok((await curl(`${folder}/files/six-1.16.0.tar.gz`, "-r", "1000-1999")).equals(archive.subarray(1000, 2000)));
  const page = String(await curl(`${folder}/simple/six/index.html`, "-i"));
  t.ok(page.endsWith(script));
  t.match(page, /content-security-policy: .*sandbox/i, "foreign pages cannot act as the server's own");
  t.match(String(await curl("/")), /Web answers.*recorded\.example/s);
  t.match(String(await curl(`${folder}/files/`)), "six-1.16.0.tar.gz");
  const { stdout } = await airferry(dir, ["status", "--store", "s"]);
  t.match(stdout, /^test +1 +recorded\.example +1 +8 B$/m);
  const bom = await airferry(dir, ["inspect", "out/test-000001", "--bom", "spdx"]);
  t.match(bom.stdout, `"downloadLocation":"${upstream.url}/files/six-1.16.0.tar.gz"`);
  t.ok(existsSync(join(dir, "out/test-000001/BOM.html")));
});
