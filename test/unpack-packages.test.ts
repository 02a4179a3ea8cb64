/** `unpack` leaves an index of the packages beside the record of the release. */
import { existsSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { PackageIndex } from "../src/packages/package-index.ts";
import { unpack } from "../src/unpack.ts";
import { makeBundle, makeKey, noise } from "./fixtures/bundle-maker.ts";
import { scratch } from "./fixtures/program.ts";
import { makeRepository } from "./fixtures/rpm-metadata.ts";

t.test("unpack() makes packages searchable, and none of a release without repositories", async (t) => {
  const dir = scratch(t);
  const key = makeKey();
  writeFileSync(join(dir, "key.pub"), key.pem);
  const options = { trust: [join(dir, "key.pub")], store: join(dir, "store") };
  const made = await makeRepository([{ name: "kubeadm", summary: "Makes clusters" }]);
  const files = Object.fromEntries([...made.files].map(([path, bytes]) => [`rpms/k8s/${path}`, bytes]));
  const rpm = {
    name: "k8s",
    path: "rpms/k8s/",
    mode: "exact" as const,
    repomdSignedBy: "none" as const,
    gpgcheck: false,
    keys: [],
    packages: 1,
    tree: false,
    rpmrepo: false,
  };
  const folder = join(dir, "with");
  const { digest } = makeBundle(folder, {
    files,
    keys: [key],
    stream: "with",
    spoil: (inventory) => inventory.catalog.rpms.push(rpm),
  });
  await unpack([folder], options);
  const handle = await open(join(options.store, "releases/with/000001/packages.idx"));
  t.teardown(() => handle.close());
  const { size } = await handle.stat();
  const index = await PackageIndex.open(
    { size, fill: async (bytes, at) => void (await handle.read(bytes, 0, bytes.length, at)) },
    digest,
  );
  const { rows } = await index!.search("clusters");
  t.match(await index!.read(rows), [{ name: "kubeadm", href: "Packages/kubeadm-1-1.noarch.rpm" }]);

  makeBundle(join(dir, "without"), { files: { "files/a": noise(10, 1) }, keys: [key], stream: "without" });
  await unpack([join(dir, "without")], options);
  t.notOk(existsSync(join(options.store, "releases/without/000001/packages.idx")));
});
