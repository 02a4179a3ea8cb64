/** Interface of what adds credentials to requests and answers challenges. Types only. */

/** Adds credentials to requests; knows the origin each of them may go to. Registry tokens come from one of these. */
export interface Authenticator {
  /**
   * Headers for a request to this URL (after rewrites, without user and password). The engine calls it only for the
   * origin of the target itself and for origins that `challenged` returned true for; another origin after a redirect
   * gets nothing. Must not fetch: the host's turn is held meanwhile.
   */
  headers(url: URL): Promise<Record<string, string>>;
  /**
   * Called once for a 401 (or a 403 that requires another scope) with the response's WWW-Authenticate and the
   * Authorization header that was refused. Returns true when new credentials are ready and the request is worth
   * repeating.
   */
  challenged?(url: URL, wwwAuthenticate: string | undefined, sent: string | undefined): Promise<boolean>;
  /** What to do about a 401 or 403 of this URL; undefined: the engine's default hint. */
  hint?(url: URL): string | undefined;
}
