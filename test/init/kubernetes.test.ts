/** src/init/kubernetes.ts: images of pods in every kind of object, and what may be images elsewhere. */
import t from "tap";
import { readSource } from "../../src/init/recognise.ts";

const DIGEST = `sha256:${"7f".repeat(32)}`;

t.test("takes the images of pods wherever an object has them", async (t) => {
  const pod = (image: string) => `{containers: [{name: x, image: "${image}"}]}`;
  const text = `apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, spec: ${pod("a/pod:1")}}
- {apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: {spec: ${pod("a/cron:1")}}}}}}
- {apiVersion: v1, kind: PodTemplate, template: {spec: ${pod("a/template:1")}}}
- {apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {template: {spec: ${pod(`a/rollout:1.30@${DIGEST}`)}}}}
---
apiVersion: apps/v1
kind: DaemonSet
spec:
  template:
    spec:
      initContainers: [{image: a/init:1}]
      ephemeralContainers: [{image: a/debug:1}]
      volumes: [{image: {reference: a/volume:1}}, {emptyDir: {}}]
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
spec: {url: oci://ghcr.io/x/manifests, ref: {tag: 6.40}}
`;
  t.same(
    readSource(text, "f").images.map((it) => [it.line, it.entry.ref]),
    [
      [4, "a/pod:1"],
      [5, "a/cron:1"],
      [6, "a/template:1"],
      [7, `a/rollout:1.30@${DIGEST}`],
      [14, "a/init:1"],
      [15, "a/debug:1"],
      [16, "a/volume:1"],
      [20, "ghcr.io/x/manifests:6.40"],
    ],
  );
});

t.test("lists what may be an image, what is a template, and charts that are rendered inside", async (t) => {
  const text = `apiVersion: v1
kind: Pod
spec:
  containers:
  - {image: "quay.io/a/b:1", args: ["--reloader=quay.io/x/reloader:v1", "--again=quay.io/a/b:1"]}
  - {image: "{{ .Values.x }}"}
---
apiVersion: v1
kind: ConfigMap
data: {c: "image: docker.io/istio/proxyv2:1.20"}
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
spec: {image: prometheus:v2.50, version: 1.2, baseImage: quay.io/prometheus/prometheus}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: x}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec: {default: {image: quay.io/a/schema:1}}
`;
  const found = readSource(text, "f");
  t.same(
    found.images.map((it) => it.entry.ref),
    ["quay.io/a/b:1"],
  );
  t.match(
    found.skipped.map((it) => `${it.line}: ${it.what}: ${it.why}`),
    [
      /^6: \{\{ .Values.x \}\}: it is a template/,
      /^5: quay.io\/x\/reloader:v1: Pod spec.containers.0.args.0 may be an image/,
      /^10: docker.io\/istio\/proxyv2:1.20: ConfigMap data.c may be/,
      /^14: prometheus:v2.50: Prometheus spec.image may be/,
      /^14: quay.io\/prometheus\/prometheus: Prometheus spec.baseImage may be/,
      /^17: HelmRelease x: a chart that is rendered inside/,
    ],
  );
  t.equal(found.skipped.length, 6);
});

t.test("lists short names too, where a key, flag, variable or the values of a chart name an image", async (t) => {
  const text = `apiVersion: redis.example/v1
kind: Redis
spec: {image: redis, sidecarImage: "{{ .x }}", replicas: 1, image2: no/x, sizeOfImage: 12}
---
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
      - image: a/b:1
        args: [--proxy-image=envoy:1, --image-size=x]
        env: [{name: RELATED_IMAGE, value: helper:1}, {name: OTHER, value: text:1}]
---
apiVersion: v1
kind: ConfigMap
data: {c: "spec:\\n  containers:\\n  - image: 'inner:1' \\n"}
---
image: {repository: nginx, tag: 1}
services: {db: {image: postgres}}
`;
  const found = readSource(text, "f");
  t.same(
    found.skipped.map((it) => `${it.line}: ${it.what}`),
    ["3: redis", "3: {{ .x }}", "12: envoy:1", "13: helper:1", "17: inner:1", "19: nginx", "20: postgres"],
  );
});

t.test("kubeadm's own document", async (t) => {
  const text = '{"kind":"Images","apiVersion":"output.kubeadm.k8s.io/v1beta3","images":["registry.k8s.io/pause:3.10"]}';
  const found = readSource(text, "f");
  t.match(found.images, [{ entry: { ref: "registry.k8s.io/pause:3.10" } }]);
  t.equal(found.skipped.length, 0);
  t.match(readSource(text.replace(/\[.*\]/, '"x"'), "f").skipped, [{ what: "images", why: /expected a list/ }]);
});
