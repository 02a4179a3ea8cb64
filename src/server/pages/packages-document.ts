/** `/packages.json`: the page of packages for programs. */
import type { PackagesFound } from "./packages-found.ts";

/** Formats what was found. Ends with a line feed. */
export function formatFound({
  query,
  repository,
  repositories,
  packages,
  total,
  more,
  page,
  pages,
}: PackagesFound): string {
  const document = {
    query,
    ...(repository !== undefined && { repository }),
    total,
    more,
    page,
    pages,
    repositories,
    packages: packages.map(({ evr, href, url, size, ...it }) => ({
      ...it,
      version: evr,
      ...(size > 0 && { size }),
      ...(url !== undefined && { path: url }),
    })),
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}
