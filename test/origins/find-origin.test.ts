/** URLs of upstream's servers lead to what releases have of them, to nothing else, and to one thing only. */
import t from "tap";
import type {
  Catalog,
  CatalogImage,
  CatalogRpm,
  InventoryEntry,
  Provenance,
} from "../../src/bundle/inventory-types.ts";
import { digestOf, hexOf } from "../../src/io/digest.ts";
import { findOrigin, urlOfRequest } from "../../src/origins/find-origin.ts";
import { isPlainAt } from "../../src/origins/known-origins.ts";
import { hostsOf, originsOf } from "../../src/origins/origin-hosts.ts";
import { listenFlag } from "../../src/origins/origin-ports.ts";
import type { Release } from "../../src/store/types.ts";
import { makeRelease } from "../fixtures/store-reader.ts";

function from(path: string, source: string, kind: Provenance["kind"] = "rpm"): Provenance {
  return { path, kind, source, established: "first-sight" };
}

function repository(name: string): CatalogRpm {
  const path = `rpms/${name}/`;
  const rest = { gpgcheck: true, keys: [], packages: 1, tree: false, rpmrepo: false };
  return { name, path, mode: "exact", repomdSignedBy: "upstream", ...rest };
}

function release(stream: string, content: Record<string, string>, catalog: Partial<Catalog>): Release {
  const entries = Object.entries(content).map(([path, text]): InventoryEntry => {
    return { path, size: text.length, mode: "0644", digest: digestOf(text), offset: 0 };
  });
  return makeRelease(stream, 1, entries, catalog);
}

const BASE = "https://repo.example.com/el9/os/";
const REPOSITORY = {
  "rpms/os/repodata/repomd.xml": "<repomd/>",
  "rpms/os/Packages/l/libstdc++.rpm": "package",
  "rpms/os/external/0a1b2c3d/other.rpm": "other",
};
const REPOSITORY_CATALOG: Partial<Catalog> = {
  rpms: [repository("os")],
  provenance: [
    from("rpms/os/repodata/repomd.xml", "lock"),
    from("rpms/os/Packages/l/libstdc++.rpm", `${BASE}Packages/l/libstdc%2B%2B.rpm`),
    from("rpms/os/external/0a1b2c3d/other.rpm", "https://repo.example.com/el9/shared/other.rpm"),
  ],
};

/** The path that a URL leads to, or the kind of its answer. */
function at(releases: readonly Release[], url: string): string | undefined {
  const found = findOrigin(releases, url);
  return found?.kind === "entry" ? found.entry.path : found?.kind === "text" ? found.text : found?.kind;
}

t.test("repositories answer below the URL that their packages came from", async (t) => {
  const releases = [release("a", REPOSITORY, REPOSITORY_CATALOG)];
  t.equal(at(releases, `${BASE}repodata/repomd.xml`), "rpms/os/repodata/repomd.xml");
  for (const spelled of [
    "Packages/l/libstdc++.rpm",
    "Packages/l/libstdc%2b%2B.rpm",
    "/x/..//Packages/./l/libstdc++.rpm",
  ]) {
    const url = urlOfRequest("https", "Repo.example.com.:443", `/el9/os/${spelled}`);
    t.equal(at(releases, url), "rpms/os/Packages/l/libstdc++.rpm", spelled);
  }
  t.equal(at(releases, "https://repo.example.com/el9/shared/other.rpm"), "rpms/os/external/0a1b2c3d/other.rpm");
  const wrong = new Map([
    [`${BASE}repodata/missing.xml`, "no such file"],
    [BASE, "a folder"],
    [BASE.replace("https", "http") + "repodata/repomd.xml", "another scheme"],
    ["https://repo.example.com:8443/el9/os/repodata/repomd.xml", "another port"],
    [`${BASE}repodata%2Frepomd.xml`, "an encoded slash"],
    [`${BASE}..%2F..%2Ffiles/secret`, "an encoded way out"],
    [`${BASE}%E0%A4%A`, "not UTF-8"],
    [`${BASE}repodata/repomd.xml?x=1`, "a query"],
    ["https://repo.example.com/el9/osrepodata/repomd.xml", "no slash"],
  ]);
  for (const [url, why] of wrong) t.equal(at(releases, url), undefined, why);
});

