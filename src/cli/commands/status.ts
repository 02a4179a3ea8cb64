/** `airferry status`: what a store holds, and whether it is still intact. */

import { AirferryError, EXIT } from "../../errors.ts";
import { attestationText, stampText } from "../../io/attestation-text.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { ANY_STORE, type Register, storeOption, withGlobals } from "../command.ts";
import type { Output } from "../output.ts";
import { interruptible } from "../signals.ts";
import { formatTable } from "../table.ts";

export const statusCommand: Register = (program, run) => {
  withGlobals(program.command("status"))
    .summary("show what a store holds")
    .description(
      "Shows streams and releases of a store, their age and signers, and bundles whose media are incomplete.\n" +
        "With --check every blob of every release is read and compared with its signed digest. Takes no lock, changes nothing.",
    )
    .addOption(storeOption(ANY_STORE))
    .option("--check", "hash everything and report what is damaged or missing")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry status --store /srv/airferry\n  airferry status --store /srv/airferry --check\n\nExit status: 0 done, 1 failed, 2 usage, 3 --check found something wrong.",
    )
    .action((flags: { store: string; check?: boolean }, command) =>
      run(command.opts(), (output) => (flags.check ? check(flags.store, output) : show(flags.store, output))),
    );
};

async function show(store: string, output: Output): Promise<number> {
  const { status } = await import("../../status.ts");
  const report = await status(store);
  output.result(report);
  const rows = report.streams.flatMap(({ stream, releases }) =>
    releases.map((it) => [
      stream,
      `${it.serial}${it.current ? " *" : ""}`,
      it.created,
      it.importedAt,
      String(it.entries),
      formatBytes(it.size),
      it.signers.map((keyid) => keyid.slice(0, 16)).join(" "),
    ]),
  );
  if (rows.length === 0) output.print(report.problems.length > 0 ? "no readable release" : "no release yet");
  else
    output.print(
      ...formatTable(["STREAM", "SERIAL", "PACKED", "UNPACKED", "FILES", "SIZE", "SIGNED BY"], rows, [4, 5]),
    );
  const web = report.streams.flatMap(({ stream, releases }) =>
    releases.flatMap((it) =>
      it.web.map(({ host, files, size }) => [stream, String(it.serial), host, String(files), formatBytes(size)]),
    ),
  );
  if (web.length > 0) output.print("", ...formatTable(["STREAM", "SERIAL", "WEB", "FILES", "SIZE"], web, [3, 4]), "");
  for (const { stream, ageDays, expiresInDays } of report.streams) {
    if (ageDays !== null && ageDays > 0) output.print(`${stream}: packed ${plural(ageDays, "day")} ago`);
    if (expiresInDays !== null) output.print(`${stream}: ${expiry(expiresInDays)}`);
  }
  for (const { stream, floor, releases } of report.streams) {
    const served = releases.find((it) => it.current);
    if (served === undefined || floor === null) continue;
    if (served.epoch < floor.epoch || (served.epoch === floor.epoch && served.serial < floor.serial))
      output.print(`${stream}: rolled back: serial ${served.serial} is served, ${floor.serial} was the newest`);
  }
  for (const { stream, releases } of report.streams) {
    for (const { serial, timestamps } of releases)
      for (const it of timestamps) output.print(`${stream} ${serial}: ${stampText(it)}`);
    for (const { serial, attestations } of releases)
      for (const it of attestations.filter((one) => one.fault === null))
        output.print(`${stream} ${serial}: ${attestationText(it)}`);
  }
  const { damaged } = report;
  if (damaged.length > 0) output.print(`damaged: ${plural(damaged.length, "file")}, found by airferry fsck`);
  const { trustRoot } = report;
  if (trustRoot !== null)
    output.print(`trust root ${trustRoot.name}, version ${trustRoot.version}: ${expiry(trustRoot.expiresInDays)}`);
  if (report.incoming === null) output.note("whether imports are unfinished is for the store's owner to see");
  for (const it of report.incoming ?? [])
    output.print(
      `unfinished: ${it.stream} ${it.serial}, still to come: ${it.missing.join(", ") || "what the store lacks, or a rerun"}`,
    );
  const free = report.freeBytes === null ? "" : `; ${formatBytes(report.freeBytes)} free`;
  output.print(`${plural(report.blobs.count, "blob")}, ${formatBytes(report.blobs.size)}${free}`);
  if (rows.length > 0) output.print("* is served");
  const { problems } = report;
  if (problems.length === 0) return EXIT.done;
  if (!output.json) {
    const message = `cannot read all of store "${store}": ${plural(problems.length, "problem")}`;
    output.error(new AirferryError("ERR_STORE_INVALID", message, { problems, hint: UNPACK_AGAIN(store) }));
  }
  return EXIT.failed;
}

function expiry(days: number): string {
  if (days > 0) return `expires in ${plural(days, "day")}`;
  return `expired ${days === 0 ? "today" : `${plural(-days, "day")} ago`}; it is still served, the next bundle is due`;
}

const UNPACK_AGAIN = (store: string) =>
  `check the disk, then unpack the bundles of the damaged releases again: airferry unpack BUNDLE --trust KEY --store ${shellWord(store)}`;

async function check(store: string, output: Output): Promise<number> {
  const { checkStore } = await import("../../status.ts");
  const progress = output.progress("checking");
  const report = await interruptible(() => checkStore(store, { progress: (done, total) => progress({ done, total }) }));
  output.progressDone();
  const [first] = report.problems;
  const { count, size } = report.blobs;
  const what = `${plural(report.releases, "release")}, ${plural(count, "blob")}, ${formatBytes(size)}`;
  if (first === undefined) output.print(`good: ${what}`);
  output.end(report, {
    did: `checked ${what}`,
    of: `store ${store}`,
    verified: `every blob hashed against its signed digest, ${plural(report.problems.length, "problem")}`,
  });
  if (first === undefined) return EXIT.done;
  if (!output.json) {
    const { problems } = report;
    const message = `cannot trust store "${store}": ${plural(problems.length, "problem")}`;
    const hint = `check the disk, then repair it from the bundles that have these files: airferry fsck --store ${shellWord(store)} --repair-from BUNDLE --trust KEY`;
    output.error(new AirferryError(first.code, message, { problems, hint }));
  }
  return EXIT.refused;
}
