/** `airferry publish`: copies images to the site's registry, RPM repositories and files to its repository manager. */

import { type Command, Option } from "commander";
import { AirferryError } from "../../errors.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { ANY_STORE, cacheOption, cacheSizeOption, type Register, storeOption, withGlobals } from "../command.ts";
import type { Output } from "../output.ts";
import { interruptible } from "../signals.ts";

interface PublishFlags {
  store: string;
  kind: "images" | "rpms" | "files";
  metadata: "carried" | "site";
  dryRun?: boolean;
  cache?: string;
  cacheSize?: string;
  image?: string[];
  names: "qualified" | "bare";
  stripIndexes?: boolean;
  insecure?: boolean;
  ca?: string;
  stream?: string;
}

export const publishCommand: Register = (program, run) => {
  withGlobals(
    program.command("publish").argument("<target>", "HOST[:PORT][/PREFIX] of a registry, or the URL of a repository"),
  )
    .summary("copy what was packed to the site's own registry or repositories")
    .description(
      "Copies images with their signatures, attestations and SBOMs to Harbor, Zot, Artifactory, Distribution or any other\n" +
        "registry, digests unchanged; with --kind, RPM repositories or files by PUT to raw and yum repositories of Nexus and\n" +
        "Artifactory. Uses the login of docker login or podman login, and for repositories that of ~/.netrc first. What is\n" +
        "there already is not sent again; if interrupted, run it again to resume.",
    )
    .addOption(storeOption(ANY_STORE))
    .addOption(cacheOption())
    .addOption(cacheSizeOption())
    .addOption(
      new Option("--kind <kind>", "what to copy")
        .choices(["images", "rpms", "files"] as const)
        .default("images" as const),
    )
    .addOption(
      new Option("--metadata <which>", "of rpms: as packed, with signatures, or made by the site (yum repositories)")
        .choices(["carried", "site"] as const)
        .default("carried" as const),
    )
    .option("--dry-run", "of rpms and files: say what would be sent")
    .option("--image <image...>", "only these images")
    .addOption(
      new Option("--names <form>", "repository names: with the source host, or without it")
        .choices(["qualified", "bare"])
        .default("qualified"),
    )
    .option("--strip-indexes", "if platforms were omitted: push shorter indexes, with new digests")
    .option("--insecure", "the target uses plain HTTP")
    .option("--ca <file>", "PEM file with the target's CA")
    .option("--stream <stream>", "use only this stream")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry publish harbor.site.example/airferry --store /srv/airferry\n  airferry publish zot.site.example:5000 --store /srv/airferry --names bare --image pause:3.10\n  airferry publish https://nexus.example/repository/rpms/ --kind rpms --store /srv/airferry\n  airferry publish https://art.example/artifactory/files/ --kind files --store /srv/airferry --dry-run\n\nAIRFERRY_STORE replaces --store.\nExit status: 0 done, 1 failed, 2 usage.",
    )
    .action((target: string, { image, kind, ...flags }: PublishFlags, command: Command) =>
      run(command.opts(), async (output) => {
        refuseOthers(kind, command);
        if (kind !== "images") return pushAll(target, { ...flags, kind }, output);
        const registry = target;
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

/** Flags of other kinds would do nothing. @throws {AirferryError} ERR_USAGE */
function refuseOthers(kind: PublishFlags["kind"], command: Command): void {
  const others = {
    images: ["dryRun", "metadata"],
    rpms: ["image", "names", "stripIndexes"],
    files: ["image", "names", "stripIndexes", "metadata"],
  }[kind];
  const given = others.find((it) => command.getOptionValueSource(it) === "cli");
  if (given === undefined) return;
  const flag = `--${given.replace(/[A-Z]/g, (it) => `-${it.toLowerCase()}`)}`;
  throw new AirferryError("ERR_USAGE", `cannot publish ${kind} with ${flag}: it is for other kinds`, {
    hint: `leave out ${flag}; airferry publish --help says which kind each flag is for`,
  });
}

async function pushAll(
  url: string,
  flags: Omit<PublishFlags, "kind"> & { kind: "rpms" | "files" },
  output: Output,
): Promise<void> {
  const { publishFiles } = await import("../../publish.ts");
  const progress = output.progress("publishing");
  const files = await interruptible(() =>
    publishFiles({
      ...flags,
      url,
      report: (line) => output.note(line),
      progress: (done, total, path) => progress({ done, total, path }),
    }),
  );
  output.progressDone();
  const { kind, dryRun } = flags;
  if (files.length === 0)
    output.note(`no release here has any: name some under ${kind}: in the manifest, and pack again`);
  const sent = files.filter((it) => it.done === "uploaded" || it.done === "would upload");
  const bytes = sent.reduce((sum, it) => sum + it.size, 0);
  const present = files.length - sent.length;
  output.end(
    { kind, url, files, [dryRun ? "bytesToUpload" : "uploadedBytes"]: bytes },
    {
      did: `${dryRun ? "would publish" : "published"} ${plural(sent.length, "file")}: ${formatBytes(bytes)}`,
      of: `to ${url}`,
      verified: `${plural(present, "file")} there already, by ${present === 1 ? "its" : "their"} checksum`,
      next: undefined,
    },
  );
}
