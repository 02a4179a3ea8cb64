/**
 * Each ready manifest, locked and packed by the program from a sample upstream through --rewrite, then unpacked and rendered:
 * its structure is sound although the real hosts are not reachable here.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry, packReady } from "../../scripts/rehearsal-parts/pack-ready.ts";
import type { Inventory } from "../../src/bundle/inventory-types.ts";
import { parseImageconfig } from "../../src/render/imageconfig.ts";
import { needs } from "../fixtures/clients.ts";
import { EL_DVD_TOOLS, shortDir } from "../fixtures/el-dvd.ts";

const URL = "http://192.0.2.10:9000";

for (const name of ["rocky-8-capi", "rhel-9-capi", "rhel-8-capi", "image-builder", "starter"]) {
  t.test(name, { timeout: 240_000 }, async (t) => {
    if (!needs(t, ...EL_DVD_TOOLS, "skopeo", "docker-registry")) return;
    const dir = await shortDir(t);
    const bundle = await packReady(dir, name);
    const { catalog, entries } = JSON.parse(readFileSync(join(bundle, "airferry.json"), "utf8")) as Inventory;
    t.equal(catalog.isos.length, 1);
    t.ok(entries.some((it) => it.path === catalog.isos[0]!.path && it.size > 100_000));
    const report = JSON.parse(await airferry(dir, "verify", bundle, "--trust", "site.pub", "--json")) as {
      ok: boolean;
    };
    t.ok(report.ok);
    if (name === "starter") return;

    const store = join(dir, "store");
    await airferry(dir, "unpack", bundle, "--trust", "site.pub", "--store", store);
    const render = (what: string) => airferry(dir, "render", what, "--store", store, "--url", URL);
    t.match(await render("repo"), new RegExp(`^baseurl=${URL}/isos/[a-z]+-[89]/BaseOS/$`, "m"));
    t.match(await render("kickstart"), `url --url="${URL}/isos/${catalog.isos[0]!.name}/"`);
    if (name === "image-builder") {
      const vars = JSON.parse(await render("packer-vars")) as Record<string, string>;
      t.match(vars, {
        kubernetes_source_type: "http",
        kubernetes_http_source: `${URL}/files/release`,
        iso_checksum_type: "sha256",
      });
      t.strictSame(JSON.parse(await render("check")), { findings: [], kickstart: [], guest: [] });
      return;
    }
    const values = parseImageconfig(await render("imageconfig"));
    for (const key of [
      "iso_checksum",
      "k8s_rpm_server",
      "k8s_rpm_key",
      "containerd_url",
      "crictl_url",
      "k8s_container_reg",
      "cni_version",
    ]) {
      t.ok(values.get(key), `${key}=${values.get(key)}`);
    }
    t.strictSame(JSON.parse(await render("check")), { findings: [], kickstart: [], guest: [] });
    t.ok(
      entries.some((it) => it.path === "rpmrepo/repodata/repomd.xml"),
      "/rpmrepo/ is there",
    );
  });
}
