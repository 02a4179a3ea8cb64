/** src/init/merge.ts: several files as one manifest: images and files once, packages where they are, keys and variables. */
import t from "tap";
import type { FoundContent } from "../../src/init/found.ts";
import { mergeFound } from "../../src/init/merge.ts";
import { readSource } from "../../src/init/recognise.ts";

const OPTIONS = { vars: {}, platforms: [], keyPaths: new Map<string, string>() };

function merge(texts: Record<string, string>, options: Partial<Parameters<typeof mergeFound>[1]> = {}) {
  const found: FoundContent[] = Object.entries(texts).map(([file, text]) => readSource(text, file));
  const merged = mergeFound(found, { ...OPTIONS, ...options });
  return {
    ...merged,
    rpms: merged.rpms.map((it) => it.entry),
    files: merged.files.map((it) => it.entry),
    images: merged.images.map((it) => it.entry),
    skipped: merged.skipped.map((it) => `${it.file}:${it.line}: ${it.what}: ${it.why}`),
  };
}

const KS = "url --url=http://x.example/rocky/9/BaseOS/x86_64/os\n%packages\nvim\n-nano\n%end\n";
const REPO = `[base]
baseurl=http://x.example/rocky/9/BaseOS/x86_64/os/
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-9
[apps]
mirrorlist=http://m.example/?repo=apps-$releasever$rltype&arch=$basearch
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-9
`;

t.test("an image once by all its spellings, for all platforms that anybody wants", async (t) => {
  const hauler = (platform: string) =>
    `apiVersion: content.hauler.cattle.io/v1\nkind: Images\nspec: {images: [{name: "busybox:latest", platform: ${platform}}]}\n`;
  t.same(merge({ a: "docker.io/library/busybox\n", b: "index.docker.io/busybox:latest\n" }).images, [
    { ref: "docker.io/library/busybox" },
  ]);
  const both = merge({ a: hauler("linux/amd64"), b: hauler("linux/arm64") });
  t.same(both.images, [{ ref: "busybox:latest", platforms: ["linux/amd64", "linux/arm64"] }]);
  t.same(merge({ a: hauler("linux/amd64"), b: "busybox:latest\nx/y\n" }).images[0], { ref: "busybox:latest" });
  const given = merge({ a: hauler("linux/arm64"), b: "x/y:1\n" }, { platforms: ["linux/amd64"] });
  t.same(given.images, [
    { ref: "busybox:latest", platforms: ["linux/arm64"] },
    { ref: "x/y:1", platforms: ["linux/amd64"] },
  ]);
});

t.test("charts of one name and version have one repository", async (t) => {
  const chart = (url: string) =>
    `apiVersion: content.hauler.cattle.io/v1\nkind: Charts\nspec: {charts: [{name: c, repoURL: "${url}", version: 1.0}]}\n`;
  const { images, skipped } = merge({ a: chart("https://a.example/"), b: chart("https://b.example/") });
  t.same(images, [{ chart: "c", repo: "https://a.example/", version: "1.0" }]);
  t.match(skipped, [/^b:3: chart c of https:\/\/b.example\/: a chart of the same name/]);
});

t.test("packages of a kickstart file go to its own repository, which a .repo file may name too", async (t) => {
  t.match(merge({ ks: KS }).rpms, [
    {
      name: "BaseOS",
      keys: ["https://dl.rockylinux.org/pub/rocky/RPM-GPG-KEY-Rocky-9"],
      packages: ["@core", "vim"],
      packages_from: undefined,
      exclude: ["nano"],
      weak_deps: "recommends",
    },
  ]);
  const both = merge({ ks: KS, repo: REPO });
  t.match(both.rpms, [
    { name: "BaseOS", packages: ["@core", "vim"], packages_from: "any" },
    { name: "apps", packages: [], exclude: ["nano"], vars: { releasever: "9", rltype: "" } },
  ]);
  t.match(both.notes.join("\n"), /ks: the installer adds packages.*\n.*apps: only what the requested packages/);
});

t.test("packages without a repository of their own go to a .repo file's, or are listed", async (t) => {
  const list = "vim-9-1.el9.aarch64\nbash-5-1.el9.aarch64\n";
  t.match(merge({ list, repo: REPO }).rpms, [
    {
      name: "base",
      packages: ["vim-9-1.el9.aarch64", "bash-5-1.el9.aarch64"],
      packages_from: "any",
      arch: ["aarch64"],
    },
    { name: "apps", packages: [], arch: ["aarch64"] },
  ]);
  t.same(merge({ list }).skipped, [
    "list:1: vim-9-1.el9.aarch64: it needs a repository: give a .repo file that has it too",
    "list:2: bash-5-1.el9.aarch64: it needs a repository: give a .repo file that has it too",
  ]);
  const alone = merge({ repo: REPO });
  t.same(
    alone.rpms.map((it) => it.packages),
    [undefined, undefined],
  );
  t.match(alone.notes, [/base is carried whole/, /apps is carried whole/]);
});

