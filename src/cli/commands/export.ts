/** `airferry export image`: packed images as an archive for docker, podman, containerd and skopeo. */
import { Argument, Option } from "commander";
import { EXIT } from "../../errors.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { type Register, storeOption, withGlobals } from "../command.ts";
import { Interrupted, interruptible } from "../signals.ts";

interface ExportFlags {
  store: string;
  out?: string;
  load?: "docker" | "podman";
  platform?: string;
  stream?: string;
}

export const exportCommand: Register = (program, run) => {
  withGlobals(
    program
      .command("export")
      .addArgument(new Argument("<what>", "what to export").choices(["image"]))
      .argument("<image...>", "images, by the names in the bundle"),
  )
    .summary("write packed images as one archive that container tools load")
    .description(
      "Writes an archive that is an OCI layout and a docker-archive at the same time: docker load, podman load, ctr images\n" +
        "import and skopeo copy read it, and preserve the digest where they can.",
    )
    .addOption(storeOption())
    .option("--out <file>", "archive to write (.tar)")
    .addOption(new Option("--load <tool>", "load it directly into docker or podman").choices(["docker", "podman"]))
    .option("--platform <os/arch>", "platform for tools without index support (default: this host's)")
    .option("--stream <stream>", "use only this stream")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry export image registry.k8s.io/pause:3.10 --store /srv/airferry --out pause.tar\n  airferry export image capi-builder --store /srv/airferry --load podman\n\nAIRFERRY_STORE replaces --store.\nExit status: 0 done, 1 failed, 130 interrupted.",
    )
    .action((_what: string, references: string[], flags: ExportFlags, command) =>
      run(command.opts(), async (output) => {
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
      }),
    );
};
