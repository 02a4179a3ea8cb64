/** `/wanted`: what clients asked for and did not get, as the server's file of it says. */
import { stat } from "node:fs/promises";
import { table } from "../../html/frame.ts";
import { html } from "../../html/html.ts";
import { plural } from "../../io/format.ts";
import { printable } from "../../io/printable.ts";
import { type ReadWanted, readWanted } from "../../wanted/wanted-file.ts";
import type { Mount } from "../http/context.ts";
import { sendPage } from "./page.ts";
import { sitePage } from "./page-frame.ts";

const MAX_SHOWN = 500;

/** Serves the page; the file is read again when it was replaced. */
export function wantedPage(file: string): Mount {
  let known: { mark: string; read: Promise<ReadWanted> } | undefined;
  return {
    prefix: "/wanted",
    async handle(request, context) {
      if (request.path !== "/wanted" && request.path !== "/wanted/") return false;
      const { ino, mtimeMs } = await stat(file);
      const mark = `${ino} ${mtimeMs}`;
      if (known?.mark !== mark) known = { mark, read: readWanted(file) };
      const { wanted, dropped } = await known.read;
      const shown = wanted.toSorted((a, b) => b.count - a.count || (a.url < b.url ? -1 : 1)).slice(0, MAX_SHOWN);
      const rows = shown.map(
        ({ count, last, url }) =>
          html`<tr><td class="number">${count}</td><td>${last ?? ""}</td><td class="mono">${printable(url)}</td></tr>`,
      );
      const more = wanted.length - shown.length;
      const rest = more > 0 ? html`<p class="soft">And ${more} more in the list.</p>` : "";
      const lost = dropped > 0 ? html`<p class="soft">${plural(dropped, "request")} had no room in the list.</p>` : "";
      const found =
        rows.length === 0
          ? html`<p>Nothing so far.</p>`
          : table("The most wanted first", ["requests", "last", "URL"], rows, [0]);
      const body = html`<h1>Wanted</h1>
<p>What was asked for here and is not here. Carry it out as <code>airferry wanted FILE --out wanted.json</code> writes it.</p>
${found}${rest}${lost}`;
      const view = await context.view();
      sendPage(request, sitePage("Wanted", body, { view, stream: request.stream, at: "/wanted" }));
      return true;
    },
  };
}
