/** The other renderers: airferry.repo, kickstart, boot.ipxe, CHECKSUM, packer variables. */
import t from "tap";
import { EntryTable } from "../../src/bundle/entry-table.ts";
import { digestOf } from "../../src/io/digest.ts";
import { renderBootIpxe } from "../../src/render/boot-ipxe.ts";
import { renderChecksum } from "../../src/render/checksum.ts";
import { configFiles } from "../../src/render/config-files.ts";
import { renderKickstart } from "../../src/render/kickstart.ts";
import { renderPackerVars } from "../../src/render/packer-vars.ts";
import { renderYumRepo } from "../../src/render/yum-repo.ts";
import { hexOf, inputOf, makeRelease, rockyCapi } from "../fixtures/render-input.ts";

const BASE = "http://192.0.2.10:9000";

t.test("airferry.repo has the packed repositories and those inside the ISO, signatures checked", async (t) => {
  t.equal(
    renderYumRepo(inputOf([rockyCapi()])),
    `# Rendered by airferry for ${BASE}; goes to /etc/yum.repos.d/airferry.repo

[airferry-kubernetes]
name=kubernetes (rocky-9-capi, subset)
baseurl=${BASE}/rpms/kubernetes/
enabled=1
gpgcheck=1
repo_gpgcheck=1
gpgkey=${BASE}/keys/kubernetes.asc
       ${BASE}/keys/airferry.asc
metadata_expire=60

[airferry-unsigned]
name=unsigned (rocky-9-capi, loose)
baseurl=${BASE}/rpms/unsigned/
enabled=1
# upstream does not sign its packages (gpgcheck: false in the manifest)
gpgcheck=0
repo_gpgcheck=0
module_hotfixes=1
metadata_expire=60

[airferry-rocky-9-AppStream]
name=AppStream of rocky-9.iso (rocky-9-capi)
baseurl=${BASE}/isos/rocky-9/AppStream/
enabled=1
gpgcheck=1
repo_gpgcheck=0
gpgkey=${BASE}/isos/rocky-9/RPM-GPG-KEY-Rocky-9
metadata_expire=60

[airferry-rocky-9-BaseOS]
name=BaseOS of rocky-9.iso (rocky-9-capi)
baseurl=${BASE}/isos/rocky-9/BaseOS/
enabled=1
gpgcheck=1
repo_gpgcheck=0
gpgkey=${BASE}/isos/rocky-9/RPM-GPG-KEY-Rocky-9
metadata_expire=60
`,
  );
  const tls = renderYumRepo(inputOf([rockyCapi()], { baseUrl: "https://repo:9443", privateCa: true }));
  t.equal(tls.match(/^sslcacert=\/etc\/pki\/ca-trust\/source\/anchors\/airferry-ca\.crt$/gm)?.length, 4);
});

t.test("two streams that differ are told apart by qualified URLs", async (t) => {
  const other = rockyCapi();
  const changed = {
    ...other,
    stream: "b",
    inventory: {
      ...other.inventory,
      entries: EntryTable.from(
        Array.from(other.inventory.entries, (it) =>
          it.path === "rpms/kubernetes/repodata/repomd.xml" ? { ...it, digest: digestOf("changed") } : it,
        ),
      ),
    },
  };
  const text = renderYumRepo(inputOf([rockyCapi(), changed]));
  t.match(text, `baseurl=${BASE}/s/b/rpms/kubernetes/`);
  t.match(text, `baseurl=${BASE}/s/rocky-9-capi/rpms/kubernetes/`);
  const ids = [...text.matchAll(/^\[(.+)\]$/gm)].map((it) => it[1]);
  t.equal(new Set(ids).size, ids.length, "ids are unique");
  t.equal(text.match(/rpms\/unsigned/g)?.length, 1, "what is the same is there once");
});

const KS = [
  "# Use CDROM installation media",
  'repo --name="AppStream" --baseurl="https://download.rockylinux.org/pub/rocky/9/AppStream/x86_64/os/" --install',
  'repo --name="kickstart" --baseurl="https://download.rockylinux.org/pub/rocky/9/BaseOS/x86_64/kickstart/"',
  "cdrom",
  "",
  "text   ",
  "user --name=builder --password=builder",
  "%packages --ignoremissing",
  "cdrom",
  "%end",
  "%post",
  "repo --name=x --baseurl=y",
  "%end",
  "reboot",
].join("\n");

