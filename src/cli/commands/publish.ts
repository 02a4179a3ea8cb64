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
    .option("--dry-run", "ask what is there and say what would be sent; write nothing to the target")
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
        if (flags.dryRun) return planImages(registry, { ...flags, ...(image && { references: image }) }, output);
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

/** What an image would send: a line for the image, and one for each missing part. */
async function planImages(
  registry: string,
  options: Omit<PublishFlags, "kind" | "image"> & { references?: string[] },
  output: Output,
): Promise<void> {
  const { planPublish } = await import("../../publish.ts");
  const progress = output.progress("looking");
  const images = await interruptible(() =>
    planPublish({ ...options, registry, progress: (done, total, path) => progress({ done, total, path }) }),
  );
  output.progressDone();
  if (images.length === 0)
    output.note("no release here has an image: name some under images: in the manifest, and pack again");
  let present = 0;
  for (const { target, digest, stripped, tags, manifests, blobs } of images) {
    const parts = [
      ...blobs.map((it) => ({ ...it, what: `blob ${it.digest}`, size: formatBytes(it.size) })),
      ...manifests.map((it) => ({ ...it, what: `manifest ${it.digest}`, size: it.about ?? formatBytes(it.size) })),
      ...tags.map((it) => ({ ...it, what: `tag ${it.tag}`, size: it.was === undefined ? undefined : `was ${it.was}` })),
    ].filter((it) => it.done !== "present");
    if (parts.length === 0) present++;
    const what = parts.length === 0 ? "present" : `would publish ${digest}${stripped ? " (stripped index)" : ""}`;
    output.print(`${target}  ${what}`);
    for (const it of parts) {
      const from = "from" in it ? ` from ${it.from}` : "";
      output.print(`  ${it.done}${from}  ${it.what}${it.size === undefined ? "" : `  ${it.size}`}`);
    }
  }
  const sum = (of: "bytesToUpload" | "bytesToMount") => images.reduce((all, it) => all + it[of], 0);
  const [bytesToUpload, bytesToMount] = [sum("bytesToUpload"), sum("bytesToMount")];
  const mount = bytesToMount > 0 ? `, ${formatBytes(bytesToMount)} more where the registry cannot mount` : "";
  output.end(
    { kind: "images", registry, images, bytesToUpload, bytesToMount },
    {
      did: `would publish ${plural(images.length - present, "image")}: ${formatBytes(bytesToUpload)}${mount}`,
      of: `to ${registry}`,
      verified: `${plural(present, "image")} there already, by ${present === 1 ? "its digest" : "their digests"}`,
      next: undefined,
    },
  );
}

/** Flags of other kinds would do nothing. @throws {AirferryError} ERR_USAGE */
function refuseOthers(kind: PublishFlags["kind"], command: Command): void {
  const others = {
    images: ["metadata"],
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
