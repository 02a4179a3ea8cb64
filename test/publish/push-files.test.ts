/** RPM repositories and files to a double of Nexus and Artifactory: order, what is skipped, refusals, interruptions. */
import { writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Digest } from "../../src/io/digest.ts";
import { type PushOptions, pushFiles } from "../../src/publish/push-files.ts";
import { type FileKind, planRepository } from "../../src/publish/repository-plan.ts";
import { SiteRepository } from "../../src/publish/site-repository.ts";
import { scratch, seededBytes } from "../fixtures/program.ts";
import { PASSWORD, type SiteDouble, siteDouble, USER } from "../fixtures/site-repository.ts";
import { createTestStore, type TestRelease, type TestStore } from "../fixtures/store-reader.ts";

const BIG = seededBytes(7, 1_500_000);

function rpmRelease(serial: number, more: Record<string, string | Uint8Array> = {}): TestRelease {
  const rpm = (name: string) => ({ name, path: `rpms/${name}/`, keys: [name === "base" ? "r.asc" : "keys/r.asc"] });
  return {
    stream: "a",
    serial,
    content: {
      "rpms/base/Packages/a+b-1-1.noarch.rpm": BIG,
      "rpms/base/Packages/c;d=1-1.noarch.rpm": "c",
      "rpms/base/.treeinfo": `tree ${serial}`,
      "rpms/base/images/install.img": "img",
      "rpms/base/repodata/repomd.xml": `<repomd>${serial}</repomd>`,
      "rpms/base/repodata/repomd.xml.asc": `signature ${serial}`,
      "rpms/base/repodata/0a-primary.xml.gz": "primary",
      "rpms/app/x-1-1.noarch.rpm": "x",
      "rpms/app/repodata/repomd.xml": "<repomd/>",
      "keys/r.asc": "key",
      "keys/other.asc": "not of these",
      "files/tool.tgz": "tool",
      "files/dir/ü %.sh": "",
      ...more,
    },
    catalog: { rpms: [rpm("base"), rpm("app")] } as never,
  };
}

async function storeOf(t: Test, ...releases: TestRelease[]): Promise<TestStore> {
  const store = createTestStore(join(scratch(t), "store"));
  for (const it of releases) await store.put(it);
  return store;
}

interface PushHow extends Partial<PushOptions> {
  kind?: FileKind;
  ownMetadata?: boolean;
  login?: string | undefined;
}

async function push(t: Test, double: SiteDouble, store: TestStore, how: PushHow = {}) {
  const {
    kind = "rpms",
    ownMetadata = false,
    login = `machine 127.0.0.1 login ${USER} password ${PASSWORD}`,
    ...options
  } = how;
  const home = scratch(t);
  writeFileSync(join(home, ".netrc"), login);
  const repository = new SiteRepository({ url: new URL(double.url), env: { HOME: home } });
  try {
    const plan = planRepository(kind, await store.releases(), store, ownMetadata);
    const files = await pushFiles(repository, plan, { isDry: false, ...options });
    return Object.fromEntries(files.map((it) => [it.path, it.done]));
  } finally {
    repository.close();
  }
}

const PATHS = [
  "app/repodata/repomd.xml",
  "app/x-1-1.noarch.rpm",
  "base/.treeinfo",
  "base/Packages/a+b-1-1.noarch.rpm",
  "base/Packages/c;d=1-1.noarch.rpm",
  "base/images/install.img",
  "base/repodata/0a-primary.xml.gz",
  "base/repodata/repomd.xml",
  "base/repodata/repomd.xml.asc",
  "keys/r.asc",
];

