/** What is said of web answers in a line. */
import type { Catalog } from "../bundle/inventory-types.ts";
import { plural } from "../io/format.ts";

/** `12 web answers, 2 git repositories`. */
export function contentText({ web = [] }: Pick<Catalog, "web">): string {
  const answers = web.reduce((sum, it) => sum + it.answers, 0);
  const repositories = web.reduce((sum, it) => sum + (it.repositories ?? 0), 0);
  const git = repositories > 0 ? [plural(repositories, "git repository", "git repositories")] : [];
  return [...(answers > 0 || git.length === 0 ? [plural(answers, "web answer")] : []), ...git].join(", ");
}

/** `, 12 web answers of 2 hosts`; empty if there are none. */
export function webText(catalog: Pick<Catalog, "web">): string {
  if (catalog.web === undefined) return "";
  const hosts = new Set(catalog.web.flatMap((it) => it.origins).map((it) => new URL(it).host)).size;
  return `, ${contentText(catalog)} of ${plural(hosts, "host")}`;
}
