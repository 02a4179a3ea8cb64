/** `airferry publish`: copies packed images to the site's own registry. */

import { Option } from "commander";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { type Register, storeOption, withGlobals } from "../command.ts";
import { interruptible } from "../signals.ts";

interface PublishFlags {
  store: string;
  image?: string[];
  names: "qualified" | "bare";
  stripIndexes?: boolean;
  insecure?: boolean;
  ca?: string;
  stream?: string;
}

export const publishCommand: Register = (program, run) => {
  withGlobals(program.command("publish").argument("<registry>", "HOST[:PORT][/PREFIX]"))
    .summary("copy packed images to the site's own registry")
    .description(
      "Copies images with their signatures, attestations and SBOMs to Harbor, Zot, Artifactory, Distribution or any other\n" +
        "registry, digests unchanged. Uses the login of docker login or podman login. If interrupted, run it again to resume.",
    )
    .addOption(storeOption())
    .option("--image <image...>", "only these images")
    .addOption(
      new Option("--names <form>", "repository names: with the source host, or without it")
        .choices(["qualified", "bare"])
        .default("qualified"),
    )
    .option("--strip-indexes", "if platforms were omitted: push shorter indexes, with new digests")
    .option("--insecure", "the registry uses plain HTTP")
    .option("--ca <file>", "PEM file with the registry's CA")
    .option("--stream <stream>", "use only this stream")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry publish harbor.site.example/airferry --store /srv/airferry\n  airferry publish zot.site.example:5000 --store /srv/airferry --names bare --image pause:3.10\n\nAIRFERRY_STORE replaces --store.\nExit status: 0 done, 1 failed, 2 usage.",
    )
    .action((registry: string, { image, ...flags }: PublishFlags, command) =>
      run(command.opts(), async (output) => {
        const { publish } = await import("../../publish.ts");
        const progress = output.progress("publishing");
        const published = await interruptible(() =>
          publish({
            ...flags,
            registry,
            ...(image && { references: image }),
            report: (line) => output.note(line),
            progress: (done, total, path) => progress({ done, total, path }),
          }),
        );
        output.progressDone();
        const bytes = published.reduce((sum, it) => sum + it.pushedBytes, 0);
        if (published.length === 0)
          output.note("no release here has an image: name some under images: in the manifest, and pack again");
        for (const { target } of published) output.print(target);
        const stripped = published.filter((it) => it.stripped).length;
        const [first] = published;
        output.end(
          { images: published, pushedBytes: bytes },
          {
            did: `published ${plural(published.length, "image")}: ${formatBytes(bytes)} sent`,
            of: `to ${registry}`,
            verified:
              stripped > 0 ? `${plural(stripped, "image")} with a shorter index and a new digest` : "digests unchanged",
            // A CA of its own must be made known to podman first.
            next:
              first === undefined || flags.ca !== undefined
                ? undefined
                : `podman pull ${flags.insecure ? "--tls-verify=false " : ""}${shellWord(first.target)}`,
          },
        );
      }),
    );
};
