/** `airferry serve`: answers for everything in a store, or in bundles, until it is stopped. */
import { type Command, Option } from "commander";
import { AirferryError } from "../../errors.ts";
import { isRoot } from "../../io/account.ts";
import { plural } from "../../io/format.ts";
import { shellWord, shellWords } from "../../io/shell.ts";
import type { OpenBundles, ServingOrigins } from "../../serve.ts";
import {
  ANY_STORE,
  cacheOption,
  cacheSizeOption,
  collect,
  positive,
  type Register,
  ROOT_NOTE,
  requireTrust,
  trustOption,
  userOption,
  withGlobals,
} from "../command.ts";
import type { Output } from "../output.ts";
import { interruptible, stopsByItself } from "../signals.ts";

interface ServeFlags {
  store?: string;
  cache?: string;
  cacheSize?: string;
  redirect?: string;
  trust?: string[];
  threshold?: number;
  listen: string;
  listenHttp?: string[];
  origins?: boolean;
  listenHttps?: string[];
  proxy?: string;
  tls: string;
  tlsDir?: string;
  url?: string;
  trustProxy?: string[];
  accessLog?: string;
  wanted?: string;
  htpasswd?: string;
  workers?: number;
  verifyReads: "always" | "once" | "never";
  user?: string;
  printUnit?: string | true;
}

export const serveCommand: Register = (program, run) => {
  withGlobals(
    program
      .command("serve")
      .argument("[bundle...]", "bundles to serve where they are: their folders, sets of media in any order"),
  )
    .summary("host the local repository for the build")
    .description(
      "Serves yum repositories, files with checksum sidecars, ISOs and the trees inside them, an OCI registry and rendered\n" +
        "configuration from a store. Read-only. Picks up newly unpacked releases automatically. SIGTERM stops it gracefully.\n" +
        "With BUNDLE it serves straight from a disk or disc that is plugged in: verifies every byte once, then reads the\n" +
        "volumes where they are, and writes nothing.",
    )
    .addOption(new Option("--store <dir>", ANY_STORE).env("AIRFERRY_STORE"))
    .addOption(cacheOption())
    .addOption(cacheSizeOption())
    .option(
      "--redirect <above=size>",
      "of a store in a bucket: send clients there for files, RPMs and image blobs above a size, as above=64MiB",
    )
    .addOption(trustOption())
    .option("--threshold <n>", "how many distinct trusted keys must have signed each bundle (default: 1)", positive)
    .option("--listen <host:port>", "address to listen on; port 0 lets the system choose", "0.0.0.0:9000")
    .option("--tls <mode>", "off, auto (generates a CA and a certificate), or CERT,KEY (PEM files)", "off")
    .option("--tls-dir <dir>", "where --tls auto stores its CA, never inside the store")
    .option(
      "--listen-http <host:port>",
      "a plain listener: with TLS for /ca.crt, /keys/ and /rpmrepo/, with --origins for their http URLs; repeatable",
      collect,
    )
    .option("--origins", "also answer under the names of upstream's servers, for builds that run unchanged")
    .option(
      "--listen-https <host:port>",
      "with --origins: address for their https URLs; repeatable (default: 0.0.0.0:443)",
      collect,
    )
    .option("--proxy <host:port>", "a proxy that answers for upstream's servers and forwards nothing")
    .option("--url <base>", "base URL that clients use (default: the address of each request)")
    .option(
      "--trust-proxy <addresses>",
      "proxies in front whose X-Forwarded-Proto, -Host and -For count: ADDRESS, NETWORK/BITS or loopback, by commas",
      collect,
    )
    .option(
      "--htpasswd <file>",
      "who may access images (/v2/, /ns/, /images/): user:bcrypt lines, as htpasswd -B writes them",
    )
    .option("--access-log <file>", "append one JSON line per request; - is stderr")
    .option("--wanted <file>", "keep a list of what was asked for and is not there; see airferry wanted")
    .addOption(
      new Option("--verify-reads <when>", "check what is read from the disk, by the MiB, before it is sent")
        .choices(["always", "once", "never"] as const)
        .default("once" as const),
    )
    .addOption(new Option("--workers <n>", "threads (default: one per core, at most 4)").argParser(positive))
    .addOption(userOption())
    .addOption(
      new Option("--print-unit [kind]", "print a hardened systemd unit for these flags, and serve nothing")
        .choices(["service", "socket"])
        .preset("service"),
    )
    .addHelpText(
      "after",
      "\nExamples:\n  airferry serve --store /srv/airferry\n  airferry serve --store /srv/airferry --listen 0.0.0.0:9443 --tls auto --listen-http 0.0.0.0:9000\n  airferry serve --store /srv/airferry --print-unit > /etc/systemd/system/airferry.service\n  airferry serve --store /srv/airferry --origins --user airferry\n  airferry serve /media/dvd1 /media/dvd2 --trust site.pub\n\nSIGHUP reads certificate and key again and reopens the access log. Sockets from systemd take the place of the listeners'\naddresses (docs/operating.md). With --origins the default is --listen-http 0.0.0.0:80 --listen-https 0.0.0.0:443; origins at\nfurther ports need further listeners, of which serve names the missing ones.\nAIRFERRY_STORE replaces --store, AIRFERRY_TRUST --trust.\nExit status: 0 stopped, 1 failed (port taken, no store, no release in it), 2 usage, 3 bundle refused.",
    )
    .action((folders: string[], given: ServeFlags, command: Command) =>
      run(command.opts(), async (output) => {
        // biome-ignore format: on one line, where test/exports.test.ts looks for names
        const { becomeUser, defaultWorkers, fromServiceManager, openBundles, serve, unitFile, unreachedNote } = await import("../../serve.ts");
        const flags = { ...given, store: sourceOf(folders, given, command) };
        if (flags.printUnit !== undefined) {
          output.text(unitFile(flags.printUnit === "socket" ? "socket" : "service", flags).trimEnd());
          return;
        }
        const { sockets, notifyReady } = fromServiceManager();
        if (flags.user !== undefined) await becomeUser(flags.user, flags);
        else if (isRoot()) output.note(ROOT_NOTE);
        const bundles = folders.length === 0 ? undefined : await verified(folders, flags, output, openBundles);
        stopsByItself();
        const serving = await serve({
          ...flags,
          bundles,
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
          origins: serving.origins ?? null,
          ...(bundles !== undefined && {
            bundles: bundles.releases.map(({ stream, serial, digest, signers }) => ({
              stream,
              serial,
              digest,
              signers,
            })),
          }),
          pid: process.pid,
        });
        for (const url of others) output.note(`also at ${url}`);
        for (const url of serving.httpUrls) output.note(`plain HTTP for keys, CA and /rpmrepo/: ${url}`);
        if (serving.origins !== undefined) {
          for (const line of originNotes(serving.origins)) output.note(line);
          const { unreached, httpsUrls } = serving.origins;
          if (unreached.length > 0 && httpsUrls.length > 0) output.note(unreachedNote(serving.origins));
        }
        if (serving.caFingerprint)
          output.note(`CA fingerprint (SHA-256): ${serving.caFingerprint}; clients get it from /ca.crt`);
        const what = folders.length === 0 ? flags.store : folders.join(", ");
        if (flags.wanted !== undefined) output.note(`what was asked for and is not here: ${first}/wanted`);
        output.note(`serving ${what}; stop with Ctrl-C or: kill ${process.pid}`);
        process.on("SIGHUP", () => {
          serving.reload().then(
            () => output.note("reloaded certificate, key and access log"),
            (error) => output.note(`cannot reload: ${error instanceof Error ? error.message : String(error)}`),
          );
        });
        await notifyReady?.(`serving ${first ?? what}`);
        await serving.stopped;
        await bundles?.close();
      }),
    );
};

