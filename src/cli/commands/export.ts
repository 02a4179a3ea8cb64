/** `airferry export`: packed images as an archive for container tools, or everything as a tree for web servers. */
import { Argument, Option } from "commander";
import { AirferryError, EXIT } from "../../errors.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord, shellWords } from "../../io/shell.ts";
import { ANY_STORE, cacheOption, cacheSizeOption, type Register, storeOption, withGlobals } from "../command.ts";
import type { Output } from "../output.ts";
import { Interrupted, interruptible } from "../signals.ts";

const ISO_CHOICES = ["extract", "mount", "none"] as const;
type What = "image" | "tree";

interface ExportFlags {
  store: string;
  cache?: string;
  cacheSize?: string;
  stream?: string;
  out?: string;
  load?: "docker" | "podman";
  platform?: string;
  base?: string;
  isos?: (typeof ISO_CHOICES)[number];
  link?: boolean;
  recheck?: boolean;
  ca?: string;
}

/** Which flags belong to which, besides those of both. */
const OWN: Record<What, readonly (keyof ExportFlags)[]> = {
  image: ["out", "load", "platform"],
  tree: ["base", "isos", "link", "recheck", "ca"],
};

export const exportCommand: Register = (program, run) => {
  withGlobals(
    program
      .command("export")
      .addArgument(new Argument("<what>", "what to export").choices(["image", "tree"]))
      .argument(
        "<image-or-dir...>",
        "image: images, by the names in the bundle; tree: the folder to write, or s3://BUCKET/PREFIX?endpoint=URL&region=…&ca=FILE",
      ),
  )
    .summary("write images as an archive for container tools, or everything as files for any web server")
    .description(
      "`image` writes an archive that is an OCI layout and a docker-archive at the same time: docker load, podman load, ctr\n" +
        "images import and skopeo copy read it, and preserve the digest where they can.\n" +
        "`tree` writes what serve would answer as files, with configuration for nginx and Apache, which then serve it alone:\n" +
        "repositories, files, ISOs, the registry, rendered configuration, pages. A rerun writes what changed and switches in\n" +
        "one step (DIR/current); the tree before stays for a way back. Every byte is hashed on its way in.\n" +
        "Into a bucket it writes objects that its website, or nginx in front, serves: what leads somewhere after what it leads\n" +
        "to, so that readers find all of it meanwhile. The configuration for both is in the bucket: .airferry/README.txt.",
    )
    .addOption(storeOption(ANY_STORE))
    .addOption(cacheOption())
    .addOption(cacheSizeOption())
    .option("--stream <stream>", "use only this stream")
    .option("--out <file>", "image: archive to write (.tar)")
    .addOption(
      new Option("--load <tool>", "image: load it directly into docker or podman").choices(["docker", "podman"]),
    )
    .option("--platform <os/arch>", "image: platform for tools without index support (default: this host's)")
    .option("--base <url>", "tree: where it will be served; without it nothing is rendered (/config/)")
    .addOption(
      new Option(
        "--isos <how>",
        "tree: files inside ISOs: extracted, or where the ISO is mounted (DIR/current/fstab) (default: extract)",
      ).choices(ISO_CHOICES),
    )
    .option(
      "--link",
      "tree: large files are hard links to the store's, which whoever changes one changes as well (default: copies, which share blocks where the file system can)",
    )
    .option(
      "--recheck",
      "tree: hash also what is there already, and replace what is damaged; in a bucket, compare checksums and headers",
    )
    .option("--ca <file>", "tree: certificate (PEM) of the CA of the web server's certificate, served as /ca.crt")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry export image registry.k8s.io/pause:3.10 --store /srv/airferry --out pause.tar\n  airferry export image capi-builder --store /srv/airferry --load podman\n  airferry export tree /srv/mirror --store /srv/airferry --base http://mirror.example.com\n  airferry export tree 's3://mirror?endpoint=https://s3.example' --store /srv/airferry --base http://mirror.example.com\n\nAIRFERRY_STORE replaces --store.\nExit status: 0 done, 1 failed, 2 usage, 130 interrupted.",
    )
    .action((what: What, names: string[], flags: ExportFlags, command) =>
      run(command.opts(), async (output) => {
        const wrong = OWN[what === "image" ? "tree" : "image"].find((it) => flags[it] !== undefined);
        if (wrong !== undefined) {
          throw new AirferryError("ERR_USAGE", `cannot use --${wrong} with "export ${what}"`, {
            hint: `airferry export ${what} ${shellWords(names)} --store ${shellWord(flags.store)}`,
          });
        }
        return what === "image" ? exportImages(output, names, flags) : exportFolder(output, names, flags);
      }),
    );
};

