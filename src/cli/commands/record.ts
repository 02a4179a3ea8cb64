/** `airferry record`: writes down what a build asks for. */
import { AirferryError, EXIT } from "../../errors.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { type Register, withGlobals } from "../command.ts";
import { stopsByItself } from "../signals.ts";
import { formatTable } from "../table.ts";

interface RecordFlags {
  out: string;
  listen?: string;
  ca?: string;
  keepCaches?: boolean;
  whole?: boolean;
  json?: boolean;
}

export const recordCommand: Register = (program, run) => {
  withGlobals(program.command("record"))
    .summary("write down what a build asks for, as a manifest")
    .description(
      "Runs COMMAND behind a proxy that records every answer of a web server: by HTTP and, with a CA made for this run\n" +
        "only, by HTTPS. Writes NAME.yaml with its lock, sorted into RPM repositories, images, ISOs, files and web answers, and\n" +
        "the answers into NAME.recording; another run with the same NAME adds to all of them. Git repositories that it\n" +
        "clones are recorded whole. pack carries what was recorded without fetching it again.\n" +
        "Without COMMAND it stays until Ctrl-C, for clients elsewhere: a virtual machine, a packer build, a container host.",
    )
    .argument("[command...]", "the build and its arguments, after --")
    .option("--out <file>", "the manifest to write or complete: NAME.yaml", "recorded.yaml")
    .option(
      "--listen <host:port>",
      "address of the proxy (default: 127.0.0.1 and a free port; without COMMAND 0.0.0.0:3128)",
    )
    .option("--ca <file>", "trust these certificates upstream too (PEM)")
    .option("--whole", "record RPM repositories whole, not only the packages that were fetched")
    .option("--keep-caches", "leave GOPATH, CARGO_HOME and other caches as they are")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry record --out build.yaml -- ./build.sh\n  airferry record --out build.yaml -- sh -c 'npm ci && npm run build'\n  airferry record --out vm.yaml --listen 0.0.0.0:3128\n\n" +
        "COMMAND gets the variables by which curl, pip, npm, go, cargo, git, apt, Java and others find the proxy and its CA.\n" +
        "As root it also sees them in place of the system's certificates, which dnf needs.\n" +
        "Credentials, cookies and signed URLs are never written. What cannot be recorded (POST, other protocols, clients with\n" +
        "certificates of their own) is let through and listed.\n" +
        "Exit status: 0 recorded (without COMMAND: when it was stopped), that of COMMAND, 1 something was lost (disk full),\n2 usage.",
    )
    .action((command: string[], flags: RecordFlags, self) =>
      run(self.opts(), async (output) => {
        // A variable that is not set, quoted or not.
        if (command[0] === "" || (command.length === 0 && process.argv.includes("--")))
          throw new AirferryError("ERR_USAGE", "cannot record: no command", {
            hint: `airferry record --out ${shellWord(flags.out)} -- COMMAND, or without -- to stay until Ctrl-C`,
          });
        const { hostRows, record } = await import("../../record.ts");
        const stopping = new AbortController();
        const givingUp = new AbortController();
        stopsByItself();
        // The command of a terminal gets the signal itself, and ends when it likes.
        let signals = 0;
        const stop = () => {
          if (++signals > 1) givingUp.abort();
          stopping.abort();
        };
        process.on("SIGINT", stop);
        if (command.length === 0) process.on("SIGTERM", stop);
        try {
          const result = await record({
            ...flags,
            listen: flags.listen ?? (command.length === 0 ? "0.0.0.0:3128" : "127.0.0.1:0"),
            command,
            isWhole: flags.whole === true,
            isQuiet: flags.json === true,
            stop: stopping.signal,
            giveUp: givingUp.signal,
            report: (line) => output.note(line),
            onReady: ({ urls }) => {
              const [proxy = ""] = urls;
              output.note(`recording by ${proxy}; stop with Ctrl-C`);
              for (const line of clientLines(proxy)) output.note(line);
            },
          });
          const { hosts, lost, manifest, answers, recording, sorted, status } = result;
          const bytes = hosts.reduce((sum, it) => sum + it.bytes, 0);
          if (hosts.length > 0 && !output.json)
            for (const line of formatTable(
              ["host", "recorded", "bytes", "carried as", "not recorded"],
              hostRows(hosts),
              [1, 2],
            ))
              output.note(line);
          if (lost.count > 0) {
            output.note(`lost ${plural(lost.count, "answer")}, which could not be written:`);
            for (const url of lost.urls) output.note(`  ${url}`);
          }
          if (sorted.length > 0) output.note(`sorted into ${kindsIn(sorted)}; all of it answers under web: too`);
          const failure = status === undefined || status === 0 ? "" : `the command failed with status ${status}`;
          output.end(
            { ...result, status: status ?? null },
            {
              did: `recorded ${plural(
                hosts.reduce((sum, it) => sum + it.answers, 0),
                "answer",
              )}, ${formatBytes(bytes)}, of ${plural(hosts.length, "host")}`,
              of: `${recording} has ${plural(answers, "answer")}`,
              ...(failure !== "" && { lacking: failure }),
              ...(answers > 0
                ? { next: `airferry pack ${shellWord(manifest)} --key KEY` }
                : {
                    verified: `${failure}${failure === "" ? "" : "; "}nothing was recorded: no web server was asked, or not through the proxy`,
                  }),
            },
          );
          return status !== undefined && status !== 0 ? status : lost.count > 0 ? EXIT.failed : EXIT.done;
        } finally {
          process.off("SIGINT", stop);
          process.off("SIGTERM", stop);
        }
      }),
    );
};

/** How many entries of each kind, and packages. */
function kindsIn(sorted: readonly { kind: string; packages?: number }[]): string {
  const counts = new Map<string, number>();
  for (const { kind } of sorted) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const packages = sorted.reduce((sum, it) => sum + (it.packages ?? 0), 0);
  return [...counts]
    .map(([kind, count]) => `${kind}: ${count}${kind === "rpms" ? ` (${plural(packages, "package")})` : ""}`)
    .join(", ");
}

/** What to type in a machine whose build is recorded. */
function clientLines(proxy: string): string[] {
  return [
    "in the machine that builds:",
    `  curl -fsS --noproxy '*' -o /tmp/airferry.crt ${proxy}/ca.crt`,
    "  Debian: cp /tmp/airferry.crt /usr/local/share/ca-certificates/ && update-ca-certificates",
    "  EL: cp /tmp/airferry.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust",
    `  export http_proxy=${proxy} https_proxy=${proxy} HTTPS_PROXY=${proxy}`,
    `  dnf: echo proxy=${proxy} >> /etc/dnf/dnf.conf; podman, docker: HTTPS_PROXY=${proxy} for their service`,
  ];
}
