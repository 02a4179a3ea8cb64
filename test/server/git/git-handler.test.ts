/** What is served of git repositories to git, by the server's own address and under the origin's name, and to others. */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import t, { type Test } from "tap";
import { pktLine } from "../../../src/io/pkt-line.ts";
import { absent } from "../../fixtures/clients.ts";
import { git, gitEnv, hasGitBackend } from "../../fixtures/git-upstream.ts";
import { scratch, seededBytes } from "../../fixtures/program.ts";
import { sendRaw, startServer } from "../../fixtures/serving.ts";

const run = promisify(execFile);

/** A repository as a release has it: one commit with a large file. */
function carried(dir: string) {
  mkdirSync(join(dir, "up"));
  writeFileSync(join(dir, "up/large"), seededBytes(7, 200_000));
  git(dir, "cd up; git init -q -b main; git add .; git commit -qm one");
  const oid = git(dir, "git -C up rev-parse HEAD").trim();
  const pack = execFileSync("git", ["pack-objects", "--all", "--stdout", "-q"], {
    cwd: join(dir, "up"),
    env: gitEnv(dir),
    input: "",
    maxBuffer: 1 << 24,
  });
  const refs = ["HEAD", "refs/heads/main"].map((name) => ({ name, oid }));
  const repository = { url: "https://git.example/a/r.git", format: "sha1", head: "refs/heads/main", refs };
  const path = "web/git.example/a/r.git/git.pack";
  return {
    oid,
    pack,
    content: {
      [path]: pack,
      "web/index.json": '{"answers":[]}',
      "web/git.json": JSON.stringify({ repositories: [{ ...repository, path }] }),
    },
    catalog: { web: [{ name: "g", answers: 0, origins: ["https://git.example"], repositories: 1 }] },
  };
}

async function served(t: Test) {
  const dir = scratch(t);
  const { content, catalog, ...rest } = carried(dir);
  const tlsDir = join(dir, "keys");
  const broken = { "web/git.json": '{"repositories":[{"url":"file:///etc"}]}' };
  const server = await startServer(
    t,
    [
      { stream: "a", content: broken },
      { stream: "b", content, catalog },
    ],
    { origins: true, proxy: "127.0.0.1:0", tlsDir },
  );
  return { dir, ...rest, ...server };
}

t.test("git clones under the name of the origin, through the proxy", async (t) => {
  if (!hasGitBackend()) return absent(t, "git");
  const { dir, serving, url, messages } = await served(t);
  const ca = join(dir, "ca.crt");
  writeFileSync(ca, await (await fetch(`${url}/config/origins/ca.crt`)).text());
  const clone = async (...args: string[]) => {
    rmSync(join(dir, "c"), { recursive: true, force: true });
    const env = { ...gitEnv(dir), GIT_SSL_CAINFO: ca };
    const all = ["-c", `http.proxy=${serving.origins?.proxyUrl}`, "clone", "-q", ...args, "c"];
    await run("git", all, { cwd: dir, env });
    return git(dir, "git -C c fsck --strict; git -C c log --format=%s");
  };
  t.equal(await clone("https://git.example/a/r.git"), "one\n");
  t.equal(await clone("--depth", "1", "https://git.example/a/r"), "one\n");
  await t.rejects(clone("https://git.example/a/none.git"), /not found/);
  t.match(messages.join("\n"), "repositories", "an index that is none is reported, and hides no other");
});

t.test("what else may be asked below /git", async (t) => {
  if (!hasGitBackend()) return absent(t, "git");
  const { url, port, oid, pack } = await served(t);
  const base = `${url}/git/git.example/a/r.git`;
  const version2 = { "Git-Protocol": "version=2" };
  const post = (body: Buffer | string, headers: Record<string, string> = version2, at = base) =>
    fetch(`${at}/git-upload-pack`, { method: "POST", body: body as string, headers });
  const fetchAll = Buffer.concat([
    pktLine("command=fetch"),
    Buffer.from("0001"),
    pktLine(`want ${oid}\n`),
    pktLine("done\n"),
    Buffer.from("0000"),
  ]);

  const whole = await post(fetchAll);
  t.equal(whole.status, 200);
  t.equal(whole.headers.get("content-type"), "application/x-git-upload-pack-result");
  const bytes = Buffer.from(await whole.arrayBuffer());
  t.equal(bytes.length, Number(whole.headers.get("content-length")));
  t.ok(bytes.length > pack.length && bytes.includes(pack.subarray(0, 60_000)));
  t.equal((await post(gzipSync(fetchAll), { ...version2, "Content-Encoding": "gzip" })).status, 200);
  t.equal((await post(fetchAll, version2, `${url}/s/b/git/git.example/a/r`)).status, 200);
  t.equal((await post(fetchAll, version2, `${url}/s/a/git/git.example/a/r`)).status, 404);

  for (const body of ["", "0000", "zzzz", "0010torn", pktLine("command=push\n"), "0001".repeat(1000)])
    t.equal((await post(body as string)).status, 400, String(body).slice(0, 20));
  t.equal((await post("0032", {})).status, 400);
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  t.equal((await post(bomb, { ...version2, "Content-Encoding": "gzip" })).status, 400, "what expands without end");
  t.equal((await post(Buffer.alloc(17 * 1024 * 1024))).status, 413);

  for (const path of [
    "/info/refs",
    "/info/refs?service=git-receive-pack",
    "/HEAD",
    "",
    "/git-upload-pack",
    "/objects/info/packs",
  ])
    t.equal((await fetch(base + path)).status, 404, path);
  t.equal((await fetch(`${base}/git-receive-pack`, { method: "POST", body: "0000" })).status, 404);
  t.equal((await fetch(`${base}/info/refs?service=git-upload-pack`, { method: "DELETE" })).status, 405);
  t.match(await (await fetch(`${url}/git/none/info/refs?service=git-upload-pack`)).text(), "/git/git.example/a/r.git");
  const raw = `GET /git/git.example/../../etc/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
  t.match(await sendRaw(port, raw), /^HTTP\/1.1 40/);
  // A client that goes away in the middle.
  const away = new AbortController();
  const started = await fetch(`${base}/git-upload-pack`, {
    method: "POST",
    body: fetchAll as never,
    headers: version2,
    signal: away.signal,
  });
  away.abort();
  t.equal(started.status, 200);
  t.equal((await post(fetchAll)).status, 200);
});
