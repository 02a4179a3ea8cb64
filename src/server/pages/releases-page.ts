/** The history of streams, and what changed from one release to another. */
import { differences } from "../../compare/diff-page.ts";
import type { ReleaseDifferences } from "../../compare/releases.ts";
import { LINE } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import type { PastRelease } from "../../store/types.ts";
import { type PageScope, sitePage } from "./page-frame.ts";
import { historyTable, releaseUrl } from "./release-facts.ts";

/** Changes of each kind that a page lists. */
const MAX_CHANGES = 1000;

/** Renders the history of streams. */
export function historyPage(all: readonly { stream: string; past: readonly PastRelease[] }[], scope: PageScope): Html {
  const parts = all.map(({ stream, past }) => html`<h2>${stream}</h2>${historyTable(stream, past)}`);
  const body = html`<h1>Releases</h1><p class="soft">What was unpacked here, the newest first. Each says what changed.</p>
${joined(parts, LINE)}`;
  return sitePage("Releases", body, { ...scope, at: "/releases/" });
}

/** What a page of one release is made from. */
interface ReleasePageInput {
  stream: string;
  past: readonly PastRelease[];
  release: PastRelease;
  /** The other one, and how they differ; undefined for the first. */
  before: { release: PastRelease; found: ReleaseDifferences } | undefined;
}

/** Renders the page of one release. */
export function releasePage({ stream, past, release, before }: ReleasePageInput, scope: PageScope): Html {
  const title = `${stream} ${release.name}`;
  const parts = [html`<h1>${title}</h1>`, historyTable(stream, [release])];
  if (before === undefined) {
    parts.push(html`<p>No other release of this stream is in the store to compare it with.</p>`);
  } else {
    const { found } = before;
    const others = past.filter((it) => it.name !== release.name);
    const options = others.map(({ name }) =>
      name === before.release.name
        ? html`<option value="${name}" selected>${name}</option>`
        : html`<option value="${name}">${name}</option>`,
    );
    const command = `airferry diff ${stream}-${before.release.name} ${stream}-${release.name} --store DIR`;
    const choice =
      scope.view.written === undefined
        ? html`<form class="find" action="${releaseUrl(stream, release.name)}" method="get"><label for="from">Since</label><select id="from" name="from">${joined(options)}</select><button>Compare</button></form>`
        : html`<p>Since ${before.release.name}:</p>`;
    parts.push(
      html`<h2>What changed</h2>${choice}`,
      differences(
        { title: `${stream} ${before.release.name}`, verified: true, ...found.before },
        { title, verified: true, ...found.after },
        found.comparison,
        MAX_CHANGES,
      ),
      html`<p class="soft">The same on this machine: <code>${command}</code></p>`,
    );
  }
  return sitePage(title, joined(parts, LINE), { ...scope, at: "/releases/" });
}