t.test("kickstart: only the lines that must change do, and no byte of the others", async (t) => {
  const before = KS.split("\n");
  const after = renderKickstart(KS, inputOf([rockyCapi()])).split("\n");
  t.equal(after[1], `repo --name="AppStream" --baseurl="${BASE}/isos/rocky-9/AppStream/" --install`);
  t.equal(after[2], `repo --name="kickstart" --baseurl="${BASE}/isos/rocky-9/BaseOS/"`);
  t.equal(after[3], `url --url="${BASE}/isos/rocky-9/"`);
  for (const i of [1, 2, 3]) after[i] = before[i]!;
  t.strictSame(after, before);

  const dos = KS.replaceAll("\n", "\r\n");
  t.equal(renderKickstart(dos, inputOf([rockyCapi()])).split("\r\n").length, before.length, "line ends stay");
  t.equal(renderKickstart("text\nreboot", inputOf([rockyCapi()])), "text\nreboot");
  t.match(
    renderKickstart("url --url http://elsewhere/\n", inputOf([rockyCapi()], { baseUrl: "https://r", privateCa: true })),
    /^url --url="https:\/\/r\/isos\/rocky-9\/" --noverifyssl\n$/,
  );
  t.throws(() => renderKickstart("repo --name=epel --baseurl=https://e/epel/9/", inputOf([rockyCapi()])), {
    code: "ERR_RENDER",
    hint: /name: epel\n {4}url: https:\/\/e\/epel\/9\//,
  });
});

