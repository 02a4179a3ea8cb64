/**
 * packaging/chart: what Helm makes of it, against the API's own schemas and the operator's, and the arguments of the container
 * against the program.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t from "tap";
import { parseAllDocuments } from "yaml";
import { VERSION } from "../../src/version.ts";
import { absent, CLIENTS_BIN, clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { ROOT, scratch } from "../fixtures/program.ts";

const CHART = join(ROOT, "packaging", "chart");
const OPERATOR = join(CLIENTS_BIN, "../prometheus-operator/node_modules/@kubernetes-models/prometheus-operator");
const NEWEST = "1.37.0";

interface Resource {
  kind: string;
  metadata: { name: string };
  // biome-ignore lint/suspicious/noExplicitAny: any kind of resource
  spec: any;
}

const dir = scratch(t, "airferry-chart");
const run = (program: string, ...args: string[]) =>
  spawnSync(clientPath(program) ?? program, args, { encoding: "utf8", env: clientEnv({ HOME: dir }) });

const ALL = {
  store: { nfs: { server: "10.0.0.1", path: "/export/airferry" } },
  image: { repository: "registry.site/airferry", digest: `sha256:${"a".repeat(64)}` },
  url: "https://airferry.site",
  tlsSecret: "airferry-tls",
  htpasswdSecret: "airferry-users",
  extraArgs: ["--verify-reads", "always"],
  ingress: { enabled: true, host: "airferry.site", tlsSecret: "airferry-tls", className: "nginx" },
  autoscaling: { enabled: true, bytesPerSecond: "200M" },
  networkPolicy: { from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] },
  serviceMonitor: { enabled: true, labels: { release: "prometheus" } },
  priorityClassName: "builds",
  nodeSelector: { "kubernetes.io/os": "linux" },
  tolerations: [{ key: "builds", operator: "Exists" }],
  imagePullSecrets: [{ name: "site" }],
};

/** What the chart makes of values, as text; undefined and the error where it refuses them. */
function rendered(values: object, version = NEWEST): { text: string; error: string } {
  const file = join(dir, "values.json");
  writeFileSync(file, JSON.stringify(values));
  const ran = run("helm", "template", "site", CHART, "--kube-version", version, "-f", file);
  return { text: ran.status === 0 ? ran.stdout : "", error: ran.stderr };
}

function resources(text: string): Resource[] {
  return parseAllDocuments(text).map((it) => it.toJS() as Resource);
}

/** The validator's verdict on resources of the API itself; those of operators have no schema there. */
function validated(text: string, version: string): { status: number | null; stdout: string } {
  const file = join(dir, "rendered.yaml");
  const own = text.split(/^---$/m).filter((it) => !it.includes("kind: ServiceMonitor"));
  writeFileSync(file, own.join("---\n"));
  const { status, stdout, stderr } = run("kubernetes-validate", "--strict", "-k", version, file);
  return { status, stdout: stdout + stderr };
}

