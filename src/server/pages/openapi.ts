/** `/openapi.json`: the server's interface for programs that read OpenAPI. Loads the document when it is requested. */
import { digestOf } from "../../io/digest.ts";
import { sendBlob } from "../http/blob.ts";
import type { Mount } from "../http/context.ts";

export const openApi: Mount = {
  prefix: "/openapi.json",
  async handle(request) {
    if (request.path !== "/openapi.json") return false;
    const { OPENAPI } = await import("./openapi-document.ts");
    const bytes = Buffer.from(`${JSON.stringify(OPENAPI, null, 1)}\n`);
    await sendBlob(request, { bytes, size: bytes.length, digest: digestOf(bytes), contentType: "application/json" });
    return true;
  },
};
