/** `airferry stage`: writes the folder that the builder mounts. */
import { InvalidArgumentError, Option } from "commander";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { readCa } from "../ca-file.ts";
import { ANY_STORE, cacheOption, cacheSizeOption, type Register, storeOption, withGlobals } from "../command.ts";

interface StageFlags {
  store: string;
  cache?: string;
  cacheSize?: string;
  url: string;
  stream?: string;
  publicCa?: boolean;
  ca?: string;
  builderUid?: number;
  force?: boolean;
}

export const stageCommand: Register = (program, run) => {
  withGlobals(program.command("stage").argument("<dir>", "the builder's output folder"))
    .summary("write the folder that the builder mounts")
    .description(
      "Writes ISO, imageconfig (or packer variables), ks.cfg, airferry.repo, custom scripts with their modes, scripts that prepare the\n" +
        "virtual machine, and the server's certificate into one folder, ready to be mounted into the builder's container. As root it\n" +
        "belongs to the builder's user, the only one who can read secrets and write there. Secrets, and placeholders of a kickstart\n" +
        "template, are taken from the environment (AIRFERRY_VCENTER_PASSWORD, AIRFERRY_SSH_PASSWORD and others).",
    )
    .addOption(storeOption(ANY_STORE))
    .addOption(cacheOption())
    .addOption(cacheSizeOption())
    .addOption(new Option("--url <base>", "address of the server, as the builder reaches it").makeOptionMandatory())
    .option("--stream <stream>", "use only this stream")
    .option("--public-ca", "clients already trust the CA of an https address")
    .option("--ca <file>", "PEM of the server's CA, for the builder (server.crt) and the virtual machine")
    .addOption(
      new Option("--builder-uid <number>", "user id that the builder's container runs as")
        .argParser(parseUid)
        .default(1000),
    )
    .option("--force", "replace files that were filled in or changed since staging")
    .addHelpText(
      "after",
      "\nExample:\n  airferry stage output --store /srv/airferry --url http://192.0.2.10:9000\n\nExit status: 0 done, 1 failed, 2 something that the build needs was not packed or not filled in, or a changed file would be replaced, 3 a name or link leads outside.",
    )
    .action((dir: string, flags: StageFlags, command) =>
      run(command.opts(), async (output) => {
        const { stage } = await import("../../stage.ts");
        const ca = flags.ca === undefined ? undefined : await readCa(flags.ca);
        const staged = await stage(dir, { ...flags, ca, onFile: (path) => output.note(path) });
        for (const note of staged.notes) output.note(note);
        for (const { path, reason } of staged.left) output.note(`not written: ${path}: ${reason}`);
        output.print(dir);
        const caFile = flags.ca === undefined ? "" : ` --ca ${shellWord(flags.ca)}`;
        output.end(staged, {
          did: `staged ${plural(staged.files.length, "file")}, ${formatBytes(staged.size)}; ${staged.left.length} not written`,
          of: `folder ${dir}`,
          next: `airferry doctor --url ${shellWord(flags.url)}${caFile} --folder ${shellWord(dir)}`,
        });
      }),
    );
};

function parseUid(text: string): number {
  const uid = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (uid < 0 || uid > 0xffff_fffe) throw new InvalidArgumentError("give a user id: --builder-uid 1000");
  return uid;
}
