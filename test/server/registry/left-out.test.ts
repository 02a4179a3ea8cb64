/** Images of which some platforms were left out: what is said of the rest, and the index of what is here. */
import t from "tap";
import { digestOf, TestImages } from "../../fixtures/images.ts";
import { startServer } from "../../fixtures/serving.ts";

function make(docker = false) {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "amd64" }], docker);
  const kept = new Set([...images.blobs.keys()]);
  const arm64 = images.image("linux/arm64", [{ a: "arm64" }], docker);
  const s390x = images.image("linux/s390x", [{ a: "s390x" }], docker);
  const index = images.index([amd64, arm64, s390x], docker);
  const leaveOut = [...[...images.blobs.keys()].filter((it) => !kept.has(it)), s390x.digest];
  const chosen = { platforms: ["linux/amd64"] };
  return { images, amd64, arm64, s390x, index, leaveOut, chosen };
}

type Detail = { platform: string; packed: string[]; packedTag?: string };

async function errorOf(answer: Response) {
  const { errors } = (await answer.json()) as { errors: { code: string; message: string; detail: Detail | null }[] };
  return { status: answer.status, ...(errors[0] as (typeof errors)[number]) };
}

t.test("what is not here says why, and what to take instead", async (t) => {
  for (const docker of [false, true]) {
    const { images, amd64, arm64, s390x, index, leaveOut, chosen } = make(docker);
    const image = images.catalogImage("quay.io/t/a:1.0", index, chosen);
    const { url } = await startServer(t, [
      { stream: "s", content: images.content(leaveOut), catalog: { images: [image] } },
    ]);
    const at = `${url}/v2/quay.io/t/a`;
    const below = JSON.parse(images.manifests.get(arm64.digest)?.bytes.toString() ?? "") as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    const detail = { packed: ["linux/amd64"], packedTag: "1.0-packed" };
    for (const digest of [below.config.digest, ...below.layers.map((it) => it.digest)]) {
      t.match(await errorOf(await fetch(`${at}/blobs/${digest}`)), {
        status: 404,
        code: "BLOB_UNKNOWN",
        message:
          /^quay\.io\/t\/a has no blob sha256:\w+: platform linux\/arm64 was not packed, only linux\/amd64; to copy all that is here, use the tag 1\.0-packed$/,
        detail: { platform: "linux/arm64", ...detail },
      });
    }
    t.match(await errorOf(await fetch(`${at}/manifests/${s390x.digest}`)), {
      status: 404,
      code: "MANIFEST_UNKNOWN",
      detail: { platform: "linux/s390x", ...detail },
    });
    t.match(await errorOf(await fetch(`${at}/blobs/sha256:${"0".repeat(64)}`)), { status: 404, detail: null });

    t.same(await (await fetch(`${at}/tags/list`)).json(), { name: "quay.io/t/a", tags: ["1.0", "1.0-packed"] });
    t.same(await (await fetch(`${at}/tags/list?n=1&last=1.0`)).json(), { name: "quay.io/t/a", tags: ["1.0-packed"] });
    const short = await fetch(`${at}/manifests/1.0-packed`);
    t.equal(short.status, 200);
    t.equal(short.headers.get("content-type"), index.mediaType);
    t.equal(short.headers.get("cache-control"), "no-cache");
    const bytes = Buffer.from(await short.arrayBuffer());
    const digest = digestOf(bytes);
    t.equal(short.headers.get("docker-content-digest"), digest);
    const root = JSON.parse(images.manifests.get(index.digest)?.bytes.toString() ?? "") as { manifests: unknown[] };
    t.same(JSON.parse(bytes.toString()), { ...root, manifests: root.manifests.slice(0, 1) });
    const byDigest = await fetch(`${at}/manifests/${digest}`);
    t.ok(bytes.equals(Buffer.from(await byDigest.arrayBuffer())), "by its digest too");
    t.match(byDigest.headers.get("cache-control"), /immutable/);
    t.equal((await fetch(`${at}/manifests/${amd64.digest}`)).status, 200);
    t.same(((await (await fetch(`${at}/referrers/${digest}`)).json()) as { manifests: [] }).manifests, [], "unsigned");
    t.match(await (await fetch(`${url}/registry`)).text(), />1\.0-packed</);
    const listed = (await (await fetch(`${url}/index.json`)).json()) as { images: { packedTag?: string }[] };
    t.equal(listed.images[0]?.packedTag, "1.0-packed");
    t.equal((await fetch(`${url}/s/s/v2/quay.io/t/a/manifests/1.0-packed`)).status, 200, "of one stream");
  }
});

t.test("which images have one", async (t) => {
  const { images, amd64, index, leaveOut, chosen } = make();
  const whole = images.index([amd64]);
  const long = "x".repeat(125);
  const list = [
    images.catalogImage("quay.io/t/a:1", index, chosen),
    images.catalogImage("quay.io/t/a:1-packed", whole),
    images.catalogImage(`quay.io/t/long:${long}`, index, chosen),
    images.catalogImage(`quay.io/t/untagged@${index.digest}`, index, chosen),
    images.catalogImage("quay.io/t/alone:1", amd64, chosen),
    images.catalogImage("quay.io/t/all:1", index),
    images.catalogImage("quay.io/t/complete:1", whole, chosen),
  ];
  const releases = [{ stream: "s", content: images.content(leaveOut), catalog: { images: list } }];
  const { url } = await startServer(t, releases);
  const tags = async (name: string) =>
    ((await (await fetch(`${url}/v2/quay.io/t/${name}/tags/list`)).json()) as { tags: string[] }).tags;
  const digest = async (name: string, tag: string) =>
    (await fetch(`${url}/v2/quay.io/t/${name}/manifests/${tag}`)).headers.get("docker-content-digest");
  t.same(await tags("a"), ["1", "1-packed"]);
  t.equal(await digest("a", "1-packed"), whole.digest, "upstream's own tag of that name stays");
  t.same(await tags("long"), [long]);
  const untagged = `${index.digest.replace(":", "-")}-packed`;
  t.same(await tags("untagged"), [untagged]);
  t.equal((await fetch(`${url}/v2/quay.io/t/untagged/manifests/${untagged}`)).status, 200);
  t.same(await tags("alone"), ["1"]);
  t.same(await tags("all"), ["1"]);
  t.equal(await digest("complete", "1-packed"), whole.digest, "nothing was left out: the index as it was packed");
});

t.test("other streams do not change it", async (t) => {
  const { images, index, leaveOut, chosen } = make();
  const image = images.catalogImage("quay.io/t/a:1", index, chosen);
  const one = { stream: "one", content: images.content(leaveOut), catalog: { images: [image] } };
  const other = images.catalogImage("quay.io/t/b:1", index);
  const two = { stream: "two", content: images.content(), catalog: { images: [other] } };
  const digests: (string | null)[] = [];
  for (const releases of [[one], [one, two]]) {
    const { url } = await startServer(t, releases);
    digests.push((await fetch(`${url}/v2/quay.io/t/a/manifests/1-packed`)).headers.get("docker-content-digest"));
  }
  t.match(digests[0], /^sha256:/);
  t.equal(digests[0], digests[1]);
});
