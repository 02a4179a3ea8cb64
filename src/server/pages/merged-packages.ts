/**
 * `/rpmrepo/NAME/…`: packages of the merged repository, which stand below `/rpms/NAME/` once and are found there. All else
 * below `/rpmrepo/` (its metadata) is an entry like any other. See docs/serve.md, "RPM repositories".
 */
import type { Mount } from "../http/context.ts";
import { sendConflict, sendEntry } from "./files.ts";

/** Answers for packages of repositories that take part in `/rpmrepo/`; leaves other paths alone. */
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
