/** What is most like a URL that nothing has. */
import t from "tap";
import type { Catalog, InventoryEntry } from "../../src/bundle/inventory-types.ts";
import { digestOf } from "../../src/io/digest.ts";
import { nearOrigin } from "../../src/origins/near-origin.ts";
import { makeRelease } from "../fixtures/store-reader.ts";

const paths = ["files/tool-1.3.tar.gz", "rpms/os/repodata/repomd.xml", "rpms/os/Packages/l/libfoo-1.2-1.noarch.rpm"];
const entries = paths.map(
  (path): InventoryEntry => ({ path, size: 1, mode: "0644", digest: digestOf("x"), offset: 0 }),
);
const image = { digest: digestOf("i"), mediaType: "", size: 1, platforms: [], manifests: [] };
const rpm = { gpgcheck: true, keys: [], packages: 1, tree: false, rpmrepo: false };
const catalog: Partial<Catalog> = {
  rpms: [{ name: "os", path: "rpms/os/", mode: "exact", repomdSignedBy: "upstream", ...rpm }],
  images: [{ reference: "registry.example.com/tools/box:1.0", ...image }],
  provenance: [
    {
      path: paths[0] as string,
      kind: "file",
      source: "https://dl.example.com/v1/tool-1.3.tar.gz",
      established: "first-sight",
    },
    {
      path: paths[2] as string,
      kind: "rpm",
      source: "https://repo.example.com/os/Packages/l/libfoo-1.2-1.noarch.rpm",
      established: "first-sight",
    },
  ],
};
const inventories = [makeRelease("a", 1, entries, catalog).inventory];

t.test("nearOrigin() names what is most like a URL, of the same host", async (t) => {
  const expected = new Map([
    ["https://dl.example.com/v2/tool-1.4.tar.gz", "https://dl.example.com/v1/tool-1.3.tar.gz"],
    ["http://dl.example.com/v1/tool-1.3.tar.gz", "https://dl.example.com/v1/tool-1.3.tar.gz"],
    ["https://pypi.example.com/files/lab-1.1.whl", "https://pypi.example.com/files/lab-1.0.whl"],
    ["https://other.example.com/v1/tool-1.3.tar.gz", undefined],
    ["https://dl.example.com/nothing-of-the-kind.iso", undefined],
    [
      "https://repo.example.com/os/Packages/l/libfoo-1.3-1.noarch.rpm",
      "https://repo.example.com/os/Packages/l/libfoo-1.2-1.noarch.rpm",
    ],
    ["https://registry.example.com/v2/tools/box/manifests/1.1", "registry.example.com/tools/box:1.0"],
    ["https://registry.example.com/v2/tools/box/manifests/latest", "registry.example.com/tools/box:1.0"],
    ["https://registry.example.com/v2/nothing/manifests/1.1", undefined],
  ]);
  for (const [url, near] of expected)
    t.equal(nearOrigin(inventories, url, ["https://pypi.example.com/files/lab-1.0.whl"]), near, url);
});
