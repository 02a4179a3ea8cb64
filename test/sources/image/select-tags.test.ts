/** `tags:` of an images entry, against a real registry and one that lists its tags in pages. */
import { join } from "node:path";
import t, { type Test } from "tap";
import { needs } from "../../fixtures/clients.ts";
import { startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { airferry } from "../../fixtures/host.ts";
import { startDockerRegistry, TestImages } from "../../fixtures/images.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";

const TAGS = ["v1.29.1", "v1.29.2", "v1.29.10", "v1.29.11-rc.1", "v1.30.0", "latest"];

async function imagesOf(dir: string): Promise<{ reference: string; source: string }[]> {
  return JSON.parse((await airferry(dir, ["inspect", "bundles/test-000001", "--json"])).stdout).catalog.images;
}

async function registry(t: Test) {
  const dir = scratch(t);
  const upstream = await startDockerRegistry(join(dir, "registry"));
  t.teardown(() => upstream.stop());
  const images = new TestImages();
  const tags = Object.fromEntries(TAGS.map((tag) => [tag, images.image("linux/amd64", [{ tag }])]));
  await images.push(upstream.host, "lab/app", tags);
  return { dir, host: upstream.host, images };
}

t.test("the newest of those that match are packed, and a new one is told, then taken by --update", async (t) => {
  if (!needs(t, "docker-registry")) return;
  const { dir, host, images } = await registry(t);
  const manifest = writeManifest(dir, {
    images: [{ ref: `${host}/lab/app`, insecure: true, tags: { match: "^v1\\.29\\.\\d+$", newest: 2 } }],
  });
  const packed = await airferry(dir, ["pack", manifest, "--unsigned"]);
  t.equal(packed.status, 0, packed.stderr);
  t.strictSame(
    (await imagesOf(dir)).map(({ reference, source }) => [reference, source]).sort(),
    ["v1.29.10", "v1.29.2"].map((tag) => [`${host}/lab/app:${tag}`, `${host}/lab/app:${tag}`]),
  );
  await images.push(host, "lab/app", { "v1.29.12": images.image("linux/amd64", [{ tag: "new" }]) });
  const again = await airferry(dir, ["pack", manifest, "--unsigned"]);
  t.equal(again.status, 0, again.stderr);
  t.equal(again.stdout, packed.stdout, "still locked");
  const name = `${host}/lab/app:^v1\\.29\\.\\d+$`;
  const told = await airferry(dir, ["lock", manifest]);
  t.match(
    told.stderr,
    `its tags: now match others: locked v1.29.10, v1.29.2, now v1.29.12, v1.29.10; to update: airferry lock ${manifest} --update '${name}'`,
  );
  const updated = await airferry(dir, ["lock", manifest, "--update", name]);
  t.equal(updated.status, 0, updated.stderr);
  t.match((await airferry(dir, ["plan", manifest])).stdout, "v1.29.12");
  const byReference = await airferry(dir, ["lock", manifest, "--update", `${host}/lab/app`]);
  t.equal(byReference.status, 0, byReference.stderr);
});

t.test("all tags without a limit, under another name", async (t) => {
  if (!needs(t, "docker-registry")) return;
  const { dir, host } = await registry(t);
  const manifest = writeManifest(dir, {
    images: [{ ref: `${host}/lab/app`, as: "quay.io/site/app", insecure: true, tags: {} }],
  });
  const packed = await airferry(dir, ["pack", manifest, "--unsigned"]);
  t.equal(packed.status, 0, packed.stderr);
  t.strictSame(
    (await imagesOf(dir)).map((it) => it.reference).sort(),
    TAGS.map((it) => `quay.io/site/app:${it}`).sort(),
  );
});

t.test("a pattern that means nothing says what is there", async (t) => {
  if (!needs(t, "docker-registry")) return;
  const { dir, host } = await registry(t);
  const entry = { ref: `${host}/lab/app`, insecure: true, tags: { match: "^v2" } };
  const refused = await airferry(dir, ["lock", writeManifest(dir, { images: [entry] })]);
  t.equal(refused.status, 2);
  t.match(refused.stderr, /none of its 6 tags matches "\^v2"/);
  t.match(refused.stderr, "hint: available tags: v1.30.0, v1.29.11-rc.1, v1.29.10, v1.29.2, v1.29.1, …");
  const none = await airferry(dir, ["lock", writeManifest(dir, { images: [{ ...entry, ref: `${host}/lab/none` }] })]);
  t.equal(none.status, 4);
  t.match(none.stderr, "the registry has no tags for it");
});

t.test("pages of tags are followed at their own origin, and invalid lists are refused", async (t) => {
  const images = new TestImages();
  const one = images.image("linux/amd64", [{ a: "1" }]);
  const pages: Record<string, object> = {
    "": { tags: ["v1.0.0"], next: "?n=1&last=v1.0.0" },
    "v1.0.0": { tags: ["v1.1.0", "not a tag", 7] },
  };
  for (const [answer, expected] of [
    [(url: URL) => pages[url.searchParams.get("last") ?? ""], undefined],
    [() => ({ tags: "v1" }), /a page of tags is not a list of tags/],
    [() => ({ tags: ["v1.0.0"], next: "https://elsewhere.example/v2/lab/bb/tags/list?last=x" }), /at another origin/],
    [() => ({ tags: ["v1.0.0"], next: "?n=1&last=v1.0.0&again" }), /form a loop/],
  ] as const) {
    const dir = scratch(t);
    const fake = await startFakeRegistry({
      images,
      tags: { "v1.0.0": one, "v1.1.0": one },
      answer: (url) => {
        if (!url.pathname.endsWith("/tags/list")) return undefined;
        const { next, ...body } = answer(url) as { next?: string };
        const link = next?.startsWith("?") ? `${url.pathname}${next}` : next;
        return {
          headers: { "content-type": "application/json", ...(link && { link: `<${link}>; rel="next"` }) },
          body: JSON.stringify(body),
        };
      },
    });
    const entry = { ref: `${fake.host}/lab/bb`, insecure: true, tags: {} };
    const packed = await airferry(dir, ["pack", writeManifest(dir, { images: [entry] }), "--unsigned"]);
    await fake.close();
    if (expected !== undefined) {
      t.equal(packed.status, 4, packed.stderr);
      t.match(packed.stderr, expected);
      continue;
    }
    t.equal(packed.status, 0, packed.stderr);
    t.strictSame(
      (await imagesOf(dir)).map((it) => it.reference).sort(),
      ["v1.0.0", "v1.1.0"].map((it) => `${fake.host}/lab/bb:${it}`),
    );
  }
});
