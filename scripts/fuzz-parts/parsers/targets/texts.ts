/** Texts by people, configuration of other programs, and headers of servers and clients. */
import type { Builder } from "../../../../src/builder/builder.ts";
import { checkPackedKickstart } from "../../../../src/builder/kickstart-findings.ts";
import { fillPlaceholders, placeholdersOf } from "../../../../src/builder/kickstart-template.ts";
import { parseContentRange, validatorOf } from "../../../../src/fetch/resume.ts";
import { parseChallenges } from "../../../../src/http/challenge.ts";
import { parseNetrc } from "../../../../src/http/netrc.ts";
import { parseRetryAfter } from "../../../../src/http/retry.ts";
import { mergeFound } from "../../../../src/init/merge.ts";
import { readSource } from "../../../../src/init/recognise.ts";
import { manifestText } from "../../../../src/init/write-manifest.ts";
import { FEW_BYTES } from "../../../../src/io/parser-thread.ts";
import { checkPath, pathIn } from "../../../../src/io/path-grammar.ts";
import { printable } from "../../../../src/io/printable.ts";
import { parseYaml } from "../../../../src/io/yaml.ts";
import { parseImageList } from "../../../../src/manifest/image-list.ts";
import { parseManifest } from "../../../../src/manifest/load.ts";
import { parseImageconfig } from "../../../../src/render/imageconfig.ts";
import { checkPreconditions, parseRanges } from "../../../../src/server/http/ranges.ts";
import { parseTarget } from "../../../../src/server/http/request-target.ts";
import { Htpasswd } from "../../../../src/server/registry/htpasswd.ts";
import { parseLock } from "../../../../src/sources/lock-document.ts";
import { DIGEST, HEX, must, type Targets, text } from "../target.ts";

const BUILDER: Builder = {
  flavor: "image-builder",
  imageconfig: { os_version: "rockylinux-9" },
  packerVars: { ssh_username: "a" },
  customScripts: { pre: [], post: [] },
};
const LOCK = `{"lockVersion":1,"stream":"a","time":"2026-01-01T00:00:00Z","entries":[{"kind":"file","name":"a","request":"${HEX}","artifacts":[{"path":"files/a","size":1,"integrity":"${DIGEST}","established":"manifest"}]}]}`;

