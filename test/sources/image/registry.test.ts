/** Blobs of images that come in parts, late, or wrongly: what pack makes of a registry's ranges, limits and cuts. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type Answer, type FakeRegistryOptions, startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { airferry } from "../../fixtures/host.ts";
import { digestOf, type TestDescriptor, TestImages } from "../../fixtures/images.ts";
import { scratch, seededBytes, writeManifest } from "../../fixtures/program.ts";

const images = new TestImages();
const image = images.image("linux/amd64", [{ big: seededBytes(1, 400_000) }]);
const layer = (JSON.parse(images.manifests.get(image.digest)?.bytes.toString() ?? "").layers as TestDescriptor[])[0];
const { digest, size } = layer as TestDescriptor;
const bytes = images.blobs.get(digest) as Buffer;
const HALF = 200_000;

/** Packs the image; `answers` are those to the GETs of its layer, one after the other, then the usual ones. */
async function pack(t: Test, answers: (Partial<Answer> | undefined)[], options: Partial<FakeRegistryOptions> = {}) {
  const ranges: string[] = [];
  const times: number[] = [];
  const fake = await startFakeRegistry({
    images,
    tags: { "1.0": image },
    answer: (url, _, req) => {
      if (req.method !== "GET" || !url.pathname.endsWith(digest)) return undefined;
      times.push(Date.now());
      return answers[ranges.push(req.headers.range ?? "-") - 1];
    },
    ...options,
  });
  t.teardown(() => fake.close());
  const dir = scratch(t);
  const manifest = writeManifest(dir, { images: [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }] });
  const ran = await airferry(dir, ["pack", manifest, "--unsigned"], {
    DOCKER_CONFIG: dir,
    HOME: dir,
    XDG_RUNTIME_DIR: dir,
  });
  const packed = (): boolean => {
    const inventory = JSON.parse(readFileSync(join(dir, "bundles/test-000001/airferry.json"), "utf8"));
    return JSON.stringify(inventory).includes(digest.slice(7));
  };
  return { ran, ranges, times, packed, fake };
}

const cut: Partial<Answer> = { body: bytes, headers: { etag: '"one"' }, cutAfter: HALF };
const rest = (range: string, from = HALF): Partial<Answer> => ({
  status: 206,
  headers: { "content-range": range, etag: '"one"' },
  body: bytes.subarray(from),
});
const continued = `bytes=${HALF}-`;

t.test("a layer that is cut is continued, whatever the registry makes of ranges", async (t) => {
  const cases = new Map<string, [(Partial<Answer> | undefined)[], string[]]>([
    [
      "the rest",
      [
        [cut, rest(`bytes ${HALF}-${size - 1}/${size}`)],
        ["-", continued],
      ],
    ],
    [
      "another range",
      [
        [cut, rest(`bytes 0-${size - HALF - 1}/${size}`)],
        ["-", continued, "-"],
      ],
    ],
    [
      "no Content-Range",
      [
        [cut, { ...rest(""), headers: {} }],
        ["-", continued, "-"],
      ],
    ],
    [
      "200 with everything",
      [
        [cut, { body: bytes }],
        ["-", continued],
      ],
    ],
    [
      "416",
      [
        [cut, { status: 416, headers: { "content-range": `bytes */${size}` } }],
        ["-", continued, "-"],
      ],
    ],
  ]);
  for (const [what, [answers, expected]] of cases) {
    const { ran, ranges, packed } = await pack(t, answers);
    t.equal(ran.status, 0, `${what}: ${ran.stderr}`);
    t.same(ranges, expected, what);
    t.ok(packed(), what);
  }
});

t.test("a range of something of another size is refused", async (t) => {
  const { ran, ranges } = await pack(t, [cut, rest(`bytes ${HALF}-${size - 1}/${size + 1}`)]);
  t.equal(ran.status, 4);
  t.match(ran.stderr, `wrong size: expected ${size} bytes, got ${size + 1} bytes`);
  t.same(ranges, ["-", continued]);
});

t.test("a rest that is other bytes is found out by the digest, and the whole is fetched once more", async (t) => {
  const wrong = { ...rest(`bytes ${HALF}-${size - 1}/${size}`), body: Buffer.alloc(size - HALF) };
  const { ran, ranges } = await pack(t, [cut, wrong]);
  t.equal(ran.status, 0, ran.stderr);
  t.same(ranges, ["-", continued, "-"]);
});

t.test("429 on a layer, with a date and a text body, is waited for", async (t) => {
  const at = new Date(Math.ceil(Date.now() / 1000) * 1000 + 4000);
  const limited = {
    status: 429,
    headers: { "retry-after": at.toUTCString(), "content-type": "text/plain" },
    body: "slow",
  };
  const { ran, times } = await pack(t, [limited]);
  t.equal(ran.status, 0, ran.stderr);
  t.equal(times.length, 2);
  t.ok((times[1] as number) >= at.getTime(), "not before that time");
});

t.test("few manifest requests left are said once, with what to do", async (t) => {
  const index = images.manifests.get(image.digest) as { mediaType: string; bytes: Buffer };
  const few = (left: string): Partial<FakeRegistryOptions> => ({
    answer: ({ pathname }) =>
      pathname.endsWith("/manifests/1.0")
        ? {
            headers: {
              "content-type": index.mediaType,
              "docker-content-digest": digestOf(index.bytes),
              "ratelimit-remaining": left,
            },
            body: index.bytes,
          }
        : undefined,
  });
  const { ran, fake } = await pack(t, [], few("3;w=21600"));
  t.equal(ran.status, 0, ran.stderr);
  t.equal(ran.stderr.split(`${fake.host} allows 3 more manifest requests for now; log in for more`).length, 2);
  t.notMatch((await pack(t, [], few("99;w=21600"))).ran.stderr, /more manifest requests/);
});
