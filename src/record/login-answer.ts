/** Answers that grant access: of token endpoints, of clouds' metadata services, of vaults. */

/** Names in lower case, without `-` and `_`, whose value grants access wherever it stands. */
const TOKEN_NAMES = new Set([
  "accesstoken",
  "authtoken",
  "authorizationtoken",
  "clienttoken",
  "idtoken",
  "refreshtoken",
  "secretaccesskey",
  "sessiontoken",
]);
/** Names that mean something else too: their value counts at the top, or if no person wrote it. */
const VAGUE_NAMES = new Set(["apikey", "clientsecret", "password", "privatekey", "secret", "token"]);
const RANDOM_VALUE = /^(?=.*\d)[\w~+/=.:-]{20,}$/;
const JWT = /^(?:Bearer )?eyJ[\w-]+\.[\w-]+\.[\w-]*$/i;
/** For what begins like JSON and is none. */
const TOKEN_IN_TEXT =
  /"(?:access|auth|authorization|client|id|refresh|session)[-_]?token"\s*:\s*"[^"]|"secret[-_]?access[-_]?key"\s*:\s*"[^"]/i;
const TOKEN_IN_FORM = /^(?:[\w.-]+=[^&\s]*&)*(?:access|refresh|id)_token=[^&\s]/i;
/** More values than a short body has room for. */
const MAX_VALUES = 300_000;

/** Whether a whole short body is the answer of a login: a token is its reason to exist. */
export function isLoginAnswer(body: Buffer): boolean {
  const start = body
    .subarray(0, 64)
    .toString("latin1")
    .replace(/^(?:\xef\xbb\xbf)?\s*/, "");
  if (/^(?:Bearer )?eyJ/i.test(start)) return JWT.test(body.toString("latin1").trim());
  if (/^[\w.-]+=/.test(start)) return TOKEN_IN_FORM.test(body.toString("latin1").trim());
  if (!/^[{["]/.test(start)) return false;
  const text = body.toString().replace(/^\ufeff/, "");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return TOKEN_IN_TEXT.test(text);
  }
  return grantsAccess(value);
}

function grantsAccess(root: unknown): boolean {
  const waiting: unknown[] = [root];
  for (let at = 0; at < waiting.length; at++) {
    const value = waiting[at];
    if (typeof value === "string" && JWT.test(value)) return true;
    if (typeof value !== "object" || value === null) continue;
    for (const [name, it] of Object.entries(value)) {
      if (typeof it === "string" && it !== "" && isToken(name, it, value === root)) return true;
      if (waiting.length < MAX_VALUES && (typeof it === "object" || typeof it === "string")) waiting.push(it);
    }
  }
  return false;
}

function isToken(name: string, value: string, isTop: boolean): boolean {
  const plain = name.toLowerCase().replace(/[-_]/g, "");
  if (TOKEN_NAMES.has(plain)) return !/\s/.test(value.trim());
  if (!VAGUE_NAMES.has(plain)) return false;
  return RANDOM_VALUE.test(value) || (isTop && plain === "token");
}
