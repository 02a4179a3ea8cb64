/**
 * A bill of materials as one page for people: what, which version, under which licence, from where, and how its digest
 * is known. Needs nothing beside itself, and no script: that only adds a search. Packages stand in tables of 500, of
 * which a browser lays out only what is in view, so that 20,000 of them scroll and print like 20.
 */
import { LINE, link, pageFrame } from "../html/frame.ts";
import { type Html, type HtmlValue, html, joined } from "../html/html.ts";
import { formatBytes, plural } from "../io/format.ts";
import type { Established } from "../io/types.ts";
import { BOM_SCRIPT, BOM_STYLE } from "./bom-page-parts.ts";
import type { Licence } from "./licence.ts";
import type { Bill, BillPackage, FileRow, ImageRow, RepositoryPart } from "./types.ts";

/** Rows of one table. */
const PART_ROWS = 500;
/** Licences in the summary. */
const MAX_LICENCES = 50;

const KNOWN: Readonly<Record<Established, string>> = {
  manifest: "digest in the manifest",
  "upstream-signed": "signed by upstream",
  "upstream-checksum": "upstream's checksum",
  "first-sight": "first sight",
  generated: "made by the packer",
};

/** The page in pieces of up to a table, of 500 rows. Ends with a line feed. */
export function* bomPage(bill: Bill): Generator<string> {
  const title = `Bill of materials: ${bill.stream} ${bill.serial}`;
  const { head, tail } = pageFrame(title, { style: BOM_STYLE });
  yield String(head);
  let before = "";
  for (const it of sectionsOf(bill, title)) {
    yield before + it;
    before = "\n";
  }
  yield String(tail);
}

/** What stands on lines of its own. */
function* sectionsOf(bill: Bill, title: string): Generator<Html> {
  yield html`<h1>${title}</h1>`;
  yield html`<p class="soft">What this release is made of. Packed by ${bill.tool} from the lock of ${bill.time}${bill.notAfter === undefined ? "" : html`, to be imported until ${bill.notAfter}`}. It is worth as much as the bundle that it describes: see <code>airferry verify</code>.</p>`;
  yield html`<form id="search" role="search" hidden><label for="q">Search names, versions, licences, sources and digests</label><input id="q" type="search" autocomplete="off" spellcheck="false"><p id="found" class="soft" role="status"></p></form>`;
  for (const it of bill.gaps) yield html`<p class="warn">Not complete: ${it}</p>`;
  yield summarySection(bill);
  yield licenceSection(bill);
  if (bill.isos.length > 0) yield* fileSection("ISOs", "isos", bill.isos);
  if (bill.files.length > 0) yield* fileSection("Files", "files", bill.files);
  if (bill.images.length > 0) yield* imageSection(bill.images);
  for (const [index, it] of bill.repositories.entries()) yield* repositorySection(it, index);
  yield html`<h2 id="terms">How a digest is known</h2>
<dl>
<dt>${KNOWN.manifest}</dt><dd>whoever wrote the manifest gave it</dd>
<dt>${KNOWN["upstream-signed"]}</dt><dd>upstream signed it, by the key that is named</dd>
<dt>${KNOWN["upstream-checksum"]}</dt><dd>upstream published it, without a signature</dd>
<dt>${KNOWN["first-sight"]}</dt><dd>no digest was published: it is that of what came when it was first fetched</dd>
<dt>${KNOWN.generated}</dt><dd>computed from the rest, such as metadata of a selection</dd>
</dl>
<p class="soft">Everything beside the listed content (metadata of repositories, layers of images, keys) stands with its digest in airferry.json. The same list for programs is BOM.cdx.json.</p>`;
  yield BOM_SCRIPT;
}

