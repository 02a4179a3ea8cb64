/** RPM repositories: metadata, packages, and lists of mirrors. */
import { gzipSync } from "node:zlib";
import { LicenceReader } from "../../../../src/bom/licence.ts";
import { packagePurl } from "../../../../src/bom/purl.ts";
import { FEW_BYTES } from "../../../../src/io/parser-thread.ts";
import { readComps } from "../../../../src/rpm/comps.ts";
import { parseRich } from "../../../../src/rpm/dependency.ts";
import { compareEvr, parseEvr } from "../../../../src/rpm/evr.ts";
import { findInFilelists } from "../../../../src/rpm/filelists.ts";
import { readRpmFile } from "../../../../src/rpm/header.ts";
import { parseModules } from "../../../../src/rpm/modulemd.ts";
import { packageInfoOf } from "../../../../src/rpm/package-info.ts";
import { formatPackageXml } from "../../../../src/rpm/package-xml.ts";
import { Primary, readFacts } from "../../../../src/rpm/primary.ts";
import { parseRepomd } from "../../../../src/rpm/repomd.ts";
import { parseTreeinfo, rewriteTreeinfo } from "../../../../src/rpm/treeinfo.ts";
import { forEachAdvisory } from "../../../../src/rpm/updateinfo.ts";
import { nevraOf } from "../../../../src/rpm/verify-package.ts";
import { sliceBlocks } from "../../../../src/rpm/xml-blocks.ts";
import { parseInstalled } from "../../../../src/sources/rpm/baseline.ts";
import { looksLikeMetalink, parseMetalink, parseMirrorlist } from "../../../../src/sources/rpm/metalink.ts";
import { int32, MINIMAL, makeRpm, REGION, texts, withRegion } from "../../../../test/fixtures/rpm-files.ts";
import { DIGEST, HEX, inMemory, must, type Targets, text } from "../target.ts";

const COMPS =
  '<?xml version="1.0"?>\n<comps><group><id>g</id><name>G</name><packagelist><packagereq type="default">a</packagereq></packagelist></group></comps>';
const PRIMARY = `<?xml version="1.0"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">\n<package type="rpm"><name>a</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><checksum type="sha256" pkgid="YES">${HEX}</checksum><size package="1"/><location href="a.rpm"/><format><rpm:requires><rpm:entry name="b" flags="GE" ver="1"/></rpm:requires></format></package>\n</metadata>\n`;
const FILELISTS = `<filelists packages="1"><package pkgid="${HEX}" name="a" arch="noarch"><version epoch="0" ver="1" rel="1"/><file>/bin/a</file><file type="dir">/a&amp;b</file></package></filelists>`;
/** Files with folders, in a header that is one region. */
const LISTED = [
  ...MINIMAL,
  texts(1117, ["a", "b"]),
  texts(1118, ["/usr/", "/etc/"]),
  int32(1116, 0, 1),
  int32(1030, 0o100644, 0o40755),
];

/** What the inventory says of a package. */
const ENTRY = {
  ...{ path: "a.rpm", digest: DIGEST, source: "", url: undefined, licence: undefined },
  ...{ established: null, signedBy: [], published: [] },
} as const;

