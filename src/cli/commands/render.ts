/** `airferry render`: writes one of the files that the builder needs. */
import { Argument, Option } from "commander";
import { findingLine } from "../../io/findings.ts";
import { ANY_STORE, cacheOption, cacheSizeOption, type Register, storeOption, withGlobals } from "../command.ts";

const NAMES = [
  "imageconfig",
  "packer-vars",
  "repo",
  "kickstart",
  "hosts-toml",
  "registries-conf",
  "docker-daemon",
  "docker-daemon-25",
  "k3s-registries",
  "openshift-mirrors",
  "talos-mirrors",
  "buildkitd",
  "composer-repositories",
  "image-policy",
  "registry-trust",
  "boot-ipxe",
  "checksum",
  "origins",
  "check",
] as const;

interface RenderFlags {
  store: string;
  cache?: string;
  cacheSize?: string;
  url: string;
  out?: string;
  force?: boolean;
  stream?: string;
  publicCa?: boolean;
  proxy?: string;
}

export const renderCommand: Register = (program, run) => {
  withGlobals(program.command("render").addArgument(new Argument("<what>", "what to render").choices(NAMES)))
    .summary("write a file that the builder needs, with values filled in")
    .description(
      "Renders configuration from what is in the store, for the address that the builder uses. Secrets, and\n" +
        "placeholders of a kickstart template, are taken from the environment (AIRFERRY_VCENTER_PASSWORD,\n" +
        "AIRFERRY_SSH_PASSWORD and others) or left as marked blanks.",
    )
    .addOption(storeOption(ANY_STORE))
    .addOption(cacheOption())
    .addOption(cacheSizeOption())
    .addOption(new Option("--url <base>", "address of the server, as the builder reaches it").makeOptionMandatory())
    .option("--out <path>", "file or folder to write (default: stdout)")
    .option("--force", "replace existing files with other content")
    .option("--stream <stream>", "use only this stream")
    .option("--proxy <host:port>", "for origins: where clients reach the proxy of serve --proxy")
    .option("--public-ca", "clients already trust the CA of an https address")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry render imageconfig --store /srv/airferry --url http://192.0.2.10:9000 --out output/imageconfig\n  airferry render repo --store /srv/airferry --url http://192.0.2.10:9000\n\nAIRFERRY_STORE replaces --store.\nExit status: 0 done, 1 failed, 2 something that the file needs was not packed, or a file with other content would be replaced.",
    )
    .action((what: (typeof NAMES)[number], flags: RenderFlags, command) =>
      run(command.opts(), async (output) => {
        const { render } = await import("../../render.ts");
        const rendered = await render(what, flags);
        for (const { path, text, file, findings } of rendered) {
          for (const it of findings ?? []) output.note(`${path}: ${findingLine(it)}`);
          if (file !== undefined) output.print(file);
          else {
            if (rendered.length > 1) output.print(`# ${path}`);
            output.text(text.replace(/\n$/, ""));
          }
        }
        output.result({ files: rendered });
      }),
    );
};
