/**
 * Doctor's checks of what is served: repositories, keys, ISOs, files and rendered configuration, each as the server's
 * index lists it. A check returns what is good, or throws; a thrown `Remedy` says what to do.
 */

import { digestOf, hexOf, parseHex } from "../io/digest.ts";
import { plural } from "../io/format.ts";
import { parseJson } from "../io/json.ts";
import { eachLimited } from "../io/limit.ts";
import { decompress } from "../rpm/codecs.ts";
import { parseRepomd } from "../rpm/repomd.ts";
import type { DoctorClient } from "./doctor-client.ts";
import type { CheckContext } from "./host-checks.ts";
import { Remedy, throwFaults } from "./remedy.ts";
import { readServed, type Served } from "./served.ts";

/** A check's context, with the server's index. */
export interface ServedContext extends CheckContext {
  served: Served;
}

const MAX_METADATA_BYTES = 256 * 1024 * 1024;
const MAX_PACKAGE_BYTES = 512 * 1024 * 1024;
const MAX_TEXT_BYTES = 8 * 1024 * 1024;
/** Most files checked by size: a store may have a million. */
const MAX_FILES = 20_000;
const AT_ONCE = 8;
const DAMAGED = "the store is damaged: on the server run: airferry fsck --store DIR --repair-from BUNDLE --trust KEY";

/** The index exists and lists a release. */
export async function checkIndex(context: CheckContext): Promise<{ served: Served; message: string }> {
  const served = await readServed(context.client);
  if (served.releases.length === 0) {
    throw new Remedy(
      "the server holds no release",
      "on the server run: airferry unpack BUNDLE --trust KEY.pub --store DIR",
    );
  }
  const releases = served.releases.map(({ stream, serial }) => `${stream} ${serial}`).join(", ");
  const late = served.releases.filter(({ notAfter }) => notAfter !== undefined && Date.parse(notAfter) < Date.now());
  const [first] = late;
  return {
    served,
    message: `${releases}${first === undefined ? "" : `; ${first.stream} expired at ${first.notAfter}`}`,
  };
}

/**
 * Every repository: repomd.xml, its signature, primary by its digest; one package by its digest; airferry.repo leads
 * there.
 */
export async function checkYum({ client, base, served }: ServedContext): Promise<string> {
  const { repositories } = served;
  if (repositories.length === 0) throw new Remedy("no repository is served", "add rpms: to the manifest", "skipped");
  await checkRepoFile(client, base, repositories);
  let checkedPackage: string | undefined;
  for (const { id, path, repoGpgcheck } of repositories) {
    const again = "see: airferry verify BUNDLE; unpack it again";
    const repomd = await client.get(`${path}repodata/repomd.xml`, 1024 * 1024);
    if (repomd.status !== 200) throw new Remedy(`${id}: repomd.xml answers ${repomd.status}`, again);
    if (repoGpgcheck) {
      const signature = await client.head(`${path}repodata/repomd.xml.asc`);
      if (signature.status !== 200) throw new Remedy(`${id}: repomd.xml.asc answers ${signature.status}`, again);
    }
    const primary = parseRepomd(repomd.body, `${path}repodata/repomd.xml`).records.find((it) => it.type === "primary");
    if (primary === undefined) throw new Remedy(`${id}: repomd.xml lists no primary`, "pack the repository again");
    const body = await client.get(`${path}${primary.href}`, MAX_METADATA_BYTES);
    if (digestOf(body.body, primary.checksum) !== primary.checksum) {
      throw new Remedy(`${id}: ${primary.href} does not match repomd.xml`, DAMAGED);
    }
    checkedPackage ??= await checkPackage(client, id, path, primary.href, body.body);
  }
  return `${plural(repositories.length, "repository", "repositories")}, metadata by digest${checkedPackage === undefined ? "" : `, ${checkedPackage} by digest`}`;
}

