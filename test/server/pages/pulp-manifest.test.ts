/** The list that Pulp syncs files from, in its form; Pulp itself reads it in scripts/pulp. */
import { createHash } from "node:crypto";
import t from "tap";
import { startServer } from "../../fixtures/serving.ts";

const line = (path: string, text: string) =>
  `${path},${createHash("sha256").update(text).digest("hex")},${Buffer.byteLength(text)}\n`;

t.test("of a tree, a directory and a stream", async (t) => {
  const { url } = await startServer(t, [
    {
      stream: "a",
      content: {
        "files/b.tgz": "b",
        "files/b.tgz.sha256": "packed sidecar",
        "files/dir/ü, + %.sh": "script",
        "files/dir/own/PULP_MANIFEST": "x,00,1\n",
        "files/dir/own/x": "x",
        "files/same": "same",
        "files/differs": "one",
        "files/# not a comment": "x",
        "files/blank ": "x",
        "filesystem/other": "x",
        "isos/r.iso": "iso",
        "rpms/r/repodata/repomd.xml": "x",
      },
    },
    { stream: "b", content: { "files/same": "same", "files/differs": "two", "files/empty": "" } },
  ]);
  const get = async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(url + path, init);
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  };
  const all = await get("/files/PULP_MANIFEST");
  t.equal(all.status, 200);
  t.equal(all.headers.get("content-type"), "text/plain; charset=utf-8");
  t.equal(all.headers.get("cache-control"), "no-cache");
  t.equal(
    all.text,
    [
      "# left out: 3 with several contents, or with a name that PULP_MANIFEST cannot have\n",
      line("b.tgz", "b"),
      line("b.tgz.sha256", "packed sidecar"),
      line("dir/own/PULP_MANIFEST", "x,00,1\n"),
      line("dir/own/x", "x"),
      line("dir/ü, + %.sh", "script"),
      line("empty", ""),
      line("same", "same"),
    ].join(""),
  );
  for (const it of all.text.split("\n").filter((it) => it !== "" && !it.startsWith("#"))) {
    const [, path = "", hex, size] = /^(.*),([0-9a-f]{64}),(\d+)$/.exec(it) ?? [];
    // As Pulp quotes it.
    const file = await fetch(`${url}/files/${path.split("/").map(encodeURIComponent).join("/")}`);
    const bytes = Buffer.from(await file.arrayBuffer());
    t.equal(createHash("sha256").update(bytes).digest("hex"), hex, path);
    t.equal(bytes.length, Number(size));
  }
  t.equal((await get("/files/dir/PULP_MANIFEST")).text.split("\n")[0], line("own/PULP_MANIFEST", "x,00,1\n").trimEnd());
  t.equal((await get("/files/dir/own/PULP_MANIFEST")).text, "x,00,1\n", "one that was packed stays");
  t.match((await get("/s/b/files/PULP_MANIFEST")).text, line("differs", "two"));
  t.notMatch((await get("/s/b/files/PULP_MANIFEST")).text, "b.tgz");
  t.equal((await get("/isos/PULP_MANIFEST")).text, line("r.iso", "iso"));
  const etag = all.headers.get("etag") ?? "";
  t.equal((await get("/files/PULP_MANIFEST", { headers: { "If-None-Match": etag } })).status, 304);
  for (const path of ["/PULP_MANIFEST", "/files/none/PULP_MANIFEST", "/rpms/r/PULP_MANIFEST", "/files/x_PULP_MANIFEST"])
    t.equal((await get(path)).status, 404, path);
});
