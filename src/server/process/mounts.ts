/**
 * Which handler answers below which prefix. A new kind of content adds one line here.
 */
import { sendNotFound } from "../http/answers.ts";
import type { Mount } from "../http/context.ts";
import { config } from "../pages/config.ts";
import { caCertificate, files } from "../pages/files.ts";
import { indexDocument } from "../pages/index-document.ts";
import { isoTree } from "../pages/iso-tree.ts";
import { rpmrepo } from "../pages/rpm.ts";

/** The handlers of the main listener. */
export const mainMounts: readonly Mount[] = [
  caCertificate("/ca.crt"),
  caCertificate("/rpmrepo/server.crt"),
  isoTree,
  rpmrepo,
  config,
  indexDocument,
  files,
];

/** The handlers of the plain listener: what a client needs before it trusts the main one, and the yum container's place. */
export const plainMounts: readonly Mount[] = [
  caCertificate("/ca.crt"),
  caCertificate("/rpmrepo/server.crt"),
  { prefix: "/keys", handle: files.handle },
  rpmrepo,
  { prefix: "/rpmrepo", handle: files.handle },
  {
    prefix: "",
    handle(request) {
      sendNotFound(request, [
        "this plain listener has /ca.crt, /keys/ and /rpmrepo/ only; the rest is at the TLS address",
      ]);
      return true;
    },
  },
];