export const texts: Targets = {
  challenge: {
    samples: ['Bearer realm="https://a/t",service="s", Basic realm=x', "Negotiate abc==, NTLM"],
    run: (data) => parseChallenges(text(data)),
  },
  headers: {
    samples: ["bytes 0-1/2", "Wed, 21 Oct 2026 07:28:00 GMT", "120", 'W/"a"'],
    run: (data) => {
      const value = text(data);
      parseContentRange(value);
      const wait = parseRetryAfter(value);
      must(wait === undefined || wait >= 0, "a server asks for a time from now on");
      validatorOf("https://a/b", { etag: value, "last-modified": value });
    },
  },
  htpasswd: {
    samples: [`a:$2y$05$${"a".repeat(53)}\n# b\n`],
    run: (data) => Htpasswd.parse(text(data), "users"),
  },
  imageconfig: {
    samples: ["a=b\nc='d'\\''e'\n# f\n"],
    run: (data) => parseImageconfig(text(data)),
  },
  imageList: {
    samples: ["registry.k8s.io/pause:3.10\n# a\nb\n"],
    run: (data) => parseImageList(text(data), { ref: "" } as never, "images.txt"),
  },
  kickstart: {
    samples: [
      "%packages\n@core\n%end\nuser --name=a --password=b\nurl --url=$" + "{A_B}\n",
      "rootpw --iscrypted $6$a\n{{ x }}\n",
    ],
    run: (data) => {
      placeholdersOf(text(data));
      fillPlaceholders(text(data), () => "x");
      checkPackedKickstart(text(data), BUILDER);
    },
  },
  lock: { samples: [LOCK], run: (data) => parseLock(text(data), "a.lock.json") },
  manifest: {
    samples: [
      "apiVersion: airferry/v1\nstream: x\nfiles:\n  - {path: a, as: b}\n",
      "a: &a [*a]\n",
      "apiVersion: airferry/v1\nstream: x\nimages:\n  - ref: a/b:c\n    platforms: [linux/amd64]\nisos:\n  - name: a\n    url: https://a/b.iso\n    checksums: {url: https://a/c}\nrpms:\n  - name: r\n    url: https://a/\n    packages: [a]\n",
    ],
    // Larger ones are read in a thread of their own.
    maxBytes: FEW_BYTES,
    run: (data) => parseManifest(text(data), "m.yaml"),
  },
  netrc: {
    samples: ['machine a login "b c" password d\nmacdef x\n\ndefault login e\n'],
    run: (data) => parseNetrc(text(data)),
  },
  path: {
    samples: ["a/b-1.2/c.rpm", "é/ü", "C:a", "a/../b"],
    run: (data) => {
      const path = text(data);
      printable(path);
      if (checkPath(path) !== undefined) return;
      must(pathIn("/root", path).startsWith("/root/"), "what is a path stays in its folder");
      must(Buffer.byteLength(path) <= 1024 && !/(^|\/)\.\.(\/|$)|\\|\0/.test(path), "a path is plain");
    },
  },
  ranges: {
    samples: ["bytes=0-1,5-,-2", '"a", W/"b"', "*"],
    run: (data) => {
      const value = text(data);
      checkPreconditions({ "if-match": value, "if-none-match": value }, '"a"');
      const ranges = parseRanges({ range: value }, '"a"', 100);
      if (ranges === undefined || ranges === "unsatisfiable") return;
      must(
        ranges.every((it) => it.start >= 0 && it.start < it.end && it.end <= 100),
        "ranges are within the file",
      );
    },
  },
  requestTarget: {
    samples: ["/a/%20b/../c?d", "http://a/b", "/s/x/files/a//b"],
    run: (data) => {
      const target = parseTarget(text(data));
      if (typeof target === "string") return;
      must(target.path.startsWith("/") && !/(^|\/)\.\.(\/|$)/.test(target.path), "a target stays below the root");
    },
  },
  yaml: {
    samples: ["a: [1, {b: c}]\n", "? a\n: |\n  b\n&x !t c: *x\n", "- >-\n a\n- 'b'\n"],
    maxBytes: FEW_BYTES,
    run: (data) => {
      const document = parseYaml(text(data));
      if (document.errors.length > 0) return;
      try {
        document.toJS({ maxAliasCount: 100 });
      } catch (error) {
        must(error instanceof ReferenceError, `an alias is the only fault that is left: ${error}`);
      }
    },
  },
  source: {
    samples: [
      "url --url=http://a/b/\nrepo --name=c --mirrorlist=http://a/$releasever\ncdrom\nmodule --name=a --stream=1\n%packages --multilib\n@a\nb\n-c\n%end\n%post\ncurl http://a/b\n%end\n",
      "[a]\nbaseurl=http://a/$basearch/\n http://b/\ngpgkey=file:///RPM-GPG-KEY-Rocky-9\nexclude=a\n[b]\nmirrorlist=http://a/?repo=x\ngpgcheck=0\n",
      `a/b:1\ndocker://c.d/e@${DIGEST}\n`,
      "a-1-2.el9.x86_64\n1:b-1-2.noarch\n",
      "apiVersion: v1\nkind: Pod\nspec: &a {containers: [{image: a/b}], volumes: [{image: {reference: c}}]}\n--- # x\nkind: List\nitems: [{spec: *a}]\n",
      "apiVersion: content.hauler.cattle.io/v1\nkind: Images\nspec: {images: [{name: a, platform: linux/arm64}], charts: [{name: c, repoURL: http://a, version: 1.0}], files: [{path: http://a/b, name: c/d}]}\n",
      "kind: ZarfPackageConfig\ncomponents: [{images: [a], files: [{source: http://a/b}, {source: http://c/b}], charts: [{name: b, url: oci://a.b/c, version: 1}]}]\n",
      "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror: {additionalImages: [{name: a/b}], blockedImages: [{name: b}]}\n",
    ],
    // Larger ones are read in a thread of their own.
    maxBytes: FEW_BYTES,
    run: (data) => {
      const found = readSource(text(data), "f");
      const merged = mergeFound([found], { vars: {}, platforms: [], keyPaths: new Map() });
      const manifest = manifestText("x", ["f"], merged);
      must(!/[^\n\P{Cc}]/u.test(manifest), "a manifest has no control characters");
      const read = parseYaml(manifest);
      must(read.errors.length === 0, "a manifest is YAML");
      const value = read.toJS();
      for (const kind of ["rpms", "files", "images"] as const) {
        const entries = merged[kind].map((it) => it.entry);
        must(JSON.stringify(value[kind] ?? []) === JSON.stringify(entries), "entries are read as they were written");
      }
    },
  },
};
