/** `airferry stage`: writes the folder that the builder mounts. */
import { Option } from "commander";
import { readCa } from "../ca-file.ts";
import { type Register, storeOption, withGlobals } from "../command.ts";

interface StageFlags {
  store: string;
  url: string;
  stream?: string;
  publicCa?: boolean;
  ca?: string;
}

export const stageCommand: Register = (program, run) => {
  withGlobals(program.command("stage").argument("<dir>", "the builder's output folder"))
    .summary("write the folder that the builder mounts")
    .description(
      "Writes ISO, imageconfig (or packer variables), ks.cfg, airferry.repo, custom scripts with their modes and the server's\n" +
        "certificate into one folder, ready to be mounted into the builder's container.",
    )
    .addOption(storeOption())
    .addOption(new Option("--url <base>", "address of the server, as the builder reaches it").makeOptionMandatory())
    .option("--stream <name>", "look at this stream alone")
    .option("--public-ca", "clients know the CA of an https address already")
    .option("--ca <file>", "PEM of the server's CA, written as server.crt")
    .addHelpText(
      "after",
      "\nExample:\n  airferry stage output --store /srv/airferry --url http://192.0.2.10:9000\n\nExit status: 0 done, 1 failed, 2 something that the build needs was not packed.",
    )
    .action((dir: string, flags: StageFlags, command) =>
      run(command.opts(), async (output) => {
        const { stage } = await import("../../stage.ts");
        const ca = flags.ca === undefined ? undefined : await readCa(flags.ca);
        const staged = await stage(dir, { ...flags, ca, onFile: (path) => output.note(path) });
        for (const { path, reason } of staged.left) output.note(`not written: ${path}: ${reason}`);
        output.print(dir);
        output.result(staged);
      }),
    );
};
