/** The report of a verification as one page that needs nothing beside itself: to be filed, printed and signed. */

import type { ScanReport } from "../bundle/scan-report.ts";
import { htmlPage, LINE } from "../html/frame.ts";
import { type Html, type HtmlValue, html, joined } from "../html/html.ts";
import { formatBytes, plural } from "../io/format.ts";
import type { Verification } from "./types.ts";

/** More are counted. The JSON report has all of them. */
const MAX_PROBLEMS = 2000;

const STYLE = html`td{overflow-wrap:anywhere}td:first-child{min-width:6.5rem}th[scope=row]{width:11rem}@media print{main{max-width:none;padding:0}.scroll{overflow:visible}}`;

/** The page. Ends with a line feed. */
export function verificationPage(it: Verification): string {
  const { stream, serial, digest, created, entries, fromStore, fromRecipe, volumes, parity } = it.bundle;
  const name = stream === null ? "bundle" : `${stream} ${serial}`;
  const title = `Verification of ${name}: ${it.result}`;
  const good = it.keys.filter((key) => key.signed);
  // Two keys of one signer count once.
  const signed =
    it.trustRoot === null
      ? plural(good.length, "trusted key")
      : `${plural(new Set(good.map((key) => key.file)).size, "signer")} of the trust root`;
  const store = fromStore === 0 ? "" : `, ${fromStore} of them already in the store`;
  const built = fromRecipe === 0 ? "" : `, ${fromRecipe} of them built at import of what is in the store`;
  const missing = volumes.missing.length === 0 ? "" : `, missing: ${volumes.missing.join(", ")}`;
  const verdict =
    it.result === "accepted"
      ? `Accepted: signed by ${signed}, ${it.threshold} needed, and everything is as signed.`
      : `Refused: ${plural(it.problems.length, "problem")}. Do not use it.`;
  return String(
    htmlPage(
      title,
      joined(
        [
          html`<h1>${title}</h1>`,
          it.result === "accepted" ? html`<p><strong>${verdict}</strong></p>` : html`<p class="warn">${verdict}</p>`,
          heading("Bundle"),
          facts([
            ["Digest", html`<span class="digest">${digest ?? "unknown: no SHA256SUMS"}</span>`],
            ["Stream and serial", stream === null ? "unknown: too few good signatures to read on" : name],
            ["Packed", created ?? "unknown"],
            ["Content", stream === null ? "unknown" : `${plural(entries, "file")}${store}${built}`],
            ["Volumes", stream === null ? "unknown" : `${volumes.total}${missing}`],
            ["Recovery files", stream === null ? "unknown" : parityText(parity)],
          ]),
          ...scanSection(it.bundle.scan),
          ...attestationSection(it),
          heading("Keys"),
          ...trustRootSection(it),
          grid(
            ["Key id", it.trustRoot === null ? "File" : "Signer", "Signature"],
            it.keys.map(
              ({ keyid, file, signed: has }) =>
                html`<tr><td class="digest">${keyid}</td><td>${file}</td><td>${has ? "good" : "none"}</td></tr>`,
            ),
          ),
          heading("What was checked"),
          grid(
            ["Check", "How", "Outcome"],
            it.checks.map(
              ({ check, how, outcome }) =>
                html`<tr><td>${check}</td><td>${how}</td><td>${outcome === "skipped" ? "not reached" : outcome}</td></tr>`,
            ),
          ),
          ...problemSection(it),
          ...(it.notices.length > 0 ? [heading("Notices"), list(it.notices)] : []),
          heading("When and where"),
          facts([
            ...(it.at === null ? [] : [["Judged as of", it.at] as const]),
            ["Begun", it.begun],
            ["Ended", it.ended],
            ["Host", it.host],
            ["Program", it.tool],
            ["Media", joined(it.media, html`<br>`)],
          ]),
        ],
        LINE,
      ),
      { style: STYLE },
    ),
  );
}

