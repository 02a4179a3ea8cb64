/**
 * Doctor's look at this host and the way to the server: names, ports, space, reach, clock. A check returns what it
 * found good, or throws; a thrown `Remedy` says what to do about it. Checks know nothing of each other.
 * content-checks.ts has what is served.
 */
import { lookup } from "node:dns/promises";
import { readFile, statfs } from "node:fs/promises";
import { isIP } from "node:net";
import { connect } from "node:tls";
import type { DoctorClient } from "./doctor-client.ts";
import { Remedy } from "./remedy.ts";

export interface CheckContext {
  client: DoctorClient;
  base: URL;
  /** Folder where the build will write. */
  folder: string;
  /** Where to look for logins. */
  env: NodeJS.ProcessEnv;
}

const MAX_CLOCK_SKEW_S = 300;
/** An OVA build writes the ISO, a disk image and the archive of it. */
const WANTED_FREE_BYTES = 40e9;
/** Ports on which packer serves the kickstart file. */
const PACKER_PORTS = { from: 8000, to: 9000 };

/** The name in the URL resolves, or is an address. */
export async function checkHostName({ base }: CheckContext): Promise<string> {
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

/** The server answers; with TLS, its certificate is trusted here. */
export async function checkReach({ client, base }: CheckContext): Promise<string> {
  try {
    const answer = await client.get("/healthz", 64 * 1024);
    if (answer.status !== 200)
      throw new Remedy(`/healthz answers ${answer.status}`, "is another program listening there? see: airferry serve");
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
        `${base.host} uses TLS, not plain HTTP`,
        `airferry doctor --url https://${base.host}, with --ca FILE if it has its own CA`,
      );
    }
    if (base.protocol === "https:" && (code === "EPROTO" || code.startsWith("ERR_SSL_"))) {
      throw new Remedy(`${base.host} uses plain HTTP, not TLS`, `airferry doctor --url http://${base.host}`);
    }
    throw new Remedy(
      `no connection to ${base.origin}: ${code || (error as Error).message}`,
      `is airferry serve running there, and does the firewall allow the port? firewall-cmd --add-port=${base.port || (base.protocol === "https:" ? "443" : "80")}/tcp`,
    );
  }
}

/** The listener of `--listen-http` serves only keys and the CA: a build with its address fails at the first ISO. */
async function refusePlainListener(client: DoctorClient, base: URL): Promise<void> {
  const { status, body } = await client.get("/config/airferry.repo", 8 * 1024 * 1024);
  if (status !== 404 || !body.includes("this plain listener")) return;
  throw new Remedy(
    `${base.origin} is the plain listener of a TLS server: it serves only the CA, keys and /rpmrepo/`,
    "give the https:// address that airferry serve printed first: airferry doctor --url https://HOST:PORT --ca ca.crt",
  );
}

/** Whether something completes, or refuses, a TLS handshake at this address, trusted or not. */
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

/** The clocks agree: signatures and certificates depend on time. */
export async function checkClock({ client }: CheckContext): Promise<string> {
  const { headers } = await client.get("/healthz", 64 * 1024);
  const date = Date.parse(String(headers.date ?? ""));
  if (Number.isNaN(date)) throw new Remedy("the server sends no date", "nothing to compare with", "skipped");
  const skew = Math.round((Date.now() - date) / 1000);
  if (Math.abs(skew) > MAX_CLOCK_SKEW_S) {
    throw new Remedy(
      `this clock differs from the server's by ${skew} s`,
      "set both from one time source: chronyc makestep",
    );
  }
  return `${Math.abs(skew)} s difference to the server's clock`;
}

/** Free space for what the build writes. */
export async function checkSpace({ folder }: CheckContext): Promise<string> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const text = `${(free / 1e9).toFixed(0)} GB free in ${folder}`;
  if (free < WANTED_FREE_BYTES)
    throw new Remedy(text, `an image build needs about ${WANTED_FREE_BYTES / 1e9} GB`, "warning");
  return text;
}

/** A free port for packer's kickstart server. Reads the kernel's table of listeners; opens none itself. */
export async function checkPorts(_: CheckContext): Promise<string> {
  const taken = new Set<number>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const text = await readFile(table, "utf8").catch(() => "");
    if (text === "" && taken.size === 0 && table.endsWith("tcp")) {
      throw new Remedy("this system does not show which ports are taken", "check with: ss -ltn", "skipped");
    }
    for (const line of text.split("\n")) {
      const [, local, , state] = line.trim().split(/\s+/);
      const port = local?.split(":")[1];
      if (state === "0A" && port !== undefined) taken.add(Number.parseInt(port, 16));
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