/**
 * The store's folder, or the first bundle's.
 * @throws {AirferryError} ERR_USAGE when not one of both was given, or flags of the other
 */
function sourceOf(folders: readonly string[], { store, trust, threshold, printUnit }: ServeFlags, command: Command) {
  const [first] = folders;
  const refuse = (fault: string, hint: string) => new AirferryError("ERR_USAGE", `cannot serve: ${fault}`, { hint });
  if (first === undefined) {
    if (store === undefined)
      throw refuse("neither a store nor a bundle", "airferry serve --store DIR, or: airferry serve BUNDLE --trust KEY");
    if (trust !== undefined || threshold !== undefined)
      throw refuse("--trust and --threshold are for bundles", `airferry serve --store ${shellWord(store)}`);
    return store;
  }
  if (command.getOptionValueSource("store") === "cli") {
    throw refuse(
      "both a store and a bundle",
      `airferry unpack ${shellWords(folders)} --trust KEY --store ${shellWord(store ?? "DIR")}, and then serve that store`,
    );
  }
  if (printUnit !== undefined)
    throw refuse(
      "--print-unit is for stores",
      `airferry unpack ${shellWords(folders)} --trust KEY --store DIR, and then print the unit for that store`,
    );
  return first;
}

type OpenVerified = (...args: Parameters<typeof import("../../serve.ts")["openBundles"]>) => Promise<OpenBundles>;

/** Verifies the bundles, which may take as long as reading all of them does. */
async function verified(
  folders: readonly string[],
  flags: ServeFlags,
  output: Output,
  open: OpenVerified,
): Promise<OpenBundles> {
  const trust = requireTrust(flags.trust, `airferry serve ${shellWords(folders)}`);
  const progress = output.progress("verifying");
  const bundles = await interruptible(() =>
    open(
      folders,
      {
        trust,
        threshold: flags.threshold,
        progress: (done, total) => progress({ done, total }),
        notice: (line) => output.note(line),
      },
      { ...flags, store: folders[0] ?? "" },
    ),
  );
  output.progressDone();
  for (const { stream, serial, inventory, signers } of bundles.releases) {
    const by = `signed by ${signers.join(", ")}`;
    output.note(`verified stream ${stream}, serial ${serial}: ${plural(inventory.entries.length, "file")}, ${by}`);
  }
  return bundles;
}

function originNotes({ names, httpsUrls, proxyUrl, caFingerprint }: ServingOrigins): string[] {
  const at = [...httpsUrls, ...(proxyUrl === undefined ? [] : [`the proxy ${proxyUrl}`])];
  return [
    `answering for ${plural(names.length, "origin")} at ${at.join(", ")}; what the site needs for that is at /config/origins/`,
    `the CA of the origins (SHA-256): ${caFingerprint}`,
  ];
}
