/**
 * The list of everything that can be rendered: names of `airferry render`, paths below `/config/`, and how each is
 * rendered.
 */
import { checkBuilder } from "../builder/compatibility.ts";
import { environmentName, IMAGECONFIG_KEYS } from "../builder/imageconfig-keys.ts";
import { placeholdersOf } from "../builder/kickstart-template.ts";
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import type { Finding } from "../io/findings.ts";
import { renderBootIpxe } from "./boot-ipxe.ts";
import { renderChecksum } from "./checksum.ts";
import { renderComposerRepositories } from "./composer-repositories.ts";
import { checkGuest } from "./guest-check.ts";
import { renderImageconfig } from "./imageconfig.ts";
import { checkKickstart, fillKickstart, isFilled, kickstartTemplate, renderKickstart } from "./kickstart.ts";
import { originFiles } from "./origins.ts";
import { renderPackerVars } from "./packer-vars.ts";
import { registryConfigFiles } from "./registries-files.ts";
import type { ConfigFile, RenderInput } from "./types.ts";
import { releasesOf } from "./view.ts";
import { renderYumRepo } from "./yum-repo.ts";

/** Reads the text of a small file of the store by its SHA-256 (hex). */
type ReadText = (digest: Digest) => Promise<string>;

/** Lists what can be rendered, without rendering. */
export function configFiles(input: RenderInput, readText: ReadText): ConfigFile[] {
  const scope = input.stream === undefined ? input.baseUrl : `${input.baseUrl}/s/${input.stream}`;
  const kickstart = () => readText(kickstartTemplate(input).digest);
  const packedKickstart = async () => (hasKickstart(input) ? await kickstart() : undefined);
  const kickstartFindings = async () => {
    const template = await packedKickstart();
    return template === undefined ? [] : checkKickstart(template, input);
  };
  const hasFilledKickstart = async () => {
    const template = await packedKickstart();
    return template !== undefined && isFilled(template, input.env);
  };
  return [
    {
      name: "repo",
      path: "airferry.repo",
      summary: "every repository here, for /etc/yum.repos.d/",
      make: async () => renderYumRepo(input),
    },
    {
      name: "imageconfig",
      path: "imageconfig",
      summary: "for the CAPI image builder's output folder",
      make: async () => renderImageconfig(input),
      hasSecret: async () =>
        IMAGECONFIG_KEYS.some((it) => it.origin === "secret" && input.env?.[environmentName(it.key)]),
    },
    {
      name: "packer-vars",
      path: "packer-vars.json",
      summary: "for image-builder's PACKER_VAR_FILES",
      make: async () => {
        const template = await packedKickstart();
        return renderPackerVars(input, template === undefined ? undefined : fillKickstart(template, input.env));
      },
      hasSecret: hasFilledKickstart,
    },
    {
      name: "kickstart",
      path: "ks.cfg",
      summary: "the packed kickstart file, installing from here",
      make: async () => renderKickstart(await kickstart(), input),
      check: kickstartFindings,
      hasSecret: hasFilledKickstart,
    },
    {
      name: "boot-ipxe",
      path: "boot.ipxe",
      summary: "boots the installer over HTTP",
      make: async () => {
        const template = await packedKickstart();
        const open = template === undefined ? undefined : placeholdersOf(template)[0]?.text;
        const hasUrl = template !== undefined && open === undefined;
        return renderBootIpxe(input, hasUrl ? `${scope}/config/ks.cfg` : undefined, open);
      },
    },
    {
      name: "checksum",
      path: "CHECKSUM",
      summary: "digests of the ISOs, BSD form",
      make: async () => renderChecksum(input),
    },
    {
      name: "composer-repositories",
      path: "composer-repositories.json",
      summary: "osbuild-composer, image-builder: /etc/osbuild-composer/repositories/DISTRO.json",
      make: () => renderComposerRepositories(input, readText),
    },
    ...registryConfigFiles(input),
    ...originFiles(input),
    {
      name: "check",
      path: "check.json",
      summary: "mismatches of the builder's versions, for airferry doctor",
      make: async () => {
        const found = {
          findings: builderFindings(input),
          kickstart: await kickstartFindings(),
          guest: checkGuest(input),
        };
        return `${JSON.stringify(found, null, 2)}\n`;
      },
    },
  ];
}

function builderFindings(input: RenderInput): (Finding & { stream: string })[] {
  return releasesOf(input).flatMap((release) =>
    checkBuilder(
      release.inventory.builder,
      release.inventory.entries.paths(),
      release.inventory.catalog.images.map((it) => it.reference),
    ).map((it) => ({ stream: release.stream, ...it })),
  );
}

function hasKickstart(input: RenderInput): boolean {
  try {
    kickstartTemplate(input);
    return true;
  } catch (error) {
    if (error instanceof AirferryError && error.code === "ERR_RENDER") return false;
    throw error;
  }
}
