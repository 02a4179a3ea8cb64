/** Which parts of an image are wanted: platforms in every form, nested indexes, what is listed twice, and attestations. */
import t, { type Test } from "tap";
import { startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { layersOf, lockImages, packImages } from "../../fixtures/image-lock.ts";
import { type TestDescriptor, TestImages } from "../../fixtures/images.ts";
import { scratch } from "../../fixtures/program.ts";

/** Serves one index, and locks it with platforms: which of its images came along whole? */
async function choose(t: Test, images: TestImages, root: TestDescriptor, platforms: string[] | undefined, api = false) {
  const fake = await startFakeRegistry({ images, tags: { "1.0": root }, referrersApi: api });
  t.teardown(() => fake.close());
  const entry = { ref: `${fake.host}/lab/bb:1.0`, insecure: true, ...(platforms && { platforms }) };
  const tried = await lockImages(scratch(t), [entry]);
  const whole = (it: TestDescriptor) => {
    const layers = layersOf(images, it);
    return layers.length > 0 && layers.every(tried.has);
  };
  return { ...tried, entry, whole };
}

/** An image that an index lists under another name of its platform. */
function listed(images: TestImages, platform: string, more: object = {}): TestDescriptor {
  const made = images.image(platform, [{ for: platform + JSON.stringify(more) }]);
  return { ...made, platform: { ...(made.platform as object), ...more } };
}

t.test("a nested index for each system: the platform may be in any of them", async (t) => {
  const images = new TestImages();
  const linux = images.image("linux/amd64", [{ a: "linux" }]);
  const windows = images.image("windows/amd64", [{ a: "windows" }]);
  const root = images.index([images.index([linux]), images.index([windows])]);
  const { error, whole, images: locked } = await choose(t, images, root, ["linux/amd64"]);
  t.equal(error, undefined);
  t.same([whole(linux), whole(windows)], [true, false]);
  t.same(locked[0]?.platforms, ["linux/amd64"]);
  const none = await choose(t, images, root, ["linux/amd64", "linux/s390x"]);
  t.equal(none.error?.code, "ERR_MANIFEST_INVALID");
  t.match(none.error?.message, /has no linux\/s390x: expected one of linux\/amd64, windows\/amd64/);
});

t.test("what is listed first as unwanted and then as wanted is taken", async (t) => {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "amd64" }]);
  const arm64 = images.image("linux/arm64", [{ a: "arm64" }]);
  const windows = images.image("windows/amd64", [{ a: "windows" }]);
  const nested = { ...images.index([amd64, arm64]), platform: { os: "linux", architecture: "arm64" } };
  const root = images.index([nested, amd64, windows]);
  const both = await choose(t, images, root, ["linux/amd64", "windows/amd64"]);
  t.equal(both.error, undefined);
  t.same([both.whole(amd64), both.whole(arm64), both.whole(windows)], [true, false, true]);
  t.same(both.images[0]?.platforms, ["linux/amd64", "windows/amd64"]);
});

t.test("one child for two platforms is recorded under those that are wanted", async (t) => {
  const images = new TestImages();
  const any = images.image("linux/amd64", [{ a: "script" }]);
  const as = (architecture: string) => ({ ...any, platform: { os: "linux", architecture } });
  const root = images.index([as("arm64"), as("amd64"), as("s390x")]);
  const one = await choose(t, images, root, ["linux/amd64"]);
  t.ok(one.whole(any));
  t.same(one.images[0]?.platforms, ["linux/amd64"]);
  const two = await choose(t, images, root, ["linux/amd64", "linux/arm64"]);
  t.same(two.images[0]?.platforms, ["linux/amd64", "linux/arm64"]);
});

