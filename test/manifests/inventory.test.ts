/**
 * Each ready manifest against the rows of what an image build consumes: artifact by artifact, with the consumers' checksum
 * sidecars and the vendors' real key fingerprints. The rows are written down here, not derived from the manifests.
 */
import { join } from "node:path";
import t from "tap";
import { checkBuilder, matrixOf } from "../../src/builder/compatibility.ts";
import { publishedIso } from "../../src/iso/published.ts";
import { readManifest } from "../../src/manifest/load.ts";
import type { Manifest } from "../../src/manifest/schema.ts";

const MANIFESTS = join(import.meta.dirname, "../../manifests");
const FINGERPRINTS = {
  "rocky-9": "21CB256AE16FC54C6E652949702D426D350D275D",
  "rocky-8": "7051C470A929F454CEBE37B715AF5DAC6D745A60",
  rhel: "567E347AD0044ADE55BA8A5F199E2F91FD431D51",
  kubernetes: "DE15B14486CD377B9E876E1A234654DA9A296436",
  "epel-8": "94E279EB8D8F25B21810ADF121EA45AB2F86D6A1",
  "epel-9": "FF8AD1344597106ECE813B918A3872BF3228467C",
};

/** What the roles of the build install, of which every name must be asked for by some repository entry. */
const INSTALLED =
  "audit ca-certificates conntrack-tools chrony jq python3-pip socat sysstat curl yum-utils nftables python3-netifaces python3-requests open-vm-tools cloud-init cloud-utils-growpart libseccomp".split(
    " ",
  );

function fileAt(manifest: Manifest, pattern: RegExp) {
  return manifest.files?.find((it) => pattern.test(it.as ?? it.url ?? it.path ?? ""));
}

function rpm(manifest: Manifest, name: string) {
  return manifest.rpms?.find((it) => it.name === name);
}

function imagesOf(manifest: Manifest): string[] {
  return (manifest.images ?? []).flatMap((it) => it.as ?? it.ref ?? []);
}

/** Where a file lands below /files/. */
function placeOf(file: NonNullable<Manifest["files"]>[number]): string {
  return file.as ?? (file.url ?? file.path)!.split("/").pop()!;
}

for (const [name, os, el] of [
  ["rocky-9-capi", "rocky", 9],
  ["rocky-8-capi", "rocky", 8],
  ["rhel-9-capi", "rhel", 9],
  ["rhel-8-capi", "rhel", 8],
] as const) {
  t.test(name, async (t) => {
    const manifest = await readManifest(join(MANIFESTS, `${name}.yaml`));
    t.equal(manifest.stream, name);

    t.test("row 1: the DVD, with its SHA-256", async (t) => {
      const [iso, ...others] = manifest.isos ?? [];
      t.equal(others.length, 0);
      if (os === "rhel")
        t.ok(publishedIso(iso?.path ?? ""), "by path, since RHEL has no public URL, with a digest that is known");
      else {
        t.equal(
          iso?.url,
          `https://download.rockylinux.org/pub/rocky/${el}/isos/x86_64/Rocky-${el}-latest-x86_64-dvd.iso`,
        );
        t.equal(iso?.checksums?.url, `https://download.rockylinux.org/pub/rocky/${el}/isos/x86_64/CHECKSUM`);
      }
    });
    t.test("row 3: the kickstart template", async (t) => {
      const kickstart = fileAt(manifest, /^ks\.cfg$/);
      t.match(kickstart?.url, new RegExp(`/${os === "rocky" ? "rockylinux" : "rhel"}/http/${el}/ks\\.cfg$`));
      t.equal(manifest.builder?.kickstart, "ks.cfg");
    });
    t.test("row 4 and 5: repositories, with pinned keys", async (t) => {
      const kubernetes = rpm(manifest, "kubernetes");
      const version = String(manifest.builder?.imageconfig?.k8s_version);
      const minor = version.split(".").slice(0, 2).join(".");
      t.equal(kubernetes?.url, `https://pkgs.k8s.io/core:/stable:/v${minor}/rpm/`);
      t.strictSame(kubernetes?.keys, [`https://pkgs.k8s.io/core:/stable:/v${minor}/rpm/repodata/repomd.xml.key`]);
      t.strictSame(kubernetes?.fingerprints, [FINGERPRINTS.kubernetes]);
      t.strictSame(
        kubernetes?.packages,
        ["kubeadm", "kubelet", "kubectl"].map((it) => `${it}-${version}`),
      );
      for (const repo of ["baseos", "appstream"]) {
        const entry = rpm(manifest, repo);
        t.strictSame(entry?.fingerprints, [os === "rhel" ? FINGERPRINTS.rhel : FINGERPRINTS[`rocky-${el}`]], repo);
        const host =
          os === "rhel"
            ? `https://cdn.redhat.com/content/dist/rhel${el}/${el}/`
            : `https://dl.rockylinux.org/pub/rocky/${el}/`;
        t.ok(entry?.url?.startsWith(host), `${entry?.url}`);
        t.ok(entry?.rpmrepo, `${repo} is in /rpmrepo/ too`);
      }
      t.ok(kubernetes?.rpmrepo, "kubernetes is in /rpmrepo/ too");
      const asked = manifest.rpms?.flatMap((it) => it.packages ?? []) ?? [];
      for (const it of INSTALLED) t.ok(asked.includes(it), `${it} is asked for`);
      t.strictSame(rpm(manifest, "epel")?.fingerprints, [FINGERPRINTS[`epel-${el}`]]);
      t.strictSame(rpm(manifest, "epel")?.keys, [`https://dl.fedoraproject.org/pub/epel/RPM-GPG-KEY-EPEL-${el}`]);
      for (const it of manifest.rpms ?? []) t.not(it.gpgcheck, false, `${it.name} checks signatures`);
      if (os === "rhel") t.ok(manifest.hosts?.["cdn.redhat.com"]?.cert, "entitlement certificate for the CDN");
    });
    t.test("row 6: tarballs and binaries, with the sidecar that each consumer asks for", async (t) => {
      for (const [pattern, sidecar] of [
        [/cri-containerd-cni-1\.7\.13-linux-amd64\.tar\.gz$/, ".sha256sum"],
        [/crictl-v1\.28\.0-linux-amd64\.tar\.gz$/, ".sha256"],
        [/cni-plugins-linux-amd64-v1\.3\.0\.tgz$/, ".sha256"],
        [/goss\/v0\.3\.23\/goss-linux-amd64$/, ".sha256"],
      ] as const) {
        const file = fileAt(manifest, pattern);
        t.equal(file?.checksums?.url, `${file?.url}${sidecar}`, String(pattern));
      }
      t.ok(fileAt(manifest, /runc\/v[\d.]+\/runc\.amd64$/));
      t.ok(fileAt(manifest, /runc\/v[\d.]+\/runc\.sha256sum$/));
      t.ok(fileAt(manifest, /containerd\.service$/));
    });
    t.test("row 7 and 8: control plane and builder images", async (t) => {
      const version = String(manifest.builder?.imageconfig?.k8s_version);
      const refs = manifest.images?.map((it) => it.ref) ?? [];
      for (const it of ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"]) {
        t.ok(refs.includes(`registry.k8s.io/${it}:v${version}`), it);
      }
      for (const it of ["coredns/coredns", "pause", "etcd"]) {
        t.ok(
          refs.some((ref) => ref?.startsWith(`registry.k8s.io/${it}:`)),
          it,
        );
      }
      t.ok(
        refs.some((ref) => ref?.includes("/capi-builder:v")),
        "the builder's own image",
      );
    });
    t.test("row 10: a builder that the matrix lists, and no secret", async (t) => {
      t.match(manifest.builder, {
        flavor: "spectro-capi",
        imageconfig: { os_version: `${os === "rocky" ? "rockylinux" : "rhel"}-${el}` },
      });
      const version = manifest.builder?.imageconfig?.k8s_version;
      t.ok(matrixOf("spectro-capi").versions.some((it) => it.k8s === version));
      const packages = (rpm(manifest, "kubernetes")?.packages ?? []).map((it) => `rpms/kubernetes/${it}-1.x86_64.rpm`);
      // The closure brings kubernetes-cni; here the plugins' tarball stands for its version.
      const paths = [...packages, ...(manifest.files ?? []).map((it) => `files/${placeOf(it)}`)];
      t.strictSame(checkBuilder(manifest.builder, paths, imagesOf(manifest)), []);
    });
  });
}

