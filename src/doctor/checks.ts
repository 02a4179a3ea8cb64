/**
 * The checks of `airferry doctor`, one function each. A check returns what it found good, or throws; a thrown `Remedy` says
 * what to do about it. Checks know nothing of each other.
 */
import { lookup } from "node:dns/promises";
import { readFile, statfs } from "node:fs/promises";
import { isIP } from "node:net";
import { connect } from "node:tls";
import { decompress } from "../rpm/codecs.ts";
import { parseRepomd } from "../rpm/repomd.ts";
import { type DoctorClient, firstLines, sha256Hex } from "./client.ts";

/** A fault with its remedy; `warning` when the build may still work, `skipped` when there is nothing to look at. */
export class Remedy extends Error {
  readonly remedy: string;
  readonly status: "failed" | "warning" | "skipped";

  constructor(message: string, remedy: string, status: "failed" | "warning" | "skipped" = "failed") {
    super(message);
    this.remedy = remedy;
    this.status = status;
  }
}

export interface CheckContext {
  client: DoctorClient;
  base: URL;
  /** Folder where the build will write. */
  folder: string;
  /** Where logins are looked for. */
  env: NodeJS.ProcessEnv;
}

const MAX_METADATA_BYTES = 256 * 1024 * 1024;
const MAX_PACKAGE_BYTES = 512 * 1024 * 1024;
const MAX_CLOCK_SKEW_S = 300;
/** An OVA build writes the ISO, a disk image and the archive of it. */
const WANTED_FREE_BYTES = 40e9;
/** Where packer serves the kickstart file from. */
const PACKER_PORTS = { from: 8000, to: 9000 };

/** The name in the URL resolves, or is an address. */
export async function checkName({ base }: CheckContext): Promise<string> {
  const host = base.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0) return `${host} is an address`;
  try {
    const found = await lookup(host, { all: true });
    return `${host} is ${found.map((it) => it.address).join(", ")}`;
  } catch {
    throw new Remedy(
      `the name ${host} does not resolve here`,
      `add it to /etc/hosts or the site's DNS, or use --url with an address`,
    );
  }
}

/** The server answers at all; with TLS, its certificate is trusted here. */
export async function checkReach({ client, base }: CheckContext): Promise<string> {
  try {
    const answer = await client.get("/healthz", 64 * 1024);
    if (answer.status !== 200)
      throw new Remedy(`/healthz answers ${answer.status}`, "is something else listening there? see: airferry serve");
    await refusePlainListener(client, base);
    return `${base.origin} answers${base.protocol === "https:" ? ", its certificate is trusted" : ""}`;
  } catch (error) {
    if (error instanceof Remedy) throw error;
    const code = (error as { code?: string }).code ?? "";
    if (/CERT|ISSUER|SELF_SIGNED|ALTNAME|UNABLE_TO/.test(code)) {
      throw new Remedy(
        `the server's certificate is not trusted: ${code}`,
        `curl -fsSk -o ca.crt ${base.origin}/ca.crt; openssl x509 -noout -fingerprint -sha256 -in ca.crt must print what serve printed; then: airferry doctor --url ${base.origin} --ca ca.crt; on build hosts copy it to /etc/pki/ca-trust/source/anchors/ and run update-ca-trust`,
      );
    }
    if (base.protocol === "http:" && (await speaksTls(base))) {
      throw new Remedy(
        `${base.host} speaks TLS, not plain HTTP`,
        `airferry doctor --url https://${base.host}, with --ca FILE when its CA is its own`,
      );
    }
    if (base.protocol === "https:" && (code === "EPROTO" || code.startsWith("ERR_SSL_"))) {
      throw new Remedy(`${base.host} speaks plain HTTP, not TLS`, `airferry doctor --url http://${base.host}`);
    }
    throw new Remedy(
      `no connection to ${base.origin}: ${code || (error as Error).message}`,
      "is airferry serve running there, and does a firewall let the port through? firewall-cmd --add-port=PORT/tcp",
    );
  }
}

/** The listener of `--listen-http` has keys and the CA alone: a build that is given its address fails at the first ISO. */
async function refusePlainListener(client: DoctorClient, base: URL): Promise<void> {
  const { status, body } = await client.get("/config/airferry.repo", 8 * 1024 * 1024);
  if (status !== 404 || !body.includes("this plain listener")) return;
  throw new Remedy(
    `${base.origin} is the plain listener of a TLS server: it has the CA, keys and /rpmrepo/ alone`,
    "give the https:// address that airferry serve printed first: airferry doctor --url https://HOST:PORT --ca ca.crt",
  );
}

