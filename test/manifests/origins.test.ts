/**
 * A ready manifest, served under the names of its upstreams: every URL and reference in it, typed as it is, answers on a
 * machine that has only names and CA.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { packReady } from "../../scripts/rehearsal-parts/pack-ready.ts";
import { parseManifest } from "../../src/manifest/load.ts";
import { needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { EL_DVD_TOOLS, shortDir } from "../fixtures/el-dvd.ts";
import { becomeOriginClient } from "../fixtures/origin-client.ts";
import { onOwnMachine } from "../fixtures/own-machine.ts";
import { ROOT } from "../fixtures/program.ts";
import { dnf } from "../fixtures/rpm-carry.ts";

const NAME = "rocky-9-capi";
const TOOLS = ["curl", "dnf", "skopeo", "podman", "openssl", "docker-registry", ...EL_DVD_TOOLS];

if ((await onOwnMachine(t, import.meta.filename)) && needs(t, ...TOOLS)) {
  t.test(NAME, { timeout: 240_000 }, async (t) => {
    const dir = await shortDir(t);
    const text = readFileSync(join(ROOT, `manifests/${NAME}.yaml`), "utf8");
    const { isos = [], rpms = [], files = [], images = [] } = parseManifest(text, `${NAME}.yaml`);
    const bundle = await packReady(dir, NAME);
    await becomeOriginClient(t, dir, [bundle, "--trust", "site.pub"]);
    const home = { HOME: dir, XDG_RUNTIME_DIR: dir };

    await t.test("curl: ISO and files, with the files' checksums", async (t) => {
      // Lists of checksums are carried as far as they are of one file, or files of the manifest themselves.
      const sums = files.map(({ checksums }) => checksums?.url);
      const urls = [...isos, ...files].map(({ url }) => url).concat(sums);
      for (const url of urls.filter((it) => it !== undefined)) {
        const { status, out } = await runClient("curl", [
          "-fsS",
          "-o",
          "/dev/null",
          "-w",
          "%{http_code} %{size_download}",
          url,
        ]);
        t.match({ status, out }, { status: 0, out: /^200 [1-9]/ }, url);
      }
    });

    await t.test("dnf: repositories, their signatures and keys", async (t) => {
      const repo = rpms.map(({ name, url, keys }) =>
        [`[${name}]`, `name=${name}`, `baseurl=${url}`, "gpgcheck=1", "repo_gpgcheck=1", `gpgkey=${keys?.[0]}`].join(
          "\n",
        ),
      );
      const wanted = rpms.map(({ packages = [] }) => packages[0] ?? "");
      const { status, out } = await dnf(dir, "root", repo.join("\n\n"), "install", ...wanted);
      t.equal(status, 0, out);
      for (const it of wanted) t.match(out, it.replace(/-[0-9.]+$/, ""));
    });

    await t.test("skopeo and podman: images", async (t) => {
      for (const { ref = "" } of images) {
        const { status, out } = await runClient("skopeo", ["inspect", "--no-tags", `docker://${ref}`], home);
        t.equal(status, 0, `${ref}: ${out}`);
      }
      const storage = ["--root", join(dir, "p"), "--runroot", join(dir, "r"), "--storage-driver", "vfs"];
      const pulled = await runClient("podman", [...storage, "pull", "-q", images[0]?.ref ?? ""], home);
      t.equal(pulled.status, 0, pulled.out);
    });
  });
}
