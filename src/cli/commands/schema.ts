/** `airferry schema`: the manifest's JSON Schema, for editors. */
import { type Register, withGlobals } from "../command.ts";

export const schemaCommand: Register = (program, run) => {
  withGlobals(program.command("schema"))
    .summary("print the JSON Schema of manifests")
    .description("Prints the JSON Schema of manifests on stdout, for completion and checks in editors.")
    .addHelpText("after", "\nExample:\n  airferry schema > manifest.schema.json\n\nExit status: 0 done.")
    .action((_, command) =>
      run(command.opts(), async (output) => {
        const { schema } = await import("../../schema.ts");
        if (output.json) output.result(schema());
        else output.text(JSON.stringify(schema(), null, 2));
      }),
    );
};
