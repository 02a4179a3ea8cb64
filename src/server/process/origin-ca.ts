/**
 * The CA of the origins' certificates: one of its own, which may sign for the hosts of the current releases and no
 * others (name constraints). It is kept beside the server's other keys. When releases bring other hosts it gets another
 * certificate for the same key: what clients trusted before stays valid for the hosts that it was for. docs/origins.md,
 * "The CA"; RFC 5280, section 4.2.1.10.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import type { KeyAndCertificate } from "../../certs/certificates.ts";
import { AirferryError } from "../../errors.ts";
import { plural } from "../../io/format.ts";
import { shellWords } from "../../io/shell.ts";
import type { ListenAddress } from "../http/address.ts";
import type { ServeContext } from "../http/context.ts";
import { inTlsDir, readPair, writePair } from "./tls-auto.ts";

/** What a site needs to answer under the names of the origins; plain values. */
export interface OriginSettings {
  ca: KeyAndCertificate;
  /** Folder of the CA. */
  dir: string;
  /** Listeners with TLS. */
  https: readonly ListenAddress[];
  proxy?: ListenAddress;
}

const NAME = "origins-ca";
const RENEW_BEFORE_MS = 90 * 24 * 60 * 60 * 1000;

/**
 * Returns the CA in `dir` for these hosts, created, or renewed with the same key, where it has others or expires soon.
 * @throws {AirferryError} ERR_IO, ERR_KEY_EXPOSED; ERR_KEY_INVALID when key and certificate do not match
 */
export async function prepareOriginCa(
  dir: string,
  hosts: readonly string[],
): Promise<KeyAndCertificate & { isNew: boolean }> {
  return inTlsDir(dir, async () => {
    const pair = await readPair(dir, NAME);
    if (pair !== undefined && !new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key))) {
      throw new AirferryError(
        "ERR_KEY_INVALID",
        `cannot use the CA of the origins in "${dir}": key and certificate do not match`,
        {
          hint: `move ${shellWords([join(dir, `${NAME}.key`), join(dir, `${NAME}.crt`)])} away to create a new CA; clients must then trust the new one`,
          path: join(dir, `${NAME}.crt`),
        },
      );
    }
    const { createConstrainedCa, isConstrainedTo } = await import("../../certs/constrained-ca.ts");
    if (pair !== undefined && isConstrainedTo(pair.cert, hosts) && !expiresSoon(pair.cert)) {
      return { ...pair, isNew: false };
    }
    const made = await createConstrainedCa(`airferry origins CA on ${hostname()}`.slice(0, 64), hosts, pair);
    await writePair(dir, NAME, made);
    return { ...made, isNew: true };
  });
}

function expiresSoon(cert: string): boolean {
  return new X509Certificate(cert).validToDate.getTime() < Date.now() + RENEW_BEFORE_MS;
}

/** What handlers need of the origins. A renewal of the CA is reported. */
export function originContext(
  { dir, ca, proxy }: OriginSettings,
  report: (message: string) => void,
): NonNullable<ServeContext["origins"]> {
  let current = ca.cert;
  let key = "";
  return {
    async caCertificate(hosts) {
      const wanted = hosts.join(" ");
      if (wanted === key) return current;
      const { cert, isNew } = await prepareOriginCa(dir, hosts);
      if (isNew) {
        report(
          `the CA of the origins was renewed for ${plural(hosts.length, "host")}; clients that use new ones install it again`,
        );
      }
      current = cert;
      key = wanted;
      return cert;
    },
    ...(proxy === undefined ? {} : { proxyPort: proxy.port }),
  };
}
