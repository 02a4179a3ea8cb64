/** What the build runs, in its order. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BOOTED } from "./initrd.ts";
import { SERVER_ADDRESS } from "./network.ts";
import { inside, runInside, type Stage, type Step } from "./row.ts";

const AIRFERRY = join(import.meta.dirname, "../airferry");
const sha256 = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");

function getUrl(name: string, path: (stage: Stage) => string, sidecar: (url: string) => string): Step {
  return {
    name: `ansible get_url: ${name}`,
    command: `ansible localhost -m get_url -a "url=… checksum=sha256:${sidecar("…")}"`,
    needs: ["ansible"],
    fetches: [new RegExp(`${name.split(" ")[0]}`), /sha256/],
    async run(stage) {
      const url = path(stage);
      const target = join(stage.dir, `get-${name.split(" ")[0]}`);
      const task = `url=${url} dest=${target} checksum=sha256:${sidecar(url)}`;
      const env = { ANSIBLE_LOCAL_TEMP: join(stage.dir, "ansible"), ANSIBLE_REMOTE_TEMP: join(stage.dir, "ansible") };
      const output = await inside(stage, ["ansible", "localhost", "-c", "local", "-m", "get_url", "-a", task], { env });
      if (!/"changed": true/.test(output)) throw new Error(output);
      return `${sha256(target).slice(0, 16)}…, checked against the sidecar`;
    },
  };
}

function dnf(stage: Stage, root: string, ...args: string[]): string[] {
  const at = (name: string) => join(stage.dir, root, name);
  for (const it of ["root", "repos", "log"]) mkdirSync(at(it), { recursive: true });
  mkdirSync(join(at("root"), at("log")), { recursive: true });
  const settings = {
    reposdir: at("repos"),
    cachedir: at("cache"),
    logdir: at("log"),
    persistdir: at("persist"),
    module_platform_id: "platform:el9",
    install_weak_deps: "0",
  };
  return [
    "dnf",
    "-y",
    `--installroot=${at("root")}`,
    "--releasever=9",
    "--forcearch=x86_64",
    "--disableplugin=*",
    ...Object.entries(settings).map(([key, value]) => `--setopt=${key}=${value}`),
    ...args,
  ];
}

/** All steps. They are independent and share only the server. */
export const STEPS: readonly Step[] = [
  {
    name: "doctor",
    command: "airferry doctor --url URL",
    needs: [],
    fetches: [/repomd\.xml$/, /\.iso$/, /^\/v2\//],
    async run(stage) {
      const output = await inside(stage, [AIRFERRY, "doctor", "--url", stage.url, "--json"]);
      const report = JSON.parse(output.slice(output.indexOf("{"), output.lastIndexOf("}") + 1)) as {
        findings: { status: string }[];
      };
      return `${report.findings.filter((it) => it.status === "ok").length} of ${report.findings.length} checks ok, none failed`;
    },
  },
  {
    name: "stage the builder's folder",
    command: "airferry stage output --store STORE --url URL",
    needs: [],
    fetches: [],
    async run(stage) {
      const output = join(stage.dir, "output");
      await inside(stage, [AIRFERRY, "stage", output, "--store", stage.store, "--url", stage.url]);
      const iso = join(output, stage.config.get("iso_name")!);
      if (sha256(iso) !== stage.config.get("iso_checksum"))
        throw new Error("the staged ISO is not what iso_checksum says");
      return `${readdirSync(output).length} files; the ISO is what iso_checksum says`;
    },
  },
  getUrl(
    "containerd",
    (stage) => stage.config.get("containerd_url")!,
    (url) => `${url}.sha256sum`,
  ),
  getUrl(
    "crictl",
    (stage) => stage.config.get("crictl_url")!,
    (url) => `${url}.sha256`,
  ),
  getUrl(
    "runc (clear-signed list)",
    (stage) => `${stage.url}/files/runc/v1.1.12/runc.amd64`,
    (url) => url.replace(/runc\.amd64$/, "runc.sha256sum"),
  ),
  {
    name: "rpm --import of the served keys",
    command: "rpm --import KEY-URL…",
    needs: ["rpm", "curl"],
    fetches: [/^\/keys\//],
    async run(stage) {
      const root = join(stage.dir, "rpmdb");
      mkdirSync(root, { recursive: true });
      const repo = await inside(stage, ["curl", "-sf", `${stage.url}/config/airferry.repo`]);
      const keys = [...new Set([...repo.matchAll(/^(?:gpgkey=| {7})(http\S+)$/gm)].map((it) => it[1]!))];
      for (const key of [stage.config.get("k8s_rpm_key")!, ...keys])
        await inside(stage, ["rpm", "--root", root, "--import", key]);
      const imported = await inside(stage, ["rpm", "--root", root, "-qa", "gpg-pubkey*"]);
      return `${imported.trim().split("\n").length} keys imported from ${keys.length} URLs`;
    },
  },
  {
    name: "dnf install with extra_repos",
    command: "dnf install kubelet kubeadm kubectl el-app (airferry.repo, gpgcheck=1)",
    needs: ["dnf", "curl"],
    fetches: [/^\/rpms\/kubernetes\/.*kubelet-/, /^\/isos\/.*\/AppStream\/.*el-app/, /^\/config\/airferry\.repo$/],
    async run(stage) {
      const command = dnf(stage, "dnf", "install", "kubelet", "kubeadm", "kubectl", "el-app");
      await inside(stage, [
        "curl",
        "-sf",
        "-o",
        join(stage.dir, "dnf/repos/airferry.repo"),
        `${stage.url}/config/airferry.repo`,
      ]);
      const output = await inside(stage, command);
      const count = /Install\s+(\d+) Packages/.exec(output)?.[1];
      for (const name of ["kubelet", "kubernetes-cni", "cri-tools", "el-app", "el-lib"]) {
        if (!existsSync(join(stage.dir, "dnf/root/usr/share/airferry-test", name)))
          throw new Error(`${name} was not installed`);
      }
      return `${count} packages, signatures checked; closure from the repository and from inside the ISO`;
    },
  },
  {
    name: "the yum container's place, /rpmrepo/",
    command: "dnf install open-vm-tools kubelet (baseurl=URL/rpmrepo/, gpgcheck=1, repo_gpgcheck=1)",
    needs: ["dnf"],
    fetches: [/^\/rpmrepo\/repodata\/repomd\.xml$/, /^\/rpmrepo\/.*open-vm-tools/],
    async run(stage) {
      // One server, one repository: metadata signed at pack, packages by their vendors.
      const names = ["airferry", "baseos", "appstream", "kubernetes"];
      const command = dnf(stage, "rpmrepo", "install", "open-vm-tools", "kubelet");
      const keys = names.map((it) => `${stage.url}/keys/${it}`).join(" ");
      writeFileSync(
        join(stage.dir, "rpmrepo/repos/rpmrepo.repo"),
        `[rpmrepo]\nname=rpmrepo\nbaseurl=${stage.url}/rpmrepo/\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=${keys}\n`,
      );
      await inside(stage, command);
      return "one repository has the distribution's packages and Kubernetes, signed at pack";
    },
  },
  {
    name: "CRI pulls through containerd",
    command: "containerd; PullImage k8s_container_reg/kube-apiserver, registry.k8s.io/pause",
    needs: ["containerd"],
    fetches: [/^\/v2\/.*kube-apiserver\/manifests\//, /^\/v2\/.*pause\/manifests\//, /^\/v2\/.*\/blobs\/sha256:/],
    async run(stage) {
      const dir = join(stage.dir, "cri");
      const certs = join(dir, "certs.d");
      mkdirSync(certs, { recursive: true });
      await inside(stage, [
        AIRFERRY,
        "render",
        "hosts-toml",
        "--store",
        stage.store,
        "--url",
        stage.url,
        "--out",
        `${dir}/`,
      ]);
      writeFileSync(
        join(dir, "config.toml"),
        `version = 3\nroot = "${dir}/root"\nstate = "${dir}/state"\n[grpc]\naddress = "${dir}/sock"\n[ttrpc]\naddress = "${dir}/ttrpc"\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "native"\nuse_local_image_pull = true\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "${certs}"\n`,
      );
      const daemon = stage.gap.spawn(
        "builder",
        ["containerd", "--config", join(dir, "config.toml"), "--log-level", "error"],
        { stdio: "ignore", detached: true },
      );
      try {
        for (let i = 0; i < 100 && !existsSync(join(dir, "sock")); i++) await sleep(100);
        const version = stage.config.get("k8s_version");
        const images = [
          `${stage.config.get("k8s_container_reg")}/kube-apiserver:v${version}`,
          "registry.k8s.io/pause:3.9",
        ];
        const output = await inside(stage, [
          process.execPath,
          join(import.meta.dirname, "cri.ts"),
          join(dir, "sock"),
          ...images,
        ]);
        return `${output.trim().split("\n").length} images pulled by name through ${readdirSync(certs).length} hosts.toml`;
      } finally {
        try {
          process.kill(-daemon.pid!, "SIGTERM");
        } catch {
          // It did not start.
        }
      }
    },
  },
  {
    name: "podman load of the builder image",
    command: "airferry export image …/capi-builder; podman load -i FILE",
    needs: ["podman"],
    fetches: [],
    async run(stage) {
      const reference = "us-docker.pkg.dev/palette-images/palette/imagebuilder/capi-builder:v4.6.23";
      const file = join(stage.dir, "capi-builder.tar");
      await inside(stage, [AIRFERRY, "export", "image", reference, "--store", stage.store, "--out", file]);
      const podman = [
        "podman",
        "--root",
        join(stage.dir, "podman"),
        "--runroot",
        join(stage.dir, "podman-run"),
        "--storage-driver",
        "vfs",
      ];
      await inside(stage, [...podman, "load", "-q", "-i", file]);
      const names = await inside(stage, [...podman, "images", "--format", "{{.Repository}}:{{.Tag}}"]);
      if (!names.includes(reference)) throw new Error(`podman has ${names.trim() || "nothing"}, not ${reference}`);
      return `podman images: ${names.trim()}`;
    },
  },
  {
    name: "packer fetches the ISO with iso_checksum",
    command: "packer build (qemu builder, iso_url, iso_checksum from imageconfig)",
    needs: ["packer", "qemu-system-x86_64", "qemu-img"],
    fetches: [/^\/isos\/.*\.iso$/],
    async run(stage) {
      const dir = join(stage.dir, "packer");
      mkdirSync(dir, { recursive: true });
      const build = async (checksum: string) => {
        const template = join(dir, `${checksum.slice(-8)}.json`);
        const builder = {
          type: "qemu",
          iso_url: `${stage.url}/isos/${stage.config.get("iso_name")}`,
          iso_checksum: checksum,
          output_directory: join(dir, `out-${checksum.slice(-8)}`),
          communicator: "none",
          accelerator: "tcg",
          headless: true,
          disk_size: "64M",
          // The rehearsal ends before the machine starts.
          qemu_binary: "/bin/false",
        };
        writeFileSync(template, JSON.stringify({ builders: [builder] }));
        const cache = join(dir, `cache-${checksum.slice(-8)}`);
        const env = { PACKER_CACHE_DIR: cache, CHECKPOINT_DISABLE: "1" };
        const { output } = await runInside(stage, ["packer", "build", "-color=false", template], { env });
        const fetched = existsSync(cache) ? readdirSync(cache).filter((it) => it.endsWith(".iso")) : [];
        return { output, digests: fetched.map((it) => sha256(join(cache, it))) };
      };
      const wanted = stage.config.get("iso_checksum")!;
      for (const checksum of [`sha256:${wanted}`, `file:${stage.url}/config/CHECKSUM`]) {
        const { output, digests } = await build(checksum);
        if (digests.join() !== wanted || /did not match/i.test(output))
          throw new Error(`${checksum}: ${output.trim().slice(-600)}`);
      }
      const bad = await build(`sha256:${"0".repeat(64)}`);
      if (!/did not match/i.test(bad.output))
        throw new Error(`a wrong checksum was not refused: ${bad.output.trim().slice(-600)}`);
      return "fetched and verified by digest and by CHECKSUM; a wrong digest is refused";
    },
  },
  {
    name: "virt-install --location",
    command: "virt-install --location URL/isos/rocky-9/ --print-xml 1",
    needs: ["virt-install"],
    fetches: [/\/isos\/[^/]+\/\.treeinfo$/, /vmlinuz$/, /initrd\.img$/],
    async run(stage) {
      const location = `${stage.url}/isos/${stage.config.get("iso_name")!.replace(/\.iso$/, "")}/`;
      const flags = [
        "--name",
        "rehearsal",
        "--memory",
        "512",
        "--disk",
        "none",
        "--osinfo",
        "detect=on,require=off",
        "--print-xml",
        "1",
      ];
      const xml = await inside(
        stage,
        ["virt-install", "--connect", "test:///default", ...flags, "--location", location],
        {
          env: { XDG_CACHE_HOME: join(stage.dir, "virt") },
        },
      );
      if (!/<kernel>.*vmlinuz/.test(xml)) throw new Error(xml.slice(0, 400));
      return "read .treeinfo, kernel and initrd out of the ISO";
    },
  },
  {
    name: "iPXE boots kernel and initrd out of the ISO",
    command: "qemu-system-x86_64 -accel tcg, iPXE: chain URL/config/boot.ipxe",
    needs: ["qemu-system-x86_64"],
    fetches: [/^\/config\/boot\.ipxe$/, /vmlinuz$/, /initrd\.img$/],
    async run(stage) {
      const tftp = join(stage.dir, "tftp");
      mkdirSync(tftp, { recursive: true });
      const cmdline = "console=ttyS0 rdinit=/init";
      writeFileSync(join(tftp, "site.ipxe"), `#!ipxe\nset cmdline ${cmdline}\nchain ${stage.url}/config/boot.ipxe\n`);
      const net = ["-netdev", `user,id=n,tftp=${tftp},bootfile=site.ipxe`, "-device", "e1000,netdev=n"];
      const machine = [
        "-accel",
        "tcg",
        "-m",
        "768",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-monitor",
        "none",
        "-no-reboot",
      ];
      const until = new RegExp(`${BOOTED}.*\n`);
      const { output } = await runInside(stage, ["qemu-system-x86_64", ...machine, ...net, "-boot", "n"], {
        until,
        timeoutMs: 240_000,
      });
      const booted = output.split("\n").find((it) => it.startsWith(BOOTED));
      const repo = `inst.repo=http://${SERVER_ADDRESS}`;
      if (!booted?.includes(repo)) throw new Error(`no boot: ${output.replace(/[^\x20-\x7e\n]/g, "").slice(-600)}`);
      return booted.trim().slice(0, 160);
    },
  },
];

/** Folder that must exist before the steps run. */
export function prepare(dir: string): void {
  mkdirSync(join(dir, "ansible"), { recursive: true });
  mkdirSync(dirname(join(dir, "x")), { recursive: true });
}
