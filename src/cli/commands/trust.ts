/** `airferry trust`: the trust root of a site, from its first version to a revocation. */
import { basename, dirname } from "node:path";
import { Argument, InvalidArgumentError, Option } from "commander";
import { AirferryError } from "../../errors.ts";
import { plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import type { TrustedKey } from "../../sign/keys.ts";
import type { NewSigner, TrustChanges } from "../../sign/trust-edit.ts";
import type { RoleName, StreamRule } from "../../sign/trust-root.ts";
import type { TrustView } from "../../trust.ts";
import { collect, instant, type Register, withGlobals } from "../command.ts";
import type { Output } from "../output.ts";
import { passphrase } from "../passphrase.ts";

const ACTIONS = ["init", "show", "add-key", "rotate", "revoke", "sign"] as const;
const ROLES: readonly RoleName[] = ["root", "release", "scan", "receipt"];
const KINDS: readonly TrustedKey["kind"][] = ["p256", "p384", "rsa", "ed25519", "mldsa65", "mldsa87"];
const DAY_MS = 86_400_000;
const DAYS = { d: 1, w: 7, m: 30, y: 365 } as const;

interface TrustFlags {
  name?: string;
  add?: [file: string, owner: string][];
  role?: RoleName[];
  from?: Date;
  until?: Date;
  expires?: Date;
  threshold?: [RoleName, number][];
  require?: TrustedKey["kind"][];
  stream?: [string, StreamRule][];
  dropStream?: string[];
  tsa?: string[];
  dropTsa?: boolean;
  replace?: [id: string, file: string][];
  oldKey?: string;
  remove?: string[];
  reason?: string;
  key?: string;
  signer?: string;
  signerKey?: string;
}

export const trustCommand: Register = (program, run) => {
  withGlobals(
    program
      .command("trust")
      .addArgument(new Argument("<action>", "what to do").choices(ACTIONS))
      .argument("<dir>", "folder of the trust root: trust.1.json, trust.2.json, … and their signatures")
      .argument("[key...]", "with revoke: key ids, or ids of signers"),
  )
    .summary("who may sign for a site: make, change, sign and show its trust root")
    .description(
      "A trust root names signers, how many of them must have signed, and rules for each stream. It has versions: each is\n" +
        "signed by the root role of the one before and by its own. `init` makes the first, `add-key`, `rotate` and `revoke`\n" +
        "change a version that nobody has signed, or begin the next one, `sign` signs the newest, `show` prints it, its\n" +
        "fingerprint, and which signatures it still lacks. Inside, the first one is trusted by that fingerprint.",
    )
    .option("--name <name>", "init: name of the trust root, such as the site's")
    .addOption(
      new Option(
        "--add <file=owner>",
        "init, add-key: public keys of a signer, and whose they are (repeatable)",
      ).argParser((value: string, previous?: [string, string][]) => [...(previous ?? []), pair(value, "FILE=OWNER")]),
    )
    .addOption(
      new Option(
        "--role <role>",
        "what they may sign (default: root and release with init, release with add-key) (repeatable)",
      ).argParser((value: string, previous?: RoleName[]) => [...(previous ?? []), roleOf(value)]),
    )
    .option("--from <time>", "from when they may sign", instant)
    .option("--until <time>", "until when they may sign", instant)
    .option(
      "--expires <time>",
      "when the version expires: a time, or 90d, 2y from now (default of the first: 1y)",
      expiry,
    )
    .addOption(
      new Option(
        "--threshold <role=n>",
        "how many owners must sign (default: 2, or 1 if there is one) (repeatable)",
      ).argParser((value: string, previous?: [RoleName, number][]) => [...(previous ?? []), thresholdOf(value)]),
    )
    .addOption(
      new Option("--require <kinds>", "kinds of keys that each release needs of a signer: p256,mldsa65").argParser(
        kindsOf,
      ),
    )
    .addOption(
      new Option(
        "--stream <rule>",
        "NAME, or * for all others, and its rule: NAME:audience=SITE,max-age=90d,max-jump=20,attest=scan,attest=provenance,max-scan-age=30d,import-scan=yes,timestamp=yes (repeatable)",
      ).argParser((value: string, previous?: [string, StreamRule][]) => [...(previous ?? []), ruleOf(value)]),
    )
    .option(
      "--tsa <file>",
      "init, add-key, rotate: certificate of a timestamp authority, or of its CA (PEM), whose timestamps count (repeatable)",
      collect,
    )
    .option("--drop-tsa", "rotate: remove all timestamp authorities, before those of --tsa are added")
    .option("--drop-stream <name>", "rotate: remove a stream's rule (repeatable)", collect)
    .addOption(
      new Option("--replace <id=file>", "rotate: a signer's new public keys (repeatable)").argParser(
        (value: string, previous?: [string, string][]) => [...(previous ?? []), pair(value, "ID=FILE")],
      ),
    )
    .option("--old-key <file>", "rotate, with one --replace: the signer's old private key signs for the new keys")
    .option("--remove <id>", "rotate: remove a signer (repeatable)", collect)
    .option("--reason <text>", "revoke: why, in a line", "not said")
    .option("--key <file>", "sign: private key of a holder of a root key")
    .option("--signer <command>", "sign with a command instead, which reads the bytes on stdin and prints a signature")
    .option("--signer-key <file>", "public key of --signer")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry trust init trust --name site-a --add ann.pub='Ann Example' --add bob.pub='Bob Example' --add cay.pub='Cay Example'\n  airferry trust sign trust --key ann.key\n  airferry trust show trust\n  airferry trust rotate trust --replace ann=ann-2027.pub --expires 1y\n  airferry trust revoke trust bob --reason 'card lost'\n\nPassphrase: AIRFERRY_PASSWORD, else COSIGN_PASSWORD, else a prompt.\nExit status: 0 done, 1 failed, 2 usage, 3 the trust root is not valid.",
    )
    .action((action: (typeof ACTIONS)[number], path: string, what: string[], flags: TrustFlags, command) =>
      run(command.opts(), async (output) => {
        const dir = /(?:^|\/)trust\.\d+\.json$/.test(path) ? dirname(path) : path;
        const { changeTrust, initTrust, showTrust, signTrust } = await import("../../trust.ts");
        if (what.length > 0 && action !== "revoke")
          throw usage(`"${action}" has no further arguments`, `airferry trust ${action} ${shellWord(dir)}`);
        if (action === "sign") {
          const { files, view } = await signTrust(dir, {
            ...(flags.key !== undefined && { key: flags.key }),
            ...(flags.signer !== undefined && { signer: flags.signer }),
            ...(flags.signerKey !== undefined && { signerKey: flags.signerKey }),
            passphrase: passphrase(),
          });
          output.result({ ...view, files });
          for (const file of files) output.print(file);
          output.note(view.lacking === null ? "all signatures are there" : `still lacking: ${view.lacking}`);
          return;
        }
        if (action === "show") return print(output, await showTrust(dir), dir);
        const changes = await changesOf(action, what, flags, dir);
        if (action !== "init") return print(output, await changeTrust(dir, changes), dir);
        if (flags.name === undefined)
          throw usage(
            "a trust root needs a name",
            `airferry trust init ${shellWord(dir)} --name SITE --add KEY.pub=OWNER`,
          );
        print(output, await initTrust(dir, flags.name, changes), dir);
      }),
    );
};