t.test("urlOfRequest() refuses what no URL can be", async (t) => {
  const bad = new Map([
    ["/%2e%2e/x", "encoded dots"],
    ["/a\\b", "a backslash"],
    ["/a b", "a space"],
    [`/${"x".repeat(9000)}`, "too long"],
  ]);
  for (const [target, why] of bad) t.throws(() => urlOfRequest("https", "h.example", target), why);
  t.equal(urlOfRequest("http", "H.example:80", "/../../a//b/?Q=%2f"), "http://h.example/a/b/?Q=/");
});

t.test("files, mirrors of them, keys and checksums", async (t) => {
  const content = {
    "files/bin/tool": "tool",
    "files/x.tgz": "x",
    "files/x.tgz.sha256": "upstream's own",
    "keys/os": "key",
  };
  const releases = [
    release("a", content, {
      files: [{ path: "files/bin/tool" }, { path: "files/x.tgz" }],
      provenance: [
        from("files/bin/tool", "https://dl.example.com/v1/tool-v1?***", "file"),
        from("files/x.tgz", "http://dl.example.com:8080/x.tgz", "file"),
        from("files/x.tgz.sha256", "http://dl.example.com:8080/x.tgz.sha256", "file"),
        from("files/local", "local.sh", "file"),
      ],
      origins: [
        { path: "files/bin/tool", url: "https://mirror.example.com/tool" },
        { path: "keys/os", url: `${BASE}KEY` },
      ],
    }),
  ];
  t.equal(at(releases, "https://dl.example.com/v1/tool-v1"), undefined, "a URL with a query that was not recorded");
  t.equal(at(releases, "https://mirror.example.com/tool"), "files/bin/tool");
  t.equal(at(releases, `${BASE}KEY`), "keys/os");
  t.equal(at(releases, "http://dl.example.com:8080/x.tgz.sha256"), "files/x.tgz.sha256", "upstream's own wins");
  t.equal(at(releases, "https://mirror.example.com/tool.sha256"), `${hexOf(digestOf("tool"))}\n`);
  t.equal(at(releases, "https://mirror.example.com/tool.sha256sum"), `${hexOf(digestOf("tool"))}  tool\n`);
  t.equal(at(releases, `${BASE}KEY.sha256`), undefined, "only of files");
  t.strictSame(originsOf(releases), [
    "http://dl.example.com:8080",
    "https://mirror.example.com",
    "https://repo.example.com",
  ]);
});

t.test("origins of web answers have the scheme and port that their URLs have", async (t) => {
  const origins = ["http://a.example:8080", "http://b.example", "http://c.example:443"];
  const others = ["https://a.example", "https://c.example:80", "https://localhost:8443"];
  const releases = [release("a", {}, { web: [{ name: "w", answers: 4, origins: [...origins, ...others] }] })];
  t.strictSame(originsOf(releases), [...origins, ...others.slice(0, 2)]);
  t.equal(isPlainAt(releases, "a.example:8080"), true);
  const plain = ["a.example:80", "b.example:80", "A.example.:8080", "c.example:443"];
  const tls = ["A.example.:443", "a.example:8443", "b.example:443", "c.example:80"];
  for (const it of plain) t.equal(isPlainAt(releases, it), true, it);
  for (const it of tls) t.equal(isPlainAt(releases, it), false, it);
});

t.test("a repository that was cut is signed by the bundle's own key, which comes with upstream's", async (t) => {
  const content = { ...REPOSITORY, "keys/os": "upstream's", "keys/airferry": "own" };
  const cut = (keys: string[]) => ({
    ...REPOSITORY_CATALOG,
    rpms: [{ ...repository("os"), keys }],
    origins: [{ path: "keys/os", url: `${BASE}repodata/repomd.xml.key` }],
  });
  const found = (keys: string[], more = {}) =>
    findOrigin([release("a", { ...content, ...more }, cut(keys))], `${BASE}repodata/repomd.xml.key`);
  t.match(found(["os", "airferry"]), { kind: "keys", entries: [{ path: "keys/os" }, { path: "keys/airferry" }] });
  t.match(found(["os"]), { kind: "entry", entry: { path: "keys/os" } });
  const whole = found(["os"], { "rpms/os/repodata/repomd.xml.key": "as upstream has it" });
  t.match(whole, { kind: "entry", entry: { path: "rpms/os/repodata/repomd.xml.key" } });
});

