/**
 * The virtual machine that is built, as the real containerds see it: pristine it pulls nothing from the server, with the staged
 * scripts it pulls the control plane over https and over plain HTTP, and afterwards nothing of them is left. On a machine of its own.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { needs } from "../fixtures/clients.ts";
import { criPull, startContainerd } from "../fixtures/container-clients.ts";
import { type ImageGap, imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry, TestImages } from "../fixtures/images.ts";
import { OWN_ADDRESS, onOwnMachine } from "../fixtures/own-machine.ts";

const IMAGES = ["kube-apiserver:v1.33.4", "pause:3.10"];
/** What image-builder's role writes into /etc/containerd/config.toml, as far as pulling goes; conf.d is imported by all versions. */
const MACHINES = [
  {
    version: "v0.1.28",
    program: "containerd-1",
    config: '[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "x"\n',
  },
  {
    version: "v0.1.40",
    program: "containerd-1",
    config: '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n',
  },
  {
    version: "v0.1.55",
    program: "containerd",
    config: "[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/etc/containerd/certs.d'\n",
  },
] as const;

async function carry(t: Test): Promise<ImageGap> {
  const gap = await imageGap(t, "af-guest");
  const upstream = await startDockerRegistry(join(gap.dir, "upstream"));
  if (upstream === undefined) throw new Error("no upstream");
  for (const name of IMAGES) {
    const images = new TestImages();
    const index = images.index([images.image("linux/amd64", [{ "etc/motd": `${name}\n` }])]);
    const [repository, tag] = name.split(":") as [string, string];
    await images.push(upstream.host, repository, { [tag]: index });
  }
  const files = {
    "containerd-1.7.13-linux-amd64.tar.gz": "cri-containerd-cni-1.7.13-linux-amd64.tar.gz",
    "containerd-2.3.2-linux-amd64.tar.gz": undefined,
    "crictl-v1.33.0-linux-amd64.tar.gz": undefined,
    "cni.tgz": "cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz",
    "containerd.service": undefined,
    "runc.amd64": undefined,
    kubeadm: "release/v1.33.4/bin/linux/amd64/kubeadm",
    kubelet: "release/v1.33.4/bin/linux/amd64/kubelet",
    kubectl: "release/v1.33.4/bin/linux/amd64/kubectl",
  };
  for (const name of Object.keys(files)) writeFileSync(join(gap.dir, name), name);
  for (const { version, program } of MACHINES) {
    const containerd_version = program === "containerd" ? "2.3.2" : "1.7.13";
    await gap.carry(
      {
        stream: "m",
        files: Object.entries(files).map(([path, as]) => ({ path: `./${path}`, ...(as !== undefined && { as }) })),
        images: IMAGES.map((it) => ({ ref: `registry.k8s.io/${it}`, insecure: true, platforms: ["linux/amd64"] })),
        builder: {
          flavor: "image-builder",
          version,
          packer_vars: { kubernetes_semver: "v1.33.4", containerd_version, goss_skip_install: "true" },
        },
      },
      {
        store: `store-${version}`,
        args: ["--rewrite", `registry.k8s.io=${upstream.host}`, "--out", `out-${version}`, "--allow-findings"],
      },
    );
  }
  await upstream.stop();
  return gap;
}

/** Every file of /etc with its digest, and every folder. */
function etc(): string {
  return execFileSync("sh", ["-c", "find /etc -type d | sort; find /etc -type f -exec sha256sum {} + | sort -k2"], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
}

if (await onOwnMachine(t, import.meta.filename)) {
  t.test("a pristine machine pulls with what was staged, and keeps nothing of it", async (t) => {
    if (!needs(t, "docker-registry", "containerd", "containerd-1", "curl")) return;
    const gap = await carry(t);
    let port = 9000;
    for (const { version, program, config } of MACHINES) {
      for (const tls of [true, false]) {
        await t.test(`image-builder ${version}, ${tls ? "https" : "plain HTTP"}`, async (t) => {
          const store = `store-${version}`;
          const { url, host, ca } = await gap.serve({ store, listen: `${OWN_ADDRESS}:${port++}`, tls });
          const output = join(gap.dir, `output-${host}`);
          const args = ["--store", store, "--url", url, ...(tls ? ["--ca", ca] : [])];
          const staged = await gap.airferry("stage", output, ...args);
          t.equal(staged.status, 0, staged.stderr);
          const pull = async (name: string) => {
            const options = { program, config, imports: ["/etc/containerd/conf.d/*.toml"] };
            const daemon = await startContainerd(join(gap.dir, `c-${host}-${name}`), "", options);
            try {
              for (const it of IMAGES) await criPull(daemon.socket, `${host}/registry.k8s.io/${it}`);
              return "pulled";
            } catch (error) {
              return (error as Error).message;
            } finally {
              await daemon.stop();
            }
          };
          mkdirSync("/etc/yum.repos.d", { recursive: true });
          writeFileSync("/etc/yum.repos.d/site.repo", "[site]\nbaseurl=http://192.0.2.1/x/\n");
          const before = etc();
          t.match(
            await pull("pristine"),
            tls ? /certificate signed by unknown authority/ : /server gave HTTP response/,
          );
          const pre = execFileSync("sh", [join(output, "custom_scripts/pre/00-airferry-guest.sh")], {
            encoding: "utf8",
          });
          t.equal(pre, "");
          execFileSync("sh", [join(output, "custom_scripts/pre/00-airferry-guest.sh")]);
          t.equal(await pull("prepared"), "pulled");
          if (tls) {
            const health = await gap.run("curl", "-sS", `${url}/healthz`);
            t.equal(health.status, 0, health.out);
          }
          writeFileSync("/etc/yum.repos.d/kubernetes.repo", `[kubernetes]\nbaseurl=${url}/rpms/kubernetes/\n`);
          const undo = readFileSync("/etc/airferry-guest/undo.sh");
          t.match(undo.toString(), /yum\.repos\.d/);
          execFileSync("sh", ["/etc/airferry-guest/undo.sh"]);
          t.equal(
            etc().replace(/^\/etc\/(pki|containerd)\b.*\n/gm, ""),
            before.replace(/^\/etc\/(pki|containerd)\b.*\n/gm, ""),
            "empty folders aside",
          );
          t.match(await pull("undone"), tls ? /certificate signed by unknown authority/ : /server gave HTTP response/);
        });
      }
    }
  });
}
