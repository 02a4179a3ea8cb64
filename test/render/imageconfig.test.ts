/** src/render/imageconfig.ts: against the keys of the documented example, and what it refuses. */
import { execFileSync } from "node:child_process";
import t from "tap";
import { checkImageconfig } from "../../src/builder/check-imageconfig.ts";
import { IMAGECONFIG_KEYS } from "../../src/builder/imageconfig-keys.ts";
import type { AirferryError } from "../../src/errors.ts";
import { parseImageconfig, renderImageconfig } from "../../src/render/imageconfig.ts";
import { hexOf, inputOf, rockyCapi } from "../fixtures/render-input.ts";

/** Keys of the vendor's example for an airgapped Rocky Linux build, with what a filled-in one must hold for this release. */
const DOCUMENTED: Record<string, string> = {
  os_version: "rockylinux-9",
  image_type: "standard",
  image_name: "rocky-9",
  cloud_type: "vmware",
  k8s_version: "1.30.4",
  cni_version: "1.3.0",
  containerd_version: "1.7.13",
  crictl_version: "1.28.0",
  rhel_subscription_user: "",
  rhel_subscription_pass: "",
  iso_name: "rocky-9.iso",
  iso_checksum: hexOf("isos/rocky-9.iso"),
  aws_access_key: "",
  aws_secret_key: "",
  vcenter_server: "vc.lab",
  vcenter_user: "",
  vcenter_password: "",
  vcenter_datacenter: "",
  vcenter_datastore: "",
  vcenter_network: "",
  vcenter_folder: "",
  vcenter_cluster: "",
  vcenter_resource_pool: "",
  vcenter_template: "",
  azure_client_id: "",
  azure_client_secret: "",
  azure_subscription_id: "",
  azure_location: "",
  azure_storage_account: "",
  azure_resource_group: "",
  google_app_creds: "",
  gcp_project_id: "",
  airgap: "true",
  airgap_ip: "192.0.2.10",
  k8s_rpm_key: "http://192.0.2.10:9000/keys/kubernetes.asc",
  k8s_rpm_server: "http://192.0.2.10:9000/rpms/kubernetes",
  containerd_url: "http://192.0.2.10:9000/files/cri-containerd-cni-1.7.13-linux-amd64.tar.gz",
  crictl_url: "http://192.0.2.10:9000/files/crictl-v1.28.0-linux-amd64.tar.gz",
  k8s_container_reg: "192.0.2.10:9000/registry.k8s.io",
  cert_url: "",
};

t.test("renders every key of the documented example, and no other", async (t) => {
  const text = renderImageconfig(inputOf([rockyCapi()]));
  t.strictSame(Object.fromEntries(parseImageconfig(text)), DOCUMENTED);
  t.strictSame(IMAGECONFIG_KEYS.map((it) => it.key).sort(), Object.keys(DOCUMENTED).sort());
  for (const key of ["vcenter_user", "vcenter_password", "vcenter_folder"]) {
    t.match(text, new RegExp(`^# FILL IN: ${key}\n${key}=$`, "m"), `${key} is a marked blank`);
  }
  t.notMatch(text, /FILL IN: (azure|aws|vcenter_template|rhel|cert_url)/);
});

t.test("is a file that bash reads the same way", async (t) => {
  const password = `p'a"s $w\`o\\rd; #x`;
  const text = renderImageconfig(inputOf([rockyCapi()], { env: { AIRFERRY_VCENTER_PASSWORD: password } }));
  const dir = t.testdir({ imageconfig: text });
  const read = execFileSync("bash", ["-c", 'set -u; source "$0"; printf %s "$vcenter_password"', `${dir}/imageconfig`]);
  t.equal(read.toString(), password);
  t.equal(parseImageconfig(text).get("vcenter_password"), password);
});

t.test("takes secrets from the environment alone", async (t) => {
  const env = { AIRFERRY_VCENTER_USER: "builder@vsphere.local", AIRFERRY_VCENTER_SERVER: "not a secret" };
  const values = parseImageconfig(renderImageconfig(inputOf([rockyCapi()], { env })));
  t.equal(values.get("vcenter_user"), "builder@vsphere.local");
  t.equal(values.get("vcenter_server"), "vc.lab");
});

