/**
 * Mirror configuration for k3s, RKE2, BuildKit, osbuild, Talos and OpenShift, read by these programs' own code or checked
 * against the schemas that they publish (scripts/lib/config-consumers.sh).
 */
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { renderComposerRepositories } from "../../src/render/composer-repositories.ts";
import { renderBuildkitd } from "../../src/render/registries-buildkit.ts";
import { renderK3sRegistries } from "../../src/render/registries-k3s.ts";
import { renderOpenshiftMirrors } from "../../src/render/registries-openshift.ts";
import { renderTalosMirrors } from "../../src/render/registries-talos.ts";
import type { RenderInput } from "../../src/render/types.ts";
import { absent, CLIENTS_BIN, clientPath, needs } from "../fixtures/clients.ts";
import { EL_TREE, imageOf, inputOf, makeRelease, rockyCapi } from "../fixtures/render-input.ts";

const HOSTS = ["docker.io", "quay.io", "registry.example.com:5000", "registry.k8s.io"];
const IMAGES = [
  "docker.io/library/redis:7",
  "quay.io/x/y:1",
  "registry.example.com:5000/lab/app:1",
  "registry.k8s.io/pause:3.9",
];
const input = (more: Partial<RenderInput> = {}) =>
  inputOf([makeRelease("s", [], { images: IMAGES.map(imageOf) })], more);
const PLAIN = input();
const TLS = input({ baseUrl: "https://mirror.example:9443", privateCa: true });
const SCHEMAS = join(CLIENTS_BIN, "../consumers/schemas");
const CHECK = join(import.meta.dirname, "../../scripts/consumers/check-schema.py");

function fileOf(t: Test, text: string): string {
  const file = join(t.testdir({}), "rendered");
  writeFileSync(file, text);
  return file;
}

/** What a program's own code reads out of a text. */
function consumed(t: Test, name: string, text: string) {
  return JSON.parse(execFileSync(clientPath(`consume-${name}`) as string, [fileOf(t, text)], { encoding: "utf8" }));
}

/** The fault that a schema finds; undefined: none. */
function fault(t: Test, schema: string, text: string, ...kind: string[]): string | undefined {
  try {
    execFileSync("python3", [CHECK, join(SCHEMAS, schema), fileOf(t, text), ...kind], { stdio: "pipe" });
    return undefined;
  } catch (error) {
    return String((error as { stderr: Buffer }).stderr);
  }
}

t.test("k3s and RKE2 read every registry's endpoint, and the CA", async (t) => {
  if (!needs(t, "consume-k3s")) return;
  for (const [rendered, url] of [
    [PLAIN, "http://192.0.2.10:9000"],
    [TLS, "https://mirror.example:9443"],
  ] as const) {
    const { mirrors } = consumed(t, "k3s", renderK3sRegistries(rendered));
    t.strictSame(Object.keys(mirrors).sort(), HOSTS);
    for (const host of HOSTS) t.strictSame(mirrors[host].endpoint, [url]);
  }
  const { configs } = consumed(t, "k3s", renderK3sRegistries(TLS));
  t.equal(configs["mirror.example:9443"].tls.ca_file, "/etc/pki/ca-trust/source/anchors/airferry-ca.crt");
  t.notOk(consumed(t, "k3s", renderK3sRegistries(PLAIN)).configs);
});

t.test("BuildKit reads mirrors, and how to reach this server", async (t) => {
  if (!needs(t, "consume-buildkit")) return;
  const plain = consumed(t, "buildkit", renderBuildkitd(PLAIN));
  for (const host of HOSTS) t.strictSame(plain[host].Mirrors, ["192.0.2.10:9000"]);
  t.equal(plain["192.0.2.10:9000"].PlainHTTP, true);
  const tls = consumed(t, "buildkit", renderBuildkitd(TLS));
  t.strictSame(tls["mirror.example:9443"].RootCAs, ["/etc/pki/ca-trust/source/anchors/airferry-ca.crt"]);
});

t.test("osbuild reads repositories by architecture, with their keys", async (t) => {
  if (!needs(t, "consume-composer")) return;
  const key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxxxx\n-----END PGP PUBLIC KEY BLOCK-----";
  const tree = { ...EL_TREE, arch: "aarch64", keyTexts: new Map([["RPM-GPG-KEY-Rocky-9", key]]) };
  const release = rockyCapi();
  const rendered = inputOf([release], { trees: new Map([[digestOf("isos/rocky-9.iso"), tree]]) });
  const read = consumed(t, "composer", await renderComposerRepositories(rendered, async () => key));
  t.strictSame(Object.keys(read).sort(), ["aarch64", "x86_64"]);
  const [kubernetes, unsigned] = read.x86_64;
  t.match(kubernetes, { name: "airferry-kubernetes", check_gpg: true, metadata_expire: "1m" });
  t.strictSame(kubernetes.gpgkeys, [`${key}\n`]);
  t.match(unsigned, { check_gpg: false, module_hotfixes: true });
  t.match(read.aarch64[0].baseurls, [/\/isos\/rocky-9\/AppStream\/$/]);
});

t.test("a repository that is checked and has no key is refused", async (t) => {
  const failure = await renderComposerRepositories(inputOf([rockyCapi()]), async () => "key").catch((it) => it);
  t.match(failure, { code: "ERR_RENDER", message: /AppStream.* has no packed key/ });
  const none = await renderComposerRepositories(PLAIN, async () => "").catch((it) => it);
  t.match(none, { code: "ERR_RENDER", message: /no RPM repository is in the store/ });
});

t.test("Talos takes the patch, falls back nowhere, and its schema refuses what it does not know", async (t) => {
  if (!existsSync(join(SCHEMAS, "talos.json"))) return absent(t, "the schema of Talos");
  for (const rendered of [PLAIN, TLS]) {
    const text = renderTalosMirrors(rendered);
    t.equal(fault(t, "talos.json", text), undefined);
    for (const host of HOSTS)
      t.match(text, `"${host}":\n        endpoints:\n          - "${rendered.baseUrl}"\n        skipFallback: true`);
    t.match(fault(t, "talos.json", text.replace("skipFallback", "skipFallbacks")), /skipFallbacks/);
  }
});

t.test("OpenShift takes both mirror sets, and its definitions refuse what they do not know", async (t) => {
  if (!existsSync(join(SCHEMAS, "openshift-tag.yaml"))) return absent(t, "the definitions of OpenShift");
  for (const rendered of [PLAIN, TLS]) {
    const text = renderOpenshiftMirrors(rendered);
    t.equal(fault(t, "openshift-digest.yaml", text, "ImageDigestMirrorSet"), undefined);
    t.equal(fault(t, "openshift-tag.yaml", text, "ImageTagMirrorSet"), undefined);
    t.match(text, "- source: registry.example.com:5000\n      mirrors:\n");
    t.match(text, "/registry.example.com_5000\n");
    t.match(fault(t, "openshift-tag.yaml", text.replaceAll("mirrors:", "mirror:"), "ImageTagMirrorSet"), /mirror/);
    t.match(
      fault(t, "openshift-tag.yaml", text.replaceAll("NeverContact", "NeverAsk"), "ImageTagMirrorSet"),
      /NeverAsk/,
    );
  }
  t.match(renderOpenshiftMirrors(TLS), "--from-file='mirror.example..9443'=ca.crt");
  t.match(renderOpenshiftMirrors(PLAIN), '"insecureRegistries":["192.0.2.10:9000"]');
});
