/** Lists of referrers as registries give them: in pages, behind rewrites and redirects, in part, or not at all. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { AirferryError } from "../../src/errors.ts";
import { lock } from "../../src/lock.ts";
import type { ImageDetail } from "../../src/sources/image/detail.ts";
import { nextLink } from "../../src/sources/image/registry.ts";
import { openWorkspace } from "../../src/workspace.ts";
import {
  type FakeRegistryOptions,
  indexOf,
  PASSWORD,
  referrersOf,
  startFakeRegistry,
  USER,
} from "../fixtures/fake-registry.ts";
import { type TestDescriptor, TestImages } from "../fixtures/images.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

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
  const locked = await lock(workspace, { pinFirstSight: false, report }).catch((error: AirferryError) => error);
  if (locked instanceof Error) return { fake, lines, error: locked, referrers: [] };
  const { referrers } = (locked.lock.entries[0]?.detail as ImageDetail).images[0] as ImageDetail["images"][0];
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
    ["no address", [() => '<http://[>; rel="next"', /an address that is none/]],
    ["the same page", [(next) => relative(next.replace(/\?.*/, "")), /go in circles/]],
    ["empty", [() => '<>; rel="next"', /go in circles/]],
    [
      "a loop of two",
      [(next) => relative(next.replace("page=2", "page=0").replace("page=1", "page=1&x")), /go in circles/],
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