function summarySection({ isos, files, images, repositories, lock }: Bill): Html {
  const rows: Html[] = [];
  const add = (
    href: string,
    name: string,
    list: readonly (FileRow | ImageRow | BillPackage)[],
    note: HtmlValue = "",
  ) => {
    const bytes = list.reduce((sum, it) => sum + it.size, 0);
    const size = list.some((it) => "reference" in it) ? "" : formatBytes(bytes);
    rows.push(
      html`<tr><td>${link(`#${href}`, name)}</td><td class="number">${list.length}</td><td class="number">${size}</td><td>${knownCounts(list)}${note}</td></tr>`,
    );
  };
  if (isos.length > 0) add("isos", "ISOs", isos);
  if (files.length > 0) add("files", "Files", files);
  if (images.length > 0) add("images", "Container images", images);
  for (const [index, it] of repositories.entries()) {
    add(
      `rpms-${index + 1}`,
      `Packages: ${it.name}`,
      it.packages,
      it.gpgcheck ? "" : "; package signatures not checked",
    );
  }
  return html`<h2 id="summary">Summary</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="summary"><table><thead><tr><th scope="col">content</th><th scope="col" class="number">count</th><th scope="col" class="number">size</th><th scope="col">digests known by</th></tr></thead><tbody>
${joined(rows, LINE)}
</tbody></table></div>
<p class="soft">Lock: <span class="digest">${lock}</span></p>`;
}

function knownCounts(list: readonly (FileRow | ImageRow | BillPackage)[]): string {
  const counts = new Map<string, number>();
  for (const { established } of list) {
    const known = knownText(established);
    counts.set(known, (counts.get(known) ?? 0) + 1);
  }
  if (counts.size === 1) return [...counts.keys()][0] ?? "";
  return Array.from(counts, ([known, count]) => `${known}: ${count}`).join(", ");
}

