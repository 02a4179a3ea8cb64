/**
 * A bundle before the rules of a trust root: the versions that its media carry, and what the root says of its stream,
 * its site, its age and its signers. docs/format.md, "Trust root".
 */
import { AirferryError, type ErrorCode, type Problem } from "../errors.ts";
import { plural } from "../io/format.ts";
import { stampReader, stampsOf } from "../sign/stamp-reader.ts";
import type { Stamps } from "../sign/timestamp.ts";
import { problemsOf, type StoredTrust, type TrustFile } from "../sign/trust-chain.ts";
import { readTrustFiles } from "../sign/trust-files.ts";
import { ANY_STREAM, type StreamRule, type TrustRoot } from "../sign/trust-root.ts";
import { countSigners, type SumsVerdict } from "../sign/verify-sums.ts";
import { judgeSums, type SettledTrust, settleTrust, type TrustSource } from "../sign/whom-to-trust.ts";
import type { AttestationFacts } from "./attest-rules.ts";
import type { Contents } from "./contents.ts";
import type { Inventory } from "./inventory-types.ts";
import type { Media } from "./media.ts";

const DAY_MS = 86_400_000;

/** What helps against each refusal for which a trust root is the reason. */
export const TRUST_HINTS: Partial<Record<ErrorCode, string>> = {
  ERR_TRUST_INVALID: "get the trust root again from the holders of the root keys",
  ERR_TRUST_SIGNATURES: "have the holders of the root keys run: airferry trust sign DIR --key FILE",
  ERR_TRUST_GAP:
    "get the versions in between from the holders of the root keys, and name the newest: --trust DIR/trust.N.json",
  ERR_TRUST_EXPIRED:
    "have the holders of the root keys make the next version: airferry trust rotate DIR --expires 1y; what is in a store is served nevertheless",
  ERR_FINGERPRINT: "compare the paper with what the holders of the root keys see: airferry trust show DIR",
  ERR_KEY_REVOKED:
    "have the bundle signed by a key that is not revoked: airferry sign BUNDLE --key FILE; of an archive say when it was known: airferry verify BUNDLE --trust ROOT --at TIME",
  ERR_KEY_EXPIRED: "have it signed by somebody who may sign now: airferry sign BUNDLE --key FILE; or pack again",
  ERR_STREAM_UNTRUSTED: "have the holders of the root keys add a rule for it: airferry trust rotate DIR --stream NAME",
  ERR_AUDIENCE:
    "take it to the site that it was made for; the packer names the sites in the manifest: audience: [SITE]",
  ERR_TOO_OLD: "have the packer pack again, and carry the new bundle in",
  ERR_ATTESTATION:
    "have it attested by a key that may: airferry attest BUNDLE --type scan --scan COMMAND --key FILE; or have the packer scan what is packed: airferry pack MANIFEST --scan COMMAND",
  ERR_ATTESTATION_INVALID:
    "get it again from whoever signed it, or have it made again: airferry attest BUNDLE --type scan --scan COMMAND --key FILE",
  ERR_ATTESTATION_SUBJECT:
    "it is of another bundle; have this one attested: airferry attest BUNDLE --type scan --scan COMMAND --key FILE",
  ERR_ATTESTATION_KEY:
    "have it attested by a key that may: airferry attest BUNDLE --type scan --scan COMMAND --key FILE; or have the holders of the root keys let this one: airferry trust add-key DIR --add KEY.pub=OWNER --role scan",
  ERR_ATTESTATION_FAILED:
    "do not import it, and ask the packer; if the finding is wrong, have the same key attest a newer scan: airferry attest BUNDLE --type scan --scan COMMAND --key FILE",
  ERR_ATTESTATION_OLD: "scan it again: airferry attest BUNDLE --type scan --scan COMMAND --key FILE",
  ERR_SCAN_MISSING:
    "run it with a scanner, and without --scan-report-only: airferry unpack BUNDLE --store DIR --scan COMMAND; docs/scanning.md has commands that work",
  ERR_TIMESTAMP:
    "have a timestamp added: airferry sign BUNDLE --key FILE --timestamp URL; whose count says the trust root: airferry trust rotate DIR --tsa CERT; or name an authority's certificate: --tsa CERT",
  ERR_SERIAL_JUMP:
    "carry a release in between; if the jump is right, have the holders of the root keys allow it: airferry trust rotate DIR --stream NAME:max-jump=N",
  ERR_EQUIVOCATION: "two different files claim to be one: find out why before anything else is imported",
};

