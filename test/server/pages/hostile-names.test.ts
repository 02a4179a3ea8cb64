/** Pages made of nothing but hostile names. */
import t, { type Test } from "tap";
import { EntryTable } from "../../../src/bundle/entry-table.ts";
import { commandBlock, htmlPage, link, table } from "../../../src/html/frame.ts";
import { type Html, joined } from "../../../src/html/html.ts";
import { EMPTY_DIGEST } from "../../../src/io/digest.ts";
import type { IsoDirectoryEntry } from "../../../src/iso/types.ts";
import type { ServerRequest, TreeView } from "../../../src/server/http/context.ts";
import { directoryPage } from "../../../src/server/pages/directory-page.ts";
import { frontPage } from "../../../src/server/pages/front-page.ts";
import { isoPage } from "../../../src/server/pages/iso-page.ts";
import { notFoundPage } from "../../../src/server/pages/not-found-page.ts";
import { packagesPage } from "../../../src/server/pages/packages-page.ts";
import { historyPage, releasePage } from "../../../src/server/pages/releases-page.ts";
import type { Release } from "../../../src/store/types.ts";

/** A name that does harm wherever it is put without care; each is another. */
let count = 0;
const evil = (): string => `<i id=x${++count}>"'&</i>\u202e`;
/** The same for what is cut, or put into URLs only: it need not be shown. */
const EVIL = `<i id=y>"'&</i>`;
const shownAs = (id: number): RegExp => new RegExp(`&lt;i id=x${id}&gt;&quot;&#39;&amp;&lt;/i&gt;\\\\u\\{202e\\}`);

