/** src/server/pages/iso-tree.ts and config.ts behind a real server: trees inside ISOs, ranges, links, aborts, honest 404s. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { needs } from "../../fixtures/clients.ts";
import { EL_DVD_TOOLS, makeElDvd, shortDir } from "../../fixtures/el-dvd.ts";
import { directory, dots, makeIso, NM, PX, SECTOR, SL } from "../../fixtures/iso-maker.ts";
import { serveStore } from "../../fixtures/serving.ts";
import { createTestStore, type TestRelease } from "../../fixtures/store-reader.ts";

const run = promisify(execFile);
const FILE = Buffer.from("0123456789abcdefghij");

function smallIso(content = FILE): Buffer {
  return makeIso(
    [
      { id: "TREEINFO", block: 30, size: content.length, use: Buffer.concat([PX(0o100644), NM(".treeinfo")]) },
      { id: "DIR", block: 25, size: SECTOR, flags: 2, use: NM("dir & <b>") },
      { id: "LINK", block: 0, size: 0, use: Buffer.concat([PX(0o120777), NM("link"), SL([0, "dir & <b>"])]) },
      {
        id: "Z",
        block: 30,
        size: 5,
        use: Buffer.concat([NM("packed"), Buffer.from("ZF\x10\x01pz\x04\x0f\0\0\0\0\0\0\0\0", "latin1")]),
      },
    ],
    new Map([
      [25, directory([...dots(25, 20), { id: "F.;1", block: 30, size: content.length, use: NM("f+1~x.rpm") }])],
      [30, content],
    ]),
  );
}

const iso = (name: string) => ({ isos: [{ name, path: `isos/${name}.iso` }] });

async function start(t: Test, releases: TestRelease[]): Promise<string> {
  const store = createTestStore(t.testdir());
  for (const release of releases) await store.put(release);
  return serveStore(t, store);
}

/** Sends a path as it is, without the URL class tidying it. */
function raw(base: string, path: string): Promise<{ status: number; body: string; location?: string | undefined }> {
  const { hostname, port } = new URL(base);
  return new Promise((resolve, reject) => {
    const req = httpRequest({ hostname, port, path }, async (res) => {
      let body = "";
      for await (const chunk of res) body += chunk;
      resolve({ status: res.statusCode!, body, location: res.headers.location });
    });
    req.on("error", reject);
    req.end();
  });
}

t.test("serves what is inside an ISO", async (t) => {
  const base = await start(t, [{ stream: "s", content: { "isos/el.iso": smallIso() }, catalog: iso("el") }]);
  const get = (path: string, headers: Record<string, string> = {}) => fetch(`${base}${path}`, { headers });

  const whole = await get("/isos/el/.treeinfo");
  t.equal(await whole.text(), FILE.toString());
  t.equal(whole.headers.get("content-length"), "20");
  t.match(whole.headers.get("content-type"), /text\/plain/);
  const etag = whole.headers.get("etag")!;
  t.match(etag, /^"iso-[0-9a-f]{64}"$/);
  t.equal((await get("/isos/el/.treeinfo", { "if-none-match": etag })).status, 304);

  const part = await get("/isos/el/.treeinfo", { range: "bytes=3-5" });
  t.equal(part.status, 206);
  t.equal(await part.text(), "345");
  const parts = await get("/isos/el/.treeinfo", { range: "bytes=0-1,-2" });
  t.match(await parts.text(), /01\r\n.*\r\n\r\nij\r\n/s);
  t.equal((await get("/isos/el/.treeinfo", { range: "bytes=99-" })).status, 416);

  for (const path of [
    "/isos/el/link/f+1~x.rpm",
    "/isos/el/dir%20%26%20%3Cb%3E/f+1~x.rpm",
    "/isos/el/link/f%2B1~x.rpm",
  ]) {
    const answer = await fetch(`${base}${path}`, { redirect: "manual" });
    t.equal(answer.status, 200, path);
    t.equal(await answer.text(), FILE.toString());
  }
  for (const path of [
    "//isos//el//.treeinfo",
    "/isos/el/link/../.treeinfo",
    "/isos/el/./.treeinfo",
    "/s/s/isos/el/.treeinfo",
  ]) {
    const answer = await raw(base, path);
    t.match(answer, { status: 200, body: FILE.toString(), location: undefined }, path);
  }
  for (const path of [
    "/isos/el/nothing",
    "/isos/el/.treeinfo/x",
    "/isos/none/x",
    "/isos/el/images/updates.img",
    "/isos/el/packed",
  ]) {
    t.equal((await get(path)).status, 404, path);
  }
  t.match(await (await get("/isos/el/packed")).text(), /zisofs/);
  t.equal((await fetch(`${base}/isos/el/.treeinfo`, { method: "HEAD" })).headers.get("content-length"), "20");
  t.equal((await get("/isos/el.iso")).status, 200, "the image itself is still there");
});

t.test("shows pages of directories, names escaped", async (t) => {
  const base = await start(t, [{ stream: "s", content: { "isos/el.iso": smallIso() }, catalog: iso("el") }]);
  for (const path of ["/isos/el", "/isos/el/", "/s/s/isos/el/"]) {
    const page = await fetch(`${base}${path}`);
    const html = await page.text();
    t.match(page.headers.get("content-type"), /text\/html/);
    const prefix = path.startsWith("/s/") ? "/s/s" : "";
    t.match(html, `<a href="${prefix}/isos/el/dir%20%26%20%3Cb%3E/">dir &amp; &lt;b&gt;/</a>`, path);
    t.notMatch(html, "<b>");
  }
  t.match(await (await fetch(`${base}/isos/el/link`)).text(), "f+1~x.rpm");
});