/** Whether something finishes, or refuses, a TLS handshake at this address; trust is not the question. */
function speaksTls(base: URL): Promise<boolean> {
  return new Promise((resolve) => {
    const host = base.hostname.replace(/^\[|\]$/g, "");
    const socket = connect({ host, port: Number(base.port || 80), rejectUnauthorized: false });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(3000, () => end(false));
    socket.once("secureConnect", () => end(true));
    socket.once("error", () => end(false));
  });
}

/** The clocks agree: signatures and certificates have times. */
export async function checkClock({ client }: CheckContext): Promise<string> {
  const { headers } = await client.get("/healthz", 64 * 1024);
  const date = Date.parse(String(headers.date ?? ""));
  if (Number.isNaN(date)) throw new Remedy("the server sends no date", "nothing to compare with", "skipped");
  const skew = Math.round((Date.now() - date) / 1000);
  if (Math.abs(skew) > MAX_CLOCK_SKEW_S) {
    throw new Remedy(
      `this clock is ${skew} s apart from the server's`,
      "set both by one time source: chronyc makestep",
    );
  }
  return `${Math.abs(skew)} s apart from the server`;
}

/** Every repository of airferry.repo: repomd.xml, primary by its digest, and of the first a package by its digest. */
export async function checkYum({ client }: CheckContext): Promise<string> {
  const text = await client.text("/config/airferry.repo");
  const repositories = [...text.matchAll(/^\[(.+)\]$[\s\S]*?^baseurl=(.+)$/gm)].map((it) => ({
    id: it[1]!,
    url: it[2]!,
  }));
  if (repositories.length === 0) throw new Remedy("no repository is served", "add rpms: to the manifest", "skipped");
  let checkedPackage: string | undefined;
  for (const { id, url } of repositories) {
    const repomd = await client.get(`${url}repodata/repomd.xml`, 1024 * 1024);
    if (repomd.status !== 200)
      throw new Remedy(`${id}: repomd.xml answers ${repomd.status}`, "see: airferry verify BUNDLE; unpack it again");
    const primary = parseRepomd(repomd.body, `${url}repodata/repomd.xml`).records.find((it) => it.type === "primary");
    if (primary === undefined) throw new Remedy(`${id}: repomd.xml names no primary`, "pack the repository again");
    const body = await client.get(`${url}${primary.href}`, MAX_METADATA_BYTES);
    if (primary.checksum.type === "sha256" && sha256Hex(body.body) !== primary.checksum.hex) {
      throw new Remedy(
        `${id}: ${primary.href} is not what repomd.xml says`,
        "the store is damaged: unpack the bundle again",
      );
    }
    if (checkedPackage !== undefined) continue;
    const xml = (await decompress(body.body, { name: primary.href, maxBytes: MAX_METADATA_BYTES })).toString("utf8");
    const first =
      /<package type="rpm">[\s\S]*?<checksum type="sha256"[^>]*>([0-9a-f]{64})<[\s\S]*?<location [^>]*href="([^"]+)"/.exec(
        xml,
      );
    if (first === null) continue;
    const bytes = await client.get(`${url}${first[2]!.replaceAll("&amp;", "&")}`, MAX_PACKAGE_BYTES);
    if (sha256Hex(bytes.body) !== first[1]) {
      throw new Remedy(
        `${id}: ${first[2]} is not what primary says (status ${bytes.status})`,
        "the store is damaged: unpack the bundle again",
      );
    }
    checkedPackage = first[2];
  }
  return `${repositories.length} repositories, metadata by digest${checkedPackage === undefined ? "" : `, ${checkedPackage} by digest`}`;
}

/** The keys that airferry.repo names are there. */
export async function checkKeys({ client }: CheckContext): Promise<string> {
  const text = await client.text("/config/airferry.repo");
  const keys = new Set([...text.matchAll(/^(?:gpgkey=| {7})(https?:\S+)$/gm)].map((it) => it[1]!));
  if (keys.size === 0) throw new Remedy("airferry.repo names no key", "add keys: to the manifest's rpms", "skipped");
  for (const key of keys) {
    if (!/BEGIN PGP PUBLIC KEY BLOCK/.test(await client.text(key)))
      throw new Remedy(`${key} is no OpenPGP key`, "pack it again");
  }
  return `${keys.size} OpenPGP keys`;
}

