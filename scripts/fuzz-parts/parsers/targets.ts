/** One target for each parser of foreign bytes: samples to begin with, and a run that may fail only with an AirferryError. */
import { parseInventory } from "../../../src/bundle/inventory.ts";
import { parseChallenges } from "../../../src/http/challenge.ts";
import { parseNetrc } from "../../../src/http/netrc.ts";
import { parseManifest } from "../../../src/manifest/load.ts";
import { parseImageManifest } from "../../../src/oci/image-manifest.ts";
import { decodeBzip2 } from "../../../src/rpm/bzip2.ts";
import { readComps } from "../../../src/rpm/comps.ts";
import { parseModules } from "../../../src/rpm/modules.ts";
import { Primary } from "../../../src/rpm/primary.ts";
import { parseRepomd } from "../../../src/rpm/repomd.ts";
import { parseTreeinfo } from "../../../src/rpm/treeinfo.ts";
import { forEachAdvisory } from "../../../src/rpm/updateinfo.ts";
import { formatSignatureBundle, parseSignatureBundle } from "../../../src/sign/bundle.ts";
import { parsePublicKeys } from "../../../src/sign/keys.ts";
import { dearmorAll, readSignatures } from "../../../src/sign/openpgp-packets.ts";
import { parseChecksums } from "../../../src/sources/checksum-file.ts";
import { parseMetalink, parseMirrorlist } from "../../../src/sources/rpm/metalink.ts";

export interface Target {
  samples: (string | Buffer)[];
  /** Throws an AirferryError for what it refuses; returns or resolves otherwise. */
  run(data: Buffer): unknown;
}

const HEX = "0123456789abcdef".repeat(4);
const OCI = "application/vnd.oci.image.manifest.v1+json";
const COMPS =
  '<?xml version="1.0"?>\n<comps><group><id>g</id><name>G</name><packagelist><packagereq type="default">a</packagereq></packagelist></group></comps>';
const PRIMARY =
  '<?xml version="1.0"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">\n<package type="rpm"><name>a</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><checksum type="sha256" pkgid="YES">' +
  HEX +
  '</checksum><size package="1"/><location href="a.rpm"/><format><rpm:requires><rpm:entry name="b" flags="GE" ver="1"/></rpm:requires></format></package>\n</metadata>\n';
const text = (data: Buffer) => data.toString("utf8");

export const targets: Record<string, Target> = {
  bzip2: {
    samples: [Buffer.from("425a683931415926535919319bb0000000010001002000219a68334d073338bb9229c28480c98cdd80", "hex")],
    run: (data) => {
      try {
        for (const _ of decodeBzip2(data));
      } catch (error) {
        if ((error as Error).constructor !== Error) throw error;
      }
    },
  },
  challenge: {
    samples: ['Bearer realm="https://a/t",service="s", Basic realm=x'],
    run: (data) => parseChallenges(text(data)),
  },
  checksums: {
    samples: [`${HEX}  a\n`, `SHA256 (a) = ${HEX}\n# a: 5 bytes\n`, `a: ${HEX}\n`],
    run: (data) => parseChecksums(data, { name: "a" }),
  },
  comps: { samples: [COMPS], run: (data) => readComps(data, "comps.xml") },
  imageManifest: {
    samples: [
      `{"schemaVersion":2,"mediaType":"${OCI}","config":{"mediaType":"a","digest":"sha256:${HEX}","size":1},"layers":[]}`,
    ],
    run: (data) => parseImageManifest(data, "image"),
  },
  inventory: { samples: ['{"mediaType":"x","stream":"a","entries":[]}'], run: (data) => parseInventory(data) },
  manifest: {
    samples: ["apiVersion: airferry/v1\nstream: x\nfiles:\n  - {path: a, as: b}\n", "a: &a [*a]\n"],
    run: (data) => parseManifest(text(data), "m.yaml"),
  },
  metalink: {
    samples: [
      '<metalink><files><file name="repomd.xml"><verification><hash type="sha256">' +
        HEX +
        '</hash></verification><resources><url preference="1">http://a/repodata/repomd.xml</url></resources></file></files></metalink>',
    ],
    run: (data) => parseMetalink(data, "metalink"),
  },
  mirrorlist: { samples: ["http://a/b\n#c\n"], run: (data) => parseMirrorlist(data, "mirrorlist") },
  modules: {
    samples: [
      '---\ndocument: modulemd\nversion: 2\ndata:\n  name: a\n  stream: "1"\n  artifacts:\n    rpms: [a-0:1-1.noarch]\n...\n',
    ],
    run: (data) => parseModules(data, "modules.yaml"),
  },
  netrc: {
    samples: ['machine a login "b c" password d\nmacdef x\n\ndefault login e\n'],
    run: (data) => parseNetrc(text(data)),
  },
  openpgp: {
    samples: [
      "-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n",
      Buffer.from("880604000108000005", "hex"),
    ],
    run: async (data) => {
      for (const block of await dearmorAll(data, "SIGNATURE", () => {})) readSignatures(block, () => {});
    },
  },
  pem: {
    samples: ["-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"],
    run: (data) => parsePublicKeys(data, "key"),
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
      `<repomd><data type="primary"><checksum type="sha256">${HEX}</checksum><location href="p.xml"/><size>1</size></data></repomd>`,
    ],
    run: (data) => parseRepomd(data, "repomd.xml"),
  },
  signature: {
    samples: [formatSignatureBundle(Buffer.from("a"), Buffer.from("b"), HEX), "[[[]]]"],
    run: (data) => parseSignatureBundle(data, "signature"),
  },
  treeinfo: {
    samples: [`[general]\nfamily = a\n[checksums]\na = sha256:${HEX}\n[variant-B]\nrepository = .\n`],
    run: (data) => parseTreeinfo(text(data), ".treeinfo"),
  },
  updateinfo: {
    samples: [
      '<updates><update type="security"><id>A</id><references><reference type="cve" id="C"/></references><pkglist><collection><package name="a" version="1" release="1" arch="x"/></collection></pkglist></update></updates>',
    ],
    run: (data) => forEachAdvisory(data, "updateinfo.xml", () => {}),
  },
};