if (needs(t, "helm", "kubernetes-validate")) {
  t.test("every resource fits the schemas of the oldest and the newest Kubernetes", async (t) => {
    for (const [name, values] of Object.entries({ least: { store: { claim: "store" } }, all: ALL })) {
      for (const version of ["1.25.0", NEWEST]) {
        const { text, error } = rendered(values, version);
        t.not(text, "", error);
        const { status, stdout } = validated(text, version);
        t.equal(status, 0, `${name}, ${version}: ${stdout}`);
      }
    }
    const { text } = rendered(ALL);
    const kinds = resources(text).map((it) => it.kind);
    for (const kind of [
      "Deployment",
      "Service",
      "Ingress",
      "PodDisruptionBudget",
      "HorizontalPodAutoscaler",
      "NetworkPolicy",
      "ServiceMonitor",
    ])
      t.ok(kinds.includes(kind), kind);
    const wrong = text.replace("readOnlyRootFilesystem:", "readOnlyRootFileSystem:");
    t.not(validated(wrong, NEWEST).status, 0, "the validator sees a member that does not exist");
  });

  t.test("the ServiceMonitor fits the operator's type", async (t) => {
    const file = join(OPERATOR, "monitoring.coreos.com/v1/ServiceMonitor.js");
    if (!existsSync(file)) return absent(t, "the Prometheus operator's types");
    const { ServiceMonitor } = await import(pathToFileURL(file).href);
    const monitor = resources(rendered(ALL).text).find((it) => it.kind === "ServiceMonitor") as Resource;
    new ServiceMonitor(monitor).validate();
    const [endpoint] = monitor.spec.endpoints;
    t.same([endpoint.path, endpoint.port, endpoint.scheme], ["/metrics", "http", "https"]);
    const wrong = { ...monitor, spec: { ...monitor.spec, endpoints: [{ port: 5 }] } };
    t.throws(() => new ServiceMonitor(wrong).validate());
  });

  t.test("pods have no rights beyond reading the store", async (t) => {
    for (const values of [{ store: { claim: "store", subPath: "a" } }, ALL]) {
      const { spec } = resources(rendered(values).text).find((it) => it.kind === "Deployment") as Resource;
      const pod = spec.template.spec;
      t.equal(pod.automountServiceAccountToken, false);
      t.match(pod.securityContext, { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
      const [container, ...others] = pod.containers;
      t.same(others, []);
      t.same(container.securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      t.ok(container.resources.limits.memory && container.resources.requests.cpu);
      for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
        t.equal(container[probe].httpGet.path, "/healthz");
      }
      t.notMatch(container.image, /:latest$/);
      const mounts = container.volumeMounts.filter((it: { name: string }) => it.name !== "tmp");
      for (const it of mounts) t.equal(it.readOnly, true, it.name);
      const named = pod.volumes.map((it: { name: string }) => it.name).sort();
      t.same(container.volumeMounts.map((it: { name: string }) => it.name).sort(), named);
    }
  });

  t.test("the program knows every argument of the container", async (t) => {
    const { spec } = resources(rendered(ALL).text).find((it) => it.kind === "Deployment") as Resource;
    const args: string[] = spec.template.spec.containers[0].args;
    const help = readFileSync(join(ROOT, "docs", "cli.md"), "utf8").split("## airferry serve\n")[1] ?? "";
    const flags = args.filter((it) => it.startsWith("--"));
    t.ok(flags.length >= 6);
    for (const flag of flags) t.match(help.split("\n## ")[0], new RegExp(`^ +${flag}\\b`, "m"), flag);
    t.same(args.slice(args.indexOf("--tls"), args.indexOf("--tls") + 2), ["--tls", "/tls/tls.crt,/tls/tls.key"]);
    t.same(args.slice(-2), ["--verify-reads", "always"]);
  });

  t.test("values that cannot work are refused", async (t) => {
    const nfs = { server: "a", path: "/b" };
    for (const [values, fault] of [
      [{}, /set exactly one store/],
      [{ store: { claim: "a", nfs } }, /set exactly one store.*got 2/],
      [{ store: { claim: "a" }, url: "airferry.site" }, /url/],
      [{ store: { claim: "a" }, replicas: 0 }, /replicas/],
      [{ store: { claim: "a" }, image: { repository: "a", digest: "sha256:12" } }, /digest/],
      [{ store: { claim: "a" }, autoscaling: { enabled: true, cpu: 0 } }, /autoscaling needs/],
    ] as const) {
      const { text, error } = rendered(values);
      t.equal(text, "");
      t.match(error, fault);
    }
  });

  t.test("the chart is of this version, and helm finds nothing to say", async (t) => {
    const chart = readFileSync(join(CHART, "Chart.yaml"), "utf8");
    t.match(chart, `\nversion: ${VERSION}\n`);
    const lint = run("helm", "lint", "--strict", CHART, "--set", "store.claim=a");
    t.equal(lint.status, 0, lint.stdout);
  });
}