t.test("variants and Windows versions", async (t) => {
  const images = new TestImages();
  const children = {
    v6: listed(images, "linux/arm/v6"),
    v7: listed(images, "linux/arm", { variant: "v7" }),
    amd64: listed(images, "linux/amd64"),
    v3: listed(images, "linux/amd64", { variant: "v3" }),
    arm64: listed(images, "linux/arm64", { variant: "v8" }),
    w2019: listed(images, "windows/amd64", { "os.version": "10.0.17763.2114" }),
    w2022: listed(images, "windows/amd64", { "os.version": "10.0.20348.169" }),
  };
  const root = images.index(Object.values(children));
  const wanted = new Map<string, (keyof typeof children)[]>([
    ["linux/arm/v7", ["v7"]],
    ["linux/arm", ["v7"]],
    ["linux/arm/v6", ["v6"]],
    ["linux/amd64", ["amd64"]],
    ["linux/amd64/v1", ["amd64"]],
    ["linux/amd64/v3", ["v3"]],
    ["linux/arm64", ["arm64"]],
    ["linux/arm64/v8", ["arm64"]],
    ["windows/amd64", ["w2019", "w2022"]],
    ["windows(10.0.17763)/amd64", ["w2019"]],
    ["windows(10.0.20348.1)/amd64", ["w2022"]],
  ]);
  const fake = await startFakeRegistry({ images, tags: { "1.0": root } });
  t.teardown(() => fake.close());
  for (const [platform, expected] of wanted) {
    const entry = { ref: `${fake.host}/lab/bb:1.0`, insecure: true, platforms: [platform] };
    const { error, has } = await lockImages(scratch(t), [entry]);
    t.equal(error, undefined, platform);
    const got = Object.entries(children).flatMap(([name, it]) => (layersOf(images, it).every(has) ? [name] : []));
    t.same(got, expected, platform);
  }
  const entry = { ref: `${fake.host}/lab/bb:1.0`, insecure: true, platforms: ["windows(10.0.14393)/amd64"] };
  const { error } = await lockImages(scratch(t), [entry]);
  t.match(
    error?.message,
    /has no windows\(10\.0\.14393\)\/amd64: expected one of .*windows\(10\.0\.17763\.2114\)\/amd64/,
  );
});

t.test("one image without an index: its config tells the platform", async (t) => {
  const images = new TestImages();
  const { platform: _, ...amd64 } = images.image("linux/amd64", [{ a: "1" }]);
  const more = await choose(t, images, amd64, ["linux/amd64", "linux/arm64"]);
  t.equal(more.error, undefined, "one list of platforms may be said for all images of a site");
  t.ok(more.whole(amd64));
  t.match(more.lines.join("\n"), /has no linux\/arm64, only linux\/amd64/);
  const other = await choose(t, images, amd64, ["linux/arm64"]);
  t.equal(other.error?.code, "ERR_MANIFEST_INVALID");
  t.match(other.error?.message, /has no linux\/arm64: expected one of linux\/amd64/);
});

t.test(
  "BuildKit's attestations follow their image, however they are tied to it, wherever they are listed",
  async (t) => {
    const images = new TestImages();
    const amd64 = images.image("linux/amd64", [{ a: "amd64" }]);
    const arm64 = images.image("linux/arm64", [{ a: "arm64" }]);
    const attest = (subject: TestDescriptor, tie: "annotation" | "subject" | "both") => {
      const config = images.blob(
        Buffer.from(
          JSON.stringify({ architecture: "unknown", os: "unknown", config: {}, for: `${subject.digest} ${tie}` }),
        ),
        "application/vnd.oci.image.config.v1+json",
      );
      const statement = Buffer.from(JSON.stringify({ tie, about: subject.digest }));
      const { mediaType, digest, size } = subject;
      const made = images.manifest(
        {
          config,
          layers: [images.blob(statement, "application/vnd.in-toto+json")],
          ...(tie !== "annotation" && { subject: { mediaType, digest, size } }),
        },
        mediaType,
      );
      return {
        ...made,
        platform: { architecture: "unknown", os: "unknown" },
        ...(tie !== "subject" && {
          annotations: {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": subject.digest,
          },
        }),
      };
    };
    for (const tie of ["annotation", "subject", "both"] as const) {
      for (const first of [true, false]) {
        for (const api of [true, false]) {
          const about = [attest(amd64, tie), attest(arm64, tie)] as const;
          const children = first ? [...about, amd64, arm64] : [amd64, arm64, ...about];
          const {
            error,
            whole,
            images: locked,
          } = await choose(t, images, images.index(children), ["linux/amd64"], api);
          const name = `${tie}, ${first ? "before" : "after"} its image, ${api ? "with" : "without"} the referrers API`;
          t.equal(error, undefined, name);
          t.same(about.map(whole), [true, false], name);
          t.same(locked[0]?.platforms, ["linux/amd64"], name);
        }
      }
    }
    const root = images.index([attest(arm64, "subject"), attest(amd64, "subject"), amd64, arm64]);
    const all = await choose(t, images, root, undefined);
    const packed = await packImages(scratch(t), [all.entry]);
    t.equal(packed.error, undefined, "and all of it is fetched");
    t.same(packed.images[0]?.platforms, []);
  },
);
