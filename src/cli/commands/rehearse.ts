/** `airferry rehearse`: runs a build where only a bundle exists, and says what it missed. */
import { AirferryError, EXIT } from "../../errors.ts";
import { plural } from "../../io/format.ts";
import { shellWords } from "../../io/shell.ts";
import { collect, positive, type Register, ROOT_NOTE, requireTrust, trustOption, withGlobals } from "../command.ts";
import { Interrupted, stopsByItself } from "../signals.ts";
import { formatTable } from "../table.ts";

interface RehearseFlags {
  trust?: string[];
  threshold?: number;
  store?: string;
  allowMissing?: string[];
  keepCaches?: boolean;
  json?: boolean;
  quiet?: boolean;
  progress?: string;
}

export const rehearseCommand: Register = (program, run) => {
  withGlobals(
    program
      .command("rehearse")
      .usage("[options] [bundle...] -- COMMAND [ARG...]")
      .argument("[bundle...]", "bundles (their folders, sets of media in any order); then -- and the build"),
  )
    .summary("run a build where only a bundle exists, and see what it misses")
    .description(
      "Verifies the bundles, and runs COMMAND without a network: every name of an origin leads to a server that has only\n" +
        "what the bundles have, as serve --origins will have it inside the gap. Afterwards it says what was asked for, and\n" +
        "what was missing. COMMAND is the build as it is, with the URLs of upstream.",
    )
    .addOption(trustOption())
    .option("--threshold <n>", "how many distinct trusted keys must have signed each bundle (default: 1)", positive)
    .option("--store <dir>", "rehearse with what a store serves, in place of bundles")
    .option(
      "--allow-missing <glob>",
      "URLs or hosts that may be missing, such as 'https://example.com/**'; repeatable",
      collect,
    )
    .option("--keep-caches", "leave GOPATH, CARGO_HOME and other caches as they are")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry rehearse bundles/build-000001 --trust site.pub -- ./build.sh\n  airferry rehearse /media/dvd1 /media/dvd2 --trust site.pub --json -- make image\n  airferry rehearse --store /srv/airferry --allow-missing 'https://telemetry.example.com/**' -- ./build.sh\n\n" +
        "Runs in namespaces of its own (unshare, ip), as any user where the system allows it. Root stays root; others are root\n" +
        "of what is their own. COMMAND finds the names, the certificates and empty caches by itself (docs/rehearse.md).\n" +
        "AIRFERRY_TRUST replaces --trust.\n" +
        "Exit status: 0 COMMAND succeeded and nothing was missing; that of COMMAND; 1 something was missing, or no namespaces;\n" +
        "2 usage, 3 bundle refused.",
    )
    .action((words: string[], flags: RehearseFlags, self) =>
      run(self.opts(), async (output) => {
        const { bundles, command } = split(words);
        const build = shellWords(command);
        if (bundles.includes(""))
          throw new AirferryError("ERR_USAGE", "cannot rehearse: the name of a bundle is empty", {
            hint: "is the variable that it comes from set?",
          });
        if ((flags.store === undefined) === (bundles.length === 0))
          throw new AirferryError(
            "ERR_USAGE",
            `cannot rehearse: ${bundles.length === 0 ? "neither a store nor a bundle" : "a store and bundles at once"}`,
            { hint: `airferry rehearse BUNDLE --trust KEY -- ${build}, or: airferry rehearse --store DIR -- ${build}` },
          );
        const trust =
          flags.store === undefined
            ? requireTrust(flags.trust, `airferry rehearse ${shellWords(bundles)}`, ` -- ${build}`)
            : [];
        const { askedRows, rehearse } = await import("../../rehearse.ts");
        stopsByItself();
        // Once the command runs a terminal sends them to it too, and it ends when it likes.
        const stopping = new AbortController();
        for (const it of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
          process.on(it, () => stopping.abort(new Interrupted("interrupted")));
        const result = await rehearse({
          ...flags,
          bundles,
          trust,
          command,
          allowMissing: flags.allowMissing ?? [],
          isQuiet: flags.json === true,
          stop: stopping.signal,
          serverFlags: [
            ...(flags.json === true ? ["--json"] : []),
            ...(flags.quiet === true ? ["--quiet"] : []),
            ...(flags.progress === undefined ? [] : ["--progress", flags.progress]),
          ],
          // Who rehearses as root builds as root.
          say: (text) => process.stderr.write(withoutRootNote(text)),
          report: (line) => output.note(line),
        });
        if (typeof result === "number") return result;
        const { asked, missing, dropped, refused, status } = result;
        const wrong = missing.filter((it) => !it.isAllowed);
        if (!output.json) {
          const hosts = formatTable(["host", "answered", "bytes", "failed"], askedRows(asked), [1, 2, 3]);
          for (const line of hosts) output.note(line);
          if (missing.length > 0) {
            const rows = missing.map((it) => [it.what, String(it.count), it.isAllowed ? "allowed" : (it.near ?? "")]);
            for (const line of formatTable(["missing", "asked", "near it"], rows, [1])) output.print(line);
          }
          if (refused > 0)
            output.note(
              `nothing listened to ${plural(refused, "connection")}: an origin's port that no bundle has, or a service of the build's own`,
            );
          if (dropped > 0) output.note(`${plural(dropped, "more request")} for further URLs that are missing`);
        }
        const failed = status !== 0 ? `the command failed with status ${status}` : undefined;
        const lacking = wrong.length > 0 ? `${plural(wrong.length, "thing")} missing` : undefined;
        output.end(result, {
          did: [
            failed ?? "the command succeeded",
            lacking ?? `nothing ${missing.length > 0 ? "else " : ""}was missing`,
          ].join("; "),
        });
        return status !== 0 ? status : wrong.length > 0 || dropped > 0 ? EXIT.failed : EXIT.done;
      }),
    );
};

function withoutRootNote(text: string): string {
  const lines = text.split(/(?<=\n)/);
  return lines.filter((it) => !it.includes(ROOT_NOTE)).join("");
}

/** What is before `--` and what is after it: the parser gives both as one list. */
function split(words: readonly string[]): { bundles: string[]; command: [string, ...string[]] } {
  const dashes = process.argv.indexOf("--");
  const after = dashes === -1 ? [] : process.argv.slice(dashes + 1);
  const [program, ...args] = after;
  const bundles = words.slice(0, words.length - after.length);
  // A variable that is not set.
  if (program === undefined || program === "")
    throw new AirferryError("ERR_USAGE", "cannot rehearse: no command", {
      hint: `airferry rehearse ${bundles.length > 0 ? shellWords(bundles) : "BUNDLE"} --trust KEY -- COMMAND`,
    });
  return { bundles, command: [program, ...args] };
}
