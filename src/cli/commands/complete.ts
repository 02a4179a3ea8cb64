/** `airferry complete`: hidden; completion scripts ask it for names of a store or a manifest, one per line. */
import type { Asked } from "../../completion/verb-words.ts";
import { type Register, withGlobals } from "../command.ts";

const ASKED = ["streams", "releases", "images", "entries", "ready"] as const satisfies Asked[];

export const completeCommand: Register = (program, run) => {
  withGlobals(program.command("complete", { hidden: true }).argument("<what>").argument("[word...]"))
    .allowUnknownOption()
    .action((what: Asked, words: string[], _flags, command) =>
      run(command.opts(), async (output) => {
        if (!ASKED.includes(what)) return;
        const { complete } = await import("../../complete.ts");
        const names = await complete(what, words);
        output.print(...names);
        output.result(names);
      }),
    );
};
