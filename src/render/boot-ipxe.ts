/**
 * `boot.ipxe`: boots the installer of each ISO over HTTP, kernel and initrd read from the ISO itself.
 * See ipxe.org/scripting.
 */
import { AirferryError } from "../errors.ts";
import { EMPTY_DIGEST } from "../io/digest.ts";
import { treeUrl } from "./rpm-repositories.ts";
import type { RenderInput } from "./types.ts";
import { addressOf, encodeUrlPath, releasesOf } from "./view.ts";

/**
 * Renders the script: one ISO boots directly, several give a menu. `kickstartUrl` is passed on as `inst.ks=` when
 * given.
 * @throws {AirferryError} ERR_RENDER when no ISO has a kernel and an initrd
 */
export function renderBootIpxe(input: RenderInput, kickstartUrl?: string, open?: string): string {
  const targets = bootable(input);
  if (targets.length === 0) {
    throw new AirferryError("ERR_RENDER", 'cannot render "boot.ipxe": no ISO here has a kernel and an initrd to boot', {
      expected: "images/pxeboot/vmlinuz and initrd.img, or the files in .treeinfo",
      hint: "add an installation DVD to the manifest's isos, then lock, pack and carry again",
    });
  }
  const { tls } = addressOf(input.baseUrl);
  const lines = ["#!ipxe", `# Rendered by airferry for ${input.baseUrl}`, "dhcp ||"];
  if (tls && input.privateCa) {
    lines.splice(2, 0, "# iPXE trusts the CA of the server when it is built with it: make bin/ipxe.efi TRUST=ca.crt");
  }
  if (open !== undefined) {
    lines.push(
      `# The kickstart file is a template, and this server fills in no secrets (${open}): stage it, put it where the machine`,
      "# reaches it, and before chain: set cmdline inst.ks=URL",
    );
  }
  if (targets.length > 1) {
    lines.push(
      "menu airferry",
      ...targets.map((it) => `item ${it.name} ${it.name}`),
      // biome-ignore lint/suspicious/noTemplateCurlyInString: iPXE expands it
      "choose target && goto ${target}",
    );
  }
  for (const { name, url, kernel, initrd } of targets) {
    const ks = kickstartUrl === undefined ? "" : ` inst.ks=${kickstartUrl}`;
    const unverified = tls && input.privateCa ? " inst.noverifyssl" : "";
    lines.push(
      "",
      ...(targets.length > 1 ? [`:${name}`] : []),
      `kernel ${url}${encodeUrlPath(kernel)} initrd=initrd.img inst.repo=${url}${ks}${unverified} ip=dhcp \${cmdline}`,
      `initrd --name initrd.img ${url}${encodeUrlPath(initrd)}`,
      "boot",
    );
  }
  return `${lines.join("\n")}\n`;
}

function bootable(input: RenderInput): { name: string; url: string; kernel: string; initrd: string }[] {
  const found = releasesOf(input).flatMap((release) =>
    release.inventory.catalog.isos.flatMap((iso) => {
      const tree = input.trees.get(release.inventory.entries.get(iso.path)?.digest ?? EMPTY_DIGEST);
      const url = treeUrl(input, iso.name, release);
      if (tree?.kernel === undefined || tree.initrd === undefined || url === undefined) return [];
      return [{ name: iso.name, url, kernel: tree.kernel, initrd: tree.initrd }];
    }),
  );
  return found.filter((it, i) => found.findIndex((other) => other.url === it.url) === i);
}
