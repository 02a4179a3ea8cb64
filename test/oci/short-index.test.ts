/** Indexes of what is here: nested ones, and none. */
import t from "tap";
import { shortIndex } from "../../src/oci/short-index.ts";
import { TestImages } from "../fixtures/images.ts";

t.test("indexes of indexes, and none left", async (t) => {
  const images = new TestImages();
  const [amd64, arm64, s390x] = ["amd64", "arm64", "s390x"].map((it) => images.image(`linux/${it}`, [{ a: it }])) as [
    ReturnType<TestImages["image"]>,
    ReturnType<TestImages["image"]>,
    ReturnType<TestImages["image"]>,
  ];
  const inner = images.index([amd64]);
  const broken = images.index([amd64, arm64]);
  const outer = images.index([inner, broken, s390x]);
  const held = {
    manifest: (digest: string) => {
      const it = images.manifests.get(digest);
      if (it === undefined) return undefined;
      const json = JSON.parse(it.bytes.toString());
      return {
        mediaType: it.mediaType,
        kind: "index" as const,
        manifests: json.manifests ?? [],
        layers: json.layers ?? [],
      };
    },
    hasBlob: (digest: string) =>
      !JSON.parse(images.manifests.get(arm64.digest)?.bytes.toString() ?? "").layers.some(
        (it: { digest: string }) => it.digest === digest,
      ),
  };
  const bytes = (it: typeof outer) => images.manifests.get(it.digest)?.bytes as Buffer;
  const short = shortIndex(bytes(outer), held);
  t.same(
    JSON.parse(short?.toString() ?? "").manifests.map((it: { digest: string }) => it.digest),
    [inner.digest, s390x.digest],
  );
  t.equal(shortIndex(bytes(images.index([arm64])), held), undefined);
});
