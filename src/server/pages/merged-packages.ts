/**
 * `/rpmrepo/NAME/…`: packages of the merged repository, resolved to `/rpms/NAME/`. Everything else below `/rpmrepo/`
 * (its metadata) is an ordinary entry. See docs/serve.md, "RPM repositories".
 */
import type { Mount } from "../http/context.ts";
import { sendConflict, sendEntry } from "./files.ts";

/** Serves packages of repositories in `/rpmrepo/`; ignores other paths. */
export const rpmrepo: Mount = {
  prefix: "/rpmrepo",
  async handle(request, context) {
    const [, name, rest] = /^\/rpmrepo\/([^/]+)\/(.+\.rpm)$/.exec(request.path) ?? [];
    if (name === undefined) return false;
    const view = await context.view();
    if (!view.releases.some((it) => it.inventory.catalog.rpms.some((rpm) => rpm.name === name && rpm.rpmrepo)))
      return false;
    const found = view.find(`rpms/${name}/${rest}`, request.stream);
    if (found === undefined) return false;
    if ("conflict" in found) sendConflict(request, found.conflict);
    else await sendEntry(request, found, context);
    return true;
  },
};
