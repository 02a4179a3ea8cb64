/** What is said of releases: when, by whom, how far it can be trusted, and until when. */

import { link, table } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import { attestationText, stampText } from "../../io/attestation-text.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { printable } from "../../io/printable.ts";
import type { PastRelease, Release } from "../../store/types.ts";
import { BOM_PAGE } from "./bill-of-materials.ts";
import { rootOf } from "./page-frame.ts";
import { pinsOf } from "./pin-counts.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Expiry that is nearer is shown as a warning. */
const SOON_DAYS = 14;

/** Names of the key files of a release's signers, by keyid; without those that nobody named. */
export type SignerNames = Readonly<Record<string, string>>;

/** Everything about one release. */
export function releaseFacts(release: Release, names: SignerNames): Html {
  const { stream, serial, importedAt, inventory, digest } = release;
  const { sources, firstSight } = pinsOf(inventory);
  const facts: [string, Html | string][] = [
    ["Stream", link(`${rootOf(stream)}/`, stream)],
    ["Serial", html`${serial} ${expiryTag(inventory.notAfter)}`],
    ["Packed", html`${day(inventory.created)} <span class="soft">${age(inventory.created)}</span>`],
    ["Unpacked here", day(importedAt)],
    ["Expires", inventory.notAfter === undefined ? "never" : day(inventory.notAfter)],
    ["Signed by", signedBy(release.signers, names)],
    ...(release.timestamps ?? []).map((it): [string, string] => ["Stamped", stampText(it)]),
    ...(release.attestations ?? []).map((it): [string, string] => ["Attested", attestationText(it)]),
    ["Pinned on first sight", `${firstSight} of ${plural(sources, "source")}`],
    ["Content", `${plural(inventory.entries.length, "entry", "entries")}, ${formatBytes(bytesOf(release))}`],
    ["Packed with", printable(inventory.tool, 200)],
    ["Identity", html`<code class="digest">${digest}</code>`],
    ["More", releaseLinks(release)],
  ];
  return html`<dl class="facts">${joined(facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`))}</dl>`;
}

/** Several releases, a line each. */
export function releaseTable(releases: readonly Release[], names: (release: Release) => SignerNames): Html {
  const rows = releases.map((release) => {
    const { stream, serial, importedAt, inventory } = release;
    const { sources, firstSight } = pinsOf(inventory);
    return html`<tr><td>${link(`${rootOf(stream)}/`, stream)}<br>${releaseLinks(release)}</td><td class="number">${serial}</td><td class="nowrap">${day(inventory.created)}<br><span class="soft">${age(inventory.created)}</span></td><td class="nowrap">${day(importedAt)}</td><td class="nowrap">${inventory.notAfter === undefined ? "never" : day(inventory.notAfter)} ${expiryTag(inventory.notAfter)}</td><td>${signedBy(release.signers, names(release))}</td><td class="number">${firstSight} of ${sources}</td><td class="number">${formatBytes(bytesOf(release))}</td></tr>`;
  });
  const heads = ["stream", "serial", "packed", "unpacked", "expires", "signed by", "first sight", "size"];
  return table(plural(releases.length, "release"), heads, rows, [1, 6, 7]);
}

/** The releases that a stream had, newest first. */
export function historyTable(stream: string, past: readonly PastRelease[]): Html {
  const rows = past.map((it) => {
    const state = it.current
      ? html`<span class="tag good">served</span>`
      : it.rolledBack
        ? html`<span class="tag bad">rolled back to</span>`
        : "";
    return html`<tr><td>${link(releaseUrl(stream, it.name), it.name)} ${state}</td><td class="nowrap">${day(it.created)} <span class="soft">${age(it.created)}</span></td><td class="nowrap">${day(it.importedAt)}</td><td class="nowrap">${it.notAfter === undefined ? "never" : day(it.notAfter)}</td><td>${signedBy(it.signers, {})}</td><td class="mono soft">${it.digest.slice(7, 23)}…</td></tr>`;
  });
  const heads = ["release", "packed", "unpacked", "expires", "signed by", "identity"];
  return table(plural(past.length, "release"), heads, rows);
}

/** Page of one release of a stream's history. */
export function releaseUrl(stream: string, name: string): string {
  return `${rootOf(stream)}/releases/${encodeURIComponent(name)}`;
}

/** A line about a release that must not be used any more, or soon; undefined for others. */
export function expiryWarning({ stream, inventory: { notAfter } }: Release): Html | undefined {
  if (notAfter === undefined) return undefined;
  const left = Math.ceil((Date.parse(notAfter) - Date.now()) / DAY_MS);
  if (left <= 0)
    return html`<p class="warn">The release of ${stream} expired on ${day(notAfter)}. Ask for a newer one.</p>`;
  if (left > SOON_DAYS) return undefined;
  return html`<p class="warn">The release of ${stream} expires in ${plural(left, "day")}, on ${day(notAfter)}.</p>`;
}

function expiryTag(notAfter: string | undefined): Html | "" {
  return notAfter !== undefined && Date.parse(notAfter) <= Date.now() ? html`<span class="tag bad">expired</span>` : "";
}

function releaseLinks({ stream, bom = [] }: Release): Html {
  const root = rootOf(stream);
  const links = [link(`${root}/releases/`, "history and changes")];
  if (bom.some((it) => it.name === BOM_PAGE)) links.push(link(`${root}/${BOM_PAGE}`, "bill of materials"));
  return joined(links, " · ");
}

/** Keys by the names that the operator gave their files, and their identifiers. */
function signedBy(signers: readonly string[], names: SignerNames): Html {
  if (signers.length === 0) return html`<span class="soft">nobody</span>`;
  const each = signers.map((keyid) => {
    const name = Object.hasOwn(names, keyid) ? names[keyid] : undefined;
    const id = html`<code title="${keyid}">${keyid.slice(0, 16)}</code>`;
    return name === undefined ? id : html`${printable(name, 100)} ${id}`;
  });
  return joined(each, ", ");
}

function bytesOf({ inventory }: Release): number {
  return inventory.entries.totalBytes;
}

/** The day of a time in RFC 3339. */
function day(time: string): string {
  return time.slice(0, 10);
}

function age(created: string): string {
  const days = Math.floor((Date.now() - Date.parse(created)) / DAY_MS);
  if (!(days >= 1)) return "today";
  return days === 1 ? "yesterday" : `${days} days ago`;
}
