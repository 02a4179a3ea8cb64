/**
 * Every entry of the tree under its own path, checksum sidecars next to files and ISOs, and directory pages. The last
 * handler: gets everything that the others do not handle. See docs/serve.md, "Paths".
 */
import { digestOf, hexOf } from "../../io/digest.ts";
import { entryContent, sendBlob } from "../http/blob.ts";
import { contentTypeOf } from "../http/content-type.ts";
import type { Found, Mount, ServeContext, ServerRequest, TreeView } from "../http/context.ts";
import { sendNotFound } from "../http/text-responses.ts";
import { renderInput } from "./config.ts";
import { directoryPage } from "./directory-page.ts";
import { isDirectory } from "./entry-tree.ts";
import { sendPage } from "./page.ts";
import type { PageState } from "./pages-state.ts";
import { sendPulpManifest } from "./pulp-manifest.ts";

/** Answers any path with the entry of that name. */
export function files(state: PageState): Mount {
  return {
    prefix: "",
    handle: (request, context) => answer(request, context, state),
    entry: (path, stream, view) => view.find(path.slice(1), stream),
  };
}

async function answer(request: ServerRequest, context: ServeContext, state: PageState): Promise<boolean> {
  const view = await context.view();
  const path = request.path.slice(1);
  const found = view.find(path, request.stream);
  if (found !== undefined) {
    if ("conflict" in found) sendConflict(request, found.conflict);
    else await sendEntry(request, found, context);
    return true;
  }
  if (await sendSidecar(request, path, view)) return true;
  if (await sendPulpManifest(request, path, view, state.pages)) return true;
  if (await sendDirectory(request, path, view, context, state)) return true;
  sendNotFound(request, hintsFor(request, path, view));
  return true;
}

/** Answers with an entry of the tree. */
export function sendEntry(request: ServerRequest, { entry }: Found, { store }: ServeContext): Promise<void> {
  return sendBlob(request, entryContent(entry, store));
}

/** Answers 404 for a path that several streams have with different bytes, naming the URLs that are not ambiguous. */
export function sendConflict(request: ServerRequest, urls: readonly string[]): void {
  sendNotFound(request, ["several streams have it, with different content; request one of them:", ...urls]);
}

/** `X.sha256` (the bare digest) and `X.sha256sum` (two columns) of an entry X that was packed without them. */
async function sendSidecar(request: ServerRequest, path: string, view: TreeView): Promise<boolean> {
  const [, of, form] = /^((?:files|isos)\/.+)\.(sha256|sha256sum)$/.exec(path) ?? [];
  if (of === undefined) return false;
  const found = view.find(of, request.stream);
  if (found === undefined) return false;
  if ("conflict" in found) {
    const suffix = `.${form}`;
    sendConflict(
      request,
      found.conflict.map((url) => url + suffix),
    );
    return true;
  }
  const { path: ofPath, digest: ofDigest } = found.entry;
  const name = ofPath.slice(ofPath.lastIndexOf("/") + 1);
  const bytes = Buffer.from(form === "sha256" ? `${hexOf(ofDigest)}\n` : `${hexOf(ofDigest)}  ${name}\n`);
  const digest = digestOf(bytes);
  await sendBlob(request, { bytes, size: bytes.length, digest, contentType: contentTypeOf(path) });
  return true;
}

async function sendDirectory(
  request: ServerRequest,
  path: string,
  view: TreeView,
  context: ServeContext,
  state: PageState,
): Promise<boolean> {
  const { stream } = request;
  if (request.path === "/" && (stream === undefined || view.releases.some((it) => it.stream === stream))) {
    const render = await renderInput(request, context, state);
    // Ages on it are in days.
    const key = JSON.stringify(["front", new Date().toISOString().slice(0, 10), render.baseUrl, stream]);
    let page = state.pages.known(view, key);
    if (page === undefined) {
      const { frontPage, frontPageInput } = await import("./front-page.ts");
      const input = await frontPageInput(view, render, context);
      page = state.pages.page(view, key, () => frontPage(input));
    }
    sendPage(request, page);
    return true;
  }
  if (!isDirectory(view, path, request.stream)) return false;
  const key = JSON.stringify([path, request.stream, request.query.get("after")]);
  sendPage(
    request,
    state.pages.page(view, key, () => directoryPage(request, view)),
  );
  return true;
}

function hintsFor(request: ServerRequest, path: string, view: TreeView): string[] {
  if (view.releases.length === 0)
    return ["the store has no release yet; run: airferry unpack BUNDLE --trust KEY --store DIR"];
  const { stream } = request;
  if (stream !== undefined && !view.releases.some((release) => release.stream === stream)) {
    return [`the streams here are: ${view.releases.map((release) => release.stream).join(", ")}`];
  }
  // The nearest existing directory is the best hint.
  for (let parent = path; parent.includes("/"); ) {
    parent = parent.slice(0, parent.lastIndexOf("/"));
    if (isDirectory(view, parent, stream))
      return [`see ${stream === undefined ? "" : `/s/${stream}`}/${parent}/ for what is there`];
  }
  return [];
}

/** Answers `/ca.crt`, and `/rpmrepo/server.crt` where builders of the yum container look for it. */
export function caCertificate(path: "/ca.crt" | "/rpmrepo/server.crt"): Mount {
  return {
    prefix: path,
    async handle(request, context) {
      if (context.caCertificate === undefined || request.path !== path) return false;
      const bytes = Buffer.from(context.caCertificate);
      const digest = digestOf(bytes);
      await sendBlob(request, { bytes, size: bytes.length, digest, contentType: contentTypeOf(path) });
      return true;
    },
  };
}
