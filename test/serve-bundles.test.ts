/** src/serve.ts with bundles in place of a store: the same answers, and only from what was verified. */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openBundles, type ServeOptions, serve } from "../src/serve.ts";
import { makeBundle, makeKey, noise } from "./fixtures/bundle-maker.ts";
import { airferry } from "./fixtures/host.ts";
import { directory, dots, makeIso, NM, PX, SECTOR } from "./fixtures/iso-maker.ts";
import { manyPackages, unpackPageStream } from "./fixtures/page-store.ts";
import { scratch } from "./fixtures/program.ts";

const URL_OF_BOTH = "http://repo.example:9000";
/** Its large member is cut by many volumes. */
const MEMBER = noise(300_000, 77);
const ISO = makeIso(
  [{ id: "DIR", block: 25, size: SECTOR, flags: 2, use: NM("os") }],
  new Map([
    [
      25,
      directory([
        ...dots(25, 20),
        { id: "F.;1", block: 30, size: MEMBER.length, use: Buffer.concat([PX(0o100644), NM("install.img")]) },
      ]),
    ],
    [30, MEMBER],
  ]),
);
const LARGE = noise(700_001, 78);

async function serveBundles(t: Test, folders: string[], trust: string, more: Partial<ServeOptions> = {}) {
  const bundles = await openBundles(folders, { trust: [trust] });
  const messages: string[] = [];
  const serving = await serve({
    store: bundles.folders[0]!,
    bundles,
    listen: "127.0.0.1:0",
    graceMs: 100,
    url: URL_OF_BOTH,
    onMessage: (line) => messages.push(line),
    ...more,
  });
  t.teardown(async () => {
    await serving.close();
    await bundles.close();
  });
  return { url: serving.urls.at(-1)!, messages, releases: bundles.releases };
}

/** Status, the headers that matter, and the body with times of imports made equal. */
async function answer(base: string, path: string, headers: Record<string, string> = {}) {
  const response = await fetch(base + path, { headers });
  const bytes = Buffer.from(await response.arrayBuffer());
  const isText = /^(?:text|application\/json)/.test(response.headers.get("content-type") ?? "");
  const named = ["content-type", "content-range", "docker-content-digest", "location", "link"];
  const kept = named.map((it) => response.headers.get(it));
  // Documents with the time of import have another digest.
  const etag = isText ? null : response.headers.get("etag");
  const text = bytes
    .toString("latin1")
    .replace(/"importedAt": ?"[^"]*"/g, "")
    .replace(/\b20\d\d-\d\d-\d\d \d\d:\d\d\b/g, "TIME");
  return { path, status: response.status, kept, etag, body: isText ? text : bytes.toString("base64") };
}

