/** /index.json: what the server holds, for programs; the same for every client, and the page's `inst.repo=` beside it. */
import t from "tap";
import type { Catalog } from "../../../src/bundle/inventory-types.ts";
import type { IndexDocument } from "../../../src/server/pages/index-document.ts";
import { makeIso, NM, PX } from "../../fixtures/iso-maker.ts";
import { startServer } from "../../fixtures/serving.ts";

const PLAIN_ISO = makeIso(
  [{ id: "T", block: 30, size: 4, use: Buffer.concat([PX(0o100644), NM("x")]) }],
  new Map([[30, Buffer.from("[a]\n")]]),
);
const IMAGE = {
  reference: "registry.k8s.io/pause:3.9",
  digest: `sha256:${"1".repeat(64)}` as const,
  mediaType: "application/vnd.oci.image.index.v1+json",
  size: 1,
  platforms: ["linux/amd64"],
  manifests: [],
  tags: { "sha256-x.sig": `sha256:${"2".repeat(64)}` as const },
};
const CATALOG: Partial<Catalog> = {
  isos: [{ name: "m", path: "isos/m.iso" }],
  files: [{ path: "files/a b.bin" }],
  images: [IMAGE],
  keys: [{ path: "keys/r", fingerprints: ["AB".repeat(20)], for: ["r"] }],
  rpms: [
    {
      name: "r",
      path: "rpms/r/",
      mode: "exact",
      repomdSignedBy: "upstream",
      gpgcheck: true,
      keys: ["keys/r"],
      packages: 1,
      tree: false,
      rpmrepo: false,
    },
  ],
};
const CONTENT = {
  "isos/m.iso": PLAIN_ISO,
  "files/a b.bin": "one",
  "keys/r": "key",
  "rpms/r/repodata/repomd.xml": "<repomd/>",
  "rpms/r/repodata/repomd.xml.asc": "sig",
};

const read = async (url: string) => (await (await fetch(url)).json()) as IndexDocument;

t.test("lists every kind with paths that answer", async (t) => {
  const { url } = await startServer(t, [{ stream: "s", content: CONTENT, catalog: CATALOG }]);
  const answer = await fetch(`${url}/index.json`);
  t.equal(answer.headers.get("content-type"), "application/json");
  t.match(answer.headers.get("etag"), /^"sha256:[0-9a-f]{64}"$/);
  const index = (await answer.json()) as IndexDocument;
  t.equal(index.mediaType, "application/vnd.airferry.index.v1+json");
  t.match(index.releases, [{ stream: "s", serial: 1, digest: /^sha256:/, entries: 5, path: "/s/s/" }]);
  t.match(index.isos, [{ name: "m", path: "/isos/m.iso", tree: "/isos/m/", installable: false }]);
  t.match(index.files, [{ path: "/files/a%20b.bin", size: 3, digest: /^sha256:[0-9a-f]{64}$/ }]);
  t.match(index.repositories, [
    { id: "airferry-r", path: "/rpms/r/", gpgcheck: true, repoGpgcheck: true, keys: ["/keys/r"] },
  ]);
  t.match(index.images, [
    {
      reference: IMAGE.reference,
      repository: "registry.k8s.io/pause",
      tag: "3.9",
      digest: IMAGE.digest,
      tags: IMAGE.tags,
    },
  ]);
  t.match(index.keys, [{ path: "/keys/r", fingerprints: ["AB".repeat(20)] }]);
  t.strictSame(index.builders, []);
  for (const { path, size } of [...index.isos, ...index.files, ...index.keys]) {
    const head = await fetch(`${url}${path}`, { method: "HEAD" });
    t.equal(head.headers.get("content-length"), String(size), path);
  }
  const other = await fetch(`${url}/index.json`, { headers: { host: "other.example:1" } });
  t.equal(other.headers.get("etag"), answer.headers.get("etag"), "the same by any name");
  t.equal((await fetch(`${url}/index.json/x`)).status, 404);
});

t.test("streams: a path that two have with different bytes is qualified; one stream alone; none", async (t) => {
  const { url, store } = await startServer(t, [
    { stream: "a", content: { "files/x": "1", "files/y": "y" }, catalog: { files: [{ path: "files/x" }] } },
    { stream: "b", content: { "files/x": "2" }, catalog: { files: [{ path: "files/x" }] } },
  ]);
  const paths = async (at: string) => (await read(`${url}${at}`)).files.map((it) => it.path);
  t.strictSame(await paths("/index.json"), ["/s/a/files/x", "/s/b/files/x"]);
  t.strictSame(await paths("/s/b/index.json"), ["/s/b/files/x"]);
  const none = await fetch(`${url}/s/nobody/index.json`);
  t.equal(none.status, 404);
  t.match(await none.text(), /the streams here are: a, b/);
  await store.put({ stream: "c", content: { "files/z": "z" }, catalog: { files: [{ path: "files/z" }] } });
  await new Promise((resolve) => setTimeout(resolve, 1100));
  t.ok((await paths("/index.json")).includes("/files/z"), "a new release is seen");
});

t.test("says which builder a release describes", async (t) => {
  const { url, store } = await startServer(t, [{ stream: "other", content: { "files/a": "a" } }]);
  const release = await store.put({ stream: "s", content: { "files/z": "z" } });
  release.inventory.builder = { flavor: "spectro-capi", version: "v4.6.23" };
  await new Promise((resolve) => setTimeout(resolve, 1100));
  t.strictSame((await read(`${url}/index.json`)).builders, [
    { stream: "s", flavor: "spectro-capi", version: "v4.6.23" },
  ]);
});

t.test("the page offers inst.repo= only for an image that can be installed from; its tree leads back", async (t) => {
  const { url } = await startServer(t, [{ stream: "s", content: CONTENT, catalog: CATALOG }]);
  t.notMatch(await (await fetch(url)).text(), "inst.repo=");
  t.match(await (await fetch(`${url}/isos/m/`)).text(), 'href="/isos/"');
  t.match(await (await fetch(`${url}/s/s/isos/m/`)).text(), 'href="/s/s/isos/"');
});
