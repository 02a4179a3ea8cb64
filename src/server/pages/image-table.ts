/** Container images as a table, and the page that lists all of them with their commands. */
import type { CatalogImage } from "../../bundle/inventory-types.ts";
import { commandBlock, LINE, link, table } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { printable } from "../../io/printable.ts";
import { packedTag } from "../../oci/short-index.ts";
import type { RenderInput } from "../../render/types.ts";
import { type PageScope, releasesIn, sitePage } from "./page-frame.ts";
import { commandsFor, pullCommands } from "./usage.ts";

const IMAGES_PER_PAGE = 100;
const MAX_TAGS = 50;
const MAX_NAME = 300;

/** Renders images, a line each. */
export function imageTable(
  caption: string,
  images: readonly CatalogImage[],
  details?: (image: CatalogImage) => Html,
): Html {
  const rows = images.map((image) => {
    const platforms = image.platforms.length === 0 ? html`<span class="soft">all</span>` : image.platforms.join(", ");
    return html`<tr><td><span class="mono">${printable(image.reference, MAX_NAME)}</span><br><span class="digest soft">${image.digest}</span>${details?.(image) ?? ""}</td><td>${platforms}</td><td>${signatures(image)}</td><td class="number">${formatBytes(image.size)}</td></tr>`;
  });
  return table(caption, ["image", "platforms", "signatures", "size"], rows, [3]);
}

function signatures({ signedBy = [], attached = 0, established }: CatalogImage): Html {
  const by = signedBy.map((it) => html`<span class="tag good" title="${it}">checked: ${it.slice(0, 12)}</span>`);
  const pinned = established === "first-sight" ? [html`<span class="tag bad">pinned on first sight</span>`] : [];
  const carried = attached > 0 ? [html`<span class="soft">${attached} attached</span>`] : [];
  const all = [...by, ...pinned, ...carried];
  return all.length === 0 ? html`<span class="soft">none</span>` : joined(all, " ");
}

/** Images of one page, from 1; the last one for higher numbers. */
export function imagesOnPage(scope: PageScope, page: number) {
  const images = releasesIn(scope).flatMap((it) => it.inventory.catalog.images);
  const each = scope.view.written === undefined ? IMAGES_PER_PAGE : Math.max(1, images.length);
  const pages = Math.max(1, Math.ceil(images.length / each));
  const at = Math.min(page, pages);
  return { images, pages, at, shown: images.slice((at - 1) * each, at * each) };
}

/** Renders all images, a hundred at a time. */
export function registryPage(
  input: RenderInput,
  scope: PageScope,
  { images, pages, at, shown }: ReturnType<typeof imagesOnPage>,
): Html {
  const count = plural(images.length, "image");
  const caption = pages > 1 ? `${count}, page ${at} of ${pages}` : count;
  const links = [
    ...(at > 1 ? [link(`?page=${at - 1}`, "previous page")] : []),
    ...(at < pages ? [link(`?page=${at + 1}`, "next page")] : []),
  ];
  const body = [
    html`<h1>Container images</h1>`,
    imageTable(caption, shown, (image) => detailsOf(image, input.baseUrl)),
    links.length === 0 ? html`` : html`<nav aria-label="Pages"><p>${joined(links, " · ")}</p></nav>`,
    html`<h2>Use them</h2>`,
    ...commandsFor("images", input),
  ];
  return sitePage("Container images", joined(body, LINE), { ...scope, at: "/registry" });
}

function detailsOf(image: CatalogImage, baseUrl: string): Html {
  const tags = Object.entries(image.tags ?? {});
  const list = tags
    .slice(0, MAX_TAGS)
    .map(([tag, digest]) => html`<li><span class="mono">${tag}</span> <span class="digest soft">${digest}</span></li>`);
  const more = tags.length > MAX_TAGS ? html`<p class="soft">and ${tags.length - MAX_TAGS} more</p>` : "";
  const others = tags.length === 0 ? "" : html`<p>Further tags:</p><ul>${joined(list)}</ul>${more}`;
  const short = packedTag(image);
  const index =
    short === undefined
      ? ""
      : html`<p>For programs that copy every platform of an index (<code>skopeo copy --all</code>, Pulp): tag <span class="mono">${short}</span>, an index of what is here. Signatures of the image do not cover it.</p>`;
  const source =
    image.source === undefined
      ? ""
      : html`<p>Packed from <code>${printable(image.source, MAX_NAME)}</code>, ${image.mediaType}.</p>`;
  const pull = pullCommands(image.reference, baseUrl).map(([, lines]) => commandBlock(...lines));
  return html`<details><summary>tags and commands</summary>${source}${index}${others}${joined(pull)}</details>`;
}
