/** What a recording is said to have besides web answers. */
import t from "tap";
import { EMPTY_DIGEST } from "../../src/io/digest.ts";
import type { RecordedAnswer } from "../../src/io/web-recording.ts";
import { recognize } from "../../src/record/recognized.ts";

const INDEX = "application/vnd.oci.image.index.v1+json";

function answer(url: string, type = "", status = 200): RecordedAnswer {
  const headers: Record<string, string> = type === "" ? {} : { "content-type": type };
  return { url, method: "GET", status, headers, digest: EMPTY_DIGEST, size: 0, time: "2026-11-30T12:00:00Z" };
}

t.test("images by tag, packages below their repository, and nothing by guessing", async (t) => {
  const digest = `sha256:${"a".repeat(64)}`;
  const found = recognize([
    answer("https://registry-1.docker.io/v2/library/box/manifests/1.0", INDEX),
    answer(`https://registry-1.docker.io/v2/library/box/manifests/${digest}`, INDEX),
    answer(`https://r.test:5000/v2/a/manifests/${digest}`, "application/vnd.docker.distribution.manifest.v2+json"),
    answer("https://r.test/v2/page/manifests/1.0", "text/html"),
    answer("https://r.test/v2/gone/manifests/1.0", INDEX, 404),
    answer("https://repo.test/9/repodata/repomd.xml"),
    answer("https://repo.test/9/Packages/t/tool-1.0+a-1.noarch.rpm"),
    answer("https://repo.test/other/x-1-1.noarch.rpm"),
    answer("https://repo.test/empty/repodata/repomd.xml"),
  ]);
  t.strictSame(found, {
    images: ["docker.io/library/box:1.0", `r.test:5000/a@${digest}`],
    rpms: [{ url: "https://repo.test/9/", packages: ["tool-1.0+a-1.noarch"] }],
  });
});