t.test("names the certificate when the server's CA is its own", async (t) => {
  const input = inputOf([rockyCapi()], { baseUrl: "https://repo.lab:9443", privateCa: true });
  const values = parseImageconfig(renderImageconfig(input));
  t.equal(values.get("cert_url"), "https://repo.lab:9443/ca.crt");
  t.equal(values.get("airgap_ip"), "repo.lab");
  t.equal(values.get("k8s_container_reg"), "repo.lab:9443/registry.k8s.io");
});

t.test("says which manifest entry is missing", async (t) => {
  for (const [what, without, expected] of [
    ["the ISO", /^isos/, /add to the manifest.*isos:/s],
    ["containerd", /containerd/, /cri-containerd-cni-1\.7\.13-linux-amd64\.tar\.gz/],
    ["crictl", /crictl/, /crictl-v1\.28\.0-linux-amd64\.tar\.gz/],
    ["kubelet", /kubelet/, /pkgs\.k8s\.io\/core:\/stable:\/v1\.30\/rpm\/.*kubelet-1\.30\.4/s],
    ["the control plane", /kube-apiserver/, /registry\.k8s\.io\/kube-apiserver:v1\.30\.4/],
  ] as const) {
    const builder = { imageconfig: { k8s_version: "1.30.4", containerd_version: "1.7.13", crictl_version: "1.28.0" } };
    const release = rockyCapi(builder, without);
    if (what === "the ISO") release.inventory.catalog.isos = [];
    const error = (() => {
      try {
        renderImageconfig(inputOf([release]));
      } catch (it) {
        return it as AirferryError;
      }
    })();
    t.equal(error?.code, "ERR_RENDER", what);
    t.match(error?.hint, expected, what);
  }
  t.throws(() => renderImageconfig(inputOf([rockyCapi({ imageconfig: { containerd_version: "1.6.0" } })])), {
    code: "ERR_RENDER",
    message: /containerd 1\.6\.0 was not packed/,
  });
});

t.test("a vSphere template stands in for the ISO", async (t) => {
  const release = rockyCapi({ imageconfig: { vcenter_template: "dc/vm/base" } });
  release.inventory.catalog.isos = [];
  const text = renderImageconfig(inputOf([release]));
  t.equal(parseImageconfig(text).get("iso_name"), "");
  t.notMatch(text, /FILL IN: iso_/);
});

t.test("refuses unknown keys, secrets in the manifest, and values out of their list", async (t) => {
  const faults = checkImageconfig({
    os_versions: "rhel-8",
    "rhel_subscription-user": "x",
    nonsense: "1",
    vcenter_password: "secret",
    os_version: "centos-7",
    image_name: "two\nlines",
    vcenter_user: "",
  });
  t.strictSame(
    faults.map((it) => [it.key, it.remedy]),
    [
      ["os_versions", "write os_version"],
      ["rhel_subscription-user", "write rhel_subscription_user"],
      ["nonsense", "remove it from builder.imageconfig"],
      [
        "vcenter_password",
        "remove it from the manifest; inside the gap set AIRFERRY_VCENTER_PASSWORD for airferry render",
      ],
      ["os_version", "use one of rhel-8, rhel-9, rockylinux-8, rockylinux-9"],
      ["image_name", "write it on one line"],
    ],
  );
  t.throws(() => renderImageconfig(inputOf([rockyCapi({ imageconfig: { os_versions: "x" } })])), {
    code: "ERR_RENDER",
  });
});

t.test("without a builder, or with two, it says so", async (t) => {
  t.throws(() => renderImageconfig(inputOf([rockyCapi({ flavor: "image-builder" })])), { code: "ERR_RENDER" });
  const second = { ...rockyCapi(), stream: "other" };
  t.throws(() => renderImageconfig(inputOf([rockyCapi(), second])), { code: "ERR_RENDER", message: /2 streams/ });
  t.match(renderImageconfig(inputOf([rockyCapi(), second], { stream: "other" })), /^iso_name=rocky-9\.iso$/m);
});
