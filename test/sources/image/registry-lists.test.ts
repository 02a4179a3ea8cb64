/** Lists of referrers as registries give them: in pages, behind rewrites and redirects, in part, or not at all. */
import { generateKeyPairSync, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { AirferryError } from "../../../src/errors.ts";
import { resolveManifest } from "../../../src/pack/resolve.ts";
import { openWorkspace } from "../../../src/pack/workspace.ts";
import { nextLink } from "../../../src/sources/image/registry.ts";
import { entriesOfKind } from "../../../src/sources/lock-document.ts";
import {
  type FakeRegistryOptions,
  indexOf,
  PASSWORD,
  referrersOf,
  startFakeRegistry,
  USER,
} from "../../fixtures/fake-registry.ts";
import { MANIFEST, type TestDescriptor, TestImages } from "../../fixtures/images.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";

const images = new TestImages();
const image = images.image("linux/amd64", [{ a: "1" }]);
const about = ["a", "b", "c"].map((it) => images.referrer(image, `application/x-${it}`, Buffer.from(it)));
const API = `/referrers/${image.digest}`;

type Answering = NonNullable<FakeRegistryOptions["answer"]>;

/** Locks the image; `ref` is asked at the registry by a rewrite. */
async function lockImage(
  t: Test,
  options: Partial<FakeRegistryOptions>,
  { ref, to = "", entry = {} }: { ref?: string; to?: string; entry?: object } = {},
) {
  const tags: Record<string, TestDescriptor> = { "1.0": image };
  const fake = await startFakeRegistry({ images, tags, referrersApi: true, ...options });
  t.teardown(() => fake.close());
  const dir = scratch(t);
  process.env.REGISTRY_AUTH_FILE = join(dir, "auth.json");
  const login = { auth: Buffer.from(`${USER}:${PASSWORD}`).toString("base64") };
  writeFileSync(process.env.REGISTRY_AUTH_FILE, JSON.stringify({ auths: { [fake.host]: login } }));
  const file = writeManifest(dir, { images: [{ ref: ref ?? `${fake.host}/lab/bb:1.0`, insecure: true, ...entry }] });
  const rewrites = ref === undefined ? [] : [{ from: ref.split("/")[0] as string, to: `${fake.host}${to}` }];
  await using workspace = await openWorkspace(file, { rewrites });
  const lines: string[] = [];
  const report = (line: string) => lines.push(line);
  const locked = await resolveManifest(workspace, { pinFirstSight: false, report }).catch(
    (error: AirferryError) => error,
  );
  if (locked instanceof Error) return { fake, lines, error: locked, referrers: [] };
  const referrers = entriesOfKind(locked.lock, "image")[0]?.detail.images[0]?.referrers ?? [];
  return { fake, lines, error: undefined, referrers: referrers.map((it) => it.digest).sort() };
}

const digests = (list: TestDescriptor[]) => list.map((it) => it.digest).sort();

/** Answers one referrer a page; `link` makes the Link from the path, with query, of the next page. */
const paged =
  (link: (next: string, host: string, asked: string) => string, storage = false): Answering =>
  (url, fake) => {
    if (!url.pathname.endsWith(API)) return undefined;
    if (storage && url.host === fake.host && !url.search) {
      return { status: 307, headers: { location: `http://${fake.storage}/moved${url.pathname}` } };
    }
    const page = Number(url.searchParams.get("page") ?? 0);
    const more = page + 1 < about.length;
    const next = `${url.pathname}?page=${page + 1}`;
    return indexOf(
      referrersOf(images, image.digest).slice(page, page + 1),
      more ? { link: link(next, url.host, fake.host) } : {},
    );
  };

const relative = (next: string) => `<${next}>; rel="next"`;
const absolute = (next: string, host: string) => `<http://${host}${next}>; rel="next"`;
const query = (next: string) => `<${next.slice(next.indexOf("?"))}>; rel=next`;

t.test("every page of referrers is read, wherever its link leads from", async (t) => {
  const behind = { ref: "registry.example.com/lab/bb:1.0" };
  const below = { ...behind, to: "/hub" };
  const name = "hub/lab/bb";
  const good = new Map<string, [Answering, object?, Parameters<typeof lockImage>[2]?]>([
    ["relative", [paged(relative)]],
    ["query alone", [paged(query)]],
    ["absolute", [paged(absolute)]],
    [
      "among other links",
      [paged((next) => `</x>; rel="first"; title="a, b", <${next}>; title="<c>"; rel="prev next"`)],
    ],
    ["relative, behind a rewrite", [paged(relative), {}, behind]],
    ["absolute, behind a rewrite", [paged(absolute), {}, behind]],
    ["relative, behind a rewrite to a path", [paged(relative), { name }, below]],
    ["absolute, behind a rewrite to a path", [paged(absolute), { name }, below]],
    ["relative, redirected to another origin", [paged(relative, true)]],
    ["absolute, redirected to another origin", [paged(absolute, true)]],
    [
      "redirected, and back to the origin that was asked",
      [paged((next, _, asked) => absolute(next, asked), true), {}, behind],
    ],
  ]);
  for (const [what, [answer, options, how]] of good) {
    const { error, referrers } = await lockImage(t, { answer, ...options }, how);
    t.equal(error, undefined, what);
    t.same(referrers, digests(about), what);
  }
});

t.test("a page that may not be asked for is an error, never the end of the list", async (t) => {
  const bad = new Map<string, [(next: string, host: string) => string, RegExp]>([
    ["another origin", [(next) => `<https://other.example${next}>; rel="next"`, /at another origin: expected http:/]],
    ["another port", [(next) => `<http://127.0.0.1:1${next}>; rel="next"`, /at another origin/]],
    ["no http", [() => '<file:///etc/passwd>; rel="next"', /at another origin/]],
    ["no address", [() => '<http://[>; rel="next"', /an invalid URL/]],
    ["the same page", [(next) => relative(next.replace(/\?.*/, "")), /form a loop/]],
    ["empty", [() => '<>; rel="next"', /form a loop/]],
    [
      "a loop of two",
      [(next) => relative(next.replace("page=2", "page=0").replace("page=1", "page=1&x")), /form a loop/],
    ],
  ]);
  for (const [what, [link, message]] of bad) {
    const { error, fake } = await lockImage(t, { answer: paged(link) });
    t.match(error, { code: "ERR_UPSTREAM_INVALID", message, hint: /referrers: false/ }, what);
    t.ok(fake.log.filter((line) => line.includes("/referrers/")).length < 6, what);
  }
  const half = await lockImage(t, {
    answer: (url, ...rest) => (url.search ? { status: 404 } : paged(relative)(url, ...rest)),
  });
  t.match(half.error, { message: /a page of referrers is not an index/ }, "a page that is gone");
});

t.test("the login stays with the registry that was asked, on every page", async (t) => {
  const { error, fake, referrers } = await lockImage(t, { auth: "basic", answer: paged(absolute, true) });
  t.equal(error, undefined);
  t.same(referrers, digests(about));
  t.equal(fake.storageLog.length, about.length);
  t.same(
    fake.storageLog.filter((line) => !line.endsWith(" -")),
    [],
  );
});

t.test("400, 403 and 405 for tags and the API mean that there are none, and are said", async (t) => {
  for (const status of [400, 403, 405]) {
    const tags = await lockImage(t, {
      answer: ({ pathname }) => (/manifests\/sha256-/.test(pathname) ? { status } : undefined),
    });
    t.equal(tags.error, undefined, `tags: ${status}`);
    t.same(tags.referrers, digests(about), "what the API lists is there");
    const lines = tags.lines.filter((it) => it.includes("requested tags of signatures"));
    t.equal(lines.length, 1, "said once");
    t.match(lines[0], `answered ${status}: treated as none; anything this login may not see is omitted`);
    const api = await lockImage(t, {
      answer: ({ pathname }) => (pathname.includes("/referrers/") ? { status } : undefined),
    });
    t.equal(api.error, undefined, `API: ${status}`);
    t.equal(api.lines.filter((it) => it.includes("requested its referrers")).length, status === 405 ? 0 : 1);
  }
});

t.test("where what is about an image cannot be had, the hint says how to do without", async (t) => {
  const hint = /; to continue without signatures and SBOMs: referrers: false$/;
  for (const path of [/\/referrers\//, /manifests\/sha256-.*\.sig$/]) {
    const unknown = await lockImage(t, {
      answer: ({ pathname }) => (path.test(pathname) ? { status: 401 } : undefined),
    });
    t.match(unknown.error, { code: "ERR_UPSTREAM", message: /answered 401/, hint }, "a 401 is a login that lacks");
    t.match(unknown.error, { hint: /^log in first: docker login/ });
    const busy = await lockImage(t, { answer: ({ pathname }) => (path.test(pathname) ? { status: 501 } : undefined) });
    if (path.test(API)) t.equal(busy.error, undefined, "no such API");
    else t.match(busy.error, { message: /answered 501/, hint });
    const without = await lockImage(
      t,
      { answer: ({ pathname }) => (path.test(pathname) ? { status: 401 } : undefined) },
      { entry: { referrers: false } },
    );
    t.equal(without.error, undefined);
  }
});

t.test("a presigned address that is refused does not mean that there is no signature", async (t) => {
  const { error, fake } = await lockImage(t, {
    answer: (url, fake) => {
      if (url.host === fake.storage) return { status: 403 };
      return /manifests\/sha256-.*\.sig$/.test(url.pathname)
        ? { status: 307, headers: { location: `http://${fake.storage}/presigned?sig=1` } }
        : undefined;
    },
  });
  t.match(error, { code: "ERR_UPSTREAM", hint: /redirects to/ });
  t.ok(fake.storageLog.length > 1, "tried again");
});

t.test("digests of unknown algorithms in a list are left out and said; broken ones are refused", async (t) => {
  const listed =
    (digest: unknown): Answering =>
    (url) =>
      url.pathname.endsWith(API)
        ? indexOf([...referrersOf(images, image.digest), { mediaType: "x/y", digest, size: 1 }])
        : undefined;
  for (const digest of [`sha384:${"0".repeat(96)}`, "blake3:abc", "sha999:zz", "multihash+base58:QmRZxt2b"]) {
    const { error, referrers, lines } = await lockImage(t, { answer: listed(digest) });
    t.equal(error, undefined, digest);
    t.same(referrers, digests(about));
    t.equal(lines.filter((it) => it.includes(`skipped ${digest} of its referrers`)).length, 1);
  }
  for (const digest of ["sha256:zz", `sha256:${"A".repeat(64)}`, "sha512:", "../x", "SHA384:0", 5, null]) {
    const { error } = await lockImage(t, { answer: listed(digest) });
    t.match(error, { code: "ERR_UPSTREAM_INVALID" }, String(digest));
  }
});

t.test("signatures: is not satisfied by a registry that refuses to say", async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const file = join(scratch(t), "cosign.pub");
  writeFileSync(file, publicKey.export({ type: "spki", format: "pem" }));
  const payload = Buffer.from(
    JSON.stringify({
      critical: { image: { "docker-manifest-digest": image.digest }, type: "cosign container image signature" },
    }),
  );
  const annotations = { "dev.cosignproject.cosign/signature": sign("sha256", payload, privateKey).toString("base64") };
  const signed = new TestImages();
  for (const [digest, it] of images.manifests) signed.manifests.set(digest, it);
  for (const [digest, it] of images.blobs) signed.blobs.set(digest, it);
  const layer = signed.blob(payload, "application/vnd.dev.cosign.simplesigning.v1+json", { annotations });
  const config = signed.blob(Buffer.from("{}"), "application/vnd.oci.empty.v1+json");
  const signature = signed.manifest({ config, layers: [layer] }, MANIFEST);
  const tags = { "1.0": image, [`${image.digest.replace(":", "-")}.sig`]: signature };
  const how = { entry: { signatures: { keys: [file] } } };
  t.equal((await lockImage(t, { images: signed, tags }, how)).error, undefined);
  const refused: Answering = ({ pathname }) => (/manifests\/sha256-/.test(pathname) ? { status: 403 } : undefined);
  const { error, lines } = await lockImage(t, { images: signed, tags, answer: refused }, how);
  t.match(error, { code: "ERR_UPSTREAM_SIGNATURE", message: /it is not signed/ });
  t.ok(lines.some((it) => it.includes("answered 403: treated as none")));
  const { mediaType, digest, size } = image;
  signed.manifest({ config, layers: [layer], subject: { mediaType, digest, size } }, MANIFEST);
  t.equal((await lockImage(t, { images: signed, tags, answer: refused }, how)).error, undefined, "found by the API");
});

t.test("nextLink() reads RFC 8288", (t) => {
  const cases = new Map<string, string | undefined>([
    ["", undefined],
    ['</a>; rel="next"', "/a"],
    ["</a>;rel=next", "/a"],
    ["</a>; REL=Next", "/a"],
    ['</a>; rel="nextish"', undefined],
    ['</a>; rel="prev"', undefined],
    ['</a>; rel="prev", </b>; rel="next"', "/b"],
    ['</a>; title="x, <y>; rel=next"; rel="first", </b>; rel=next', "/b"],
    ["</a>", undefined],
    ["rel=next", undefined],
  ]);
  for (const [header, expected] of cases) t.equal(nextLink(header), expected, header);
  t.end();
});
