/** Answers with pages for people. */

import type { Html } from "../../html/html.ts";
import type { ServerRequest } from "../http/context.ts";
import { ADDRESS_VARY } from "../http/freshness.ts";
import { sendGenerated } from "../http/text-responses.ts";
import { PAGE_POLICY } from "./page-frame.ts";

/** Answers with a page. */
export function sendPage(
  request: ServerRequest,
  page: Html | Buffer,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): void {
  sendGenerated(request, status, "text/html; charset=utf-8", page instanceof Buffer ? page : page.toString(), {
    "Content-Security-Policy": PAGE_POLICY,
    ...headers,
    // Commands on pages have the address of the server.
    Vary: headers.Vary === undefined ? ADDRESS_VARY : `${headers.Vary}, ${ADDRESS_VARY}`,
  });
}
