/** What is broken in one stream costs that stream: everything of the others is answered as if it were not there. */
import { rmSync } from "node:fs";
import t from "tap";
import type { Catalog } from "../../../src/bundle/inventory-types.ts";
import type { Digest } from "../../../src/io/digest.ts";
import { startServer } from "../../fixtures/serving.ts";
import type { TestRelease } from "../../fixtures/store-reader.ts";

const SHARED = ["/", "/index.json", "/config/", "/config/airferry.repo", "/v2/_catalog", "/files/", "/metrics"];
const PAUSE = {
  reference: "registry.k8s.io/pause:3.10",
  digest: `sha256:${"ab".repeat(32)}`,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  size: 7,
  platforms: [],
  manifests: [],
} satisfies Catalog["images"][number];
const GOOD: TestRelease = {
  stream: "good",
  content: { "files/x": "content of x" },
  catalog: { files: [{ path: "files/x" }], images: [PAUSE] },
};
/** Catalogs as no import lets them in: what would be if a check and its use came apart. */
const BROKEN: [string, Record<string, unknown>][] = [
  ["a reference that is none", { images: [{ ...PAUSE, reference: "UPPER//case" }] }],
  ["an image without platforms", { images: [{ ...PAUSE, platforms: undefined }] }],
  ["a repository that is null", { rpms: [null] }],
  ["an ISO that is null", { isos: [null] }],
  ["files that are no list", { files: "files/x" }],
  ["no keys at all", { keys: undefined }],
];

for (const [what, catalog] of BROKEN) {
  t.test(what, async (t) => {
    const bad = { stream: "bad", content: { "files/y": "y" }, catalog } as unknown as TestRelease;
    const { url, messages, store } = await startServer(t, [GOOD, bad]);
    for (const path of SHARED) {
      const answer = await fetch(url + path);
      const text = await answer.text();
      t.equal(answer.status, 200, path);
      if (path === "/" || path === "/v2/_catalog") t.match(text, "registry.k8s.io/pause", path);
    }
    t.equal(await (await fetch(`${url}/files/x`)).text(), "content of x");
    t.equal((await fetch(`${url}/s/bad/files/y`)).status, 404);
    t.match(messages, [/cannot show stream "bad"/], "it is told, once");
    // Packed anew, it is back.
    await store.put({ stream: "bad", serial: 2, content: { "files/y": "y" } });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    t.equal(await (await fetch(`${url}/s/bad/files/y`)).text(), "y");
  });
}

t.test("alone it keeps a server from starting", async (t) => {
  const bad = { stream: "bad", content: { "files/y": "y" }, catalog: { files: 1 } } as unknown as TestRelease;
  await t.rejects(startServer(t, [bad]), { code: "ERR_STORE_INVALID", message: /cannot show stream "bad"/ });
});

t.test("an ISO and a kickstart template whose blobs are gone", async (t) => {
  const { url, store, messages } = await startServer(t, [
    GOOD,
    {
      stream: "bad",
      content: { "isos/gone.iso": "no image", "files/ks.cfg": "text", "files/y": "y" },
      catalog: { isos: [{ name: "gone", path: "isos/gone.iso" }], files: [{ path: "files/ks.cfg" }] },
      builder: { flavor: "spectro-capi", kickstart: "ks.cfg" },
    },
  ]);
  const [bad] = await store.releases();
  for (const it of ["isos/gone.iso", "files/ks.cfg"]) rmSync(store.blobPath(bad?.entries.get(it)?.digest as Digest));
  for (const path of SHARED) t.equal((await fetch(url + path)).status, 200, path);
  t.match(await (await fetch(`${url}/config/`)).text(), /ks\.cfg.*see the server/);
  t.equal((await fetch(`${url}/config/ks.cfg`)).status, 500);
  t.equal((await fetch(`${url}/s/bad/isos/gone.iso`)).status, 500);
  t.equal(await (await fetch(`${url}/s/bad/files/y`)).text(), "y", "the rest of the stream is there");
  const before = messages.length;
  for (const path of SHARED) await (await fetch(url + path)).arrayBuffer();
  t.equal(messages.length, before, "each fault is told once");
});
