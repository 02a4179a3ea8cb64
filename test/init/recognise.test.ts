/** src/init/recognise.ts: formats by content, whatever a file is called, and what no reader may do with hostile ones. */
import t from "tap";
import { readSource } from "../../src/init/recognise.ts";

const refs = (text: string) => readSource(text, "f").images.map((it) => it.entry.ref ?? it.entry.chart);
const skipped = (text: string) => readSource(text, "f").skipped.map((it) => `${it.line}: ${it.what}: ${it.why}`);

t.test("recognises every format by its content", async (t) => {
  const formats = new Map([
    ["%packages\nvim\n%end\n", "kickstart"],
    ["url --url=http://x/\nrootpw x\n", "kickstart"],
    ["[a]\nbaseurl=http://x/\n", "dnf repository file"],
    ["\uFEFFregistry.k8s.io/pause:3.9\nbusybox\n", "image list"],
    ["bash-5.1.8-9.el9.x86_64\ngpg-pubkey-1-2\n", "rpm -qa"],
    ["apiVersion: v1\nkind: Pod\nspec: {}\n", "Kubernetes YAML"],
    ['{"apiVersion": "v1", "kind": "Pod", "spec": {}}', "Kubernetes YAML"],
    ["apiVersion: content.hauler.cattle.io/v1\nkind: Images\n", "hauler"],
    ["kind: ZarfPackageConfig\ncomponents: []\n", "zarf"],
    ["kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror: {}\n", "oc-mirror"],
    ["-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "OpenPGP key"],
  ]);
  for (const [text, format] of formats) t.same(readSource(text, "f").formats, [format], format);
  const both = "apiVersion: v1\nkind: Pod\n---\nkind: ZarfPackageConfig\n--- # x\napiVersion: airferry/v1\nkind: x\n";
  t.same(readSource(both, "f").formats, ["Kubernetes YAML", "zarf", "airferry"]);
});

t.test("says what it does not recognise", async (t) => {
  t.match(skipped(""), ["1: the file: it is empty"]);
  t.match(skipped("a\0b"), ["1: the file: it is not text"]);
  t.match(skipped("FROM a/b:1\nRUN x y\n"), [/^1: the file: not recognised: expected a kickstart file/]);
  t.match(skipped("bash\nvim\n"), [/not recognised/], "bare words may be packages as well as images");
  t.match(skipped("replicas: 1\nname: x\n"), [/1: a document: not recognised: it has no apiVersion/]);
  t.match(skipped("image: quay.io/a/b:1\n"), [/^1: quay.io\/a\/b:1: image may be an image/]);
  t.match(skipped("apiVersion: airferry/v1\nkind: x\n"), [/it is one already/]);
});

t.test("one list of images: comments, schemes, and lines that are none", async (t) => {
  const text = `# all\ndocker://quay.io/a/b:1 # why\r\nUPPER/x:1\na b\nuser:secret@host/x\n$REG/x:1\n\nquay.io/a/b@sha256:1\n${"quay.io/a/b:1\n".repeat(6)}`;
  t.same(new Set(refs(text)), new Set(["quay.io/a/b:1"]));
  t.match(skipped(text), [
    /^3: UPPER\/x:1: not an image reference: /,
    /^4: a b: several words/,
    /^5: \*\*\*@host\/x: not an image/,
    /^6: .*: it is a template: \$REG has no value/,
    /^8: quay.io\/a\/b@sha256:1: not an image/,
  ]);
  t.notMatch(skipped(text).join(), /secret/);
});

t.test("rpm -qa: exact packages, epochs where rpm has them, and the release", async (t) => {
  const text =
    "bash-5.1.8-9.el9.x86_64\n1:openssl-3.0.7-27.el9.x86_64\ngpg-pubkey-8483c65d-5ccc5b19\ntzdata-2024a-1.el9.noarch\n???\n";
  const found = readSource(text, "f");
  t.same(
    found.packages.wanted.map((it) => it.spec),
    ["bash-5.1.8-9.el9.x86_64", "openssl-1:3.0.7-27.el9.x86_64", "tzdata-2024a-1.el9.noarch"],
  );
  t.same(found.releases, ["9"]);
  t.match(skipped(text), [/^3: gpg-pubkey-.*not a package/, /^5: \?\?\?: not a package/]);
});

t.test("one document does not affect the others, and lines are the file's", async (t) => {
  const pod = "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: IMAGE}]}\n";
  const text = `# first\n---\n${pod.replace("IMAGE", "quay.io/a:1")}---\na: [b\n--- # third\n${pod.replace("IMAGE", "quay.io/b:1")}...\n`;
  const found = readSource(text, "f");
  t.same(
    found.images.map((it) => [it.entry.ref, it.line]),
    [
      ["quay.io/a:1", 5],
      ["quay.io/b:1", 11],
    ],
  );
  t.match(skipped(text), [/^7: a document: cannot be read as YAML/]);
  t.match(skipped("a: {{ .Values.x }}\n  - {{ y }}\n"), [/a chart's template: render it with helm template/]);
});

t.test("hostile files: bounded, and nothing of them reaches a terminal", async (t) => {
  const bomb = `apiVersion: v1\nkind: Pod\na: &a [x, x]\n${Array.from({ length: 30 }, (_, at) => `b${at}: &b${at} [*a, *a]`).join("\n")}\nspec: {containers: *a}\n`;
  t.same(refs(bomb), []);
  const deep = `apiVersion: v1\nkind: Pod\nspec: ${"[".repeat(20_000)}`;
  t.match(skipped(deep), [/cannot be read as YAML/]);
  const cyclic = "apiVersion: v1\nkind: List\nitems: &i\n- apiVersion: v1\n  kind: List\n  items: *i\n";
  t.same(refs(cyclic), [], "a list in itself");
  const many = `${"quay.io/a:1\n".repeat(1500)}${"quay.io/c d\n".repeat(1501)}`;
  const found = readSource(many, "f");
  t.equal(found.skipped.length, 1000);
  t.equal(found.more, 501);
  const escapes = skipped("quay.io/a:1\nquay.io/b:1\n\u001b[31mred\u0007\n").join();
  t.match(escapes, /\\u\{1b\}\[31mred/);
  t.notMatch(escapes, /\p{Cc}/u);
  const started = process.cpuUsage();
  for (const text of ["dnf ".repeat(50_000), "\n".repeat(200_000), "#".repeat(200_000), "a-".repeat(50_000)]) {
    readSource(`%post\n${text}\n%end\n`, "f");
    readSource(text, "f");
    readSource(`a: 1\n${text}`, "f");
  }
  t.ok(process.cpuUsage(started).user < 5_000_000, "no time beyond the linear");
});