t.test("an image that cannot be read gives a 404 that says why, and is still served whole", async (t) => {
  const bad = Buffer.alloc(64 * 1024);
  const base = await start(t, [{ stream: "s", content: { "isos/bad.iso": bad }, catalog: iso("bad") }]);
  const answer = await fetch(`${base}/isos/bad/.treeinfo`);
  t.equal(answer.status, 404);
  t.match(await answer.text(), /not an ISO 9660 image at byte 32768/);
  t.equal((await fetch(`${base}/isos/bad.iso`)).headers.get("content-length"), "65536");
  t.match(await (await fetch(`${base}/config/airferry.repo`)).text(), /^# Rendered by airferry/);
});

t.test("two streams with different images of one name", async (t) => {
  const base = await start(t, [
    { stream: "a", content: { "isos/el.iso": smallIso() }, catalog: iso("el") },
    { stream: "b", content: { "isos/el.iso": smallIso(Buffer.from("another")) }, catalog: iso("el") },
  ]);
  const answer = await fetch(`${base}/isos/el/.treeinfo`);
  t.equal(answer.status, 404);
  t.match(await answer.text(), "/s/b/isos/el/.treeinfo");
  t.equal(await (await fetch(`${base}/s/b/isos/el/.treeinfo`)).text(), "another");
});

t.test("configuration is rendered for the name that the client used", async (t) => {
  const base = await start(t, [
    { stream: "s", content: { "isos/el.iso": smallIso(), "files/ks.cfg": "cdrom\ntext\n" }, catalog: iso("el") },
  ]);
  const { port } = new URL(base);
  t.equal(await (await fetch(`${base}/config/ks.cfg`)).text(), `url --url="${base}/isos/el/"\ntext\n`);
  t.equal(
    await (await fetch(`http://localhost:${port}/config/ks.cfg`)).text(),
    `url --url="http://localhost:${port}/isos/el/"\ntext\n`,
  );
  t.match(await (await fetch(`${base}/config/CHECKSUM`)).text(), /^SHA256 \(el\.iso\) = [0-9a-f]{64}$/m);
  const none = await fetch(`${base}/config/imageconfig`);
  t.equal(none.status, 404);
  t.match(await none.text(), /flavor: spectro-capi/);
  const page = await (await fetch(`${base}/config/`)).text();
  t.match(page, /<a href="\/config\/ks\.cfg">/);
  t.equal((await fetch(`${base}/config/nothing`)).status, 404);
});

t.test("many clients abort while others read the same image", async (t) => {
  const big = Buffer.alloc(8 * 1024 * 1024, "abcdefghijklmnop");
  const base = await start(t, [{ stream: "s", content: { "isos/el.iso": smallIso(big) }, catalog: iso("el") }]);
  const readers = Array.from({ length: 8 }, async () => {
    const bytes = Buffer.from(await (await fetch(`${base}/isos/el/link/f+1~x.rpm`)).arrayBuffer());
    return bytes.equals(big);
  });
  const aborters = Array.from({ length: 60 }, async (_, i) => {
    const abort = new AbortController();
    try {
      const answer = await fetch(`${base}/isos/el/.treeinfo`, { signal: abort.signal });
      const reader = answer.body!.getReader();
      await reader.read();
      if (i % 2 === 0) abort.abort();
      else await reader.cancel();
    } catch {
      // That is what an abort looks like from here.
    }
  });
  await Promise.all(aborters);
  t.strictSame(await Promise.all(readers), new Array(8).fill(true));
  t.equal((await fetch(`${base}/isos/el/.treeinfo`, { headers: { range: "bytes=0-3" } })).status, 206);
});

t.test("dnf installs from an EL DVD that is never unpacked", async (t) => {
  if (!needs(t, ...EL_DVD_TOOLS, "dnf", "rpm")) return;
  const dir = await shortDir(t);
  const dvd = await makeElDvd(dir, { extraFiles: 6000 });
  const base = await start(t, [
    { stream: "s", content: { "isos/el.iso": await readFile(dvd.iso) }, catalog: iso("el") },
  ]);

  const page = await (await fetch(`${base}/isos/el/AppStream/Packages/`)).text();
  t.ok(page.includes("filler-package-with-a-usual-name-05999"), "the page lists 6,000 packages");

  const root = join(dir, "root");
  await run("mkdir", ["-p", root, join(dir, "repos"), join(dir, "log"), join(root, join(dir, "log"))]);
  await run("curl", ["-sf", "-o", join(dir, "repos/airferry.repo"), `${base}/config/airferry.repo`]);
  const repo = await readFile(join(dir, "repos/airferry.repo"), "utf8");
  t.match(repo, `gpgkey=${base}/isos/el/RPM-GPG-KEY-Airferry-Test-9`);
  const { stdout } = await run(
    "dnf",
    [
      "-y",
      `--installroot=${root}`,
      "--releasever=9",
      "--forcearch=x86_64",
      "--disableplugin=*",
      ...Object.entries({
        reposdir: join(dir, "repos"),
        cachedir: join(dir, "cache"),
        logdir: join(dir, "log"),
        persistdir: join(dir, "persist"),
        module_platform_id: "platform:el9",
        install_weak_deps: "0",
      }).map(([key, value]) => `--setopt=${key}=${value}`),
      "install",
      "el-app",
    ],
    { env: { ...process.env, LC_ALL: "C" } },
  );
  t.match(stdout, /Complete!/);
  t.equal(await readFile(join(root, "usr/share/airferry-test/el-app"), "utf8"), "el-app-2.1\n");
});