/** Whether SHA256SUMS may be trusted, and by whose word. */
interface Judged extends SumsVerdict {
  /** Timestamps of good signatures by the authorities of the trust root. */
  stamped: Stamps;
  /** Absent when nobody could be trusted: `problems` says why. */
  trust?: SettledTrust;
}

/**
 * Settles whom to trust, with the versions of the trust root that the media carry, and checks the signatures. The
 * bundle itself is not read.
 * @throws {AirferryError} ERR_USAGE; faults of a trust root and of signatures are in `problems`
 */
export async function judgeMedia(
  media: Media,
  source: TrustSource,
  { now, stored, at }: { now: Date; stored?: StoredTrust | undefined; at?: Date | undefined },
): Promise<Judged> {
  try {
    const plain = source.keys !== undefined && stored === undefined;
    const carried = plain ? [] : await carriedTrust(media);
    const trust = settleTrust(source, carried, stored);
    const reader = await stampReader(trust.root, media.signatures, at);
    return { trust, ...judgeSums(media.sums, media.signatures, trust, now, reader) };
  } catch (error) {
    if (!(error instanceof AirferryError) || error.code === "ERR_USAGE") throw error;
    return { signers: [], count: 0, untrusted: [], problems: problemsOf(error), stamped: { stamps: [], problems: [] } };
  }
}

/** From the first medium that has any: all have the same, which their digests in SHA256SUMS show later. */
async function carriedTrust({ folders }: Media): Promise<TrustFile[]> {
  for (const { dir, files } of folders) {
    const found = await readTrustFiles(dir, files.keys());
    if (found.length > 0) return found;
  }
  return [];
}

/** The rule for a stream; undefined when the trust root does not name it. */
function ruleFor({ streams }: TrustRoot, stream: string): StreamRule | undefined {
  return Object.hasOwn(streams, stream)
    ? streams[stream]
    : Object.hasOwn(streams, ANY_STREAM)
      ? streams[ANY_STREAM]
      : undefined;
}

/** What came of the rules of a trust root, and of what is attested. */
interface RulesVerdict {
  problems: Problem[];
  attestations: AttestationFacts[];
  notices: string[];
}

/**
 * Judges a bundle whose signatures are good: by the rules of the trust root, if there is one, and by its attestations.
 *
 * Codes: ERR_KEY_EXPIRED, ERR_STREAM_UNTRUSTED, ERR_AUDIENCE, ERR_TOO_OLD, ERR_ATTESTATION and those that begin so.
 * @param judged keyids of good signatures, and their timestamps
 */
export async function judgeRules(
  trust: SettledTrust,
  { signers, stamped }: Pick<Judged, "signers" | "stamped">,
  { media, contents }: { media: Media; contents: Contents },
  now: Date,
): Promise<RulesVerdict> {
  const { inventory, inventoryDigest } = contents;
  const { root } = trust;
  // Nothing depends on them where no rule asks for timestamps.
  const stampNotices = stamped.problems.map((it) => `${it.message}; it counts for nothing`);
  const problems = checkTrustRules(trust, { signers, stamped }, inventory, now);
  const rule = root && ruleFor(root, inventory.stream);
  const isLate = (name: string) => /\.(?:provenance|scan)\.dsse\.json$/.test(name);
  const isAttested = contents.attestations.length > 0 || media.signatures.some((it) => isLate(it.name));
  if (!isAttested && rule?.attestations === undefined) return { problems, attestations: [], notices: stampNotices };
  const { judgeAttestations } = await import("./attest-rules.ts");
  const verdict = judgeAttestations({ media, contents, inventoryDigest }, trust, rule, now);
  return { ...verdict, notices: [...stampNotices, ...verdict.notices], problems: [...problems, ...verdict.problems] };
}

/**
 * What a trust root says against a bundle whose signatures are good.
 *
 * Codes: ERR_KEY_EXPIRED, ERR_STREAM_UNTRUSTED, ERR_AUDIENCE, ERR_TOO_OLD.
 * @param signers keyids of good signatures
 */
