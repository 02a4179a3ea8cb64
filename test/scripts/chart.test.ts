/**
 * packaging/chart: what Helm makes of it, against the API's own schemas and the operator's, and the arguments of the container
 * against the program.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t from "tap";
import { parseAllDocuments } from "yaml";
import { cacheBytes, prepareCache } from "../../src/cache/cache-folder.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { VERSION } from "../../src/version.ts";
import { ALL, BUCKETS, CHART, ROLE } from "../fixtures/chart-values.ts";
import { absent, CLIENTS_BIN, clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { ROOT, scratch } from "../fixtures/program.ts";

const OPERATOR = join(CLIENTS_BIN, "../prometheus-operator/node_modules/@kubernetes-models/prometheus-operator");
const NEWEST = "1.37.0";

interface Resource {
  kind: string;
  metadata: { name: string; annotations?: object };
  // biome-ignore lint/suspicious/noExplicitAny: any kind of resource
  spec: any;
}

const dir = scratch(t, "airferry-chart");
const run = (program: string, ...args: string[]) =>
  spawnSync(clientPath(program) ?? program, args, { encoding: "utf8", env: clientEnv({ HOME: dir }) });

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

function podOf(values: object): Resource["spec"] {
  const { text, error } = rendered(values);
  const found = resources(text).find((it) => it.kind === "Deployment");
  if (found === undefined) throw new Error(error);
  return found.spec.template.spec;
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
    for (const [name, values] of Object.entries({ least: { store: { claim: "store" } }, all: ALL, ...BUCKETS })) {
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

  t.test("kube-score finds nothing that is not as it is for a reason", async (t) => {
    if (!needs(t, "kube-score")) return;
    const reasons = {
      "container-image-pull-policy":
        "tags do not move, and pods start while the registry is away, which may be this server",
      "pod-probes-identical":
        "one path tells both; pods are started again only after a minute, when left out since 45 s",
    };
    const score = (values: object) => {
      const file = join(dir, "scored.yaml");
      writeFileSync(file, rendered(values).text);
      const { stdout } = run(
        "kube-score",
        ...["score", "--kubernetes-version", "v1.37", "--ignore-container-cpu-limit", "-o", "json", file],
      );
      interface Scored {
        object_name: string;
        checks: { check: { id: string }; grade: number; skipped: boolean; comments: { summary: string }[] | null }[];
      }
      return (JSON.parse(stdout) as Scored[]).flatMap(({ object_name: name, checks }) =>
        checks
          .filter((it) => !it.skipped && it.grade < 10)
          .map((it) => `${name} ${it.check.id}: ${it.comments?.map((comment) => comment.summary).join("; ")}`),
      );
    };
    for (const [name, values] of Object.entries({ least: { store: { claim: "store" } }, all: ALL, ...BUCKETS })) {
      const found = score(values).filter((it) => !Object.keys(reasons).some((id) => it.includes(` ${id}: `)));
      t.same(found, [], name);
    }
    const lax = score({ store: { claim: "a" }, networkPolicy: { enabled: false } });
    t.ok(
      lax.some((it) => it.includes("pod-networkpolicy")),
      "it sees what is missing",
    );
  });

  t.test("a pod has room for what it writes, and what the values say of it wins", (t) => {
    const of = (values: object) => podOf(values).containers[0].resources;
    t.match(of({ store: { claim: "a" } }), {
      requests: { cpu: "250m", "ephemeral-storage": "64Mi" },
      limits: { memory: "768Mi", "ephemeral-storage": "256Mi" },
    });
    const cache = 251 * 1024;
    t.match(of(BUCKETS.site), {
      requests: { "ephemeral-storage": `${cache + 64}Mi` },
      limits: { "ephemeral-storage": `${cache + 256}Mi` },
    });
    t.equal(of(BUCKETS.shared).limits["ephemeral-storage"], "256Mi", "a claim is not on the node's disk");
    const own = { requests: { memory: "1Gi" }, limits: { "ephemeral-storage": "1Gi", cpu: "2" } };
    t.match(of({ store: { claim: "a" }, resources: own }), own);
    t.end();
  });

  t.test("pods that end serve until those who send clients there know of it", (t) => {
    const ends = (version: string) => {
      const found = resources(rendered({ store: { claim: "a" } }, version).text).find((it) => it.kind === "Deployment");
      const { terminationGracePeriodSeconds: seconds, containers } = found?.spec.template.spec ?? {};
      return [seconds, containers?.[0].lifecycle];
    };
    t.same(ends(NEWEST), [50, { preStop: { sleep: { seconds: 5 } } }]);
    t.same(ends("1.25.0"), [50, undefined], "it has no such action");
    t.end();
  });

  t.test("pods have no rights beyond reading the store", async (t) => {
    for (const values of [{ store: { claim: "store", subPath: "a" } }, ALL, ...Object.values(BUCKETS)]) {
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
      const mounts = container.volumeMounts.filter((it: { name: string }) => !["tmp", "cache"].includes(it.name));
      for (const it of mounts) t.equal(it.readOnly, true, it.name);
      const named = pod.volumes.map((it: { name: string }) => it.name).sort();
      t.same(container.volumeMounts.map((it: { name: string }) => it.name).sort(), named);
    }
  });

  t.test("the program knows every argument of the container", async (t) => {
    const { args } = podOf(ALL).containers[0];
    const help = readFileSync(join(ROOT, "docs", "cli.md"), "utf8").split("## airferry serve\n")[1] ?? "";
    const flags = [...args, ...podOf(BUCKETS.site).containers[0].args].filter((it: string) => it.startsWith("--"));
    t.ok(flags.length >= 14);
    for (const flag of flags) t.match(help.split("\n## ")[0], new RegExp(`^ +${flag}\\b`, "m"), flag);
    t.same(args.slice(args.indexOf("--tls"), args.indexOf("--tls") + 2), ["--tls", "/tls/tls.crt,/tls/tls.key"]);
    t.same(args.slice(-2), ["--verify-reads", "always"]);
  });

  t.test("a store in a bucket has a name that the program takes, a cache, keys, and a way out", async (t) => {
    const ports = (values: object) =>
      resources(rendered(values).text)
        .find((it) => it.kind === "NetworkPolicy")
        ?.spec.egress.map((it: { ports: { port: number }[]; to?: unknown }) => [...it.ports.map((p) => p.port), it.to]);
    const site = podOf(BUCKETS.site);
    const [container] = site.containers;
    const after = (flag: string, of = container) => of.args[of.args.indexOf(flag) + 1];
    const { name, ...target } = parseS3Target(after("--store"), {});
    t.same([name, target.ca, target.prefix], [after("--store"), "/bucket-ca/ca.crt", "site/a"]);
    t.same([after("--cache"), cacheBytes(after("--cache-size"))], ["/cache/store", 200 * 1024 ** 3]);
    const key = (it: string) => ({ name: it, valueFrom: { secretKeyRef: { name: "bucket-keys", key: it } } });
    t.same(container.env, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(key));
    t.match(site.volumes, [{ name: "cache", emptyDir: { sizeLimit: `${251 * 1024}Mi` } }, { name: "bucket-ca" }]);
    t.equal(site.serviceAccountName, undefined);
    t.same(ports(BUCKETS.site), [
      [53, 53, undefined],
      [9443, [{ ipBlock: { cidr: "10.0.0.7/32" } }]],
    ]);

    const aws = podOf(BUCKETS.aws);
    t.equal(after("--store", aws.containers[0]), "s3://airferry?region=eu-central-1");
    t.equal(parseS3Target(after("--store", aws.containers[0]), {}).endpoint, undefined);
    const account = resources(rendered(BUCKETS.aws).text).find((it) => it.kind === "ServiceAccount");
    t.match(account?.metadata, { name: aws.serviceAccountName, annotations: ROLE });
    t.equal(aws.containers[0].env, undefined);
    t.same(ports(BUCKETS.aws), [
      [53, 53, undefined],
      [443, undefined],
      [443, undefined],
    ]);

    const shared = podOf(BUCKETS.shared);
    t.match(shared, { serviceAccountName: "own", volumes: [{ persistentVolumeClaim: { claimName: "cache" } }] });
    t.notOk(resources(rendered(BUCKETS.shared).text).some((it) => it.kind === "ServiceAccount"));
    t.same(ports(BUCKETS.shared), [
      [53, 53, undefined],
      [9000, undefined],
      [443, undefined],
    ]);
    t.same(ports({ store: { claim: "a" } }), []);

    // As a volume is for a pod with a group: everybody can write to it, so the cache is a folder in it.
    const volume = join(dir, "volume");
    mkdirSync(volume);
    chmodSync(volume, 0o2777);
    t.equal(await prepareCache(join(volume, "store"), name), join(volume, "store"));
    await t.rejects(prepareCache(volume, name), { code: "ERR_USAGE" });
  });

  t.test("values that cannot work are refused", async (t) => {
    const s3 = { bucket: "abc", endpoint: "https://s3", credentialsSecret: "k" };
    const nfs = { server: "a", path: "/b" };
    for (const [values, fault] of [
      [{}, /set exactly one store/],
      [{ store: { claim: "a", nfs } }, /set exactly one store.*got 2/],
      [{ store: { claim: "a", s3 } }, /set exactly one store.*got 2/],
      [{ store: { s3, subPath: "a" } }, /store.s3.prefix/],
      [{ store: { s3: { ...s3, credentialsSecret: "" } } }, /say who the pods are/],
      [{ store: { s3: { ...s3, serviceAccountName: "a" } } }, /say who the pods are/],
      [{ store: { s3: { ...s3, endpoint: "" } } }, /store.s3.region/],
      [{ store: { s3: { ...s3, endpoint: "http://s3", caSecret: "a" } } }, /caSecret needs/],
      [{ store: { s3: { ...s3, endpoint: "https://k:v@s3" } } }, /endpoint/],
      [{ store: { s3: { ...s3, bucket: "a/b" } } }, /bucket/],
      [{ store: { s3: { ...s3, prefix: "/a" } } }, /prefix/],
      [{ store: { s3: { ...s3, cache: { size: "10Gi" } } } }, /size/],
      [{ store: { s3: { ...s3, cache: { size: "63MiB" } } } }, /64MiB or more/],
      [{ store: { claim: "a" }, url: "airferry.site" }, /url/],
      [{ store: { claim: "a" }, replicas: 0 }, /replicas/],
      [{ store: { claim: "a" }, podDisruptionBudget: { minAvailable: 1 } }, /minAvailable/],
      [{ store: { claim: "a" }, podDisruptionBudget: { maxUnavailable: 0 } }, /maxUnavailable/],
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
