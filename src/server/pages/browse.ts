/**
 * `/packages`, `/registry` and `/releases/`: what people look at beside the tree itself; `/packages.json` is for
 * programs. Their code is loaded when it is first asked for.
 */
import type { ReleaseDifferences } from "../../compare/releases.ts";
import { AirferryError } from "../../errors.ts";
import { runInThread } from "../../io/parser-thread.ts";
import type { Mount, ServeContext, ServerRequest } from "../http/context.ts";
import { sendGenerated, sendNotFound, sendText } from "../http/text-responses.ts";
import { renderInput } from "./config.ts";
import { sendPage } from "./page.ts";
import type { PageState } from "./pages-state.ts";

/** Releases of a stream that are listed. */
export const MAX_HISTORY = 200;

/** When to ask again for what is being prepared. */
const AGAIN = { "Retry-After": "5" };

type Answer = (request: ServerRequest, context: ServeContext, state: PageState) => Promise<boolean>;

/** The mounts of these pages. */
export function browsing(state: PageState): Mount[] {
  const mount = (prefix: string, answer: Answer): Mount => ({
    prefix,
    handle: (request, context) => answer(request, context, state),
  });
  return [
    mount("/packages", packages),
    mount("/packages.json", packagesJson),
    mount("/registry", registry),
    mount("/releases", releases),
  ];
}

/** Answers 404 for a stream that is not here. */
async function isUnknownStream(request: ServerRequest, context: ServeContext): Promise<boolean> {
  const { stream } = request;
  const view = await context.view();
  if (stream === undefined || view.releases.some((it) => it.stream === stream)) return false;
  sendNotFound(request, [`the streams here are: ${view.releases.map((it) => it.stream).join(", ")}`]);
  return true;
}

const packages: Answer = async (request, context, state) => {
  if (request.path !== "/packages" && request.path !== "/packages/") return false;
  if (await isUnknownStream(request, context)) return true;
  const { findPackages } = await import("./packages-found.ts");
  const { packagesPage, preparingPage } = await import("./packages-page.ts");
  const found = await findPackages(request, context, state);
  if (found === "busy") return sendBusy(request);
  if (found === "preparing") {
    const page = preparingPage({ view: await context.view(), stream: request.stream });
    sendPage(request, page, 503, { ...AGAIN, Refresh: AGAIN["Retry-After"], "Cache-Control": "no-store" });
    return true;
  }
  const [view, input] = [await context.view(), await renderInput(request, context, state)];
  sendPage(request, packagesPage(found, input, { view, stream: request.stream }));
  return true;
};

const packagesJson: Answer = async (request, context, state) => {
  if (request.path !== "/packages.json") return false;
  if (await isUnknownStream(request, context)) return true;
  const { findPackages } = await import("./packages-found.ts");
  const found = await findPackages(request, context, state);
  if (found === "busy") return sendBusy(request);
  if (found === "preparing") {
    sendText(request, 503, "503: the list of packages is being prepared; ask again in a moment", AGAIN);
    return true;
  }
  const { formatFound } = await import("./packages-document.ts");
  sendGenerated(request, 200, "application/json", formatFound(found), { "Cache-Control": "no-cache" });
  return true;
};

function sendBusy(request: ServerRequest): true {
  sendText(request, 503, "503: many searches are being answered; ask again in a moment", { "Retry-After": "2" });
  return true;
}

const registry: Answer = async (request, context, state) => {
  if (request.path !== "/registry" && request.path !== "/registry/") return false;
  if (await isUnknownStream(request, context)) return true;
  const { imagesOnPage, registryPage } = await import("./image-table.ts");
  const page = /^[1-9]\d{0,5}$/.test(request.query.get("page") ?? "") ? Number(request.query.get("page")) : 1;
  const [view, input] = [await context.view(), await renderInput(request, context, state)];
  const scope = { view, stream: request.stream };
  const images = imagesOnPage(scope, page);
  sendPage(request, registryPage(input, scope, images));
  return true;
};

const releases: Answer = async (request, context, state) => {
  const [, name] = /^\/releases(?:\/([^/]*))?$/.exec(request.path) ?? [undefined, undefined];
  const { records } = context.store;
  if (!/^\/releases(?:\/[^/]*)?$/.test(request.path) || records === undefined) return false;
  if (await isUnknownStream(request, context)) return true;
  const view = await context.view();
  const { stream } = request;
  const scope = { view, stream };
  const { historyPage, releasePage } = await import("./releases-page.ts");
  if (stream === undefined || name === undefined || name === "") {
    // Without a stream a name says nothing.
    if (name) return false;
    const streams = stream === undefined ? view.releases.map((it) => it.stream) : [stream];
    const all: { stream: string; past: Awaited<ReturnType<typeof records.history>> }[] = [];
    for (const it of streams) all.push({ stream: it, past: await records.history(it, MAX_HISTORY) });
    sendPage(request, historyPage(all, scope));
    return true;
  }
  const past = await records.history(stream, MAX_HISTORY);
  const at = past.findIndex((it) => it.name === name);
  const release = past[at];
  if (release === undefined) {
    sendNotFound(request, [`the releases here are: ${past.map((it) => it.name).join(", ")}`]);
    return true;
  }
  const from = request.query.get("from");
  const other = from === null ? past[at + 1] : past.find((it) => it.name === from);
  const key = `differences ${stream} ${release.digest} ${other?.digest} ${past.map((it) => it.name).join(" ")}`;
  const known = state.pages.known(view, key);
  if (known !== undefined) {
    sendPage(request, known);
    return true;
  }
  const found =
    other && (await compared(records.recordPath(stream, other.name), records.recordPath(stream, name), state));
  if (other !== undefined && found === undefined) return sendBusy(request);
  const before = other && found && { release: other, found };
  const page = state.pages.page(view, key, () => releasePage({ stream, past, release, before }, scope));
  sendPage(request, page);
  return true;
};

/** Inventories can be large: they are read and compared in a thread, one pair after the other. */
function compared(before: string, after: string, state: PageState): Promise<ReleaseDifferences | undefined> {
  return state.packages.inTurn(() =>
    runInThread<ReleaseDifferences>("differences", {
      bytes: new Uint8Array(),
      args: [before, after],
      tooMuch: (fault) => new AirferryError("ERR_SIZE_LIMIT", `cannot compare the releases: ${fault}`),
    }),
  );
}
