/**
 * Rows about the new machine: with the staged files an unprepared one pulls its images, and afterwards has none of
 * these files.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GUEST_TOOLS, Guest } from "./guest.ts";
import type { Stage, Step } from "./row.ts";

const CRI = join(import.meta.dirname, "cri.ts");
const SOCKET = "/run/containerd/containerd.sock";

/** Rows for one URL; `staged` is the folder's path. */
export function guestSteps(scheme: "http" | "https", staged: (stage: Stage) => string): Step[] {
  return [
    {
      name: `the guest pulls the control plane over ${scheme}`,
      command:
        "custom_scripts/pre/*.sh in a pristine machine; containerd as image-builder v0.1.28 configures it; PullImage",
      needs: ["containerd-1", ...GUEST_TOOLS],
      fetches: [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "coredns",
        "pause",
        "etcd",
      ].map((it) => new RegExp(`^/v2/.*${it}/manifests/`)),
      async run(stage) {
        return await withGuest(stage, async (guest) => {
          await guest.runScripts(scripts(staged(stage), "pre"));
          const images = controlPlane(stage);
          const output = await pull(guest, images);
          return `${output.trim().split("\n").length} images, by ${scripts(staged(stage), "pre").length} script(s)`;
        });
      },
    },
    {
      name: `nothing of the gap stays in the image (${scheme})`,
      command: "/etc before custom_scripts/pre and after custom_scripts/post",
      needs: GUEST_TOOLS,
      fetches: [],
      async run(stage) {
        return await withGuest(stage, async (guest) => {
          const before = await guest.etc();
          await guest.runScripts(scripts(staged(stage), "pre"));
          const during = await guest.etc();
          // The builder's roles write the gap's repositories, which must be removed too.
          const repo = readFileSync(join(staged(stage), "airferry.repo"), "utf8");
          await guest.write("/etc/yum.repos.d/airferry.repo", repo);
          await guest.write(
            "/etc/yum.repos.d/kubernetes.repo",
            `[kubernetes]\nbaseurl=${stage.url}/rpms/kubernetes/\n`,
          );
          await guest.runScripts(scripts(staged(stage), "post"));
          const after = await guest.etc();
          const stayed = [...after].filter(([path, sum]) => before.get(path) !== sum).map(([path]) => path);
          const lost = [...before.keys()].filter((it) => !after.has(it));
          if (stayed.length + lost.length > 0)
            throw new Error(`changed or new: ${stayed.join(" ")}; lost: ${lost.join(" ")}`);
          const made = [...during].filter(([path, sum]) => before.get(path) !== sum);
          return `${made.length} files and folders of /etc made or changed, all as they were afterwards`;
        });
      },
    },
  ];
}

async function withGuest<T>(stage: Stage, run: (guest: Guest) => Promise<T>): Promise<T> {
  const guest = await Guest.start(stage.gap, stage.dir, stage.dir);
  try {
    return await run(guest);
  } finally {
    await guest.close();
  }
}

/** The staged scripts of one kind. */
function scripts(staged: string, kind: "pre" | "post"): { name: string; text: string }[] {
  try {
    const folder = join(staged, "custom_scripts", kind);
    return readdirSync(folder).map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
  } catch {
    return [];
  }
}

/** What `kubeadm config images pull` requests, with the names that it derives from k8s_container_reg. */
function controlPlane(stage: Stage): string[] {
  const registry = stage.config.get("k8s_container_reg")!;
  const version = stage.config.get("k8s_version")!;
  const fixed = /registry\.k8s\.io\/((?:coredns\/coredns|pause|etcd):[^,\s}"]+)/g;
  const others = [...stage.manifest.matchAll(fixed)].map((it) => it[1]!);
  const own = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
  return [...own.map((it) => `${it}:v${version}`), ...others].map((it) => `${registry}/${it}`);
}

/** The role's template of image-builder v0.1.28, filled in: no config_path, one import. */
async function pull(guest: Guest, images: readonly string[]): Promise<string> {
  const sandbox = images.find((it) => it.includes("/pause:"));
  await guest.write(
    "/etc/containerd/config.toml",
    `version = 2
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "${sandbox}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
`,
  );
  const daemon = guest.spawn(["containerd-1", "--log-level", "error"]);
  let log = "";
  daemon.stderr!.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  daemon.stdin!.end();
  const wait = `for i in $(seq 200); do [ -S ${SOCKET} ] && exit 0; sleep 0.1; done; exit 1`;
  try {
    await guest.run(["sh", "-c", wait]);
  } catch {
    throw new Error(`containerd does not start: ${log.trim().slice(-500)}`);
  }
  await sleep(200);
  return await guest.run([process.execPath, "--disable-warning=ExperimentalWarning", CRI, SOCKET, ...images]);
}
