/** `airferry completion`: prints a script that completes the command line in a shell. */
import { Argument } from "commander";
import { type Register, withGlobals } from "../command.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

export const completionCommand: Register = (program, run) => {
  withGlobals(
    program.command("completion").addArgument(new Argument("<shell>", "whose script to print").choices(SHELLS)),
  )
    .summary("print a completion script for bash, zsh or fish")
    .description(
      "Prints a script that completes verbs, flags and their values: manifests and their entries, streams, releases and images of a " +
        "store, files. Nothing else is needed; packages of airferry bring these scripts.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  source <(airferry completion bash)      # in ~/.bashrc\n  source <(airferry completion zsh)       # in ~/.zshrc, after compinit\n  airferry completion fish > ~/.config/fish/completions/airferry.fish\n\nExit status: 0 done, 2 usage.",
    )
    .action((shell: (typeof SHELLS)[number], _flags, command) =>
      run(command.opts(), async (output) => {
        const { completion } = await import("../../completion.ts");
        const { verbWords } = await import("../completing.ts");
        const script = completion(shell, verbWords(program));
        output.text(script.replace(/\n$/, ""));
        output.result({ shell, script });
      }),
    );
};
