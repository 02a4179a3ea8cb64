/** Answers with pages for people. */

import { PAGE_POLICY } from "../../html/frame.ts";
import type { Html } from "../../html/html.ts";
import type { ServerRequest } from "../http/context.ts";
import { sendGenerated } from "../http/text-responses.ts";

/** Answers with a page. */
export function sendPage(request: ServerRequest, page: Html | Buffer): void {
  sendGenerated(request, 200, "text/html; charset=utf-8", page instanceof Buffer ? page : page.toString(), {
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-cache",
  });
}