/** The file for /etc/yum.repos.d names every repository, at the checked address. */
async function checkRepoFile(client: DoctorClient, base: URL, repositories: Served["repositories"]): Promise<void> {
  const text = await client.text("/config/airferry.repo", MAX_TEXT_BYTES);
  const urls = new Map([...text.matchAll(/^\[(.+)\]$[\s\S]*?^baseurl=(.+)$/gm)].map((it) => [it[1], it[2]]));
  const here = base.href.replace(/\/+$/, "");
  const [other] = [...urls.values()].filter((it) => !it?.startsWith(`${here}/`));
  if (other !== undefined) {
    throw new Remedy(
      `airferry.repo leads to ${other}, which is not below ${here}`,
      `run doctor with the server's advertised address: airferry doctor --url ${new URL(other).origin}; or start the server with --url ${here}`,
    );
  }
  const missing = repositories.filter(({ id, path }) => urls.get(id) !== `${here}${path}`);
  throwFaults(
    missing.map(({ id }) => `airferry.repo does not name ${id}`),
    "perhaps a release was just unpacked: run doctor again",
  );
}

/** The digest of the first package that primary lists; undefined when none has a SHA-256. */
async function checkPackage(
  client: DoctorClient,
  id: string,
  path: string,
  primary: string,
  bytes: Buffer,
): Promise<string | undefined> {
  const xml = (await decompress(bytes, { name: primary, maxBytes: MAX_METADATA_BYTES })).toString("utf8");
  const [, hex, escaped] =
    /<package type="rpm">[\s\S]*?<checksum type="sha256"[^>]*>([0-9a-f]{64})<[\s\S]*?<location [^>]*href="([^"]+)"/.exec(
      xml,
    ) ?? [];
  if (hex === undefined || escaped === undefined) return undefined;
  const href = escaped.replaceAll("&amp;", "&");
  const body = await client.get(`${path}${href}`, MAX_PACKAGE_BYTES);
  if (digestOf(body.body) !== parseHex(hex)) {
    throw new Remedy(`${id}: ${href} does not match primary (status ${body.status})`, DAMAGED);
  }
  return href;
}

/** Every OpenPGP key, by its digest. */
export async function checkKeys({ client, served }: ServedContext): Promise<string> {
  const { keys } = served;
  if (keys.length === 0) throw new Remedy("no OpenPGP key is served", "add keys: to the manifest's rpms", "skipped");
  const faults: string[] = [];
  for (const { path, digest } of keys) {
    const { status, body } = await client.get(path, MAX_TEXT_BYTES);
    if (status !== 200) faults.push(`${path} answers ${status}`);
    else if (digestOf(body) !== digest) faults.push(`${path} does not match the index`);
    else if (!body.includes("BEGIN PGP PUBLIC KEY BLOCK")) faults.push(`${path} is not an armored OpenPGP key`);
  }
  throwFaults(faults, DAMAGED);
  return `${keys.length} OpenPGP keys by digest`;
}

/** A range of every ISO, and the trees that installers use. */
export async function checkIsos({ client, served }: ServedContext): Promise<string> {
  if (served.isos.length === 0) throw new Remedy("no ISO is served", "add isos: to the manifest", "skipped");
  const good: string[] = [];
  for (const { name, path, tree, installable } of served.isos) {
    const answer = await client.get(path, 64 * 1024, { range: "bytes=32768-34815" });
    if (answer.status !== 206 || answer.body.length !== 2048) {
      throw new Remedy(
        `${path} answers a range with ${answer.status}`,
        "is there a proxy in between that does not support ranges? set no_proxy",
      );
    }
    if (tree === undefined || answer.body.toString("latin1", 1, 6) !== "CD001") {
      throw new Remedy(
        `${path} is not a readable ISO 9660 image`,
        "it can only be used as a whole; if it should be an installation image, compare its digest with the vendor's",
        "warning",
      );
    }
    const inside = await client.get(`${tree}.treeinfo`, 1024 * 1024);
    good.push(
      `range of ${name}.iso by 206${inside.status === 200 ? ", .treeinfo inside it" : ""}${installable ? "" : ", no installation tree"}`,
    );
  }
  return good.join("; ");
}

