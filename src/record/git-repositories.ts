/** Git repositories that a build cloned: what is posted to them is not recorded, so the manifest names them instead. */
import { gitUrl } from "../io/git-index.ts";
import { NAME } from "../io/path-grammar.ts";
import type { RecordedAnswer } from "../io/web-recording.ts";

const ADVERTISEMENT = /^application\/x-git-upload-pack-advertisement\b/i;
const MAX_NAME_LENGTH = 150;

/** The URL of the repository that an answer lists the refs of; undefined for other answers. */
export function repositoryIn({ url, method, status, headers }: RecordedAnswer): string | undefined {
  const [place = "", query] = url.split("/info/refs?");
  const isRefs = query?.split("&").includes("service=git-upload-pack") === true;
  if (!isRefs || method !== "GET" || status !== 200 || !ADVERTISEMENT.test(headers["content-type"] ?? ""))
    return undefined;
  try {
    return gitUrl(place);
  } catch {
    return undefined;
  }
}

/** A name for its entry in the manifest: host and path. Other repositories may have the same. */
export function repositoryName(url: string): string {
  const place = url.replace(/^https?:\/\//, "").replace(/\.git$/, "");
  const name = `git-${place.replace(/[^A-Za-z0-9._-]+/g, "-").slice(-MAX_NAME_LENGTH)}`;
  return NAME.test(name) ? name : "git";
}