function checkTrustRules(
  trust: SettledTrust,
  judged: Pick<Judged, "signers" | "stamped">,
  inventory: Inventory,
  now: Date,
): Problem[] {
  const { root, keys, threshold, required } = trust;
  const { signers, stamped } = judged;
  if (root === undefined) return [];
  const problems: Problem[] = [];
  const add = (code: Problem["code"], message: string) => problems.push({ code, path: "airferry.json", message });
  const { stream, created, audience } = inventory;
  const signed = keys.filter((it) => signers.includes(it.keyid));
  const timesOf = (keyid: string) => stampsOf(stamped, keyid);
  const late = signed.filter(
    ({ file, keyid }) => ![created, ...timesOf(keyid)].some((time) => isValidAt(root, file, time)),
  );
  if (
    countSigners(
      signed.filter((it) => !late.includes(it)),
      required,
    ) < threshold
  ) {
    for (const { file, keyid16 } of late) {
      const { notBefore, notAfter } = root.signers[file] ?? { notBefore: "", notAfter: "" };
      const window = `${file} may sign from ${notBefore} to ${notAfter}`;
      add("ERR_KEY_EXPIRED", `signed by key ${keyid16}, but made at ${created}: ${window}`);
    }
  }
  const rule = ruleFor(root, stream);
  if (rule === undefined) {
    add(
      "ERR_STREAM_UNTRUSTED",
      `the trust root "${root.name}" version ${root.version} has no rule for stream "${stream}"`,
    );
    return problems;
  }
  if (rule.audience !== undefined && audience?.includes(rule.audience) !== true) {
    const whom = audience === undefined ? "no site in particular" : audience.join(", ");
    add("ERR_AUDIENCE", `the bundle was made for another site: expected ${rule.audience}, got ${whom}`);
  }
  if (rule.requireTimestamp === true) problems.push(...stampProblems({ ...trust, root }, judged));
  const { maxAgeDays } = rule;
  if (maxAgeDays !== undefined && now.getTime() > Date.parse(created) + maxAgeDays * DAY_MS) {
    add("ERR_TOO_OLD", `the bundle is too old: made at ${created}, expected at most ${plural(maxAgeDays, "day")} ago`);
  }
  return problems;
}

function isValidAt(root: TrustRoot, id: string, time: string): boolean {
  const signer = root.signers[id];
  const at = Date.parse(time);
  return signer !== undefined && Date.parse(signer.notBefore) <= at && at <= Date.parse(signer.notAfter);
}

/**
 * Whether enough signers have a timestamp by which they might sign, and their keys were not revoked. What the bundle
 * says of its own time does not matter then.
 */
function stampProblems(
  { root, keys, threshold, required }: SettledTrust & { root: TrustRoot },
  { signers, stamped }: Pick<Judged, "signers" | "stamped">,
): Problem[] {
  const counting = keys.filter(({ keyid, file }) => {
    if (!signers.includes(keyid)) return false;
    const lost = root.revoked.find((it) => it.keyid === keyid);
    return stampsOf(stamped, keyid).some(
      (time) => isValidAt(root, file, time) && (lost === undefined || Date.parse(time) < Date.parse(lost.from)),
    );
  });
  const count = countSigners(counting, required);
  if (count >= threshold) return [];
  if (stamped.problems.length > 0) return stamped.problems;
  const message = `too few timestamps by authorities of the trust root: expected those of ${plural(threshold, "distinct owner")}, each from a time at which they may sign, got ${count}`;
  return [{ code: "ERR_TIMESTAMP", path: "signatures", message }];
}

/**
 * Whether whoever takes a bundle in has to scan it, and does not, or would go on whatever is found.
 * Code: ERR_SCAN_MISSING.
 * @param scans whether a scanner will look at all content, and stop what it finds
 */
export function checkImportScan(
  { root }: SettledTrust,
  { stream }: Pick<Inventory, "stream">,
  scans: boolean,
): Problem[] {
  if (scans || root === undefined || ruleFor(root, stream)?.requireImportScan !== true) return [];
  const message = `stream "${stream}" has to be scanned when it comes in: expected a scanner that stops what it finds, got none`;
  return [{ code: "ERR_SCAN_MISSING", path: "airferry.json", message }];
}

/**
 * Whether a bundle is further above the highest release that its stream had in a store than its rule allows: a serial
 * from nowhere would block every later bundle.
 * Code: ERR_SERIAL_JUMP.
 * @param floor undefined before the first release, when any serial is good
 */
export function checkSerialJump(
  { root }: SettledTrust,
  { stream, epoch, serial }: Pick<Inventory, "stream" | "epoch" | "serial">,
  floor: { epoch: number; serial: number } | undefined,
): Problem[] {
  const most = root && ruleFor(root, stream)?.maxSerialJump;
  if (most === undefined || floor === undefined) return [];
  const from = epoch === floor.epoch ? floor.serial : 0;
  if (epoch <= floor.epoch + 1 && serial - from <= most) return [];
  const expected = `at most epoch ${floor.epoch}, serial ${floor.serial + most}, or epoch ${floor.epoch + 1}, serial ${most}`;
  const message = `serial jumps too far: expected ${expected}; got epoch ${epoch}, serial ${serial}`;
  return [{ code: "ERR_SERIAL_JUMP", path: "airferry.json", message }];
}
