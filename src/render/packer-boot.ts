/**
 * Packer variables of image-builder that make its templates boot with the staged kickstart file and log in with its
 * account. Their own files name the public mirrors. See docs/build.md, "image-builder".
 */

import type { Builder } from "../builder/builder.ts";
import { loginFrom } from "../builder/kickstart-login.ts";
import { marksOf, placeholdersOf } from "../builder/kickstart-template.ts";
import { STAGED, systemOf, traitsOf } from "./machine.ts";
import type { RenderRelease } from "./types.ts";

/** Folder of the staged kickstart file for packer's web server, which serves only this folder. */
const KICKSTART_FOLDER = "http";
const ALL_MAJORS = ["8", "9", "10"];

/**
 * Paths in the staged folder at which packer's web server has the kickstart file: `http/9/ks.cfg`, as the templates
 * request.
 */
export function kickstartPaths(builder: Builder, release: RenderRelease): string[] {
  const { major } = systemOf(builder, release);
  return (major === undefined ? ALL_MAJORS : [major]).map((it) => `${KICKSTART_FOLDER}/${it}/ks.cfg`);
}

/**
 * Renders the variables for a kickstart file whose placeholders are filled in.
 *
 * Up to v0.1.44, and for RHEL always, the boot command is `inst.ks=http://{{ .HTTPIP }}:{{ .HTTPPort }}` and
 * `/9/ks.cfg`, from `http_directory`. Later Rocky Linux boots with `inst.ks=hd:LABEL=cidata:/ks.cfg` from a CD that
 * packer creates from `cd_content_location`.
 */
export function bootVars(kickstart: string, builder: Builder, release: RenderRelease): Record<string, string> {
  const vars: Record<string, string> = { http_directory: `${STAGED}/${KICKSTART_FOLDER}/` };
  if (traitsOf(builder).kickstartOnCd && systemOf(builder, release).family !== "rhel") {
    vars.cd_content_location = `${STAGED}/ks.cfg`;
    vars.cd_label = "cidata";
  }
  const login = loginFrom(kickstart, builder);
  if (login !== undefined) vars.ssh_username = login.name;
  if (login?.password !== undefined) vars.ssh_password = login.password;
  // Packer must not fill in what the rendered kickstart file leaves open: its password is different.
  else if (login !== undefined && placeholdersOf(kickstart).length + marksOf(kickstart).length > 0)
    vars.ssh_password = `<FILL IN: ${marksOf(kickstart)[0] ?? "SSH_PASSWORD"}>`;
  return vars;
}