export const repositories: Targets = {
  baseline: {
    samples: ["kernel-5.14.0-1.el9.x86_64\n", "1:a-2-3.noarch\n", "a-(none):1-2.noarch\n"],
    run: (data) => text(data).split("\n").map(parseInstalled),
  },
  comps: { samples: [COMPS], run: (data) => readComps(data, "comps.xml") },
  dependency: {
    samples: ["(a >= 1 and (b or c) if d else e)", "1:2.0~rc1-3^git", "(a with b without c unless d)"],
    maxBytes: 8192,
    run: (data) => {
      parseRich(text(data));
      const half = data.length >> 1;
      compareEvr(parseEvr(text(data.subarray(0, half))), parseEvr(text(data.subarray(half))));
    },
  },
  filelists: {
    samples: [FILELISTS],
    run: (data) => findInFilelists([data], "filelists.xml", new Set(["/bin/a", "/a&b"]), () => {}),
  },
  metalink: {
    samples: [
      `<metalink><files><file name="repomd.xml"><verification><hash type="sha256">${HEX}</hash></verification><resources><url preference="1">http://a/repodata/repomd.xml</url></resources></file></files></metalink>`,
    ],
    run: (data) => {
      looksLikeMetalink(data);
      return parseMetalink(data, "metalink");
    },
  },
  licence: {
    samples: ["MIT AND (GPL-2.0-or-later WITH Classpath-exception-2.0 OR BSD-3-Clause)", "GPLv2+ and (MIT or ASL 2.0)"],
    maxBytes: 8192,
    run: (data) => {
      const read = new LicenceReader().read(text(data));
      must(read === undefined || read.text.length <= 5000, "a licence is short");
    },
  },
  mirrorlist: { samples: ["http://a/b\n#c\n"], run: (data) => parseMirrorlist(data, "mirrorlist") },
  modules: {
    samples: [
      '---\ndocument: modulemd\nversion: 2\ndata:\n  name: a\n  stream: "1"\n  artifacts:\n    rpms: [a-0:1-1.noarch]\n...\n',
      "---\ndocument: modulemd-defaults\nversion: 1\ndata: {module: a, stream: '1'}\n",
    ],
    // Larger ones are read in a thread of their own.
    maxBytes: FEW_BYTES,
    run: (data) => parseModules(data, "modules.yaml"),
  },
  packageFacts: {
    samples: [PRIMARY, PRIMARY.replace("<format>", "<format><rpm:license>MIT</rpm:license><rpm:vendor>V</rpm:vendor>")],
    run: (data) =>
      sliceBlocks([data], "package", "primary.xml", (block, _, frame) => {
        const facts = readFacts(block, frame, "primary.xml");
        if (facts !== undefined) packagePurl({ ...facts, ...ENTRY });
      }),
  },
  primary: {
    samples: [PRIMARY, PRIMARY.replace("<package ", "<!-- x --><package ")],
    run: async (data) => {
      const primary = await Primary.read(data, "primary.xml");
      for (const it of primary.packages) {
        primary.details(it);
        primary.relations(it, "requires");
      }
    },
  },
  repomd: {
    samples: [
      `<repomd><revision>1</revision><data type="primary"><checksum type="sha256">${HEX}</checksum><open-checksum type="sha256">${HEX}</open-checksum><location href="p.xml"/><size>1</size></data></repomd>`,
    ],
    run: (data) => parseRepomd(data, "repomd.xml"),
  },
  rpmHeader: {
    samples: [makeRpm(), makeRpm({ header: withRegion(REGION(LISTED.length + 1), LISTED) }), gzipSync("no package")],
    run: async (data) => {
      const file = await readRpmFile(inMemory(data), "a.rpm");
      nevraOf(file);
      formatPackageXml(packageInfoOf(file), { digest: `sha256:${HEX}`, href: "a.rpm", fileTime: 0 });
    },
  },
  treeinfo: {
    samples: [
      `[general]\nfamily = a\nvariant = B\n[checksums]\na = sha256:${HEX}\n[variant-B]\nuid = B\nrepository = .\npackages = P\n[images-x86_64]\nkernel = k\n`,
    ],
    run: (data) => {
      const { variants } = parseTreeinfo(text(data), ".treeinfo");
      const places = new Map(
        variants.map(({ uid }, index) => [uid, index === 0 ? null : { repository: ".", packages: "." }]),
      );
      rewriteTreeinfo(text(data), { variants: places }, ".treeinfo");
    },
  },
  updateinfo: {
    samples: [
      '<updates><update type="security"><id>A</id><references><reference type="cve" id="C"/></references><pkglist><collection><package name="a" version="1" release="1" arch="x"/></collection></pkglist></update></updates>',
    ],
    run: (data) => forEachAdvisory(data, "updateinfo.xml", () => {}),
  },
};
