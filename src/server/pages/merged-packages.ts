/**
 * `/rpmrepo/NAME/…`: packages of the merged repository, resolved to `/rpms/NAME/`. Everything else below `/rpmrepo/`
 * (its metadata) is an ordinary entry. See docs/serve.md, "RPM repositories".
 */
import type { Mount, TreeView } from "../http/context.ts";
import { sendConflict, sendEntry } from "./files.ts";

/** Serves packages of repositories in `/rpmrepo/`; ignores other paths. */
export const rpmrepo: Mount = {
  prefix: "/rpmrepo",
  async handle(request, context) {
    const found = find(request.path, request.stream, await context.view());
    if (found === undefined) return false;
    if ("conflict" in found) sendConflict(request, found.conflict);
    else await sendEntry(request, found, context);
    return true;
  },
  entry: find,
};

function find(path: string, stream: string | undefined, view: TreeView): ReturnType<TreeView["find"]> {
  const [, name, rest] = /^\/rpmrepo\/([^/]+)\/(.+\.rpm)$/.exec(path) ?? [];
  if (name === undefined) return undefined;
  const takesPart = view.releases.some((it) =>
    it.inventory.catalog.rpms.some((rpm) => rpm.name === name && rpm.rpmrepo),
  );
  return takesPart ? view.find(`rpms/${name}/${rest}`, stream) : undefined;
}
