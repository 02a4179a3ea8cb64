/** What in a recording airferry could also carry as content of a kind of its own: images and RPM repositories. */
import type { RecordedAnswer } from "../io/web-recording.ts";

/** Listed for people; in all, and in each list. */
const MAX_LISTED = 10_000;
const MANIFEST_TYPE = /^application\/vnd\.(?:oci\.image|docker\.distribution)\.(?:manifest|index)[a-z.]*v\d/;
const MANIFEST_PATH = /^\/v2\/([a-z0-9._/-]+)\/manifests\/([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|sha256:[0-9a-f]{64})$/;
const PACKAGE_NAME = /^[A-Za-z0-9._+~^-]+\.rpm$/;

export interface Recognized {
  /** References: by tag, or by digest if no tag of that repository was pulled. */
  images: string[];
  /** Base URLs of RPM repositories, and the packages of them that were fetched: `name-version-release.arch`. */
  rpms: { url: string; packages: string[] }[];
}

/** Looks at URLs, statuses and types only: what is not clear is not listed. */
export function recognize(answers: Iterable<RecordedAnswer>): Recognized {
  const tags = new Map<string, Set<string>>();
  const repositories = new Set<string>();
  const packages: string[] = [];
  for (const { url, status, headers } of answers) {
    if (status !== 200) continue;
    const { host, pathname } = new URL(url);
    const [, name, reference] = MANIFEST_PATH.exec(pathname) ?? [];
    if (name !== undefined && reference !== undefined && MANIFEST_TYPE.test(headers["content-type"] ?? "")) {
      // The registry of docker.io has another name.
      const repository = `${host === "registry-1.docker.io" ? "docker.io" : host}/${name}`;
      const known = tags.get(repository) ?? new Set();
      if (known.size < MAX_LISTED && tags.size < MAX_LISTED) tags.set(repository, known.add(reference));
    } else if (url.endsWith("/repodata/repomd.xml")) repositories.add(url.slice(0, -"repodata/repomd.xml".length));
    else if (url.endsWith(".rpm") && packages.length < MAX_LISTED) packages.push(url);
  }
  const images = [...tags].flatMap(([repository, references]) => {
    const named = [...references].filter((it) => !it.startsWith("sha256:"));
    return named.length > 0
      ? named.map((it) => `${repository}:${it}`)
      : [...references].map((it) => `${repository}@${it}`);
  });
  const rpms = [...repositories].sort().map((url) => ({ url, packages: packagesBelow(url, packages) }));
  return { images: images.sort(), rpms: rpms.filter((it) => it.packages.length > 0) };
}

function packagesBelow(base: string, packages: readonly string[]): string[] {
  return packages
    .filter((it) => it.startsWith(base))
    .map((it) => it.slice(it.lastIndexOf("/") + 1))
    .filter((it) => PACKAGE_NAME.test(it))
    .map((it) => it.slice(0, -".rpm".length))
    .sort();
}