t.test("lists of mirrors name the repository's own address", async (t) => {
  const list = (url: string, list: "mirrorlist" | "metalink") => ({ path: "rpms/os/", url, list });
  const releases = [
    release("a", REPOSITORY, {
      ...REPOSITORY_CATALOG,
      origins: [
        list("https://mirrors.example.com/list?arch=x86_64&repo=os", "mirrorlist"),
        list("https://mirrors.example.com/meta?repo=os", "metalink"),
      ],
    }),
  ];
  t.equal(at(releases, "https://mirrors.example.com/list?repo=os&arch=x86_64&countme=1"), `${BASE}\n`);
  t.equal(at(releases, "https://mirrors.example.com/list?repo=os&arch=aarch64"), undefined);
  t.equal(at(releases, "https://mirrors.example.com/list"), undefined);
  const metalink = at(releases, "https://mirrors.example.com/meta?repo=os");
  t.match(metalink, `>${BASE}repodata/repomd.xml</url>`);
  t.match(metalink, hexOf(digestOf("<repomd/>")));
});

t.test("releases that disagree about a URL are told apart, and those that agree are one", async (t) => {
  const other = { ...REPOSITORY, "rpms/os/repodata/repomd.xml": "<repomd>2</repomd>" };
  const releases = [release("a", REPOSITORY, REPOSITORY_CATALOG), release("b", other, REPOSITORY_CATALOG)];
  t.equal(at(releases, `${BASE}Packages/l/libstdc++.rpm`), "rpms/os/Packages/l/libstdc++.rpm");
  t.match(findOrigin(releases, `${BASE}repodata/repomd.xml`), {
    kind: "conflict",
    paths: ["/s/a/rpms/os/repodata/repomd.xml", "/s/b/rpms/os/repodata/repomd.xml"],
  });
});

t.test("registries, and Docker Hub under all of its names", async (t) => {
  const image = (reference: string) => ({
    reference,
    digest: digestOf("m"),
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    size: 1,
    platforms: [],
    manifests: [],
  });
  const images = ["docker.io/library/alpine:3", "registry.example.com:5000/a:1", "localhost/own:1"].map(image);
  const releases = [release("a", {}, { images })];
  const found = (url: string) => findOrigin(releases, url);
  t.match(found("https://registry-1.docker.io/v2/library/alpine/manifests/3"), {
    kind: "registry",
    host: "docker.io",
    path: "/v2/library/alpine/manifests/3",
  });
  t.match(found("https://registry.example.com:5000/v2/"), { kind: "registry", host: "registry.example.com:5000" });
  t.match(found("http://registry.example.com:5000/v2/"), { kind: "registry" }, "registries have no scheme");
  t.match(found("https://auth.docker.io/token?service=registry.docker.io&scope=x"), { kind: "token" });
  t.equal(found("https://registry.example.com/v2/"), undefined, "another port");
  t.equal(found("https://registry-1.docker.io/v1/"), undefined);
  t.strictSame(hostsOf(originsOf(releases)), [
    "auth.docker.io",
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.example.com",
  ]);
});

t.test("documents of upstream answer where nothing else has their URL", async (t) => {
  const url = "https://dl.example.com/9/CHECKSUM";
  const document = (folder: string, text: string) => ({ [`upstream/${folder}/CHECKSUM`]: text });
  const line = (folder: string) => from(`upstream/${folder}/CHECKSUM`, url, "file");
  const one = release("a", document("1", "list"), { provenance: [line("1")] });
  t.equal(at([one], url), "upstream/1/CHECKSUM");
  t.strictSame(originsOf([one]), ["https://dl.example.com"]);
  const same = release("b", document("2", "list"), { provenance: [line("2")] });
  t.equal(at([one, same], url), "upstream/1/CHECKSUM");
  const other = release("b", document("2", "another"), { provenance: [line("2")] });
  t.match(findOrigin([one, other], url), {
    kind: "conflict",
    paths: ["/s/a/upstream/1/CHECKSUM", "/s/b/upstream/2/CHECKSUM"],
  });
  const file = release("c", { "files/CHECKSUM": "file" }, { provenance: [from("files/CHECKSUM", url, "file")] });
  t.equal(at([one, other, file], url), "files/CHECKSUM", "what the manifest asks for by itself counts");

  const key = `${BASE}key`;
  const content = { ...REPOSITORY, "keys/os": "armored", "keys/airferry": "own", "upstream/1/key": "binary" };
  const found = (keys: string[]) =>
    findOrigin(
      [
        release("a", content, {
          rpms: [{ ...repository("os"), keys }],
          provenance: [...(REPOSITORY_CATALOG.provenance ?? []), from("upstream/1/key", key, "file")],
          origins: [{ path: "keys/os", url: key }],
        }),
      ],
      key,
    );
  t.match(found(["os"]), { kind: "entry", entry: { path: "upstream/1/key" } }, "byte for byte");
  t.match(found(["os", "airferry"]), { kind: "keys", entries: [{ path: "keys/os" }, { path: "keys/airferry" }] });
});