t.test("boot.ipxe boots the kernel and initrd inside the ISO", async (t) => {
  const text = renderBootIpxe(inputOf([rockyCapi()]), `${BASE}/config/ks.cfg`);
  const tree = `${BASE}/isos/rocky-9/`;
  t.match(text, /^#!ipxe\n/);
  t.match(
    text,
    `kernel ${tree}images/pxeboot/vmlinuz initrd=initrd.img inst.repo=${tree} inst.ks=${BASE}/config/ks.cfg`,
  );
  t.match(text, `initrd --name initrd.img ${tree}images/pxeboot/initrd.img`);
  t.throws(() => renderBootIpxe(inputOf([rockyCapi()], { trees: new Map() })), { code: "ERR_RENDER" });
});

t.test("CHECKSUM is in the BSD form", async (t) => {
  const size = rockyCapi().inventory.entries.get("isos/rocky-9.iso")!.size;
  t.equal(
    renderChecksum(inputOf([rockyCapi()])),
    `# rocky-9.iso: ${size} bytes\nSHA256 (rocky-9.iso) = ${hexOf("isos/rocky-9.iso")}\n`,
  );
});

const HTTP_PATHS = [
  "isos/rocky-9.iso",
  "files/release/v1.33.4/bin/linux/amd64/kubeadm",
  "files/release/v1.33.4/bin/linux/amd64/kubelet",
  "files/release/v1.33.4/bin/linux/amd64/kubectl",
  ...["pause", "coredns", "etcd", "kube-apiserver"].map((it) => `files/release/v1.33.4/bin/linux/amd64/${it}.tar`),
  "files/cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz",
  "files/containerd-2.1.4-linux-amd64.tar.gz",
  "files/containerd.service",
  "files/runc/v1.3.0/runc.amd64",
  "files/runc/v1.3.0/runc.sha256sum",
  "files/crictl-v1.33.0-linux-amd64.tar.gz",
  "files/goss/v0.3.23/goss-linux-amd64",
];
const httpRelease = (builder: Record<string, unknown> = {}, without = /^$/) =>
  makeRelease(
    "ib",
    HTTP_PATHS.filter((it) => !without.test(it)),
    { isos: [{ name: "rocky-9", path: "isos/rocky-9.iso" }] },
    { flavor: "image-builder", ...builder },
  );

t.test("packer variables for the http source type, newest image-builder", async (t) => {
  const vars = JSON.parse(renderPackerVars(inputOf([httpRelease()]))) as Record<string, string>;
  t.strictSame(vars, {
    ansible_user_vars: [
      `containerd_url=${BASE}/files/containerd-2.1.4-linux-amd64.tar.gz`,
      `crictl_url=${BASE}/files/crictl-v1.33.0-linux-amd64.tar.gz`,
      `containerd_runc_url=${BASE}/files/runc/v1.3.0/runc.amd64`,
      `containerd_runc_checksum_url=${BASE}/files/runc/v1.3.0/runc.sha256sum`,
    ].join(" "),
    containerd_service_url: `${BASE}/files/containerd.service`,
    containerd_version: "2.1.4",
    crictl_version: "1.33.0",
    disable_public_repos: "true",
    epel_rpm_gpg_key: "",
    extra_repos: "/home/imagebuilder/output/airferry.repo",
    goss_url: `${BASE}/files/goss/v0.3.23/goss-linux-amd64`,
    goss_version: "0.3.23",
    iso_checksum: hexOf("isos/rocky-9.iso"),
    iso_checksum_type: "sha256",
    iso_url: `${BASE}/isos/rocky-9.iso`,
    kubernetes_cni_http_checksum: `sha256:${BASE}/files/cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz.sha256`,
    kubernetes_cni_http_source: `${BASE}/files/cni`,
    kubernetes_cni_semver: "v1.6.0",
    kubernetes_cni_source_type: "http",
    kubernetes_http_source: `${BASE}/files/release`,
    kubernetes_load_additional_imgs: "true",
    kubernetes_semver: "v1.33.4",
    kubernetes_series: "v1.33",
    kubernetes_source_type: "http",
    node_custom_roles_pre: "/home/imagebuilder/output/roles/airferry_pre",
    redhat_epel_rpm: "",
    reenable_public_repos: "false",
    remove_extra_repos: "true",
    shutdown_command: "{ sh /etc/airferry-guest/undo.sh; shutdown -P now; }",
  });
});

t.test("packer variables for image-builder v0.1.40 and a registry", async (t) => {
  const release = rockyCapi({
    flavor: "image-builder",
    version: "v0.1.40",
    packer_vars: { goss_skip_install: "true" },
  });
  const vars = JSON.parse(renderPackerVars(inputOf([release]))) as Record<string, string>;
  const tarball = "files/cri-containerd-cni-1.7.13-linux-amd64.tar.gz";
  t.match(vars, {
    containerd_url: `${BASE}/${tarball}`,
    containerd_sha256: hexOf(tarball),
    crictl_source_type: "http",
    crictl_sha256: `${BASE}/files/crictl-v1.28.0-linux-amd64.tar.gz.sha256`,
    kubernetes_source_type: "pkg",
    kubernetes_rpm_repo: `${BASE}/rpms/kubernetes/`,
    // rpm_key of v0.1.54 and later takes one URL: the key of the packages.
    kubernetes_rpm_gpg_key: `${BASE}/keys/kubernetes.asc`,
    kubernetes_container_registry: "192.0.2.10:9000/registry.k8s.io",
    pause_image: "192.0.2.10:9000/registry.k8s.io/pause:3.9",
    goss_skip_install: "true",
  });
  t.notOk("ansible_user_vars" in vars);
  const next = JSON.parse(
    renderPackerVars(
      inputOf([rockyCapi({ flavor: "image-builder", version: "v0.1.47", packer_vars: { goss_skip_install: "true" } })]),
    ),
  ) as Record<string, string>;
  t.match(next.ansible_user_vars, /crictl_url=/);
  t.notOk("crictl_source_type" in next);
});

t.test("packer variables: what was not packed is named", async (t) => {
  for (const [without, expected] of [
    [/kube/, /manifests\/image-builder\.yaml/],
    [/cni-plugins/, /as: cni\//],
    [/goss/, /goss-linux-amd64/],
    [/runc\.amd64/, /runc\.amd64/],
    [/containerd\.service/, /containerd\.service/],
  ] as const) {
    t.throws(() => renderPackerVars(inputOf([httpRelease({}, without)])), { code: "ERR_RENDER", hint: expected });
  }
});

t.test("every file of the list renders", async (t) => {
  for (const file of configFiles(inputOf([rockyCapi()]), async () => KS)) {
    // The keys of the ISO's repositories are inside it, and this one is made up.
    if (file.name === "packer-vars" || file.name === "composer-repositories")
      await t.rejects(file.make(), { code: "ERR_RENDER" });
    else t.ok((await file.make()).length > 20, file.path);
  }
});