/** Whom to trust: public keys that were given, or those of a trust root. */
function trustRootSection({ trustRoot, threshold }: Verification): Html[] {
  if (trustRoot === null)
    return [html`<p class="soft">The trusted keys that were given. At least ${threshold} must have signed.</p>`];
  const { name, version, digest, expires } = trustRoot;
  return [
    facts([
      ["Trust root", `${name}, version ${version}`],
      ["Fingerprint", html`<span class="digest">${digest}</span>`],
      ["Good until", expires],
    ]),
    html`<p class="soft">The release keys of the trust root. At least ${plural(threshold, "signer")} must have signed.</p>`,
  ];
}

/** What the packer's scanner said, on the word of the signers. */
function scanSection(scan: ScanReport | null): Html[] {
  if (scan === null) return [];
  const { version, command, files, bytes, host, finished, result, findings, gaps } = scan;
  return [
    heading("Scan before it was signed"),
    html`<p class="soft">As the packer recorded it: the signers vouch for it, and this verification did not scan.</p>`,
    facts([
      ["Result", result === "clean" ? "nothing found" : "found something"],
      ["Scanner", version ?? "unknown"],
      ["Command", command.join(" ")],
      ["Scanned", `${plural(files, "file")}, ${formatBytes(bytes)}`],
      ["Ended", `${finished} on ${host}`],
    ]),
    ...(findings.length > 0 ? [html`<p>Findings</p>`, list(findings)] : []),
    ...(gaps.length > 0 ? [html`<p>What it may not have seen</p>`, list(gaps)] : []),
  ];
}

/** Who attested what, and when signatures were stamped. */
function attestationSection({ bundle: { attestations }, timestamps }: Verification): Html[] {
  const attested = attestations.map(({ kind, path, signer, keyid, scan, builder, fault }) => {
    const claim =
      scan === null
        ? (builder ?? "")
        : `${scan.result === "clean" ? "nothing found" : "found something"}, ${scan.finished}, by ${scan.scanner}`;
    const by = signer === null ? "nobody who is known here" : `${signer}, key ${keyid?.slice(0, 16)}`;
    return html`<tr><td>${kind}</td><td>${path}</td><td>${by}</td><td>${claim}</td><td>${fault ?? "good"}</td></tr>`;
  });
  const stamped = timestamps.map(
    ({ keyid, time, by }) => html`<tr><td class="digest">${keyid}</td><td>${time}</td><td>${by}</td></tr>`,
  );
  return [
    ...(attested.length === 0
      ? []
      : [heading("Attestations"), grid(["Kind", "File", "Signed by", "What it says", "Signature"], attested)]),
    ...(stamped.length === 0 ? [] : [heading("Timestamps"), grid(["Signature by", "Time", "Authority"], stamped)]),
  ];
}

function problemSection({ problems }: Verification): Html[] {
  if (problems.length === 0) return [];
  const rows = problems
    .slice(0, MAX_PROBLEMS)
    .map(
      ({ code, path, message }) => html`<tr><td class="nowrap">${code}</td><td>${path}</td><td>${message}</td></tr>`,
    );
  const more = problems.length - rows.length;
  const rest = more > 0 ? [html`<p class="soft">and ${more} more: a report in JSON lists all of them</p>`] : [];
  return [heading("Problems"), grid(["Code", "Where", "What"], rows), ...rest];
}

function heading(text: string): Html {
  return html`<h2>${text}</h2>`;
}

function list(lines: readonly string[]): Html {
  return html`<ul>${joined(lines.map((it) => html`<li>${it}</li>`))}</ul>`;
}

/** Names and values. */
function facts(rows: readonly (readonly [name: string, value: HtmlValue])[]): Html {
  const lines = rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`);
  return html`<table><tbody>${joined(lines)}</tbody></table>`;
}

function grid(heads: readonly string[], rows: readonly Html[]): Html {
  const head = joined(heads.map((it) => html`<th scope="col">${it}</th>`));
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${heads.join(", ")}"><table><thead><tr>${head}</tr></thead><tbody>
${joined(rows, LINE)}
</tbody></table></div>`;
}

function parityText({ total, missing, damaged }: Verification["bundle"]["parity"]): string {
  return [
    total === 0 ? "none" : `${total}`,
    ...(missing.length > 0 ? [`missing: ${missing.join(", ")}`] : []),
    ...(damaged.length > 0 ? [`damaged: ${[...new Set(damaged)].join(", ")}`] : []),
  ].join(", ");
}