async function changesOf(
  action: string,
  what: readonly string[],
  flags: TrustFlags,
  dir: string,
): Promise<TrustChanges> {
  const at = shellWord(dir);
  if (action === "add-key" && flags.add === undefined && flags.tsa === undefined)
    throw usage("no key to add", `airferry trust add-key ${at} --add KEY.pub=OWNER`);
  if (action === "init" && flags.add === undefined)
    throw usage("no signer", `airferry trust init ${at} --name SITE --add KEY.pub=OWNER`);
  if (action === "revoke" && what.length === 0)
    throw usage("no key to revoke", `airferry trust revoke ${at} KEY-ID --reason TEXT`);
  if (flags.oldKey !== undefined && flags.replace?.length !== 1)
    throw usage("--old-key is for one --replace", `airferry trust rotate ${at} --replace ID=FILE --old-key FILE`);
  const { openSigner } = await import("../../sign/signer.ts");
  const signers: NewSigner[] = [];
  for (const [file, owner] of flags.add ?? []) {
    signers.push({ id: basename(file).replace(/\.pub$/, ""), owner, keys: await keysIn(file) });
  }
  const replace: { id: string; keys: TrustedKey[] }[] = [];
  for (const [id, file] of flags.replace ?? []) replace.push({ id, keys: await keysIn(file) });
  const from = flags.from ?? new Date();
  return {
    signers,
    roles: flags.role ?? (action === "init" ? ["root", "release"] : ["release"]),
    replace,
    revoke: what.map((it) => ({ what: it, from, reason: flags.reason ?? "not said" })),
    ...(flags.from && action !== "revoke" && { from: flags.from }),
    ...(flags.until && { until: flags.until }),
    ...(flags.expires && { expires: flags.expires }),
    ...(flags.threshold && { thresholds: flags.threshold }),
    ...(flags.require && { require: flags.require }),
    ...(flags.stream && { streams: flags.stream }),
    ...(flags.dropStream && { dropStreams: flags.dropStream }),
    ...(flags.remove && { remove: flags.remove }),
    ...(flags.tsa && { authorities: await (await import("../../sign/timestamp.ts")).readAuthorities(flags.tsa) }),
    ...(flags.dropTsa === true && { dropAuthorities: true }),
    ...(flags.oldKey !== undefined && { oldKey: await openSigner({ key: flags.oldKey, passphrase: passphrase() }) }),
  };
}

