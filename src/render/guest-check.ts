/**
 * Whether the machine that is built can reach the server at its configured address. See docs/build.md, "The machine".
 * Pure.
 */

import { compareVersions } from "../builder/artifacts.ts";
import type { Finding } from "../io/findings.ts";
import { needsCa, pullsImages } from "./machine.ts";
import type { RenderInput } from "./types.ts";
import { addressOf, builderOf, releasesOf } from "./view.ts";

/** The first CAPI builder that runs custom_scripts/. */
const FIRST_WITH_CUSTOM_SCRIPTS = "4.6.23";

/** Lists why the address cannot work for the machine. */
export function checkGuest(input: RenderInput): Finding[] {
  const findings: Finding[] = [];
  const { host, tls } = addressOf(input.baseUrl);
  const builders = releasesOf(input).flatMap((release) => {
    const builder = builderOf(release);
    return builder === undefined ? [] : [{ builder, release }];
  });
  if (builders.length > 0 && (/^(localhost|127\..*|::1|0\.0\.0\.0|::)$/.test(host) || host.endsWith(".localhost"))) {
    findings.push({
      area: "builder",
      level: "error",
      subject: "guest",
      message: `${host} is the build host itself: the virtual machine that is built cannot reach the server there`,
      remedy: `give the address that the virtual machine uses: --url ${tls ? "https" : "http"}://HOST:PORT`,
    });
  }
  for (const { builder, release } of builders) {
    const tooOld =
      builder.flavor === "spectro-capi" &&
      builder.version !== undefined &&
      compareVersions(builder.version, FIRST_WITH_CUSTOM_SCRIPTS) < 0;
    const why = needsCa(input)
      ? "does not know the server's CA"
      : tls
        ? undefined
        : pullsImages(release)
          ? "pulls images only over https"
          : undefined;
    if (!tooOld || why === undefined) continue;
    findings.push({
      area: "builder",
      level: "error",
      subject: "guest",
      message: `the virtual machine ${why}, and the builder ${builder.version} runs no custom_scripts/ that would prepare it`,
      remedy: `use the builder ${FIRST_WITH_CUSTOM_SCRIPTS} or later, or serve https with a certificate that the installed system trusts (serve --tls CERT,KEY; stage --public-ca)`,
    });
  }
  return findings;
}