t.test("every path answers as from a store", { timeout: 120_000 }, async (t) => {
  const dir = scratch(t);
  const store = await unpackPageStream(dir, {
    stream: "a",
    packages: manyPackages(60),
    files: { "isos/el.iso": ISO, "files/large.bin": LARGE, "files/empty": Buffer.alloc(0) },
    volumeSize: 65_536,
    perMedium: 7,
  });
  const folders = readdirSync(join(dir, "a-1")).map((it) => join(dir, "a-1", it));
  t.ok(folders.length > 2, `${folders.length} media side by side`);
  const { url, messages, releases } = await serveBundles(t, folders.reverse(), join(dir, "ci-signing.pub"), {
    workers: 2,
  });
  const stored = await serve({ store, listen: "127.0.0.1:0", url: URL_OF_BOTH, graceMs: 100 });
  t.teardown(() => stored.close());
  const storeUrl = stored.urls.at(-1)!;
  const [release] = releases;
  const image = release!.inventory.catalog.images[0]!;
  const name = image.reference.replace(/^[^/]*\//, "").replace(/:.*$/, "");
  const paths = [
    ...[...release!.inventory.entries.paths()].map((it) => `/${it.split("/").map(encodeURIComponent).join("/")}`),
    ...["/", "/s/a/", "/files/", "/rpms/", "/isos/", "/keys/", "/registry", "/releases/", "/s/a/releases/000001"],
    ...["/packages", "/packages?q=lib", "/packages.json?q=config(thing-7)", "/config/", "/config/airferry.repo"],
    ...[
      "/index.json",
      "/s/a/index.json",
      "/openapi.json",
      "/healthz",
      "/BOM.html",
      "/BOM.cdx.json",
      "/nothing",
      "/ca.crt",
    ],
    ...["/files/large.bin.sha256", "/files/large.bin.sha256sum", "/isos/el.iso.sha256", "/isos/el/", "/isos/el/os/"],
    ...["/isos/el/os/install.img", "/isos/rocky-9/", "/v2/", "/v2/_catalog", `/v2/${name}/tags/list`],
    ...[
      `/v2/${name}/manifests/v1.33.4`,
      `/v2/${name}/manifests/${image.digest}`,
      `/v2/${name}/referrers/${image.digest}`,
    ],
    ...["/v2/no/manifests/1", "/ns/registry.k8s.io/v2/_catalog", "/images/index.json"],
  ];
  for (const path of paths) {
    t.strictSame(await answer(url, path), await answer(storeUrl, path), path);
    if (path.includes("large") || path.endsWith("install.img")) {
      for (const range of ["bytes=65000-66000", "bytes=-70000", "bytes=1-2,131071-131080", "bytes=9999999-"]) {
        const headers = { Range: range };
        const [mine, its] = [await answer(url, path, headers), await answer(storeUrl, path, headers)];
        const cut = (it: string) => (range.includes(",") ? it.length : it);
        t.strictSame([mine.status, cut(mine.body)], [its.status, cut(its.body)], `${path} ${range}`);
      }
    }
  }
  const metrics = await (await fetch(`${url}/metrics`)).text();
  t.match(metrics, 'airferry_release_entries{stream="a"}');
  t.notMatch(metrics, "airferry_store_free_bytes", "nobody waits for a medium to fill up");
  t.strictSame(messages, []);
});

t.test("bundles of several streams at once, but not two of one", async (t) => {
  const dir = scratch(t);
  const key = makeKey();
  const trust = join(dir, "k.pub");
  writeFileSync(trust, key.pem);
  const make = (stream: string, serial: number, more = {}) => {
    makeBundle(join(dir, `${stream}${serial}`), {
      stream,
      serial,
      keys: [key],
      files: { [`files/${stream}`]: noise(9000, serial) },
      ...more,
    });
    return join(dir, `${stream}${serial}`);
  };
  const [a, b, newer] = [make("a", 1), make("b", 1), make("a", 2)];
  const { url } = await serveBundles(t, [a, b], trust);
  t.equal((await fetch(`${url}/files/a`)).status, 200);
  t.equal((await fetch(`${url}/s/b/files/b`)).status, 200);
  t.match(await (await fetch(`${url}/healthz`)).text(), "ok: 2 releases");
  const refused = (folders: string[], expected: { code: string; message?: RegExp; hint?: RegExp }, options = {}) =>
    t.rejects(openBundles(folders, { trust: [trust], ...options }), expected);
  await refused([a, newer], { code: "ERR_USAGE", message: /both are of stream "a"/ });
  await refused([a], { code: "ERR_THRESHOLD" }, { threshold: 2 });
  const delta = make("c", 1, { files: { "files/x": noise(10, 1), "files/y": noise(20, 2) }, fromStore: ["files/y"] });
  await refused([delta], {
    code: "ERR_DELTA_BASE",
    message: /it is a delta: 1 file must be in a store already, first "files\/y"/,
    hint: /^unpack it into the store that has the release before: airferry unpack/,
  });
  await refused([make("d", 1, { notAfter: "2026-01-02T00:00:00Z" })], { code: "ERR_EXPIRED" });
  const other = join(dir, "other.pub");
  writeFileSync(other, makeKey().pem);
  await t.rejects(openBundles([a], { trust: [other] }), { code: "ERR_KEY_UNTRUSTED" });
  await refused([join(dir, "nothing")], { code: "ERR_NOT_FOUND" });
});

t.test("a medium that is not as it was signed is refused", async (t) => {
  const dir = scratch(t);
  const key = makeKey();
  const trust = join(dir, "k.pub");
  writeFileSync(trust, key.pem);
  let made = 0;
  const make = (spoil: (folder: string) => void) => {
    const folder = join(dir, `b${++made}`);
    makeBundle(folder, {
      keys: [key],
      files: { "files/x": noise(40_000, 1), "files/y": noise(50, 2) },
      volumeSize: 8192,
    });
    spoil(folder);
    return folder;
  };
  const volume = "data.tar.0002";
  const rows: [string, string, (folder: string) => void][] = [
    ["a flipped byte", "ERR_DIGEST_MISMATCH", (it) => flip(join(it, volume), 4000)],
    ["a truncated volume", "ERR_SIZE_MISMATCH", (it) => truncateSync(join(it, volume), 8000)],
    ["a longer volume", "ERR_SIZE_MISMATCH", (it) => appendFileSync(join(it, volume), "x")],
    ["a missing volume", "ERR_BUNDLE_INCOMPLETE", (it) => rmSync(join(it, volume))],
    ["a FIFO", "ERR_PATH_UNSAFE", (it) => execFileSync("sh", ["-c", 'rm "$1" && mkfifo "$1"', "sh", join(it, volume)])],
    [
      "a link",
      "ERR_PATH_UNSAFE",
      (it) => execFileSync("sh", ["-c", 'mv "$1" "$2" && ln -s "$2" "$1"', "sh", join(it, volume), join(dir, "v")]),
    ],
    [
      "a folder",
      "ERR_BUNDLE_EXTRA",
      (it) => execFileSync("sh", ["-c", 'rm "$1" && mkdir "$1"', "sh", join(it, volume)]),
    ],
    ["an unsigned file", "ERR_BUNDLE_EXTRA", (it) => writeFileSync(join(it, "more"), "")],
    ["another inventory", "ERR_DIGEST_MISMATCH", (it) => flip(join(it, "airferry.json"), 40)],
  ];
  for (const [what, code, spoil] of rows) {
    await t.rejects(openBundles([make(spoil)], { trust: [trust] }), { code }, what);
  }
  const notices: string[] = [];
  const open = async (folders: string[]) => {
    notices.length = 0;
    const bundles = await openBundles(folders, { trust: [trust], notice: (line) => notices.push(line) });
    t.teardown(() => bundles.close());
    return bundles;
  };
  const good = make(() => {});
  await open([good, make((it) => truncateSync(join(it, volume), 8000))]);
  t.match(notices, [/has the wrong size.*; reading another copy instead/], "of two copies the whole one is read");
  const damaged = make((it) => flip(join(it, volume), 4000));
  const { store } = await open([damaged, good]);
  t.match(notices, [/digest mismatch.*; reading ".*" instead/], "and of two the good one");
  const served = await serve({
    store: damaged,
    bundles: await open([damaged, good]),
    listen: "127.0.0.1:0",
    graceMs: 0,
  });
  const body = Buffer.from(await (await fetch(`${served.urls[0]}/files/x`)).arrayBuffer());
  t.ok(body.equals(noise(40_000, 1)), "byte for byte");
  await served.close();
  t.ok(store);
  await t.rejects(
    openBundles([damaged, make((it) => flip(join(it, volume), 1))], { trust: [trust] }),
    { code: "ERR_DIGEST_MISMATCH" },
    "none of two",
  );
});

t.test("what changes after it was verified is never served", async (t) => {
  const dir = scratch(t);
  const key = makeKey();
  const trust = join(dir, "k.pub");
  writeFileSync(trust, key.pem);
  const big = noise(400_000, 1);
  const start = async (name: string) => {
    const folder = join(dir, name);
    makeBundle(folder, {
      keys: [key],
      files: { "files/big": big, "files/small": noise(9000, 3) },
      volumeSize: 100_000,
    });
    return { folder, ...(await serveBundles(t, [folder], trust)) };
  };
  const get = async (url: string, path: string) => {
    const response = await fetch(url + path);
    return {
      status: response.status,
      retry: response.headers.get("retry-after"),
      body: Buffer.from(await response.arrayBuffer()),
    };
  };
  const gone = (name: string, fault: string) =>
    new RegExp(`^503: cannot read ".*/${name}": ${fault}\\nput the medium back as it was`);

  const swapped = await start("swapped");
  rmSync(join(swapped.folder, "data.tar.0000"));
  cpSync(trust, join(swapped.folder, "data.tar.0000"));
  const lost = await get(swapped.url, "/files/big");
  t.match(
    [lost.status, lost.retry, lost.body.toString()],
    [503, "30", gone("data.tar.0000", "it changed after it was verified")],
  );
  t.match(swapped.messages, [/^cannot answer "\/files\/big": cannot read ".*data.tar.0000": it changed/]);
  t.equal((await get(swapped.url, "/healthz")).status, 200, "the server goes on");

  const written = await start("written");
  t.ok((await get(written.url, "/files/big")).body.equals(big));
  flip(join(written.folder, "data.tar.0001"), 5);
  utimesSync(join(written.folder, "data.tar.0001"), 0, 0);
  t.equal((await get(written.url, "/files/big")).status, 503, "a byte flipped in place, the time set back");
  t.equal((await fetch(`${written.url}/files/big`, { method: "HEAD" })).status, 503, "nor promised");
  t.ok((await get(written.url, "/files/small")).body.equals(noise(9000, 3)), "other volumes are as they were");

  const short = await start("short");
  truncateSync(join(short.folder, "data.tar.0004"), 10);
  t.equal((await get(short.url, "/files/small")).status, 503, "a truncated volume");
});

t.test("flags that do not go together", async (t) => {
  const dir = scratch(t);
  const key = makeKey();
  writeFileSync(join(dir, "k.pub"), key.pem);
  makeBundle(join(dir, "b"), { keys: [key], files: { "files/x": noise(10, 1) } });
  const rows: [string, number, RegExp, NodeJS.ProcessEnv?][] = [
    ["", 2, /neither a store nor a bundle\n.*hint: airferry serve --store DIR, or: airferry serve BUNDLE --trust KEY/],
    ["b", 2, /no key to trust\n.*hint: airferry serve b --trust PUBLIC-KEY/],
    ["b --trust k.pub --store s", 2, /both a store and a bundle/],
    ["b --trust k.pub --listen nowhere", 2, /cannot listen on "nowhere"/, { AIRFERRY_STORE: "s" }],
    ["--store s --trust k.pub", 2, /--trust and --threshold are for bundles/],
    ["b --trust k.pub --print-unit", 2, /--print-unit is for stores/],
    ["b --trust k.pub --tls auto", 2, /no place for its CA: bundles are served without writing\n.*--tls-dir DIR/],
    ["b --trust k.pub --tls auto --tls-dir b/tls", 2, /cannot store the CA in "b\/tls": it is inside the bundle/],
    ["k.pub --trust k.pub", 1, /it is a file: expected the folder of a bundle/],
    [". --trust k.pub", 3, /it holds a bundle: "b"/],
  ];
  for (const [args, status, text, env] of rows) {
    const ran = await airferry(dir, ["serve", ...args.split(" ").filter((it) => it !== "")], env);
    t.match([ran.status, ran.stderr], [status, text], args);
  }
  t.strictSame(readdirSync(dir).sort(), ["b", "k.pub"], "and nothing was written");
});

function flip(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}