async function keysIn(file: string): Promise<TrustedKey[]> {
  const { parsePublicKeys, readKeyFile, TRUSTED } = await import("../../sign/keys.ts");
  return parsePublicKeys(await readKeyFile(file, TRUSTED), file);
}

function print(output: Output, view: TrustView, dir: string): void {
  output.result(view);
  output.print(
    `trust root  ${view.name}, version ${view.version}, issued ${view.issued}, good until ${view.expires}`,
    `file        ${view.file}`,
    `fingerprint sha256:${(view.digest.slice("sha256:".length).match(/.{8}/g) ?? []).join(" ")}`,
  );
  for (const { id, owner, notBefore, notAfter, keys } of view.signers) {
    output.print(
      `signer      ${id}: ${owner}, may sign from ${notBefore} to ${notAfter}${view.signed.includes(id) ? "; signed this version" : ""}`,
    );
    for (const { kind, keyid, revoked, successorOf } of keys) {
      const vouched = successorOf === null ? "" : `; its owner's earlier key ${successorOf.slice(0, 16)} signed for it`;
      output.print(`  key       ${kind} ${keyid}${revoked ? " REVOKED" : ""}${vouched}`);
    }
  }
  for (const { role, signers, threshold, require } of view.roles) {
    const each = require.length > 0 ? `, each with ${require.join(" and ")}` : "";
    output.print(`role        ${role}: ${threshold} of ${signers.join(", ")}${each}`);
  }
  for (const { subject, fingerprint, validTo } of view.authorities)
    output.print(`authority   ${subject}, ${fingerprint}, good until ${validTo}`);
  for (const [stream, rule] of Object.entries(view.streams)) output.print(`stream      ${stream}: ${ruleText(rule)}`);
  for (const { keyid, from, reason } of view.revoked) output.print(`revoked     ${keyid} from ${from}: ${reason}`);
  output.note(
    view.lacking === null
      ? "all signatures are there"
      : `still lacking: ${view.lacking}; sign it with: airferry trust sign ${shellWord(dir)} --key FILE`,
  );
}

