/** The files of a generation that people read: what is here, how it is served, and how images are mounted. */
import { shellWord } from "../io/shell.ts";
import { apacheFiles } from "./apache-files.ts";
import { mountName } from "./compose.ts";
import { poolPath } from "./content-pool.ts";
import { nginxFiles } from "./nginx-files.ts";
import type { WebSite } from "./web-site.ts";

/** All texts beside the tree, by their paths in a generation; for the name "" without what depends on it. */
export function webConfig(site: WebSite, generation: string): ReadonlyMap<string, string> {
  return new Map([
    ...nginxFiles(site, generation),
    ...apacheFiles(site),
    ["README.txt", readme(site)],
    ...(site.mounts.length === 0 ? [] : [["fstab", fstab(site)] as const]),
  ]);
}

function readme({ dir, base, mounts }: WebSite): string {
  const next = shellWord(`${dir}/next`);
  const parts = [
    `This folder was written by airferry export tree. Its next run changes it: add nothing, and change nothing here.
What it serves: ${dir}/current/tree, and ${dir}/current/registry below /v2/. Nothing else here is for clients.`,
    base === undefined
      ? "It was written without --base URL: it has no rendered configuration (/config/)."
      : `It is to be served at ${base}: rendered configuration has this address.`,
    `nginx:   include ${shellWord(`${dir}/current/nginx/airferry.conf`)} in http { }, or maps.conf there and locations.conf in a server
         { } of yours. Reload nginx after each export.`,
    `Apache:  include ${shellWord(`${dir}/current/apache/airferry.conf`)}, or site.conf in a <VirtualHost> of yours. Modules: rewrite,
         headers, mime, dir, authz_core. No reload.`,
    `Other servers need the media type of each manifest: those are the endings in registry/.`,
    `Buckets: airferry export tree s3://BUCKET writes a tree whose objects say their types, for the bucket's own website or for
         nginx in front of it. This folder is not for them.`,
    ...(mounts.length === 0
      ? []
      : [
          `ISOs:    append ${shellWord(`${dir}/current/fstab`)} to /etc/fstab and run mount -a. After an export with another ISO do it again.`,
        ]),
    `Going back: ln -s generations/NUMBER ${next} && mv -T ${next} ${shellWord(`${dir}/current`)}`,
  ];
  return `${parts.join("\n\n")}\n`;
}

/** Lines for `/etc/fstab`. Links inside an image are not followed: they could lead out of it. */
function fstab({ dir, mounts }: WebSite): string {
  const escaped = (text: string) => text.replaceAll(" ", "\\040");
  return mounts
    .map(({ name, digest }) => {
      const file = escaped(poolPath(`${dir}/pool`, digest));
      return `# ${name}.iso\n${file} ${escaped(`${dir}/mounts/${mountName(digest)}`)} iso9660 loop,ro,nosuid,nodev,noexec,nosymfollow,nofail,mode=0444,dmode=0555 0 0\n`;
    })
    .join("");
}