function licenceSection({ images, repositories }: Bill): Html {
  const counts = new Map<string, number>();
  for (const { licence } of [...images, ...repositories.flatMap((it) => it.packages)]) {
    const text = licence?.text ?? "not declared";
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  if (counts.size === 0) return html``;
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const shown = sorted.slice(0, MAX_LICENCES);
  const rows = shown.map(([text, count]) => html`<tr><td>${text}</td><td class="number">${count}</td></tr>`);
  const more = sorted.length - shown.length;
  return html`<h2 id="licences">Licences</h2>
<p class="soft">As packages and images declare them: ${plural(sorted.length, "text")}. Files and ISOs declare none.</p>
<details><summary>${more > 0 ? `The ${MAX_LICENCES} most frequent` : "All of them"}</summary>
<table><thead><tr><th scope="col">licence</th><th scope="col" class="number">packages and images</th></tr></thead><tbody>
${joined(rows, LINE)}
</tbody></table></details>`;
}

function* fileSection(title: string, id: string, files: readonly FileRow[]): Generator<Html> {
  yield html`<h2 id="${id}">${title}</h2>`;
  yield* parts(
    files,
    title,
    ["name", "version", "known by", "source"],
    (it) =>
      html`<tr><td>${it.path.replace(/^(?:isos|files)\//, "")}<br>${digest(it.digest)}</td><td>${it.version}</td><td>${knownBy(it)}<br><span class="soft">${formatBytes(it.size)}</span></td><td class="source">${it.source}</td></tr>`,
  );
}

function* imageSection(images: readonly ImageRow[]): Generator<Html> {
  yield html`<h2 id="images">Container images</h2>`;
  yield* parts(
    images,
    "Container images",
    ["image", "version", "known by", "licence, carried SBOMs"],
    (it) =>
      html`<tr><td>${it.name}<br>${digest(it.digest)}</td><td>${it.version.startsWith("sha") ? "" : it.version}<br><span class="soft">${it.platforms.length === 0 ? "all platforms" : it.platforms.join(", ")}</span></td><td>${knownBy(it)}</td><td class="sboms">${licenceText(it.licence)}${joined(it.sboms.map(({ format, digest: of, attestation }) => html`<br>${format}${attestation ? ", attested" : ""}: ${digest(of)}`))}</td></tr>`,
  );
}

function* repositorySection(repository: RepositoryPart, index: number): Generator<Html> {
  const { name, mode, packages, repomdSignedBy, gpgcheck } = repository;
  const [source, shared] = sharedSource(packages);
  const metadata = repomdSignedBy === "none" ? "metadata not signed" : `metadata signed by ${repomdSignedBy}`;
  const checks = gpgcheck ? "signatures of packages checked" : "signatures of packages not checked";
  const from = shared ? html`, from <span class="source">${source}</span>` : "";
  const facts = html`<p class="soft">${mode === "exact" ? "The whole repository" : mode === "subset" ? "A selection of a repository" : "Loose packages"}: ${plural(packages.length, "package")}, ${metadata}, ${checks}${from}</p>`;
  const known = sharedKnown(packages);
  const by = known === undefined ? "" : html`<p class="soft">Digests known by: ${known}</p>`;
  const heads = ["package", "version", "licence", "SHA-256"];
  yield html`<h2 id="rpms-${index + 1}">Packages: ${name}</h2>`;
  yield html`${facts}${by}`;
  yield* parts(packages, name, heads, (it) => packageRow(it, shared, known !== undefined));
}

function packageRow(it: BillPackage, hasSource: boolean, hasKnown: boolean): Html {
  const { name, epoch, version, release, arch, licence } = it;
  const evr = version === "" ? "unknown" : `${epoch > 0 ? `${epoch}:` : ""}${version}-${release}.${arch}`;
  const own =
    hasSource && hasKnown
      ? ""
      : html`<br><span class="soft">${hasKnown ? "" : knownBy(it)} ${hasSource ? "" : it.source}</span>`;
  return html`<tr><td>${name}${own}<td>${evr}<td>${licenceText(licence)}<td>${it.digest.slice(it.digest.indexOf(":") + 1)}`;
}

/** Where all packages of a repository come from: the longest folder that their sources share. */
function sharedSource(packages: readonly BillPackage[]): [folder: string, shared: boolean] {
  const folders = new Set(packages.map(({ source }) => source.slice(0, source.lastIndexOf("/") + 1)));
  let [folder = ""] = folders;
  for (const it of folders) {
    // Without its last slash first: an index before the start of a text is taken for its start.
    while (!it.startsWith(folder)) folder = folder.slice(0, folder.slice(0, -1).lastIndexOf("/") + 1);
  }
  return [folder, /^https?:\/\/[^/]+\/./.test(folder)];
}

/** How the digests of all packages are known, if that is the same for all. */
function sharedKnown(packages: readonly BillPackage[]): string | undefined {
  const [first] = packages;
  if (first === undefined) return undefined;
  const text = knownBy(first);
  const same = packages.every(
    (it) => it.established === first.established && it.signedBy.join() === first.signedBy.join(),
  );
  return same ? text : undefined;
}

/** Tables of {@link PART_ROWS} rows, each with a caption that names the part. One empty piece if there are no rows. */
function* parts<Row>(
  rows: readonly Row[],
  title: string,
  heads: readonly string[],
  rowOf: (row: Row) => Html,
): Generator<Html> {
  if (rows.length === 0) yield html``;
  const head = joined(heads.map((it) => html`<th scope="col">${it}</th>`));
  for (let first = 0; first < rows.length; first += PART_ROWS) {
    const part = rows.slice(first, first + PART_ROWS);
    const which =
      rows.length <= PART_ROWS ? title : `${title}: ${first + 1} to ${first + part.length} of ${rows.length}`;
    yield html`<div class="part" tabindex="0" role="region" aria-label="${which}"><table class="rows">${rows.length <= PART_ROWS ? "" : html`<caption>${which}</caption>`}<thead><tr>${head}</tr></thead><tbody>
${joined(part.map(rowOf), LINE)}
</tbody></table></div>`;
  }
}

function digest(it: string): Html {
  return html`<span class="digest soft">${it}</span>`;
}

function licenceText(licence: Licence | undefined): HtmlValue {
  return licence?.text ?? html`<span class="soft">not declared</span>`;
}

function knownText(established: Established | null): string {
  return established === null ? "not recorded" : KNOWN[established];
}

function knownBy({ established, signedBy }: Pick<BillPackage, "established" | "signedBy">): string {
  const by = signedBy.map((it) => it.slice(-16)).join(", ");
  return by === "" ? knownText(established) : `${knownText(established)} (${by})`;
}
