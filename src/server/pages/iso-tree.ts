/**
 * `/isos/NAME/…`: the files inside a stored ISO, read in place with ranges, and a page for each of its directories.
 * Symbolic links are resolved by the server, never redirected: installers do not follow all redirects.
 * See docs/serve.md, "ISO trees".
 */
import { createHash } from "node:crypto";
import { AirferryError } from "../../errors.ts";
import type { Digest } from "../../io/digest.ts";
import type { IsoDirectoryEntry } from "../../iso/types.ts";
import { sendBlob } from "../http/blob.ts";
import { contentTypeOf } from "../http/content-type.ts";
import type { Mount, ServeContext, ServerRequest } from "../http/context.ts";
import { freshnessOf } from "../http/freshness.ts";
import { sendNotFound } from "../http/text-responses.ts";
import { encodePath } from "./entry-tree.ts";
import { firstOfPage, isoPage } from "./iso-page.ts";
import { PAGE_POLICY } from "./page-frame.ts";
import type { PageState } from "./pages-state.ts";
import type { StoredIso } from "./stored-iso.ts";

/** Serves the contents of ISOs, but not `/isos` itself and `/isos/NAME.iso`. */
export function isoTree(state: PageState): Mount {
  return { prefix: "/isos", handle: (request, context) => answer(request, context, state) };
}

async function answer(request: ServerRequest, context: ServeContext, state: PageState): Promise<boolean> {
  const [, name, inside = ""] = /^\/isos\/([^/]+)(?:\/(.*))?$/s.exec(request.path) ?? [];
  if (name === undefined) return false;
  const found = (await context.view()).find(`isos/${name}.iso`, request.stream);
  if (found === undefined) return false;
  if ("conflict" in found) {
    const urls = found.conflict.map((url) => `${url.replace(/\.iso$/, "/")}${encodePath(inside)}`);
    sendNotFound(request, ["several streams have it, with different content; request one of them:", ...urls]);
    return true;
  }
  const { entry } = found;
  try {
    const iso = await state.isos.open(context.store.blobPath(entry.digest), entry.size, `${name}.iso`);
    await sendInside(request, context, state, iso, name, inside, entry.digest);
  } catch (error) {
    // Installers give up at a 404 but retry anything else for minutes.
    if (!(error instanceof AirferryError) || error.code !== "ERR_ISO_INVALID" || request.res.headersSent) throw error;
    sendNotFound(request, [error.message, ...(error.hint === undefined ? [] : [error.hint])]);
  }
  return true;
}

async function sendInside(
  request: ServerRequest,
  context: ServeContext,
  state: PageState,
  iso: StoredIso,
  name: string,
  inside: string,
  isoDigest: Digest,
): Promise<void> {
  const located = await iso.image.find(inside);
  if (located === undefined) return sendNotFound(request, await hintsFor(iso, name, inside, request.stream));
  const { entry, path } = located;
  const digest = `iso-${createHash("sha256").update(`${isoDigest}\0${path}`).digest("hex")}`;
  if (entry.kind === "directory") return sendDirectory(request, context, state, iso, entry, digest);
  const member = iso.image.member(entry);
  await sendBlob(request, {
    file: iso.file,
    extents: member.extents,
    size: member.size,
    digest,
    contentType: contentTypeOf(path),
    cache: freshnessOf(path),
    ...(entry.mtime === undefined ? {} : { headers: { "Last-Modified": new Date(entry.mtime * 1000).toUTCString() } }),
  });
}

async function sendDirectory(
  request: ServerRequest,
  context: ServeContext,
  state: PageState,
  iso: StoredIso,
  entry: IsoDirectoryEntry,
  digest: string,
) {
  // Links in the page are absolute, so that it works without a trailing slash.
  const asked = request.path.replace(/\/+$/, "");
  const base = `${request.stream === undefined ? "" : `/s/${encodeURIComponent(request.stream)}`}${encodePath(asked)}/`;
  const entries = await iso.list(entry);
  const from = firstOfPage(request.query.get("from"), entries.length);
  // The header of the page says what else is here.
  const view = await context.view();
  const releases = view.releases.map((it) => it.digest).join(" ");
  const key = `${digest} ${base} ${from} ${releases}`;
  const scope = { view, stream: request.stream };
  const bytes = state.pages.page(view, key, () => isoPage(`${asked}/`, base, entries, from, iso.image.volumeId, scope));
  await sendBlob(request, {
    bytes,
    size: bytes.length,
    digest: `page-${createHash("sha256").update(key).digest("hex")}`,
    contentType: "text/html; charset=utf-8",
    policy: PAGE_POLICY,
  });
}

/** The nearest existing directory is the best hint. */
async function hintsFor(iso: StoredIso, name: string, inside: string, stream: string | undefined): Promise<string[]> {
  for (let parent = inside.replace(/\/+$/, ""); parent !== ""; ) {
    const slash = parent.lastIndexOf("/");
    parent = slash === -1 ? "" : parent.slice(0, slash);
    if ((await iso.image.find(parent))?.entry.kind === "directory") {
      const prefix = stream === undefined ? "" : `/s/${stream}`;
      return [`see ${prefix}/isos/${name}/${parent}${parent === "" ? "" : "/"} for what is there`];
    }
  }
  return [];
}
