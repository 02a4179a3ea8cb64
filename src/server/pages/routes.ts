/**
 * Which handler answers below which prefix. A new kind of content adds one line here.
 */
import type { Mount, NotFoundPage, ServeContext } from "../http/context.ts";
import { sendNotFound } from "../http/text-responses.ts";
import { billOfMaterials } from "./bill-of-materials.ts";
import { browsing } from "./browse.ts";
import { config } from "./config.ts";
import { caCertificate, files } from "./files.ts";
import { indexDocument } from "./index-document.ts";
import { isoTree } from "./iso-tree.ts";
import { rpmrepo } from "./merged-packages.ts";
import { notFoundPage } from "./not-found-page.ts";
import { openApi } from "./openapi.ts";
import { sendPage } from "./page.ts";
import type { PageState } from "./pages-state.ts";

/** The handlers of one site, which share their state. */
interface PageMounts {
  /** For the main listener. */
  main: Mount[];
  /** The layout behind the registry: must not bypass its login. */
  images: Mount;
  /** For the plain listener: what a client needs before it trusts the main one, and the yum container's path. */
  plain: Mount[];
  /** For the same listener: says that the rest is at the main one. */
  elsewhere: Mount;
}

/** Creates the handlers of a site. */
export function pageMounts(state: PageState): PageMounts {
  const all = files(state);
  const certificates = [caCertificate("/ca.crt"), caCertificate("/rpmrepo/server.crt")];
  return {
    main: [
      ...certificates,
      isoTree(state),
      rpmrepo,
      config(state),
      indexDocument(state),
      openApi,
      ...billOfMaterials,
      ...browsing(state),
      all,
    ],
    images: { prefix: "/images", handle: all.handle },
    plain: [
      ...certificates,
      { ...all, prefix: "/keys" },
      rpmrepo,
      { ...all, prefix: "/rpmrepo" },
      { ...config(state), prefix: "/config/origins" },
    ],
    elsewhere,
  };
}

/** Answers browsers with a page for what is not here, once the tree was looked at. */
export function notFoundPages(context: ServeContext): NotFoundPage {
  return (request, hints, headers) => {
    const view = context.freshView();
    if (view === undefined) return false;
    sendPage(request, notFoundPage(request, hints, view), 404, headers);
    return true;
  };
}

const elsewhere: Mount = {
  prefix: "",
  handle(request) {
    sendNotFound(request, [
      "this plain listener has /ca.crt, /keys/ and /rpmrepo/ only; the rest is at the TLS address",
    ]);
    return true;
  },
};