/** Nothing of a hostile name is markup, and of each of them something is shown. */
function checkPage(t: Test, page: Html, from: number): void {
  const text = String(page);
  t.notMatch(text, /<i |<\/i>|\u202e/, "no name is markup");
  for (let id = from + 1; id <= count; id++) t.match(text, shownAs(id), `name ${id} is shown`);
  // Attributes hold no quote that is not their end.
  const markup = text.replace(/<script>[^<]*<\/script>/, "");
  for (const [tag] of markup.matchAll(/<[a-z][^>]*>/g)) {
    t.match(tag, /^<[a-z0-9]+(?: [a-z-]+="[^"<>]*"| open| selected)*>$/, tag);
  }
}

t.test("the front page", async (t) => {
  const from = count;
  const image = (reference: string) => ({
    reference,
    digest: evil(),
    platforms: [evil(), evil()],
    size: 1,
    signedBy: [EVIL],
    established: "first-sight",
    manifests: [],
  });
  const release = {
    stream: evil(),
    serial: 1,
    signers: [EVIL, "0123"],
    importedAt: EVIL,
    entries: new Map(),
    inventory: {
      created: EVIL,
      notAfter: "1999-01-01",
      entries: EntryTable.from([]),
      catalog: {
        rpms: [{ name: evil(), path: EVIL, mode: evil(), packages: 1, repomdSignedBy: evil(), keys: [] }],
        isos: [{ name: evil(), path: EVIL, volumeId: evil() }],
        files: [{ path: `files/${evil()}` }],
        images: [image("host.example/path:tag"), image("host.example/other:tag")],
        keys: [{ path: "keys/x" }],
        provenance: [],
      },
      tool: evil(),
    },
  } as unknown as Release;
  const view = { releases: [release] } as unknown as TreeView;
  const render = {
    releases: [release],
    baseUrl: `http://${evil()}`,
    stream: undefined,
    trees: new Map(),
    privateCa: true,
  };
  const names = () => ({ "0123": evil() });
  checkPage(t, frontPage({ view, render, caCertificate: "PEM", names }), from);
});

t.test("a directory", async (t) => {
  const from = count;
  const names = [evil(), `${evil()}/`, evil(), evil()];
  const request = { path: `/${evil()}/`, stream: evil(), query: new URLSearchParams() } as unknown as ServerRequest;
  const found = [{ entry: { size: 1, digest: `sha256:${evil().slice(0, 16)}` } }, { conflict: [evil()] }, undefined];
  count -= 2; // Neither is shown whole: sixteen characters of a digest, and no URL of a conflict.
  let asked = 0;
  const view = { find: () => found[asked++], names: () => names, releases: [] } as unknown as TreeView;
  checkPage(t, directoryPage(request, view), from);
  const many = Array.from({ length: 1001 }, (_, at) => `${String(at).padStart(4, "0")}"<i `);
  const large = { find: () => undefined, names: () => many, releases: [] } as unknown as TreeView;
  checkPage(t, directoryPage(request, large), count);
});

t.test("a directory inside an ISO", async (t) => {
  const from = count;
  const entry = (more: Partial<IsoDirectoryEntry>): IsoDirectoryEntry => ({
    name: evil(),
    kind: "file",
    size: 1,
    extents: [],
    recordOffset: 0,
    ...more,
  });
  const entries = [
    entry({ kind: "directory" }),
    entry({ kind: "symlink", link: evil() }),
    entry({ unreadable: evil() }),
    entry({ kind: "special", mtime: 1e300 }),
    entry({ mtime: 0 }),
  ];
  // A volume identifier is shown as JSON.
  checkPage(t, isoPage(evil(), "/isos/x'/", entries, 0, '<i "', { view: { releases: [] } }), from);
});

t.test("packages that were found", async (t) => {
  const from = count;
  const release = {
    stream: "s",
    inventory: { catalog: { rpms: [], isos: [], files: [], images: [], keys: [] }, entries: EntryTable.from([]) },
  };
  const view = { releases: [release] } as unknown as TreeView;
  const render = { releases: [], baseUrl: "http://x", stream: undefined, trees: new Map(), privateCa: false };
  const it = () => ({
    name: evil(),
    evr: evil(),
    arch: evil(),
    summary: evil(),
    href: EVIL,
    size: 1,
    stream: evil(),
    repository: evil(),
    url: evil(),
  });
  const repositories = [1, 2].map((packages) => ({ stream: evil(), path: evil(), packages }));
  const found = { query: evil(), repository: EVIL, repositories, total: 2, more: false, page: 2, pages: 3 };
  count -= 2; // The streams of repositories are only in the list of all.
  const page = packagesPage({ ...found, packages: [it(), it()] }, render, { view });
  checkPage(t, page, from + 4);
  const long = { ...it(), summary: "x".repeat(10_000), name: "y".repeat(10_000) };
  t.ok(String(packagesPage({ ...found, packages: [long] }, render, { view })).length < 20_000, "long texts are cut");
  const start = count;
  const all = [1, 2].map((packages) => ({ stream: evil(), path: evil(), packages }));
  checkPage(
    t,
    packagesPage({ ...found, query: "", repository: undefined, repositories: all, packages: [] }, render, { view }),
    start,
  );
});

t.test("what is not here", async (t) => {
  const from = count;
  const names = ["a", `${evil()}/`];
  const catalog = { rpms: [], isos: [], files: [], images: [], keys: [] };
  const entry = { path: "files/a", size: 0, mode: "0644", digest: EMPTY_DIGEST, offset: 0 } as const;
  const releases = [{ stream: "a", inventory: { entries: EntryTable.from([entry]), catalog } }];
  const lists: string[] = [];
  const view = {
    releases,
    names: (at: string) => {
      lists.push(at);
      return at === "files" ? names : [];
    },
  } as unknown as TreeView;
  const request = { path: `/files/${names[1]?.slice(0, -1)}x`, stream: undefined };
  checkPage(t, notFoundPage(request as never, [evil(), `/${EVIL}`], view), from);
  // The folders of a long path are not all looked for.
  notFoundPage({ path: `/files/${"a/".repeat(8000)}` }, [], view);
  t.strictSame(lists, ["files", "files"]);
});

t.test("the history of a stream, and the changes", async (t) => {
  const from = count;
  const past = (name: string) => ({
    name,
    serial: 1,
    digest: `sha256:${EVIL}` as never,
    created: EVIL,
    importedAt: EVIL,
    signers: [EVIL],
    rolledBack: true,
    current: false,
  });
  const view = { releases: [] } as unknown as TreeView;
  checkPage(t, historyPage([{ stream: evil(), past: [past(evil())] }], { view }), from);
  const start = count;
  const item = (name: string) => ({ name, version: evil(), path: evil(), digests: [], size: 1, repository: "r" });
  const changes = { added: [], removed: [], downgraded: [], changed: [], unchanged: 0 };
  const empty = { ...changes, upgraded: [] };
  const name = evil();
  const upgraded = [{ before: item(name), after: item(name) }];
  count -= 4; // Of a package the version is shown, not the path.
  const found = {
    before: { created: EVIL, signers: [evil()] },
    after: { created: EVIL, signers: [evil()] },
    comparison: {
      packages: { ...changes, upgraded },
      images: empty,
      isos: empty,
      files: empty,
      web: empty,
      signers: { added: [], removed: [] },
      same: false,
    },
  };
  const input = {
    stream: evil(),
    past: [past("1"), past("2")],
    release: past("1"),
    before: { release: past("2"), found },
  };
  const page = String(releasePage(input, { view }));
  t.notMatch(page, /<i |\u202e/);
  t.match(page, shownAs(start + 1));
});

t.test("parts of pages", async (t) => {
  const from = count;
  const body = joined([commandBlock(evil(), evil()), link(evil(), evil()), table(evil(), [evil()], [], [0])]);
  checkPage(t, htmlPage(evil(), body), from);
});
