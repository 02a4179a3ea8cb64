/**
 * `/config/…`: the files that a builder needs, rendered for the address that this client uses. Secrets are never filled
 * in here: anyone who can reach the server could read them. See docs/serve.md, "Configuration".
 */

import { AirferryError } from "../../errors.ts";
import { link, table } from "../../html/frame.ts";
import { type Html, html } from "../../html/html.ts";
import { type Digest, digestOf } from "../../io/digest.ts";
import { hostsOf, originsOf } from "../../origins/origin-hosts.ts";
import { configFiles } from "../../render/config-files.ts";
import type { ConfigFile, OriginsAt, RenderInput, RenderTree } from "../../render/types.ts";
import { sendBlob } from "../http/blob.ts";
import { contentTypeOf } from "../http/content-type.ts";
import type { Mount, ServeContext, ServerRequest } from "../http/context.ts";
import { ADDRESS_VARY } from "../http/freshness.ts";
import { sendNotFound } from "../http/text-responses.ts";
import { sendPage } from "./page.ts";
import { sitePage } from "./page-frame.ts";
import type { PageState } from "./pages-state.ts";

/** Serves rendered configuration, and a page that lists it. */
export function config(state: PageState): Mount {
  return { prefix: "/config", handle: (request, context) => answer(request, context, state) };
}

async function answer(request: ServerRequest, context: ServeContext, state: PageState): Promise<boolean> {
  const input = await renderInput(request, context, state);
  const files = configFiles(input, async (digest) =>
    (await request.resources.files.readWhole(context.store.blobPath(digest))).toString("utf8"),
  );
  const path = request.path.slice("/config/".length);
  if (path === "" || path === "origins" || path === "origins/") {
    const listed = files.filter((it) => it.path.startsWith(path));
    sendPage(request, await listPage(input, listed, request.stream, context));
    return true;
  }
  if (path === "origins/ca.crt" && context.origins !== undefined) {
    const hosts = hostsOf(originsOf(input.releases));
    await sendRendered(request, Buffer.from(await context.origins.caCertificate(hosts)), contentTypeOf(path));
    return true;
  }
  const file = files.find((it) => it.path === path);
  if (file === undefined) {
    sendNotFound(request, [`available: ${files.map((it) => it.path).join(", ")}`]);
    return true;
  }
  const rendered = await tryMake(file);
  if ("fault" in rendered) {
    sendNotFound(request, [
      rendered.fault.message,
      ...(rendered.fault.hint === undefined ? [] : [rendered.fault.hint]),
    ]);
    return true;
  }
  const contentType = path.endsWith(".json") ? "application/json" : "text/plain; charset=utf-8";
  await sendRendered(request, Buffer.from(rendered.text), contentType);
  return true;
}

function sendRendered(request: ServerRequest, bytes: Buffer, contentType: string): Promise<void> {
  return sendBlob(request, {
    bytes,
    size: bytes.length,
    digest: digestOf(bytes),
    contentType,
    // The text of a URL depends on the name by which a client knows the server.
    headers: { Vary: ADDRESS_VARY },
  });
}

/** Collects the input of renderers: the current releases, this client's address, the contents of the ISOs. */
export async function renderInput(
  request: ServerRequest,
  context: ServeContext,
  { isos }: PageState,
): Promise<RenderInput> {
  const { releases } = await context.view();
  const trees = new Map<Digest, RenderTree>();
  for (const release of releases) {
    for (const { name, path } of release.inventory.catalog.isos) {
      const entry = release.entries.get(path);
      if (entry === undefined || trees.has(entry.digest)) continue;
      try {
        const iso = await isos.open(context.store.blobPath(entry.digest), entry.size, `${name}.iso`);
        trees.set(entry.digest, await iso.tree());
      } catch (error) {
        // An ISO with unreadable content provides no repositories but is still served whole. One whose file is
        // unreadable (failing disk, missing blob) must not affect the others.
        if (!(error instanceof AirferryError)) context.tellFault(error);
      }
    }
  }
  return {
    releases,
    baseUrl: context.baseUrl(request.req),
    stream: request.stream,
    trees,
    privateCa: context.caCertificate !== undefined,
    origins: context.origins && originsAt(request, context),
  };
}

/** The address that a client reached is the server's, whatever name it used. */
function originsAt({ req }: ServerRequest, { origins, baseUrl }: ServeContext): OriginsAt {
  const { hostname } = new URL(baseUrl(req));
  return {
    address: async () => req.socket.localAddress?.replace(/^::ffff:(?=\d+\.)/i, ""),
    ports: origins?.ports,
    proxyUrl: origins?.proxyPort === undefined ? undefined : `http://${hostname}:${origins.proxyPort}`,
  };
}

async function tryMake(file: ConfigFile): Promise<{ text: string } | { fault: AirferryError }> {
  try {
    return { text: await file.make() };
  } catch (error) {
    if (error instanceof AirferryError && error.code === "ERR_RENDER") return { fault: error };
    throw error;
  }
}

async function listPage(
  input: RenderInput,
  files: readonly ConfigFile[],
  stream: string | undefined,
  context: ServeContext,
): Promise<Html> {
  const base = stream === undefined ? "/config/" : `/s/${encodeURIComponent(stream)}/config/`;
  const rows: Html[] = [];
  for (const file of files) {
    // A file that cannot be rendered affects only its own line; requests for it report a server fault.
    const rendered = await tryMake(file).catch((error: unknown) => {
      context.tellFault(error);
      return { fault: { message: "it cannot be rendered: see the server's log" } };
    });
    const note = "text" in rendered ? file.summary : html`<span class="soft">${rendered.fault.message}</span>`;
    const name = "text" in rendered ? link(`${base}${file.path}`, file.path) : file.path;
    rows.push(html`<tr><td class="mono">${name}</td><td>${note}</td></tr>`);
  }
  return sitePage(
    "Configuration",
    html`<h1>Configuration</h1>
<p>Rendered for <code>${input.baseUrl}</code>. Secrets are left blank here; <code>airferry render</code> fills them in from the environment.</p>
${table("Files for clients and builders", ["file", "what"], rows)}`,
    { view: await context.view(), stream, at: "/config/" },
  );
}
