/** Lists of mirrors, as clients of RPM repositories read them. See Metalink 3.0 and MirrorManager's extension of it. */
import type { InventoryEntry } from "../bundle/inventory-types.ts";
import { hexOf } from "../io/digest.ts";

/** A metalink of a repository at these addresses, each with a slash at its end; `created` is RFC 3339. */
export function formatMetalink(bases: readonly string[], repomd: InventoryEntry, created: string): string {
  const urls = bases.map((base) => {
    const protocol = base.slice(0, base.indexOf(":"));
    return `<url protocol="${protocol}" type="${protocol}" preference="100">${escaped(base)}repodata/repomd.xml</url>`;
  });
  return `<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic" xmlns:mm0="http://fedorahosted.org/mirrormanager">
<files><file name="repomd.xml">
<mm0:timestamp>${Math.floor(Date.parse(created) / 1000)}</mm0:timestamp>
<size>${repomd.size}</size>
<verification><hash type="sha256">${hexOf(repomd.digest)}</hash></verification>
<resources maxconnections="1">${urls.join("")}</resources>
</file></files>
</metalink>
`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