t.test("a DVD: listed when it is not given, and where packages come from when it is", async (t) => {
  const ks = "cdrom\n%packages\nvim\n%end\n";
  t.match(merge({ ks }).skipped, [
    /^ks:1: installation DVD: .*--iso/,
    /^ks:2: @core: it needs a repository/,
    /^ks:3: vim: it needs/,
  ]);
  const iso = { name: "dvd", path: "x.iso", packages: true };
  const given = merge({ ks }, { iso });
  t.same(given.skipped, []);
  t.match(given.isos, [{ entry: iso }]);
  t.match(given.notes, [/2 packages and groups are to come from the DVD/]);
  t.match(merge({ ks: `${ks}url --url=http://x.example/a/\n` }, { iso }).rpms, [{ packages_from: "any" }]);
});

t.test("variables and keys: given, known, or listed with what to give", async (t) => {
  const repo = "[a]\nbaseurl=http://x.example/$releasever/$basearch/\ngpgkey=file:///etc/RPM-GPG-KEY-own\n";
  t.match(merge({ repo }).skipped, [/^repo:1: repository a: its key .* --from RPM-GPG-KEY-own$/]);
  const key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n";
  const keyPaths = new Map([["k/RPM-GPG-KEY-own", "../k/RPM-GPG-KEY-own"]]);
  t.match(merge({ repo, "k/RPM-GPG-KEY-own": key }, { keyPaths }).skipped, [/\$releasever has no value: .*--var rel/]);
  t.match(merge({ repo, "k/RPM-GPG-KEY-own": key }, { keyPaths, vars: { releasever: "8" } }).rpms, [
    { keys: ["../k/RPM-GPG-KEY-own"], vars: { releasever: "8" } },
  ]);
  const unchecked = merge({ repo: "[a]\nbaseurl=http://x.example/\ngpgcheck=0\n" });
  t.same(unchecked.rpms, [{ name: "a", url: "http://x.example/", gpgcheck: false }]);
  t.match(unchecked.notes.join(), /signatures of packages of a are not checked: its file has gpgcheck=0/);
  t.match(merge({ repo: "[a]\nbaseurl=http://x.example/\n" }).skipped, [/names no key, and does not have gpgcheck=0/]);
  const ks = merge({ ks: "url --url=http://x.example/a/\n", key }, { keyPaths: new Map([["key", "key"]]) });
  t.match(ks.rpms, [{ keys: ["key"] }]);
  t.match(merge({ key }, { keyPaths: new Map([["key", "key"]]) }).skipped, [
    /^key:1: OpenPGP key: no repository needs/,
  ]);
  t.match(merge({ repo: "[a]\nbaseurl=http://u:pw@x.example/\ngpgcheck=0\n" }).skipped, [/it has a user or password/]);
});

t.test("files of one name, and of no name, get paths of their own", async (t) => {
  const zarf = (urls: string[]) =>
    `kind: ZarfPackageConfig\ncomponents:\n- files:\n${urls.map((it) => `  - source: ${it}\n`).join("")}`;
  const urls = [
    "https://a.example/v1/k3s",
    "https://a.example/v2/k3s",
    "https://a.example/k3s/x",
    "https://b.example/v2/k3s",
  ];
  const { files, skipped } = merge({
    a: zarf([...urls, urls[0] as string]),
    b: zarf(["https://a.example/", "/etc/shadow"]),
  });
  t.same(files, [
    { url: "https://a.example/v1/k3s" },
    { url: "https://a.example/v2/k3s", as: "v2/k3s" },
    { url: "https://a.example/k3s/x" },
    { url: "https://b.example/v2/k3s", as: "b.example/v2/k3s" },
  ]);
  t.match(skipped, [
    /^b:4: https:\/\/a.example\/: its URL has no file name/,
    /^b:5: \/etc\/shadow: a file of this host/,
  ]);
});

t.test("refuses more than a manifest can have", async (t) => {
  const found = readSource("a/b:1\n", "list");
  const many = { ...found, images: Array.from({ length: 50_001 }, () => found.images[0] as (typeof found.images)[0]) };
  t.throws(() => mergeFound([many], OPTIONS), { code: "ERR_USAGE", message: /at most 50000/ });
});
