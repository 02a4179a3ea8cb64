/** Configuration of container clients: IPv6 addresses, short names, what each file says about itself. */
import t from "tap";
import { configFiles } from "../../src/render/config-files.ts";
import { renderRegistriesConf } from "../../src/render/registries-conf.ts";
import { hostsTomlFiles } from "../../src/render/registries-containerd.ts";
import { renderDockerDaemon, renderDockerDaemon25, renderRegistryTrust } from "../../src/render/registries-docker.ts";
import { renderImagePolicy, renderRegistriesD } from "../../src/render/registries-policy.ts";
import { registryPrefix } from "../../src/render/registry-prefix.ts";
import type { RenderInput } from "../../src/render/types.ts";
import { addressOf } from "../../src/render/view.ts";
import { imageOf, inputOf, makeRelease } from "../fixtures/render-input.ts";
import { startServer } from "../fixtures/serving.ts";

const TLS = { baseUrl: "https://mirror.example:9443", privateCa: true };
const inputWith = (references: string[], more: Partial<RenderInput> = TLS) =>
  inputOf([makeRelease("s", [], { images: references.map(imageOf) })], more);

t.test("hosts.toml has the CA for the server too, and says what switches it on", async (t) => {
  const files = hostsTomlFiles(inputWith(["registry.k8s.io/pause:3.9"]));
  t.strictSame(
    files.map((it) => it.path),
    [
      "hosts.toml",
      "certs.d/registry.k8s.io/hosts.toml",
      "certs.d/mirror.example:9443/hosts.toml",
      "certs.d/_default/hosts.toml",
    ],
  );
  const text = files[0]?.text as string;
  t.match(text.replace(/^#.*\n/gm, ""), /^\nserver = "https:\/\/mirror\.example:9443"\nca = ".+"\n\n\[host\."/);
  t.match(text, /^# +\[plugins\.'io\.containerd\.cri\.v1\.images'\.registry\]$/m);
  t.match(text, /^# +\[plugins\."io\.containerd\.grpc\.v1\.cri"\.registry\]$/m);
  t.notMatch(text, /_default/);
  t.match(files.at(-1)?.text, /^# The folder _default applies to every registry .* the site's own/);
  const [plain] = hostsTomlFiles(inputWith(["registry.k8s.io/pause:3.9"], {}));
  t.notMatch(plain?.text, /^ *ca = /m);
});

t.test("Docker Hub's names need no host, and its mirror has a path of its own", async (t) => {
  const hub = inputWith(["docker.io/library/redis:7", "quay.io/x/y:1"]);
  t.match(renderRegistriesConf(hub), /^unqualified-search-registries = \["docker\.io"\]\n\n\[\[registry\]\]/m);
  t.strictSame(JSON.parse(renderDockerDaemon25(hub)), {
    "registry-mirrors": ["https://mirror.example:9443/ns/docker.io"],
  });
  t.strictSame(JSON.parse(renderDockerDaemon(hub)), {}, "quay.io/x/y could be taken for docker.io/x/y");
  t.strictSame(JSON.parse(renderDockerDaemon(inputWith(["docker.io/library/redis:7"], {}))), {
    "registry-mirrors": ["http://192.0.2.10:9000"],
    "insecure-registries": ["192.0.2.10:9000"],
  });
  t.match(renderRegistryTrust(hub), "cp ca.crt '/etc/docker/certs.d/docker.io/ca.crt'");
  const other = inputWith(["quay.io/x/y:1"]);
  t.notMatch(renderRegistriesConf(other), /unqualified/);
  t.strictSame(JSON.parse(renderDockerDaemon(other)), {});
  t.strictSame(JSON.parse(renderDockerDaemon25(other)), {});
  t.notMatch(renderRegistryTrust(other), "docker.io");
});

t.test("a policy lets through what is on the machine already, and nothing else", async (t) => {
  const policy = JSON.parse(renderImagePolicy(inputWith(["quay.io/x/y:1"])));
  t.strictSame(policy.default, [{ type: "reject" }]);
  const { docker, ...local } = policy.transports;
  t.strictSame(Object.keys(docker), ["quay.io", "mirror.example:9443/quay.io"]);
  t.ok("containers-storage" in local);
  for (const scopes of Object.values(local)) t.strictSame(scopes, { "": [{ type: "insecureAcceptAnything" }] });
});

t.test("IPv6 source hosts stay out of what podman reads", async (t) => {
  const input = inputWith(["[2001:db8::1]:5000/lab/x:1", "quay.io/x/y:1"]);
  const conf = renderRegistriesConf(input);
  t.match(conf, /^# \[2001:db8::1\]:5000 was packed too/m);
  for (const text of [conf, renderImagePolicy(input), renderRegistriesD(input)]) {
    t.notMatch(text.replace(/^#.*$/gm, ""), /2001/);
    t.match(text, /quay\.io/);
  }
});

t.test("an IPv6 address of the server is refused by these alone, and the other files are still there", async (t) => {
  const baseUrl = "https://[2001:db8::10]:9443";
  const refused: string[] = [];
  for (const file of configFiles(inputWith(["docker.io/library/redis:7"], { ...TLS, baseUrl }), async () => "")) {
    await file.make().catch((error) => {
      if (!/IPv6/.test(error.message)) return;
      t.match(error, { code: "ERR_RENDER", hint: "give the server a name: --url https://HOST:9443" });
      refused.push(file.path);
    });
  }
  t.strictSame(refused, ["registries.conf", "openshift-mirrors.yaml", "policy.json", "registries.d/airferry.yaml"]);

  const images = [imageOf("docker.io/library/redis:7")];
  const { url } = await startServer(t, [{ stream: "s", content: {}, catalog: { images } }], { url: baseUrl });
  const page = await (await fetch(`${url}/config/`)).text();
  t.match(page, 'href="/config/hosts.toml"');
  t.notMatch(page, 'href="/config/policy.json"');
  t.equal((await fetch(`${url}/config/docker-daemon.json`)).status, 200);
  const answer = await fetch(`${url}/config/registries.conf`);
  t.equal(answer.status, 404);
  t.match(await answer.text(), /accept no IPv6 address as a registry\ngive the server a name/);
});

t.test("the address in references has a port where a name alone would be a repository of Docker Hub", async (t) => {
  for (const [url, authority] of new Map([
    ["https://mirror", "mirror:443"],
    ["http://mirror", "mirror:80"],
    ["http://mirror:9000", "mirror:9000"],
    ["https://mirror.example", "mirror.example"],
    ["https://192.0.2.10", "192.0.2.10"],
    ["https://[2001:db8::10]", "[2001:db8::10]"],
    ["http://localhost", "localhost"],
  ]))
    t.equal(addressOf(url).authority, authority, url);
});

t.test("where the control-plane images stand", async (t) => {
  for (const [reference, prefix] of new Map([
    ["registry.k8s.io/kube-apiserver:v1.33.4", "registry.k8s.io"],
    ["registry.example.com:5000/mirror/k8s/kube-apiserver:v1.33.4", "registry.example.com_5000/mirror/k8s"],
    ["[2001:db8::1]:5000/k8s/kube-apiserver:v1.33.4", "2001_db8__1_5000/k8s"],
    ["[::1]/kube-apiserver", "0__1"],
    [`k8s/kube-apiserver@sha256:${"0".repeat(64)}`, "docker.io/k8s"],
  ])) {
    const release = makeRelease("s", [], {
      images: [imageOf("quay.io/x/not-kube-apiserver:v1.33.4"), imageOf(reference)],
    });
    t.equal(registryPrefix(release), prefix, reference);
    t.equal(registryPrefix(release, "9.9.9"), reference.includes("@") ? prefix : undefined, reference);
  }
});

t.test("the front page names images of IPv6 registries as they are served", async (t) => {
  const images = [imageOf("[2001:db8::1]:5000/lab/x:1")];
  const { url } = await startServer(t, [{ stream: "s", content: {}, catalog: { images } }]);
  t.match(await (await fetch(url)).text(), `${new URL(url).host}/2001_db8__1_5000/lab/x:1`);
});
