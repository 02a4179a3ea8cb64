/**
 * packaging/chart at the API server of Kubernetes itself: installed and upgraded by Helm, where pods must keep to the
 * strictest of the Pod Security Standards. Nothing runs the pods.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import t from "tap";
import { ALL, BUCKETS, CHART } from "../fixtures/chart-values.ts";
import { clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { startKubeApi } from "../fixtures/kube-api.ts";
import { scratch } from "../fixtures/program.ts";

/** The operator's kinds are not part of Kubernetes. */
const CORE = { serviceMonitor: { enabled: false } };
const INSTALLED: Record<string, { values: object; level: "restricted" | "baseline" }> = {
  least: { values: { store: { claim: "store" } }, level: "restricted" },
  one: { values: { store: { claim: "store" }, replicas: 1 }, level: "restricted" },
  // An NFS export in the pod itself is what "restricted" forbids.
  all: { values: { ...ALL, ...CORE }, level: "baseline" },
  site: { values: { ...BUCKETS.site, ...CORE }, level: "restricted" },
  aws: { values: BUCKETS.aws, level: "restricted" },
  shared: { values: BUCKETS.shared, level: "restricted" },
};

t.test("the API server takes what the chart makes, and pods are admitted where rights are least", async (t) => {
  if (clientPath("kube-apiserver") === undefined) {
    t.pass("kube-apiserver", { skip: "the API server is not built: scripts/lib/kubernetes.sh" });
    return;
  }
  if (!needs(t, "helm", "etcd")) return;
  const dir = scratch(t, "airferry-kube");
  mkdirSync(join(dir, "api"));
  const { config, call } = await startKubeApi(t, join(dir, "api"));
  const env = clientEnv({ HOME: dir, KUBECONFIG: config });
  const helm = async (...args: string[]) => {
    const child = spawn(clientPath("helm") as string, args, { env });
    const [out, error, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
    return { status, said: `${out}${error}` };
  };
  type Deployment = { spec: { replicas: number; template: { metadata: object; spec: Record<string, unknown> } } };
  const deployment = async (name: string) =>
    (await call("GET", `/apis/apps/v1/namespaces/${name}/deployments/site`)).answer as unknown as Deployment;
  const admit = (name: string, { metadata, spec }: Deployment["spec"]["template"]) => {
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { ...metadata, name: "site-1" }, spec };
    return call("POST", `/api/v1/namespaces/${name}/pods?dryRun=All&fieldValidation=Strict`, pod);
  };
  for (const [name, { values, level }] of Object.entries(INSTALLED)) {
    const file = join(dir, `${name}.json`);
    writeFileSync(file, JSON.stringify(values));
    const labels = { "pod-security.kubernetes.io/enforce": level };
    const made = await call("POST", "/api/v1/namespaces", { metadata: { name, labels } });
    t.equal(made.status, 201);
    for (const verb of ["install", "upgrade"]) {
      const { status, said } = await helm(verb, "site", CHART, "-n", name, "-f", file);
      t.equal(status, 0, said);
      t.notMatch(said, /Warning|would violate/, name);
    }
    const { template } = (await deployment(name)).spec;
    const { status, answer } = await admit(name, template);
    // The priority class of the values is made by the cluster's owner.
    if (name === "all" || name === "site") t.match(answer.message, /no PriorityClass with name builds/);
    else t.equal(status, 201, JSON.stringify(answer));
    const { priorityClassName: _, ...spec } = template.spec;
    t.equal((await admit(name, { ...template, spec })).status, 201, name);
  }

  const { template } = (await deployment("least")).spec;
  const free = await admit("least", { ...template, spec: { ...template.spec, hostNetwork: true } });
  t.match([free.status, free.answer.message], [403, /violates PodSecurity "restricted.*host namespaces/]);
  const { template: nfs } = (await deployment("all")).spec;
  const { priorityClassName: _, ...spec } = nfs.spec;
  t.match(
    (await admit("least", { ...nfs, spec })).answer.message,
    /restricted volume types \(volume "store" uses .*nfs/,
  );

  const drained = (await call("GET", "/apis/policy/v1/namespaces/one/poddisruptionbudgets/site")).answer;
  t.match(drained.spec, { maxUnavailable: 1, unhealthyPodEvictionPolicy: "AlwaysAllow" });
  t.equal((await helm("uninstall", "site", "-n", "least")).status, 0);
});
