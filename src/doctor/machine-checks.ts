/**
 * Checks of the virtual machine that is built: does its kickstart file work, can packer log in, can it reach this
 * server? The server reports what it knows (`/config/check.json`); secrets and name resolution are checked here.
 */
import { Resolver } from "node:dns/promises";
import { isIP } from "node:net";
import type { KickstartFinding } from "../builder/kickstart-findings.ts";
import type { Finding } from "../io/findings.ts";
import type { ServedContext } from "./content-checks.ts";
import { Remedy } from "./remedy.ts";

const MAX_TEXT_BYTES = 8 * 1024 * 1024;
const DNS_TIMEOUT_MS = 2000;

/** The kickstart file can be rendered, is completely filled in, and its account is packer's. */
export async function checkKickstartFile({ client, served, env }: ServedContext): Promise<string> {
  const findings: KickstartFinding[] = [];
  let looked = 0;
  for (const scope of scopesOf(served)) {
    const answer = await client.get(`${scope}/config/ks.cfg`, MAX_TEXT_BYTES);
    const { kickstart = [] } = await readChecks(client, scope);
    if (answer.status === 404 && answer.body.includes("no template was packed")) continue;
    if (answer.status !== 200) {
      const [, fault, ...hint] = answer.body.toString("utf8").trim().split("\n");
      throw new Remedy(`${scope}/config/ks.cfg answers ${answer.status}: ${fault ?? ""}`, hint.join(" "));
    }
    looked++;
    // The server never knows secrets: airferry stage will use those of this environment.
    findings.push(...kickstart.filter((it) => it.variable === undefined || !env[it.variable]));
  }
  if (looked === 0)
    throw new Remedy(
      "no kickstart file is served",
      "add one to the manifest's files, and builder.kickstart",
      "skipped",
    );
  const open = findings.every((it) => it.variable !== undefined);
  // A secret that is not set yet is not a fault of the server, and airferry stage refuses without it.
  throwFindings(findings, open ? "warning" : undefined);
  return `${looked === 1 ? "ks.cfg installs" : `${looked} kickstart files install`} from here`;
}

/**
 * The machine can use the address: it prepares itself with what `airferry stage` writes, and the name is not local to
 * this host.
 */
export async function checkGuestAddress({ client, base, served }: ServedContext): Promise<string> {
  const scopes = scopesOf(served);
  if (scopes.length === 0) throw new Remedy("no release here has a builder", "add builder: to the manifest", "skipped");
  const findings: Finding[] = [];
  for (const scope of scopes) findings.push(...((await readChecks(client, scope)).guest ?? []));
  throwFindings(findings);
  const host = base.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) === 0 && !(await isInDns(host))) {
    throw new Remedy(
      `no DNS server knows ${host}: this host resolves it from its own files, which the virtual machine does not have`,
      "enter it in the site's DNS, or use --url with the address",
      "warning",
    );
  }
  const how =
    base.protocol === "https:" ? "over https" : "over plain HTTP, as the staged scripts configure its containerd";
  return `the virtual machine reaches ${base.origin} ${how}`;
}

function scopesOf({ builders }: ServedContext["served"]): string[] {
  return builders.map(({ stream }) => (builders.length === 1 ? "" : `/s/${encodeURIComponent(stream)}`));
}

/** A server of an earlier version does not report these. */
async function readChecks(
  client: ServedContext["client"],
  scope: string,
): Promise<{ kickstart?: KickstartFinding[]; guest?: Finding[] }> {
  return JSON.parse(await client.text(`${scope}/config/check.json`));
}

function throwFindings(findings: readonly Finding[], status?: "warning"): void {
  if (findings.length === 0) return;
  throw new Remedy(
    findings.map((it) => it.message).join("; "),
    [...new Set(findings.map((it) => it.remedy))].join("; "),
    status ?? (findings.some((it) => it.level === "error") ? "failed" : "warning"),
  );
}

async function isInDns(host: string): Promise<boolean> {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 1 });
  const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  return answers.some((it) => it.status === "fulfilled" && it.value.length > 0);
}
