/** What is printed for users must work as it stands: the CA of a TLS server, several streams, and what has nothing to render. */
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { renderBootIpxe } from "../../src/render/boot-ipxe.ts";
import { kickstartTemplate } from "../../src/render/kickstart.ts";
import { renderRegistryTrust } from "../../src/render/registries-docker.ts";
import { CLIENT_CA_PATH } from "../../src/render/types.ts";
import { renderYumRepo } from "../../src/render/yum-repo.ts";
import { render } from "../../src/render.ts";
import { stage } from "../../src/stage.ts";
import { shortDir } from "../fixtures/el-dvd.ts";
import { inputOf, makeRelease, rockyCapi } from "../fixtures/render-input.ts";
import { createTestStore } from "../fixtures/store-reader.ts";

const BASE = "https://mirror.example:9443";

t.test("a CA that nobody trusts yet cannot be fetched with a check against it", async (t) => {
  const repo = renderYumRepo(inputOf([rockyCapi()], { baseUrl: BASE, privateCa: true }));
  t.match(repo, `# curl -fsSk -o /etc/pki/ca-trust/source/anchors/airferry-ca.crt ${BASE}/ca.crt && openssl x509`);
  t.match(repo, /fingerprint/);
  t.notMatch(renderYumRepo(inputOf([rockyCapi()], { baseUrl: BASE, privateCa: false })), /ca\.crt/);
  t.match(renderBootIpxe(inputOf([rockyCapi()], { baseUrl: BASE, privateCa: true })), /TRUST=ca\.crt/);
  t.notMatch(renderBootIpxe(inputOf([rockyCapi()])), /TRUST/);
});

t.test("the kickstart file that a builder names goes before one of another stream", async (t) => {
  const other = makeRelease("other", ["files/x/ks.cfg"], {});
  const named = inputOf([other, rockyCapi({ kickstart: "ks.cfg" })]);
  t.equal(kickstartTemplate(named).path, "files/ks.cfg");
  t.throws(() => kickstartTemplate(inputOf([other, rockyCapi({ kickstart: undefined })])), {
    code: "ERR_RENDER",
    hint: /--stream other, or \/s\/other\/config\/ks\.cfg/,
  });
});

t.test("registry-trust says why there is nothing to trust", async (t) => {
  const store = createTestStore(await shortDir(t));
  await store.put({ stream: "s", content: {}, catalog: {} });
  const refusal = (url: string, publicCa?: boolean) => render("registry-trust", { store, url, publicCa });
  await t.rejects(refusal("http://192.0.2.10:9000"), { code: "ERR_RENDER", message: /plain HTTP/ });
  await t.rejects(refusal(BASE, true), { code: "ERR_RENDER", message: /--public-ca/ });
  await t.rejects(refusal(BASE), { code: "ERR_RENDER", message: /no images/ });
});

t.test("stage() writes into its folder only, whatever a release says", async (t) => {
  const dir = await shortDir(t);
  const store = createTestStore(join(dir, "store"));
  await mkdir(join(dir, "victim"));
  const { entries, catalog, builder } = rockyCapi().inventory;
  const content = Object.fromEntries(Array.from(entries.paths(), (path) => [path, path]));
  const release = await store.put({ stream: "s", content, catalog });
  const { imageconfig } = builder as { imageconfig: object };
  const refusal = new Map([
    ["../victim/cron", "ERR_PATH_UNSAFE"],
    [join(dir, "victim/cron"), "ERR_PATH_UNSAFE"],
    ["a/b.iso", "ERR_PATH_UNSAFE"],
    ["..", "ERR_PATH_UNSAFE"],
    ["x\0.iso", "ERR_RENDER"],
  ]);
  for (const [iso_name, code] of refusal) {
    // Whoever imported it is not asked: an older airferry may have.
    release.inventory.builder = { ...(builder as object), imageconfig: { ...imageconfig, iso_name } };
    await t.rejects(stage(join(dir, "out"), { store, url: BASE }), { code }, iso_name);
  }
  t.same(await readdir(join(dir, "victim")), []);
});

t.test("trust-registry.sh puts the CA where every other rendered file says that it is", (t) => {
  const input = inputOf([rockyCapi()], { baseUrl: BASE, privateCa: true });
  t.match(renderRegistryTrust(input), `cp ca.crt '${CLIENT_CA_PATH}'`);
  t.match(renderYumRepo(input), `sslcacert=${CLIENT_CA_PATH}`);
  t.end();
});