for (const product of ["nexus", "artifactory"] as const) {
  t.test(`${product}: packages first, the entry point last, and only what changed the next time`, async (t) => {
    const double = await siteDouble(t, { product });
    const store = await storeOf(t, rpmRelease(1));
    const dry = await push(t, double, store, { isDry: true });
    t.same(Object.keys(dry), PATHS);
    t.ok(Object.values(dry).every((it) => it === "would upload"));
    t.equal(double.files.size, 0, "a dry run sends nothing");

    const seen: number[] = [];
    const first = await push(t, double, store, { progress: (done) => seen.push(done) });
    t.ok(Object.values(first).every((it) => it === "uploaded"));
    t.same([...double.files.keys()].sort(), PATHS);
    t.ok(double.files.get("base/Packages/a+b-1-1.noarch.rpm")?.equals(BIG));
    t.equal(
      seen.at(-1),
      seen.reduce((a, b) => Math.max(a, b)),
      "all bytes are counted once",
    );
    const at = (path: string) => double.stored.indexOf(path);
    const packages = Math.max(...PATHS.filter((it) => /\.rpm$|img$|asc$/.test(it) && !it.includes("repodata")).map(at));
    t.ok(packages < Math.min(at("base/repodata/0a-primary.xml.gz"), at("base/.treeinfo")), "packages before metadata");
    t.ok(at("base/repodata/0a-primary.xml.gz") < at("base/repodata/repomd.xml.asc"));
    t.same(double.stored.slice(-2).sort(), ["app/repodata/repomd.xml", "base/repodata/repomd.xml"]);

    double.stored.length = 0;
    t.ok(Object.values(await push(t, double, store)).every((it) => it === "present"));
    t.same(double.stored, [], "nothing is sent again");

    await store.put(rpmRelease(2, { "rpms/base/Packages/new-1-1.noarch.rpm": BIG }));
    const second = await push(t, double, store);
    t.equal(second["base/repodata/0a-primary.xml.gz"], "present");
    t.equal(second["base/Packages/new-1-1.noarch.rpm"], product === "nexus" ? "uploaded" : "deployed");
    t.same(double.stored.at(-1), "base/repodata/repomd.xml");
    t.equal(double.files.get("base/repodata/repomd.xml")?.toString(), "<repomd>2</repomd>");
    t.ok(
      double.logins.every((it) => it !== undefined),
      "the login goes with the first request",
    );
  });

  t.test(`${product}: files, and refusals`, async (t) => {
    const store = await storeOf(t, rpmRelease(1));
    const once = await siteDouble(t, { product, allowOnce: true });
    t.same(await push(t, once, store, { kind: "files" }), { "dir/ü %.sh": "uploaded", "tool.tgz": "uploaded" });
    t.same(await push(t, once, store, { kind: "files" }), { "dir/ü %.sh": "present", "tool.tgz": "present" });
    await store.put(rpmRelease(2, { "files/tool.tgz": "newer" }));
    await t.rejects(push(t, once, store, { kind: "files" }), {
      code: "ERR_PUBLISH",
      message:
        product === "nexus" ? /upload tool\.tgz: .* answers 400 .*does not allow updating/ : /403 .*overwrite artifact/,
      hint: /Allow redeploy/,
    });
    const double = await siteDouble(t, { product });
    await t.rejects(push(t, double, store, { login: `machine 127.0.0.1 login ${USER} password wrong` }), {
      code: "ERR_PUBLISH",
      message: /answers 401/,
      hint: /is refused: check machine 127\.0\.0\.1/,
    });
    await t.rejects(push(t, double, store, { login: "machine elsewhere login a password b" }), {
      code: "ERR_PUBLISH",
      hint: /there is no login for it: write one into ~\/\.netrc/,
    });
    t.equal(double.logins.at(-1), undefined, "another machine's login goes nowhere");
    await t.rejects(push(t, double, store, { login: "machine 127.0.0.1 login a password" }), {
      code: "ERR_USAGE",
      hint: /machine 127\.0\.0\.1 login NAME/,
    });
  });
}