async function exportImages(output: Output, references: string[], flags: ExportFlags): Promise<number> {
  const { exportImage } = await import("../../export.ts");
  const progress = output.progress("exporting");
  const exported = await interruptible(() =>
    exportImage({ ...flags, references, progress: (done, total) => progress({ done, total }) }),
  ).catch((error: unknown) => {
    if (error instanceof Interrupted) return undefined;
    throw error;
  });
  output.progressDone();
  if (exported === undefined) {
    output.note("interrupted; nothing was written");
    return EXIT.interrupted;
  }
  for (const { reference, digest } of exported.images) output.note(`${reference} ${digest}`);
  if (exported.file !== undefined) {
    if (exported.images.length > 1)
      output.note(
        "podman preserves digests only for archives with a single image; --load podman loads them one by one",
      );
    output.print(exported.file);
  } else if (exported.said) output.print(...exported.said.split("\n"));
  const { file, size, images } = exported;
  const amount = `${plural(images.length, "image")}, about ${formatBytes(size)}`;
  output.end(exported, {
    did: file === undefined ? `loaded ${amount}, into ${flags.load}` : `exported ${amount}`,
    of: file === undefined ? undefined : "for docker load -i, podman load -i, ctr images import",
    next: file === undefined ? `${flags.load} images` : `podman load -i ${shellWord(file)}`,
  });
  return EXIT.done;
}

async function exportFolder(output: Output, [dir = "", ...more]: string[], flags: ExportFlags): Promise<number> {
  const { exportTree, treeCommand } = await import("../../export.ts");
  if (more.length > 0) {
    throw new AirferryError("ERR_USAGE", `cannot write one tree into ${more.length + 1} folders`, {
      hint: treeCommand(flags, dir),
    });
  }
  const [reading, progress] = [output.progress("reading ISOs"), output.progress("exporting")];
  const written = await interruptible(() =>
    exportTree({
      ...flags,
      dir,
      progress: (done, total) => progress({ done, total }),
      reading: (done, total) => reading({ done, total }),
      onFault: (message) => output.note(message),
    }),
  ).catch((error: unknown) => {
    if (error instanceof Interrupted) return undefined;
    throw error;
  });
  output.progressDone();
  if (written === undefined) {
    output.interrupted();
    return EXIT.interrupted;
  }
  for (const it of written.notes) output.note(`left out: ${it}`);
  const unnamed = written.leftOut - written.notes.length;
  if (unnamed > 0) output.note(`left out: ${unnamed} more`);
  const inBucket = written.show !== null;
  output.print(inBucket ? written.dir : `${written.dir}/current`);
  if (written.base === null) output.note("without --base URL there is no rendered configuration in it");
  if (written.foreign > 0)
    output.note(`${plural(written.foreign, "object")} below the prefix that no export wrote: left as they are`);
  if (written.closed !== null)
    output.note(
      `other users, such as web servers, cannot enter ${shellWord(written.closed)}: chmod o+x, or another folder`,
    );
  if (written.fstab !== null)
    output.note(`to mount the ISOs: cat ${shellWord(written.fstab)} >> /etc/fstab && mount -a`);
  const { files, changed, generation, written: bytes, removed } = written;
  const shared = bytes.sharedBytes > 0 ? `, ${formatBytes(bytes.sharedBytes)} shared with the store` : "";
  const gone = removed.files > 0 ? `, ${formatBytes(removed.bytes)} of older ones removed` : "";
  output.end(written, {
    did: `exported ${plural(files, inBucket ? "object" : "name")}: ${formatBytes(bytes.bytes)} written${shared}${gone}`,
    of: changed ? `generation ${generation}` : `generation ${generation} as before: nothing changed`,
    next: written.show ?? `include ${written.nginx} in nginx, or ${written.apache} in Apache`,
  });
  return EXIT.done;
}
