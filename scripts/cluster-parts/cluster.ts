/** Kubernetes on one node: what decides, what runs pods, and questions to it. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runClient } from "../../test/fixtures/container-clients.ts";
import { type KubeApi, startKubeApi } from "../../test/fixtures/kube-api.ts";
import { NODE_ADDRESS, prepareNamespaces, startRuntime } from "./node.ts";
import { Programs } from "./programs.ts";

const START_MS = 120_000;
const CONTROLLERS = [
  "node-lifecycle",
  "deployment",
  "replicaset",
  "disruption",
  "endpointslice",
  "persistentvolume-binder",
  "garbage-collector",
].map((it) => `${it}-controller`);

interface Status {
  conditions?: { type: string; status: string }[];
}
interface Slices {
  items: { endpoints?: { addresses: string[]; conditions: { ready?: boolean } }[] }[];
}
interface Pods {
  items: { metadata: { name: string }; status: { podIP?: string; containerStatuses?: { restartCount: number }[] } }[];
}

export class Cluster {
  readonly #dir: string;
  readonly programs: Programs;
  #api: KubeApi | undefined;

  constructor(dir: string) {
    this.#dir = dir;
    this.programs = new Programs(dir);
  }

  /** @param cgroup below which containers are @throws when the node does not get ready */
  async start(images: string[], cgroup: string): Promise<void> {
    prepareNamespaces(this.#dir);
    const socket = await startRuntime(this.programs, join(this.#dir, "containerd"), images);
    mkdirSync(join(this.#dir, "api"));
    // Everything ends with the namespace of processes.
    this.#api = await startKubeApi({ teardown: () => {} }, join(this.#dir, "api"));
    const { config } = this.#api;
    const local = ["--kubeconfig", config, "--bind-address", "127.0.0.1"];
    this.programs.start("kube-controller-manager", [...local, `--controllers=${CONTROLLERS}`]);
    this.programs.start("kube-scheduler", local);
    const file = join(this.#dir, "kubelet.json");
    const kubelet = {
      apiVersion: "kubelet.config.k8s.io/v1beta1",
      kind: "KubeletConfiguration",
      authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
      authorization: { mode: "AlwaysAllow" },
      cgroupDriver: "cgroupfs",
      cgroupsPerQOS: false,
      cgroupRoot: `/${cgroup}`,
      enforceNodeAllocatable: [],
      failSwapOn: false,
      failCgroupV1: false,
      protectKernelDefaults: true,
      containerRuntimeEndpoint: `unix://${socket}`,
      evictionHard: { "memory.available": "1Mi" },
      imageGCHighThresholdPercent: 100,
      resolvConf: "",
      address: "127.0.0.1",
      readOnlyPort: 0,
      podLogsDir: join(this.#dir, "pod-logs"),
    };
    writeFileSync(file, JSON.stringify(kubelet));
    const places = ["--root-dir", join(this.#dir, "kubelet"), "--cert-dir", join(this.#dir, "kubelet-certs")];
    const who = ["--hostname-override", "node", "--node-ip", NODE_ADDRESS];
    this.programs.start("kubelet", ["--config", file, "--kubeconfig", config, ...places, ...who]);
    const isReady = async () => {
      const { status } = (await this.get("/api/v1/nodes/node")) as { status?: Status };
      return status?.conditions?.some((it) => it.type === "Ready" && it.status === "True") === true;
    };
    await this.until(isReady, () => `the node is not ready: ${this.programs.said("kubelet")}`);
  }

  /** @throws what the server refuses */
  async post(path: string, body: object): Promise<void> {
    const { status, answer } = await (this.#api as KubeApi).call("POST", path, body);
    if (status >= 300) throw new Error(`${path}: ${answer.message}`);
  }

  async get(path: string): Promise<unknown> {
    return (await (this.#api as KubeApi).call("GET", path)).answer;
  }

  /** @throws what helm says where it fails */
  async helm(...args: string[]): Promise<void> {
    const { status, out } = await runClient("helm", args, { KUBECONFIG: this.#api?.config ?? "", HOME: this.#dir });
    if (status !== 0) throw new Error(out);
  }

  /** Addresses of the pods that are ready, as what sends clients to them knows it. */
  async ready(namespace: string): Promise<string[]> {
    const { items } = (await this.get(`/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`)) as Slices;
    const all = items.flatMap((it) => it.endpoints ?? []);
    return all.filter((it) => it.conditions.ready === true).flatMap((it) => it.addresses);
  }

  async pods(namespace: string): Promise<Pods["items"]> {
    return ((await this.get(`/api/v1/namespaces/${namespace}/pods`)) as Pods).items;
  }

  /** @throws with the events of a namespace when it does not become so */
  async untilReady(namespace: string, count: number): Promise<string[]> {
    let ready: string[] = [];
    const isSo = async () => {
      ready = await this.ready(namespace);
      return ready.length === count && (await this.pods(namespace)).length === count;
    };
    let events = "";
    await this.until(
      isSo,
      () => `not ${count} pods are ready: ${events}`,
      async () => {
        const { items } = (await this.get(`/api/v1/namespaces/${namespace}/events`)) as {
          items: { message: string }[];
        };
        events = items
          .slice(-5)
          .map((it) => it.message)
          .join("; ");
      },
    );
    return ready;
  }

  async until(isSo: () => Promise<boolean>, fault: () => string, look = async () => {}): Promise<void> {
    for (const end = performance.now() + START_MS; !(await isSo()); await sleep(200)) {
      if (performance.now() < end) continue;
      await look();
      throw new Error(fault());
    }
  }
}
