/**
 * WWW-Authenticate: which of the offered schemes can be answered, and how. See RFC 9110, section 11 and the token
 * specification of the distribution project.
 */

export interface Challenge {
  /** Lower case: `bearer`, `basic`, `negotiate`. */
  scheme: string;
  /** Names in lower case. */
  parameters: Record<string, string>;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+/;

/**
 * Parses one header that may hold several challenges, quoted commas included. The first malformed part ends the list.
 */
export function parseChallenges(header: string): Challenge[] {
  const found: Challenge[] = [];
  let rest = header.slice(0, 16_384).trim();
  let current: Challenge | undefined;
  while (rest !== "") {
    rest = rest.replace(/^[\s,]+/, "");
    const token = TOKEN.exec(rest)?.[0];
    if (token === undefined) break;
    const after = rest.slice(token.length);
    const parameter = /^\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/.exec(after);
    if (parameter !== null && current !== undefined) {
      current.parameters[token.toLowerCase()] = (parameter[1] ?? parameter[2] ?? "").replace(/\\(.)/g, "$1");
      rest = after.slice(parameter[0].length);
      continue;
    }
    current = { scheme: token.toLowerCase(), parameters: {} };
    found.push(current);
    // token68, as used by Negotiate and NTLM.
    rest = after.replace(/^ +(?=[^\s,]+\s*(?:,|$))(?![^\s,=]+=[^=\s,])[^\s,]+/, "");
  }
  return found;
}

/** The challenge to answer: Bearer before Basic; undefined when neither is offered. */
export function answerable(header: string | undefined): Challenge | undefined {
  if (header === undefined) return undefined;
  const challenges = parseChallenges(header);
  return (
    challenges.find((it) => it.scheme === "bearer" && it.parameters.realm !== undefined) ??
    challenges.find((it) => it.scheme === "basic")
  );
}
