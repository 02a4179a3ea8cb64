/**
 * Which handler answers below which prefix. A new kind of content adds one line here.
 */
import type { Mount } from "../http/context.ts";
import { sendNotFound } from "../http/text-responses.ts";
import { config } from "./config.ts";
import { caCertificate, files } from "./files.ts";
import { indexDocument } from "./index-document.ts";
import { isoTree } from "./iso-tree.ts";
import { rpmrepo } from "./merged-packages.ts";
import type { PageState } from "./pages-state.ts";

/** The handlers of one site, which share their state. */
interface PageMounts {
  /** For the main listener. */
  main: Mount[];
  /** The layout behind the registry: must not bypass its login. */
  images: Mount;
  /** For the plain listener: what a client needs before it trusts the main one, and the yum container's path. */
  plain: Mount[];
}

/** Creates the handlers of a site. */
export function pageMounts(state: PageState): PageMounts {
  const all = files(state);
  const certificates = [caCertificate("/ca.crt"), caCertificate("/rpmrepo/server.crt")];
  return {
    main: [...certificates, isoTree(state), rpmrepo, config(state), indexDocument(state), all],
    images: { prefix: "/images", handle: all.handle },
    plain: [...certificates, { ...all, prefix: "/keys" }, rpmrepo, { ...all, prefix: "/rpmrepo" }, elsewhere],
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
