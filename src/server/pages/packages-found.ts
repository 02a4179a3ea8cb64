/** What a request for packages asks for, and what is found: for the page and for programs alike. */
import type { PackageRow } from "../../packages/types.ts";
import type { Release } from "../../store/types.ts";
import type { ServeContext, ServerRequest, TreeView } from "../http/context.ts";
import { encodePath } from "./entry-tree.ts";
import { PREPARING } from "./package-lookup.ts";
import { rootOf } from "./page-frame.ts";
import type { PageState } from "./pages-state.ts";

const PACKAGES_PER_PAGE = 100;

/** A package with where it is. */
export interface FoundPackage extends PackageRow {
  stream: string;
  /** Path of its repository below the server's address, not encoded. */
  repository: string;
  /** URL path of the RPM, encoded; undefined where it is not below this server. */
  url: string | undefined;
}

/** A repository whose packages are listed. */
interface FoundRepository {
  stream: string;
  path: string;
  packages: number;
}

export interface PackagesFound {
  query: string;
  /** The one repository that was asked for. */
  repository: string | undefined;
  /** All there are. */
  repositories: FoundRepository[];
  /** One page of them. */
  packages: FoundPackage[];
  /** How many were found. */
  total: number;
  /** There are more, which nobody looked for. */
  more: boolean;
  /** The page, from 1, and how many there are. */
  page: number;
  pages: number;
}

/** Why a search is not answered now: too many others wait, or an index is still being made. */
type NotNow = "busy" | typeof PREPARING;

/** Answers `?q=WORDS&repo=PATH&page=N`. */
export async function findPackages(
  request: ServerRequest,
  context: ServeContext,
  state: PageState,
): Promise<PackagesFound | NotNow> {
  const view = await context.view();
  const releases = view.releases.filter((it) => request.stream === undefined || it.stream === request.stream);
  const query = (request.query.get("q") ?? "").slice(0, 200).trim();
  const repository = request.query.get("repo") || undefined;
  const page = pageOf(request.query.get("page"));
  const indexes = await Promise.all(releases.map((it) => state.packages.of(it, context)));
  if (indexes.includes(PREPARING)) return PREPARING;
  const answer = await state.packages.inTurn(async () => {
    const found: PackagesFound = {
      query,
      repository,
      repositories: [],
      packages: [],
      total: 0,
      more: false,
      page,
      pages: 1,
    };
    let from = (page - 1) * PACKAGES_PER_PAGE;
    for (const [at, release] of releases.entries()) {
      // A client that is gone needs no answer.
      if (request.res.destroyed) return found;
      const index = indexes[at];
      if (index === undefined || index === PREPARING) continue;
      for (const { path, packages } of index.repositories) {
        found.repositories.push({ stream: release.stream, path, packages });
      }
      const [rows, count, more] = await rowsOf(index, query, repository);
      found.total += count;
      found.more ||= more;
      const wanted = rows.slice(from, from + PACKAGES_PER_PAGE - found.packages.length);
      from = Math.max(0, from - count);
      for (const [i, row] of (await index.read(wanted)).entries()) {
        const { path } = index.repositoryOf(wanted[i] as number);
        found.packages.push({
          ...row,
          stream: release.stream,
          repository: path,
          url: urlOf(request, view, release, path, row.href),
        });
      }
    }
    found.pages = Math.max(1, Math.ceil(found.total / PACKAGES_PER_PAGE));
    return found;
  });
  return answer ?? "busy";
}

type Index = Exclude<Awaited<ReturnType<PageState["packages"]["of"]>>, undefined | typeof PREPARING>;

async function rowsOf(index: Index, query: string, path: string | undefined): Promise<[number[], number, boolean]> {
  if (query !== "") {
    const { rows, more } = await index.search(query, path);
    return [rows, rows.length, more];
  }
  const rows = path === undefined ? [] : index.list(path, 0, Number.POSITIVE_INFINITY);
  return [rows, rows.length, false];
}

function pageOf(text: string | null): number {
  return /^[1-9]\d{0,5}$/.test(text ?? "") ? Number(text) : 1;
}

/** Only to what is there: an address in metadata is upstream's word. */
function urlOf(
  { stream }: ServerRequest,
  view: TreeView,
  release: Release,
  folder: string,
  href: string,
): string | undefined {
  if (href === "" || href.split("/").some((it) => it === "" || it === "." || it === "..")) return undefined;
  if (folder.startsWith("isos/")) {
    const iso = view.find(folder.replace(/^(isos\/[^/]+)\/.*$/s, "$1.iso"), stream);
    const root = iso !== undefined && "conflict" in iso ? rootOf(release.stream) : rootOf(stream);
    return `${root}/${encodePath(`${folder}${href}`)}`;
  }
  const path = [href, decoded(href)].map((it) => `${folder}${it}`).find((it) => release.entries.has(it));
  if (path === undefined) return undefined;
  const found = view.find(path, stream);
  const root = found !== undefined && "conflict" in found ? rootOf(release.stream) : rootOf(stream);
  return `${root}/${encodePath(path)}`;
}

function decoded(href: string): string {
  try {
    return decodeURIComponent(href);
  } catch {
    return href;
  }
}
