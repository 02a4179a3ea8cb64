/**
 * The evidence of a verification: who signed, what was checked and how, when, on which host, from which media, and the
 * result with every problem. A plain file of its own, so that stock tools sign it. docs/verification.md has its form.
 */
import { realpath } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, resolve, sep } from "node:path";
import { AirferryError } from "../errors.ts";
import { printableJson } from "../io/printable.ts";
import { refuseExisting, writePieces } from "../io/write-pieces.ts";
import { TOOL } from "../version.ts";
import type { Check, Verification, VerifyReport } from "./types.ts";

const HOW: Readonly<Record<Check, string>> = {
  media: "every name in the folders belongs to a bundle; only regular files, no links",
  signatures: "each signature file is over these bytes of SHA256SUMS, by its key; enough trusted keys signed",
  files: "every other file is listed in SHA256SUMS and has its SHA-256; the inventory is strictly valid",
  expiry: "the bundle has no expiry date, or it has not passed by this host's clock, or by the time that was asked for",
  rules: "the trust root's rules for its stream, its site, its age and its signers; none with public keys",
  volumes: "every volume that the inventory lists is there",
  content: "every entry has its SHA-256, and every byte between entries is as computed",
};
const HOW_PARTIAL: Partial<Record<Check, string>> = {
  volumes: "some volumes may be missing, as asked for with --partial",
  content: "every volume that is there has its SHA-256; if all are, as without --partial",
};

/** What a report needs beside the result of `verify`. */
interface Circumstances {
  /** As given. */
  folders: readonly string[];
  begun: Date;
  notices: readonly string[];
  /** Default: now. */
  ended?: Date;
}

/** The document of a verification. */
export function verificationOf(report: VerifyReport, { folders, begun, notices, ended }: Circumstances): Verification {
  const { digest, stream, serial, created, entries, fromStore, fromRecipe, volumes, parity, scan } = report;
  const { trustRoot, at, signers, partial } = report;
  const { attestations, timestamps } = report;
  return {
    mediaType: "application/vnd.airferry.verification.v1+json",
    result: report.ok ? "accepted" : "refused",
    begun: seconds(begun),
    ended: seconds(ended ?? new Date()),
    host: hostname(),
    tool: TOOL,
    // Standard input is no folder.
    media: folders.map((it) => (it === "-" ? it : resolve(it))),
    bundle: { digest, stream, serial, created, entries, fromStore, fromRecipe, volumes, parity, scan, attestations },
    timestamps,
    keys: report.trusted.map(({ keyid, file }) => ({
      keyid,
      file: trustRoot === null ? resolve(file) : file,
      signed: signers.includes(keyid),
    })),
    threshold: report.threshold,
    trustRoot,
    at,
    partial,
    checks: (Object.keys(HOW) as Check[]).map((check) => ({
      check,
      how: (partial ? HOW_PARTIAL[check] : undefined) ?? HOW[check],
      outcome: report.checks[check],
    })),
    problems: report.problems,
    notices: [...notices],
  };
}

/**
 * Refuses a report that would replace a file, or would be one more file of the bundle.
 * @throws {AirferryError} ERR_USAGE
 */
export async function refuseReport(file: string, folders: readonly string[]): Promise<void> {
  const parent = await realFolder(dirname(resolve(file)));
  const real = await Promise.all(folders.map((it) => realFolder(resolve(it))));
  const inside = real.find((it) => `${parent}${sep}`.startsWith(it.endsWith(sep) ? it : `${it}${sep}`));
  if (inside !== undefined) {
    throw new AirferryError("ERR_USAGE", `cannot write "${file}": a file in the bundle's folder is not part of it`, {
      path: file,
      hint: "give a name in another folder with --report",
    });
  }
  await refuseExisting(file, "--report");
}

/** The folder that a path leads to, through links; the path itself if there is none. */
function realFolder(path: string): Promise<string> {
  return realpath(path).catch(() => path);
}

/** Writes the report: a page if the name ends in `.html`, otherwise JSON. @throws {AirferryError} ERR_IO, ERR_SPACE */
export async function writeVerification(file: string, report: VerifyReport, about: Circumstances): Promise<void> {
  const verification = verificationOf(report, about);
  if (!/\.html?$/i.test(file)) {
    await writePieces(file, [`${printableJson(verification, 2)}\n`]);
    return;
  }
  const { verificationPage } = await import("./verification-page.ts");
  await writePieces(file, [verificationPage(verification)]);
}

function seconds(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