t.test("image-builder: all of the http source type, and no registry", async (t) => {
  const manifest = await readManifest(join(MANIFESTS, "image-builder.yaml"));
  const version = manifest.builder?.packer_vars?.kubernetes_semver as string;
  for (const name of [
    "kubeadm",
    "kubelet",
    "kubectl",
    ...["apiserver", "controller-manager", "scheduler", "proxy"].map((it) => `kube-${it}.tar`),
  ]) {
    const file = fileAt(manifest, new RegExp(`^release/${version}/bin/linux/amd64/${name}$`));
    t.equal(file?.url, `https://dl.k8s.io/release/${version}/bin/linux/amd64/${name}`);
    t.equal(file?.checksums?.url, `${file?.url}.sha256`);
  }
  for (const pattern of [
    /^cni\/v1\.6\.0\/cni-plugins-linux-amd64-v1\.6\.0\.tgz$/,
    /containerd-2\.3\.2-linux-amd64\.tar\.gz$/,
    /containerd\.service$/,
    /^runc\/v1\.4\.3\/runc\.amd64$/,
    /^runc\/v1\.4\.3\/runc\.sha256sum$/,
    /crictl-v1\.33\.0-linux-amd64\.tar\.gz$/,
    /^goss\/v0\.3\.23\/goss-linux-amd64$/,
    /packer_1\.9\.5_linux_amd64\.zip$/,
    /^ks\.cfg$/,
  ]) {
    t.ok(fileAt(manifest, pattern), String(pattern));
  }
  const asked = manifest.rpms?.flatMap((it) => it.packages ?? []) ?? [];
  for (const it of INSTALLED) t.ok(asked.includes(it), `${it} is asked for`);
  t.strictSame(rpm(manifest, "baseos")?.fingerprints, [FINGERPRINTS["rocky-9"]]);
  t.not(manifest.isos?.[0]?.packages, false, "the DVD's packages are counted on");
  t.notOk(
    manifest.images?.some((it) => /kube-/.test(it.ref ?? "")),
    "no control-plane image",
  );
  const paths = (manifest.files ?? []).map((it) => `files/${placeOf(it)}`);
  t.strictSame(checkBuilder(manifest.builder, paths, imagesOf(manifest)), []);
});

t.test("starter has one of each kind", async (t) => {
  const manifest = await readManifest(join(MANIFESTS, "starter.yaml"));
  for (const kind of ["isos", "rpms", "files", "images"] as const) t.ok((manifest[kind]?.length ?? 0) > 0, kind);
});