t.test("who may only read is refused before the bytes are sent, and a redirect is not followed", async (t) => {
  const large = Buffer.alloc(6_000_000, 7);
  const store = await storeOf(t, { stream: "a", content: { "files/large": large }, catalog: { rpms: [] } as never });
  for (const product of ["nexus", "artifactory"] as const) {
    const open = await siteDouble(t, { product, anonymous: true });
    const nobody = { kind: "files" as const, login: "" };
    t.same(await push(t, open, store, { ...nobody, isDry: true }), { large: "would upload" });
    let sent = 0;
    await t.rejects(push(t, open, store, { ...nobody, progress: (done) => (sent = Math.max(sent, done)) }), {
      code: "ERR_PUBLISH",
      message: /answers 401/,
      hint: /there is no login for it/,
    });
    t.equal(open.calls.filter((it) => it.startsWith("PUT")).length, 1, open.calls.join());
    t.equal(sent, 0, "nothing of it was sent");
    t.same(await push(t, open, store, { kind: "files" }), { large: "uploaded" });
    t.ok(open.files.get("large")?.equals(large));
    t.ok(
      open.lengths.every((it) => it !== undefined),
      "lengths are told: some proxies take no chunks",
    );
    const old = await siteDouble(t, { product, knowsNoExpect: true });
    t.same(await push(t, old, store, { kind: "files" }), { large: "uploaded" });
    const moved = await siteDouble(t, { product, movedTo: "https://new.site.example" });
    const root = new URL(moved.url).pathname;
    await t.rejects(push(t, moved, await storeOf(t, rpmRelease(1))), {
      code: "ERR_PUBLISH",
      message: /it sends the upload of .* to https:\/\/new\.site\.example\/.* \(301 /,
      hint: `if that is the site's, give its URL: https://new.site.example${root}`,
    });
  }
});

t.test(
  "Artifactory without SHA-256, and what its checksum policy says; a depth that Nexus does not take",
  async (t) => {
    const store = await storeOf(t, rpmRelease(1));
    const old = await siteDouble(t, { product: "artifactory", sha1Only: true });
    await push(t, old, store);
    t.ok(Object.values(await push(t, old, store)).every((it) => it === "present"));
    const fail = (req: IncomingMessage) => {
      // What a proxy in between does to the bytes.
      if (req.method === "PUT") req.headers["x-checksum-sha256"] = "0".repeat(64);
      return undefined;
    };
    const altered = await siteDouble(t, { product: "artifactory", fail });
    await t.rejects(push(t, altered, store, { kind: "files" }), {
      code: "ERR_PUBLISH",
      message: /answers 409 Conflict: Checksum policy .* rejected the artifact/,
      hint: /checksum policy/,
    });
    t.equal(altered.files.size, 0);
    const deep = await siteDouble(t, { product: "nexus", repodataDepth: 2 });
    await t.rejects(push(t, deep, store, { ownMetadata: true }), {
      code: "ERR_PUBLISH",
      message: /answers 400 Invalid path/,
      hint: /Repodata Depth/,
    });
  },
);

t.test("a busy server, one that is full, and one with a limit", async (t) => {
  const store = await storeOf(t, rpmRelease(1));
  const busy = await siteDouble(t, {
    product: "nexus",
    fail: (req, uploads) =>
      req.method === "PUT" && uploads % 4 === 1 ? { status: 503, headers: { "Retry-After": "0" } } : undefined,
  });
  t.ok(
    Object.values(await push(t, busy, store)).every((it) => it === "uploaded"),
    "503 with Retry-After is tried again",
  );
  t.same([...busy.files.keys()].sort(), PATHS);

  for (const [status, hint] of [
    [413, /client_max_body_size/],
    [507, /free space there, then run again/],
  ] as const) {
    let isOver = true;
    const double = await siteDouble(t, {
      product: "artifactory",
      fail: (req) =>
        isOver && req.method === "PUT" && Number(req.headers["content-length"]) > 1_000_000 ? { status } : undefined,
    });
    await t.rejects(push(t, double, store), {
      code: "ERR_PUBLISH",
      message: new RegExp(`answers ${status}.*: Refused`),
      hint,
    });
    t.notOk(double.files.has("base/repodata/repomd.xml"), "no metadata of packages that are not there");
    t.equal(
      double.calls.filter((it) => it === "PUT base/Packages/a+b-1-1.noarch.rpm").length,
      2,
      "asked for once, sent once",
    );
    isOver = false;
    const rest = await push(t, double, store);
    t.equal(rest["base/Packages/a+b-1-1.noarch.rpm"], "uploaded", "a second run goes on");
    t.equal(double.files.size, PATHS.length);
  }
});

t.test("metadata that the site makes", async (t) => {
  const store = await storeOf(t, rpmRelease(1));
  const double = await siteDouble(t, { product: "nexus", metadataAfterMs: 200 });
  const how = { ownMetadata: true, metadataLookMs: 20, metadataWaitMs: 5000 };
  const lines: string[] = [];
  const first = await push(t, double, store, { ...how, report: (line) => lines.push(line) });
  t.same(
    Object.keys(first),
    PATHS.filter((it) => it.endsWith(".rpm")),
    "packages alone",
  );
  t.match(lines.slice(-2), ["the site made app/repodata/repomd.xml", "the site made base/repodata/repomd.xml"]);
  t.ok(double.files.get("base/repodata/repomd.xml")?.includes("a+b-1-1"));
  t.ok(
    Object.values(await push(t, double, store, how)).every((it) => it === "present"),
    "nothing to wait for",
  );
  await store.put(rpmRelease(2, { "rpms/app/y-1-1.noarch.rpm": "y" }));
  await push(t, double, store, how);
  t.ok(double.files.get("app/repodata/repomd.xml")?.includes("y-1-1"), "it waited for the new one");

  const never = await siteDouble(t, { product: "nexus" });
  await t.rejects(push(t, never, store, { ...how, metadataWaitMs: 100 }), {
    code: "ERR_PUBLISH",
    message: /the site does not make app\/repodata\/repomd\.xml/,
    hint: /Depth 1/,
  });
});

t.test("streams that differ, and bytes that are damaged", async (t) => {
  const other = { stream: "b", content: { "files/tool.tgz": "another" } };
  const store = await storeOf(t, rpmRelease(1), other);
  const double = await siteDouble(t, { product: "artifactory" });
  await t.rejects(push(t, double, store, { kind: "files" }), {
    code: "ERR_PUBLISH",
    message: /"tool\.tgz": the streams a and b have different files/,
    hint: /--stream a/,
  });
  t.same(double.calls, [], "before anything is sent");
  const damaged = await storeOf(t, rpmRelease(1));
  const entry = (await damaged.releases())[0]?.entries.get("files/tool.tgz");
  writeFileSync(damaged.blobPath(entry?.digest as Digest), "lost");
  await t.rejects(push(t, double, damaged, { kind: "files" }), { code: "ERR_STORE_INVALID" });
  t.notOk(double.files.has("tool.tgz"));
});
