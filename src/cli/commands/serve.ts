/** `airferry serve`: answers for everything in a store until it is stopped. */
import { Option } from "commander";
import { isRoot } from "../../io/account.ts";
import { positive, type Register, ROOT_NOTE, storeOption, userOption, withGlobals } from "../command.ts";
import { stopsByItself } from "../signals.ts";

interface ServeFlags {
  store: string;
  listen: string;
  listenHttp?: string;
  tls: string;
  tlsDir?: string;
  url?: string;
  accessLog?: string;
  htpasswd?: string;
  workers?: number;
  user?: string;
  printUnit?: string | true;
}

export const serveCommand: Register = (program, run) => {
  withGlobals(program.command("serve"))
    .summary("host the local repository for the build")
    .description(
      "Serves yum repositories, files with checksum sidecars, ISOs and the trees inside them, an OCI registry and rendered\n" +
        "configuration from a store. Read-only. Picks up newly unpacked releases automatically. SIGTERM stops it gracefully.",
    )
    .addOption(storeOption())
    .option("--listen <host:port>", "address to listen on; port 0 lets the system choose", "0.0.0.0:9000")
    .option("--tls <mode>", "off, auto (generates a CA and a certificate), or CERT,KEY (PEM files)", "off")
    .option("--tls-dir <dir>", "where --tls auto stores its CA, never inside the store")
    .option("--listen-http <host:port>", "with TLS: a plain listener for /ca.crt, /keys/ and /rpmrepo/")
    .option("--url <base>", "base URL that clients use (default: the address of each request)")
    .option(
      "--htpasswd <file>",
      "who may access images (/v2/, /ns/, /images/): user:bcrypt lines, as htpasswd -B writes them",
    )
    .option("--access-log <file>", "append one JSON line per request; - is stderr")
    .addOption(new Option("--workers <n>", "threads (default: one per core, at most 4)").argParser(positive))
    .addOption(userOption())
    .addOption(
      new Option("--print-unit [kind]", "print a hardened systemd unit for these flags, and serve nothing")
        .choices(["service", "socket"])
        .preset("service"),
    )
    .addHelpText(
      "after",
      "\nExamples:\n  airferry serve --store /srv/airferry\n  airferry serve --store /srv/airferry --listen 0.0.0.0:9443 --tls auto --listen-http 0.0.0.0:9000\n  airferry serve --store /srv/airferry --print-unit > /etc/systemd/system/airferry.service\n\nSIGHUP reads certificate and key again and reopens the access log. Sockets from systemd take the place of --listen\nand --listen-http (docs/operating.md).\nAIRFERRY_STORE replaces --store.\nExit status: 0 stopped, 1 failed (port taken, no store, no release in it), 2 usage.",
    )
    .action((flags: ServeFlags, command) =>
      run(command.opts(), async (output) => {
        const { becomeUser, defaultWorkers, fromServiceManager, serve, unitFile } = await import("../../serve.ts");
        if (flags.printUnit !== undefined) {
          output.text(unitFile(flags.printUnit === "socket" ? "socket" : "service", flags).trimEnd());
          return;
        }
        const { sockets, notifyReady } = fromServiceManager();
        if (flags.user !== undefined) await becomeUser(flags.user, flags);
        else if (isRoot()) output.note(ROOT_NOTE);
        stopsByItself();
        const serving = await serve({
          ...flags,
          workers: flags.workers ?? defaultWorkers(),
          sockets,
          stopOnSignals: true,
          onMessage: (line) => output.note(line),
        });
        const [first, ...others] = serving.urls;
        if (first !== undefined) output.print(first);
        output.result({
          urls: serving.urls,
          httpUrls: serving.httpUrls,
          caFingerprint: serving.caFingerprint ?? null,
          pid: process.pid,
        });
        for (const url of others) output.note(`also at ${url}`);
        for (const url of serving.httpUrls) output.note(`plain HTTP for keys, CA and /rpmrepo/: ${url}`);
        if (serving.caFingerprint)
          output.note(`CA fingerprint (SHA-256): ${serving.caFingerprint}; clients get it from /ca.crt`);
        output.note(`serving ${flags.store}; stop with Ctrl-C or: kill ${process.pid}`);
        process.on("SIGHUP", () => {
          serving.reload().then(
            () => output.note("reloaded certificate, key and access log"),
            (error) => output.note(`cannot reload: ${error instanceof Error ? error.message : String(error)}`),
          );
        });
        await notifyReady?.(`serving ${first ?? flags.store}`);
        await serving.stopped;
      }),
    );
};
