/** What a node needs of its machine, in namespaces of its own: addresses, settings of the kernel, a container runtime. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CLIENTS_BIN, clientPath } from "../../test/fixtures/clients.ts";
import { digestOf, tarOf } from "../../test/fixtures/images.ts";
import type { Programs } from "./programs.ts";

export const NODE_ADDRESS = "10.199.0.1";
const PODS = "10.198.0.0/24";
const PAUSE = "localhost/pause:1";
/** Static; the command of this name is a script that starts it. */
const BUSYBOX = join(CLIENTS_BIN, "../unpacked/bin/busybox");
/** What the kubelet wants of the kernel, and would set for the whole machine. */
const KERNEL = {
  "vm/overcommit_memory": 1,
  "vm/panic_on_oom": 0,
  "kernel/panic": 10,
  "kernel/panic_on_oops": 1,
  "kernel/keys/root_maxkeys": 1_000_000,
  "kernel/keys/root_maxbytes": 25_000_000,
};

const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: "pipe" });

/** Addresses and a way out to nowhere, and files over the kernel's settings that say what the kubelet wants to read. */
export function prepareNamespaces(dir: string): void {
  run("ip", "link", "set", "lo", "up");
  run("ip", "link", "add", "node", "type", "bridge");
  run("ip", "addr", "add", `${NODE_ADDRESS}/24`, "dev", "node");
  run("ip", "link", "set", "node", "up");
  run("ip", "route", "add", "default", "via", "10.199.0.2", "dev", "node");
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  for (const [name, value] of Object.entries(KERNEL)) {
    const file = join(dir, name.replaceAll("/", "-"));
    writeFileSync(file, `${value}\n`);
    run("mount", "--bind", file, `/proc/sys/${name}`);
  }
}

/** Starts containerd with the image of a pod's own process and those given. Returns its socket. */
export async function startRuntime(programs: Programs, dir: string, images: string[]): Promise<string> {
  mkdirSync(join(dir, "cni"), { recursive: true });
  const ipam = {
    type: "host-local",
    dataDir: join(dir, "ipam"),
    ranges: [[{ subnet: PODS }]],
    routes: [{ dst: "0.0.0.0/0" }],
  };
  const plugins = [{ type: "bridge", bridge: "cni0", isGateway: true, ipam }, { type: "loopback" }];
  writeFileSync(join(dir, "cni/10.conflist"), JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins }));
  const socket = join(dir, "c.sock");
  writeFileSync(
    join(dir, "config.toml"),
    `version = 3
root = "${dir}/root"
state = "${dir}/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = "${socket}"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "${PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "${dir}/cni"
`,
  );
  programs.start("containerd", ["-c", join(dir, "config.toml")]);
  for (let tries = 0; tries < 200 && !existsSync(socket); tries++) await sleep(50);
  for (const it of [pauseImage(dir), ...images])
    run(
      clientPath("ctr") as string,
      "-a",
      socket,
      "-n",
      "k8s.io",
      "image",
      "import",
      "--local",
      "--snapshotter",
      "native",
      it,
    );
  return socket;
}

/** The image of the process that holds a pod's namespaces, as an archive of docker. */
function pauseImage(dir: string): string {
  const layer = tarOf([{ path: "busybox", bytes: readFileSync(BUSYBOX), mode: 0o755 }]);
  const script = "trap 'exit 0' TERM; while :; do /busybox sleep 3600 & wait; done";
  const config = {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Entrypoint: ["/busybox", "sh", "-c", script], User: "65535:65535" },
    rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
  };
  const manifest = [{ Config: "config.json", RepoTags: [PAUSE], Layers: ["layer.tar"] }];
  const json = (value: object) => Buffer.from(JSON.stringify(value));
  const file = join(dir, "pause.tar");
  writeFileSync(
    file,
    tarOf([
      { path: "config.json", bytes: json(config) },
      { path: "layer.tar", bytes: layer },
      { path: "manifest.json", bytes: json(manifest) },
    ]),
  );
  return file;
}
