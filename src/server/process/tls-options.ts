/** `--tls` and what belongs to it: from options to key material, and its renewal while the server runs. */
import { isAbsolute, relative, resolve } from "node:path";
import { AirferryError } from "../../errors.ts";
import type { ListenAddress } from "../http/address.ts";
import type { TlsMaterial } from "../http/endpoint.ts";
import { defaultTlsDir, prepareTlsAuto, readTlsFiles } from "./tls-auto.ts";

const RENEW_CHECK_MS = 12 * 60 * 60 * 1000;

/** The options of `serve` that say how it proves who it is. */
interface TlsOptions {
  store: string;
  /** What is served in place of the store. */
  bundles?: { folders: readonly string[] } | undefined;
  tls?: string | undefined;
  tlsDir?: string | undefined;
  url?: string | undefined;
}

/**
 * The key material of the listener; undefined without TLS.
 * @throws {AirferryError} ERR_USAGE, and what reading and creating keys throws
 */
export async function tlsMaterial(options: TlsOptions, listen: ListenAddress): Promise<TlsMaterial | undefined> {
  const mode = tlsMode(options);
  if (mode === "off") return undefined;
  if (mode === "auto") return prepareTlsAuto(keysDir(options), extraNames(options, listen));
  return readTlsFiles(...mode);
}

/** What `--tls` says, nothing read yet: the paths of certificate and key. @throws {AirferryError} ERR_USAGE */
export function tlsMode({ tls = "off", ...dirs }: TlsOptions): "off" | "auto" | [cert: string, key: string] {
  if (tls === "off") return tls;
  if (tls === "auto") {
    keysDir(dirs);
    return tls;
  }
  const [cert, key, ...rest] = tls.split(",");
  if (cert && key && rest.length === 0) return [cert, key];
  throw new AirferryError("ERR_USAGE", `cannot use --tls "${tls}": expected off, auto or CERT,KEY`, {
    hint: "give two PEM files with a comma between: --tls server.crt,server.key",
  });
}

/**
 * The folder of the server's own keys.
 * @throws {AirferryError} ERR_USAGE when it is inside what is served, or bundles are served and none is given
 */
export function keysDir({ store, bundles, tlsDir }: Pick<TlsOptions, "store" | "tlsDir" | "bundles">): string {
  if (bundles !== undefined && tlsDir === undefined) {
    throw new AirferryError("ERR_USAGE", "cannot use TLS: no place for its CA: bundles are served without writing", {
      hint: "say where it may be kept, outside the bundle: --tls-dir DIR",
    });
  }
  const dir = tlsDir ?? defaultTlsDir();
  for (const it of bundles?.folders ?? [store]) refuseInsideStore(dir, it, bundles ? "bundle" : "store");
  return dir;
}

/** Write access to the store must not include the key that clients trust. */
function refuseInsideStore(dir: string, folder: string, what: string): void {
  const path = relative(resolve(folder), resolve(dir));
  if (path.startsWith("..") || isAbsolute(path)) return;
  throw new AirferryError("ERR_USAGE", `cannot store the CA in "${dir}": it is inside the ${what}`, {
    hint: `give a directory outside the ${what} with --tls-dir`,
    path: dir,
  });
}

function extraNames({ url }: TlsOptions, listen: ListenAddress): string[] {
  const names = [listen.host];
  if (url !== undefined) names.unshift(new URL(checkedUrl(url)).hostname.replace(/^\[|\]$/g, ""));
  return names;
}

/** The base URL of `--url`, without a slash at its end. @throws {AirferryError} ERR_USAGE */
export function checkedUrl(url: string): string {
  // URL parsers remove line breaks and blanks at the ends; it goes as it is into units, pages and configurations.
  const parsed = /^[!-~]+$/.test(url) && URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && /^https?:$/.test(parsed.protocol) && parsed.search === "" && parsed.hash === "") {
    return url.replace(/\/+$/, "");
  }
  throw new AirferryError("ERR_USAGE", `cannot use --url "${url}": not a base URL`, {
    hint: "give the address that clients use, such as https://mirror.example.com:9000",
  });
}

/** Renews a generated certificate before it expires. Returns the timer, which its caller clears. */
export function renewTls(
  options: TlsOptions,
  listen: ListenAddress,
  tls: TlsMaterial,
  running: { setTls(tls: TlsMaterial): void },
  report: (message: string) => void,
): NodeJS.Timeout {
  let served = tls;
  const renew = async (): Promise<void> => {
    const { cert, key } = await prepareTlsAuto(options.tlsDir ?? defaultTlsDir(), extraNames(options, listen));
    if (cert === served.cert) return;
    served = { ...served, cert, key };
    running.setTls(served);
    report("the server's certificate was renewed");
  };
  return setInterval(() => renew().catch((error) => report(String(error))), RENEW_CHECK_MS).unref();
}