t.test("a registry has the scheme by which clients outside reach it", async (t) => {
  const image = (reference: string, insecure?: true): CatalogImage => ({
    reference,
    digest: digestOf(reference),
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    size: 1,
    platforms: [],
    manifests: [],
    ...(insecure && { insecure }),
  });
  const images = [
    image("lab.example.com:5000/a:1", true),
    image("quay.example.com/a:1"),
    image("plain.example.com/a:1", true),
  ];
  const releases = [release("a", {}, { images })];
  const plain = ["http://lab.example.com:5000", "http://plain.example.com"];
  t.strictSame(originsOf(releases), [...plain, "https://quay.example.com"]);
  t.equal(isPlainAt(releases, "lab.example.com:5000"), true, "a proxy speaks HTTP there");
  t.equal(isPlainAt(releases, "quay.example.com:443"), false);
  t.strictSame(originsOf(releases).map(listenFlag).slice(0, 1), ["--listen-http 0.0.0.0:5000"]);
  const both = [...releases, release("b", {}, { images: [image("lab.example.com:5000/b:1")] })];
  t.strictSame(
    originsOf(both).filter((it) => it.endsWith(":5000")),
    ["http://lab.example.com:5000", "https://lab.example.com:5000"],
    "streams may differ",
  );
});

t.test("content that needs a login, and folders that are no repository, are at no origin", async (t) => {
  const content = { "images/blobs/sha256/aa": "layer", "files/a/x": "x", "files/y": "y" };
  const releases = [
    release("a", content, {
      provenance: [
        from("images/blobs/sha256/aa", "https://layers.example.com/aa", "image"),
        from("files/y", "https://B\u00fccher.example/y", "file"),
      ],
      origins: [
        { path: "images/", url: "https://layers.example.com/all/" },
        { path: "files/a/", url: "https://dl.example.com/a/" },
        { path: "files/y", url: "not a URL" },
        { path: "files/y", url: "ftp://dl.example.com/y" },
        { path: "files/y", url: "https://\u0000", list: "mirrorlist" },
      ],
    }),
  ];
  t.strictSame(originsOf(releases), ["https://xn--bcher-kva.example"], "and names are as clients spell them");
  t.equal(at(releases, "https://layers.example.com/all/blobs/sha256/aa"), undefined);
  t.equal(at(releases, "https://dl.example.com/a/x"), undefined);
});

t.test("a URL of nothing but slashes is looked up as fast as any other", async (t) => {
  const releases = [release("a", REPOSITORY, REPOSITORY_CATALOG)];
  const startedMs = performance.now();
  for (let i = 0; i < 100; i++) at(releases, `https://repo.example.com/${"a/".repeat(4000)}`);
  t.ok(performance.now() - startedMs < 500, `${(performance.now() - startedMs).toFixed(0)} ms`);
});

t.test("hosts with signs that are more than a name to a shell or a name server are none", async (t) => {
  const hostile = ["a'b", "a$(id)", "a;b", 'a"b', "a`b", "-x", "a&b", "..", "*.example.com", "a{b}"];
  const provenance = hostile.map((host, at) => from(`files/${at}`, `https://${host}/x`, "file"));
  const content = Object.fromEntries(hostile.map((_, at) => [`files/${at}`, "x"]));
  t.strictSame(originsOf([release("a", content, { provenance })]), []);
});
