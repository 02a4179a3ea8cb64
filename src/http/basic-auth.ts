/** A login at a registry, and its header. See RFC 7617. */

/** What to log in with; undefined members are absent. */
export interface Login {
  username?: string;
  password?: string;
  /** OAuth2 refresh token, instead of a password. */
  identityToken?: string;
  /** Bearer token to send unchanged. */
  registryToken?: string;
}

/** The Basic header of a login; undefined without a password. */
export function basicHeader({ username, password }: Login): string | undefined {
  if (username === undefined || password === undefined) return undefined;
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}
