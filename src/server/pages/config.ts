/**
 * `/config/…`: the files that a builder needs, rendered for the address that this client uses. Secrets are never filled
 * in here: whoever can reach the server could read them. See docs/serve.md, "Configuration".
 */

import { readFile } from "node:fs/promises";
import { AirferryError } from "../../errors.ts";
import { digestOf } from "../../io/digest.ts";
import { type ConfigFile, configFiles } from "../../render/config-files.ts";
import type { RenderInput, RenderTree } from "../../render/types.ts";
import { sendNotFound } from "../http/answers.ts";
import { sendBlob } from "../http/blob.ts";
import type { Mount, Request, ServeContext } from "../http/context.ts";
import { escapeHtml, htmlPage, sendPage } from "./html.ts";
import { openStoredIso } from "./stored-iso.ts";

/** Serves rendered configuration, and a page that lists it. */
export const config: Mount = { prefix: "/config", handle };

async function handle(request: Request, context: ServeContext): Promise<boolean> {
  const input = await renderInput(request, context);
  const files = configFiles(input, (sha256) => readFile(context.store.blobPath(sha256), "utf8"));
  const path = request.path.slice("/config/".length);
  if (path === "") {
    sendPage(request, await listPage(input, files, request.stream));
    return true;
  }
  const file = files.find((it) => it.path === path);
  if (file === undefined) {
    sendNotFound(request, [`what can be rendered: ${files.map((it) => it.path).join(", ")}`]);
    return true;
  }
  const made = await tryMake(file);
  if ("fault" in made) {
    sendNotFound(request, [made.fault.message, ...(made.fault.hint === undefined ? [] : [made.fault.hint])]);
    return true;
  }
  const bytes = Buffer.from(made.text);
  await sendBlob(request, {
    bytes,
    size: bytes.length,
    digest: digestOf(bytes),
    contentType: path.endsWith(".json") ? "application/json" : "text/plain; charset=utf-8",
    // The same URL gives another text to a client that knows the server by another name.
    headers: { "Cache-Control": "no-cache", Vary: "Host" },
  });
  return true;
}

/** Puts together what renderers need: the current releases, this client's address, what is inside the ISOs. */
export async function renderInput(request: Request, context: ServeContext): Promise<RenderInput> {
  const { releases } = await context.view();
  const trees = new Map<string, RenderTree>();
  for (const release of releases) {
    for (const { name, path } of release.inventory.catalog.isos) {
      const entry = release.entries.get(path);
      if (entry === undefined || trees.has(entry.sha256)) continue;
      try {
        const iso = await openStoredIso(context.store.blobPath(entry.sha256), entry.size, `${name}.iso`);
        trees.set(entry.sha256, await iso.tree());
      } catch (error) {
        // An image whose inside cannot be read offers no repositories; it is still served whole.
        if (!(error instanceof AirferryError)) throw error;
      }
    }
  }
  return {
    releases,
    baseUrl: context.baseUrl(request.req),
    stream: request.stream,
    trees,
    privateCa: context.caCertificate !== undefined,
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

async function listPage(input: RenderInput, files: readonly ConfigFile[], stream: string | undefined): Promise<string> {
  const base = stream === undefined ? "/config/" : `/s/${encodeURIComponent(stream)}/config/`;
  const rows: string[] = [];
  for (const file of files) {
    const made = await tryMake(file);
    const note =
      "text" in made ? escapeHtml(file.summary) : `<span class="soft">${escapeHtml(made.fault.message)}</span>`;
    const name = "text" in made ? `<a href="${base}${file.path}">${escapeHtml(file.path)}</a>` : escapeHtml(file.path);
    rows.push(`<tr><td class="mono">${name}</td><td>${note}</td></tr>`);
  }
  return htmlPage(
    "configuration",
    `<h1>Configuration</h1>
<p>Rendered for <code>${escapeHtml(input.baseUrl)}</code>. Secrets are left blank here; <code>airferry render</code> fills them in from the environment.</p>
<div class="scroll"><table><tr><th>file</th><th>what</th></tr>
${rows.join("\n")}
</table></div>`,
  );
}
