import t from "tap";
import { EMPTY_DIGEST } from "../../src/io/digest.ts";
import type { RecordedAnswer } from "../../src/io/web-recording.ts";
import { repositoryIn, repositoryName } from "../../src/record/git-repositories.ts";

const ANSWER: RecordedAnswer = {
  url: "https://h.example/a/r.git/info/refs?service=git-upload-pack",
  method: "GET",
  status: 200,
  headers: { "content-type": "application/x-git-upload-pack-advertisement" },
  digest: EMPTY_DIGEST,
  size: 0,
  time: "2026-01-01T00:00:00Z",
};

t.test("a repository is known by the list of its refs", async (t) => {
  t.equal(repositoryIn(ANSWER), "https://h.example/a/r.git");
  const others: Partial<RecordedAnswer>[] = [
    { status: 404 },
    { method: "HEAD" },
    { headers: { "content-type": "text/html" } },
    { headers: {} },
    { url: "https://h.example/a/r.git/info/refs" },
    { url: "https://h.example/a/r.git/info/refs?service=git-receive-pack" },
    { url: "https://h.example/?b=/info/refs?service=git-upload-pack" },
  ];
  for (const it of others) t.equal(repositoryIn({ ...ANSWER, ...it }), undefined, JSON.stringify(it));
  t.equal(repositoryName("https://h.example:8443/a/r.git"), "git-h.example-8443-a-r");
  t.equal(repositoryName("https://h.example/%2F/~x"), "git-h.example-2F-x");
  t.ok(repositoryName(`https://h.example/${"a/".repeat(500)}`).length <= 200);
});