function ruleText({ audience, maxAgeDays, maxSerialJump, attestations, maxScanAgeDays, ...rule }: StreamRule): string {
  const parts = [
    audience === undefined ? "for any site" : `for ${audience}`,
    ...(maxAgeDays === undefined ? [] : [`at most ${plural(maxAgeDays, "day")} old`]),
    ...(maxSerialJump === undefined ? [] : [`serials at most ${maxSerialJump} apart`]),
    ...(attestations === undefined ? [] : [`attested by ${attestations.join(", ")}`]),
    ...(rule.requireTimestamp === true ? ["stamped by an authority"] : []),
    ...(rule.requireImportScan === true ? ["scanned at import"] : []),
    ...(maxScanAgeDays === undefined ? [] : [`scans at most ${plural(maxScanAgeDays, "day")} old`]),
  ];
  return parts.join(", ");
}

function pair(value: string, form: string): [string, string] {
  const at = value.lastIndexOf("=");
  if (at < 1 || at === value.length - 1) throw new InvalidArgumentError(`must be ${form}.`);
  return [value.slice(0, at), value.slice(at + 1)];
}

function roleOf(value: string): RoleName {
  const role = ROLES.find((it) => it === value);
  if (role === undefined) throw new InvalidArgumentError(`must be one of ${ROLES.join(", ")}.`);
  return role;
}

function thresholdOf(value: string): [RoleName, number] {
  const [role, text] = pair(value, "ROLE=N");
  const count = Number(text);
  if (!/^\d{1,2}$/.test(text) || count < 1 || count > 64)
    throw new InvalidArgumentError("must be ROLE=N, with N from 1 to 64.");
  return [roleOf(role), count];
}

function kindsOf(value: string): TrustedKey["kind"][] {
  return value.split(",").map((it) => {
    const kind = KINDS.find((one) => one === it);
    if (kind === undefined)
      throw new InvalidArgumentError(`must be kinds of ${KINDS.join(", ")}, with commas between.`);
    return kind;
  });
}

/** `90d` from now, or a time. */
function expiry(value: string): Date {
  const days = daysOf(value);
  if (days !== undefined) return new Date(Date.now() + days * DAY_MS);
  try {
    return instant(value);
  } catch {
    throw new InvalidArgumentError("must be a time as YYYY-MM-DDTHH:MM:SSZ, a date, or 90d, 2y from now.");
  }
}

function daysOf(value: string): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,3})([dwmy])$/.exec(value) ?? [];
  return count === undefined ? undefined : Number(count) * DAYS[unit as keyof typeof DAYS];
}

/** `NAME:audience=site-a,max-age=90d,max-jump=20,attest=scan`. */
function ruleOf(value: string): [string, StreamRule] {
  const [name = "", text = ""] = [value.split(":", 1)[0], value.slice(value.indexOf(":") + 1 || value.length)];
  if (name === "") throw new InvalidArgumentError("must begin with the name of a stream, or *.");
  const rule: StreamRule = {};
  for (const part of text === "" ? [] : text.split(",")) {
    const [key, of] = pair(part, "NAME:KEY=VALUE,…");
    const days = key === "max-age" || key === "max-scan-age" ? daysOf(of) : undefined;
    if (key === "audience") rule.audience = of;
    else if (key === "timestamp" && of === "yes") rule.requireTimestamp = true;
    else if (key === "import-scan" && of === "yes") rule.requireImportScan = true;
    else if (key === "attest") rule.attestations = [...(rule.attestations ?? []), of];
    else if (key === "max-jump" && /^[1-9]\d{0,8}$/.test(of)) rule.maxSerialJump = Number(of);
    else if (days !== undefined && key === "max-age") rule.maxAgeDays = days;
    else if (days !== undefined) rule.maxScanAgeDays = days;
    else
      throw new InvalidArgumentError(
        "must have of audience=SITE, max-age=90d, max-jump=20, attest=scan, attest=provenance, max-scan-age=30d, import-scan=yes and timestamp=yes what applies.",
      );
  }
  return [name, rule];
}

function usage(fault: string, hint: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot change the trust root: ${fault}`, { hint });
}