/** A range out of the first ISO. */
export async function checkIso({ client }: CheckContext): Promise<string> {
  const name = /^SHA256 \((.+)\) = /m.exec(await client.text("/config/CHECKSUM"))?.[1];
  if (name === undefined) throw new Remedy("no ISO is served", "add isos: to the manifest", "skipped");
  const answer = await client.get(`/isos/${name}`, 64 * 1024, { range: "bytes=32768-34815" });
  if (answer.status !== 206 || answer.body.length !== 2048) {
    throw new Remedy(
      `/isos/${name} answers a range with ${answer.status}`,
      "is there a proxy in between that does not know ranges? set no_proxy",
    );
  }
  if (answer.body.toString("latin1", 1, 6) !== "CD001")
    throw new Remedy(`/isos/${name} is no ISO 9660 image`, "only the whole image can be used", "warning");
  const inside = await client.get(`/isos/${name.replace(/\.iso$/, "")}/.treeinfo`, 1024 * 1024);
  return `range of ${name} by 206${inside.status === 200 ? ", .treeinfo inside it" : ""}`;
}

/** A file and the sidecar that get_url asks for. */
export async function checkFile({ client }: CheckContext): Promise<string> {
  const page = await client.get("/files/", 16 * 1024 * 1024);
  const names = [...page.body.toString("utf8").matchAll(/href="([^"]*?([^"/]+))"/g)]
    .map((it) => it[2]!)
    .filter((it) => !/\.sha256(sum)?$/.test(it) && !it.startsWith("."));
  const name = page.status === 200 ? (names.find((it) => /containerd.*\.tar\.gz$/.test(it)) ?? names[0]) : undefined;
  if (name === undefined) throw new Remedy("no file is served", "add files: to the manifest", "skipped");
  const bare = (await client.text(`/files/${name}.sha256`)).trim().split(/\s+/)[0];
  const columns = (await client.text(`/files/${name}.sha256sum`)).trim();
  const { status, size, sha256 } = await client.sha256(`/files/${name}`);
  if (status !== 200 || sha256 !== bare || !columns.includes(sha256)) {
    throw new Remedy(
      `/files/${name} (${status}) is not what its sidecars say`,
      "the store is damaged: unpack the bundle again",
    );
  }
  return `${name}, ${size} bytes, as both sidecars say`;
}

/** The name in the URL is the one that imageconfig tells the builder. */
export async function checkBuilderAddress({ client, base }: CheckContext): Promise<string> {
  const answer = await client.get("/config/imageconfig", 1024 * 1024);
  if (answer.status === 404)
    throw new Remedy(firstLines(answer.body), "see /config/ for what can be rendered", "skipped");
  const value = /^airgap_ip=(.*)$/m.exec(answer.body.toString())?.[1];
  const host = base.hostname.replace(/^\[|\]$/g, "");
  if (value !== host) {
    throw new Remedy(
      `imageconfig says airgap_ip=${value}, but this host uses ${host}`,
      `serve with --url ${base.origin}, or render with that URL`,
    );
  }
  const blanks = [...answer.body.toString().matchAll(/^# FILL IN: (.+)$/gm)].map((it) => it[1]!);
  return `airgap_ip=${value}${blanks.length === 0 ? "" : `; to fill in: ${blanks.join(", ")}`}`;
}

/** The builder's versions fit together and were packed. */
export async function checkVersions({ client }: CheckContext): Promise<string> {
  const { findings } = JSON.parse(await client.text("/config/check.json")) as {
    findings: { level: string; message: string; remedy: string }[];
  };
  const [worst] = findings;
  if (worst === undefined) return "as the builder's matrix has them, and packed";
  throw new Remedy(
    findings.map((it) => it.message).join("; "),
    findings.map((it) => it.remedy).join("; "),
    worst.level === "error" ? "failed" : "warning",
  );
}

/** Room for what the build writes. */
export async function checkSpace({ folder }: CheckContext): Promise<string> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const text = `${(free / 1e9).toFixed(0)} GB free in ${folder}`;
  if (free < WANTED_FREE_BYTES)
    throw new Remedy(text, `an image build wants about ${WANTED_FREE_BYTES / 1e9} GB`, "warning");
  return text;
}

/** A port that packer's kickstart server can have. Looks at the kernel's table of listeners; opens none itself. */
export async function checkPorts(_: CheckContext): Promise<string> {
  const taken = new Set<number>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const text = await readFile(table, "utf8").catch(() => "");
    if (text === "" && taken.size === 0 && table.endsWith("tcp")) {
      throw new Remedy("this system does not tell which ports are taken", "look with: ss -ltn", "skipped");
    }
    for (const line of text.split("\n")) {
      const [, local, , state] = line.trim().split(/\s+/);
      if (state === "0A") taken.add(Number.parseInt(local!.split(":")[1]!, 16));
    }
  }
  for (let port = PACKER_PORTS.from; port <= PACKER_PORTS.to; port++) {
    if (!taken.has(port)) return `port ${port} is free for packer's kickstart server`;
  }
  throw new Remedy(
    `no port from ${PACKER_PORTS.from} to ${PACKER_PORTS.to} is free`,
    "set http_port_min and http_port_max for packer",
  );
}
