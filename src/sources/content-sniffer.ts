/**
 * Compares what an artifact claims to be with its first bytes: a login page instead of an ISO, a JSON error instead of
 * a program. Claims come from the path in the bundle, the file name and the mode. Reads at most the first 64 KiB.
 */
import type { Finding } from "../io/findings.ts";
import { printable } from "../io/printable.ts";
import type { RandomAccess } from "../io/types.ts";

const SNIFF_BYTES = 64 * 1024;
/** Descriptors of ISO 9660 and of UDF begin at sector 16 of 2048 bytes, one a sector. */
const DESCRIPTOR_BYTES = 2048;
const FIRST_DESCRIPTOR = 16;

/** What is known about an artifact before its bytes. */
export interface Claim {
  kind: "iso" | "file";
  /** In the bundle. */
  path: string;
  mode?: string | undefined;
  /** A file on this host. */
  isLocal: boolean;
  /** Its digest was published or given: it is what was meant, however it looks. */
  isVouched: boolean;
}

type Test = (head: Buffer) => boolean;

const startsWith =
  (...starts: (string | number[])[]): Test =>
  (head) =>
    starts.some((it) => {
      const bytes = typeof it === "string" ? Buffer.from(it, "latin1") : Buffer.from(it);
      return head.subarray(0, bytes.length).equals(bytes);
    });

const isGzip = startsWith([0x1f, 0x8b]);
const isXz = startsWith([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]);
const isBzip2 = startsWith("BZh");
/** A frame, or a skippable frame before it. */
const isZstd: Test = (head) =>
  startsWith([0x28, 0xb5, 0x2f, 0xfd])(head) ||
  (head.length >= 4 && (head.readUInt32LE(0) & 0xfffffff0) >>> 0 === 0x184d2a50);
const isZip = startsWith("PK\u0003\u0004", "PK\u0005\u0006", "PK\u0007\u0008");
/** The checksum of a tar header also works for formats without magic. */
const isTar: Test = (head) => {
  if (head.length < 512) return false;
  const stored = Number.parseInt(head.toString("latin1", 148, 156).replace(/[\0 ]+$/, ""), 8);
  let sum = 0;
  for (let at = 0; at < 512; at++) sum += at >= 148 && at < 156 ? 0x20 : (head[at] as number);
  return stored === sum;
};
const isProgram = startsWith(
  "\u007fELF",
  "#!",
  "MZ",
  [0xfe, 0xed, 0xfa],
  [0xce, 0xfa, 0xed],
  [0xcf, 0xfa, 0xed],
  [0xca, 0xfe, 0xba, 0xbe],
);
const isIso: Test = (head) => {
  for (let sector = FIRST_DESCRIPTOR; (sector + 1) * DESCRIPTOR_BYTES <= head.length; sector++) {
    const at = sector * DESCRIPTOR_BYTES + 1;
    if (["CD001", "NSR02", "NSR03"].includes(head.toString("latin1", at, at + 5))) return true;
  }
  return false;
};

/** File name endings, the longest first, with the format and how to detect it. */
const BY_NAME: [RegExp, string, Test][] = [
  [/\.(gz|tgz|taz)$/i, "a gzip file", isGzip],
  [/\.(xz|txz)$/i, "an xz file", isXz],
  [/\.(zst|zstd|tzst)$/i, "a zstd file", isZstd],
  [/\.(bz2|tbz2?)$/i, "a bzip2 file", isBzip2],
  [/\.(zip|jar|whl|nupkg|vsix)$/i, "a zip file", isZip],
  [/\.(tar|ova)$/i, "a tar file", isTar],
  [/\.rpm$/i, "an RPM package", startsWith([0xed, 0xab, 0xee, 0xdb])],
  [/\.deb$/i, "a Debian package", startsWith("!<arch>\n")],
  [/\.7z$/i, "a 7z file", startsWith([0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c])],
  [/\.qcow2?$/i, "a qcow2 image", startsWith("QFI\u00fb")],
  [/\.iso$/i, "an ISO 9660 or UDF image", isIso],
];
const HTML_NAME = /\.(x?html?|xht|mhtml|php|aspx?|jsp|md|js|tmpl|tpl|template|j2|hbs)$/i;
const JSON_NAME = /\.json$/i;
const isHtml: Test = (head) => {
  const text = head.toString("latin1", 0, 2048).replace(/^(?:\u00ef\u00bb\u00bf)?(?:\s|<!--[\s\S]*?-->)*/, "");
  return /^<(?:!doctype\s+html|html)[\s>]/i.test(text);
};
const isJson: Test = (head) => /^(?:\u00ef\u00bb\u00bf)?\s*[{["\dtfn-]/.test(head.toString("latin1", 0, 512));

/**
 * Checks an artifact's bytes; a finding about bytes without a known digest stops `pack` unless findings are allowed.
 */
export async function contentFindings(bytes: RandomAccess, claim: Claim): Promise<Finding[]> {
  const head = Buffer.from(await bytes.read(0, Math.min(SNIFF_BYTES, bytes.size)));
  const expected = expectedOf(claim, head);
  if (expected === undefined) return [];
  const { kind, path, isLocal, isVouched } = claim;
  // A local file may be intended however it looks; a web page never is.
  const isMeant = isVouched || (isLocal && !isHtml(head));
  return [
    {
      level: isMeant ? "warning" : "error",
      area: kind,
      subject: path,
      message: `${path} is not ${expected}: its ${bytes.size} bytes ${described(head)}`,
      remedy: "check the file, which may be a login or error page; correct the entry or log in",
    },
  ];
}

/** What it should be, if it is not that. */
function expectedOf({ kind, path, mode }: Claim, head: Buffer): string | undefined {
  if (kind === "iso") return isIso(head) ? undefined : "an ISO 9660 or UDF image";
  const known = BY_NAME.find(([name]) => name.test(path));
  if (known !== undefined) return known[2](head) ? undefined : known[1];
  if (mode === "0755" && !isProgram(head)) return "a program, as its mode 0755 says";
  if (isHtml(head) && !HTML_NAME.test(path)) return "what its name says but a web page";
  return JSON_NAME.test(path) && !isJson(head) ? "JSON" : undefined;
}

function described(head: Buffer): string {
  if (head.length === 0) return "are none";
  const start = head.subarray(0, 40);
  if (start.some((it) => it < 0x20 && !/\s/.test(String.fromCharCode(it))))
    return `begin with ${start.toString("hex", 0, 8)}`;
  return `begin with "${printable(start.toString("latin1").replace(/\s+/g, " "))}"`;
}
