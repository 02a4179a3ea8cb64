/** `/BOM.html` and `/BOM.cdx.json`: the bill of materials that a bundle brought, as it was signed. */
import type { Release } from "../../store/types.ts";
import { sendBlob } from "../http/blob.ts";
import { contentTypeOf } from "../http/content-type.ts";
import type { Mount, ServeContext, ServerRequest } from "../http/context.ts";
import { sendNotFound } from "../http/text-responses.ts";
import { rootOf } from "./page-frame.ts";

/** The page of a release. */
export const BOM_PAGE = "BOM.html";
const NAMES = [BOM_PAGE, "BOM.cdx.json"];

/** Serves those of one stream, or of the only one. */
export const billOfMaterials: Mount[] = NAMES.map((name) => ({
  prefix: `/${name}`,
  handle: (request, context) => answer(request, context, name),
}));

async function answer(request: ServerRequest, context: ServeContext, name: string): Promise<boolean> {
  if (request.path !== `/${name}`) return false;
  const { releases } = await context.view();
  const having = releases.filter(
    (it) => (request.stream === undefined || it.stream === request.stream) && bomOf(it, name) !== undefined,
  );
  const [only, more] = having;
  if (only === undefined) {
    sendNotFound(request, ["no release here came with one: pack again with this version of airferry"]);
    return true;
  }
  if (more !== undefined) {
    const urls = having.map((it) => `${rootOf(it.stream)}/${name}`);
    sendNotFound(request, ["each stream has its own; request one of them:", ...urls]);
    return true;
  }
  const document = bomOf(only, name);
  if (document === undefined) return false;
  const { file, size, digest } = document;
  if (name !== BOM_PAGE) {
    await sendBlob(request, { file, size, digest, contentType: contentTypeOf(name) });
    return true;
  }
  const { BOM_POLICY } = await import("../../bom/bom-page-parts.ts");
  await sendBlob(request, { file, size, digest, contentType: "text/html; charset=utf-8", policy: BOM_POLICY });
  return true;
}

function bomOf({ bom = [] }: Release, name: string) {
  return bom.find((it) => it.name === name);
}