/** Every file exists with its size; one is hashed, with the sidecars that get_url requests. */
export async function checkFiles({ client, served }: ServedContext): Promise<string> {
  const { files } = served;
  const chosen = files.find((it) => /containerd[^/]*\.tar\.gz$/.test(it.path)) ?? smallest(files);
  if (chosen === undefined) throw new Remedy("no file is served", "add files: to the manifest", "skipped");
  const faults: string[] = [];
  await eachLimited(files.slice(0, MAX_FILES), AT_ONCE, async ({ path, size }) => {
    const { status, headers } = await client.head(path);
    const length = headers["content-length"];
    if (status !== 200) faults.push(`${path} answers ${status}`);
    else if (length !== String(size)) faults.push(`${path} has ${length} bytes, expected ${size} (index)`);
  });
  throwFaults(faults, DAMAGED);
  const bare = (await client.text(`${chosen.path}.sha256`)).trim().split(/\s+/)[0];
  const columns = (await client.text(`${chosen.path}.sha256sum`)).trim();
  const { status, size, digest } = await client.digest(chosen.path, chosen.size);
  if (status !== 200 || digest !== chosen.digest) {
    throw new Remedy(`${chosen.path} (${status}) does not match the index`, DAMAGED);
  }
  if (hexOf(digest) !== bare || !columns.includes(hexOf(digest))) {
    throw new Remedy(
      `${chosen.path} does not match its sidecars`,
      "a sidecar packed from upstream is wrong: remove it from files:, and airferry generates one",
    );
  }
  return `${files.length} available; ${chosen.path.replace(/^\/files\//, "")}, ${size} bytes, matches both sidecars`;
}

/** The configuration of each builder can be rendered, and names the server as this host does. */
export async function checkBuilderConfig({ client, base, served }: ServedContext): Promise<string> {
  const { builders } = served;
  if (builders.length === 0) throw noBuilder();
  const good: string[] = [];
  for (const { stream, flavor } of builders) {
    const scope = builders.length === 1 ? "" : `/s/${encodeURIComponent(stream)}`;
    const file = flavor === "spectro-capi" ? "imageconfig" : "packer-vars.json";
    const answer = await client.get(`${scope}/config/${file}`, MAX_TEXT_BYTES);
    const text = answer.body.toString("utf8");
    if (answer.status !== 200) {
      const [, fault, ...hint] = text.trim().split("\n");
      throw new Remedy(
        `${scope}/config/${file} answers ${answer.status}: ${fault ?? ""}`,
        hint.join(" ") || "/config/ lists what can be rendered",
      );
    }
    good.push(flavor === "spectro-capi" ? checkAddress(text, base) : `${file} can be rendered`);
  }
  return good.join("; ");
}

/** The name in the URL is the one in imageconfig. */
function checkAddress(imageconfig: string, base: URL): string {
  const value = /^airgap_ip=(.*)$/m.exec(imageconfig)?.[1];
  const host = base.hostname.replace(/^\[|\]$/g, "");
  if (value !== host) {
    throw new Remedy(
      `imageconfig has airgap_ip=${value}, but this host uses ${host}`,
      `serve with --url ${base.origin}, or render with that URL`,
    );
  }
  const blanks = [...imageconfig.matchAll(/^# FILL IN: (.+)$/gm)].flatMap(([, it]) => it ?? []);
  return `airgap_ip=${value}${blanks.length === 0 ? "" : `; to fill in: ${blanks.join(", ")}`}`;
}

/** The builder's versions match each other and were packed. */
export async function checkVersions({ client, served }: ServedContext): Promise<string> {
  if (served.builders.length === 0) throw noBuilder();
  const { findings } = parseJson(await client.text("/config/check.json")) as {
    findings: { level: string; message: string; remedy: string }[];
  };
  const [worst] = findings;
  if (worst === undefined) return "match the builder's matrix, and packed";
  throw new Remedy(
    findings.map((it) => it.message).join("; "),
    [...new Set(findings.map((it) => it.remedy))].join("; "),
    worst.level === "error" ? "failed" : "warning",
  );
}

function noBuilder(): Remedy {
  return new Remedy(
    "no release here has a builder",
    "add builder: to the manifest, as airferry init --for rocky-9-capi does",
    "skipped",
  );
}

function smallest(files: Served["files"]): Served["files"][number] | undefined {
  return files.reduce<Served["files"][number] | undefined>(
    (least, it) => (least === undefined || it.size < least.size ? it : least),
    undefined,
  );
}
