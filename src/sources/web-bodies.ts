/** Looks into recorded bodies for what must not be carried. */
import { parseJson } from "../io/json.ts";
import { readSmall } from "../io/safe-open.ts";

/** Answers of token endpoints are short. */
const MAX_TOKEN_BYTES = 64 * 1024;
const TOKEN_KEYS = ["access_token", "id_token", "refresh_token", "token"];

/** Whether a body is the answer of a token endpoint (OAuth 2, registries): a JSON object with a token in it. */
export async function grantsAccess(file: string, size: number, contentType = ""): Promise<boolean> {
  if (size > MAX_TOKEN_BYTES || !/json|^$|text\/plain/i.test(contentType)) return false;
  const text = (await readSmall(file, MAX_TOKEN_BYTES)).toString("utf8");
  if (!text.includes("token") || !/^\s*\{/.test(text)) return false;
  try {
    const value = parseJson(text) as Record<string, unknown>;
    return TOKEN_KEYS.some((key) => typeof value[key] === "string" && value[key] !== "");
  } catch {
    return false;
  }
}
