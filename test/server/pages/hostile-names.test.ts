/** Pages made of nothing but hostile names. */
import t, { type Test } from "tap";
import { commandBlock, htmlPage, link, table } from "../../../src/html/frame.ts";
import { type Html, joined } from "../../../src/html/html.ts";
import type { IsoDirectoryEntry } from "../../../src/iso/types.ts";
import type { ServerRequest, TreeView } from "../../../src/server/http/context.ts";
import { directoryPage } from "../../../src/server/pages/directory-page.ts";
import { frontPage } from "../../../src/server/pages/front-page.ts";
import { isoPage } from "../../../src/server/pages/iso-page.ts";
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
  for (const [tag] of text.matchAll(/<[a-z][^>]*>/g)) t.match(tag, /^<[a-z0-9]+(?: [a-z-]+="[^"<>]*")*>$/, tag);
}

t.test("the front page", async (t) => {
  const from = count;
  const image = (reference: string) => ({ reference, digest: evil(), platforms: [evil(), evil()], size: 1 });
  const release = {
    stream: evil(),
    serial: 1,
    signers: [EVIL, "0123"],
    importedAt: EVIL,
    entries: new Map(),
    inventory: {
      created: EVIL,
      notAfter: "1999-01-01",
      entries: [],
      catalog: {
        rpms: [{ name: evil(), path: EVIL, mode: evil(), packages: 1, repomdSignedBy: evil() }],
        isos: [{ name: evil(), path: EVIL }],
        files: [{ path: `files/${evil()}` }],
        images: [image("host.example/path:tag"), image(evil())],
        keys: [{ path: "keys/x" }],
      },
    },
  } as unknown as Release;
  const view = { releases: [release] } as unknown as TreeView;
  checkPage(t, frontPage(view, `http://${evil()}`, "PEM", new Map()), from);
});

t.test("a directory", async (t) => {
  const from = count;
  const names = [evil(), `${evil()}/`, evil(), evil()];
  const request = { path: `/${evil()}/`, stream: evil(), query: new URLSearchParams() } as unknown as ServerRequest;
  const found = [{ entry: { size: 1, digest: `sha256:${evil().slice(0, 16)}` } }, { conflict: [evil()] }, undefined];
  count -= 2; // Neither is shown whole: sixteen characters of a digest, and no URL of a conflict.
  let asked = 0;
  const view = { find: () => found[asked++] } as unknown as TreeView;
  checkPage(t, directoryPage(request, names, view), from);
  const many = Array.from({ length: 1001 }, (_, at) => `${String(at).padStart(4, "0")}"<i `);
  checkPage(t, directoryPage(request, many, { find: () => undefined } as unknown as TreeView), count);
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
  checkPage(t, isoPage(evil(), "/isos/x'/", entries, 0, '<i "'), from);
});

t.test("parts of pages", async (t) => {
  const from = count;
  const body = joined([commandBlock(evil(), evil()), link(evil(), evil()), table([evil()], [], [0])]);
  checkPage(t, htmlPage(evil(), body), from);
});
