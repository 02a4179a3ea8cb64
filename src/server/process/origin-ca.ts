/**
 * The CA of the origins' certificates: one of its own, which may sign for the hosts of the current releases and no
 * others (name constraints). It is kept beside the server's other keys. When releases bring other hosts it gets another
 * certificate for the same key: what clients trusted before stays valid for the hosts that it was for. docs/origins.md,
 * "The CA"; RFC 5280, section 4.2.1.10.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { KeyAndCertificate } from "../../certs/certificates.ts";
import { AirferryError } from "../../errors.ts";
import { plural } from "../../io/format.ts";
import { type HeldLock, takeLock } from "../../io/process-lock.ts";
import { shellWords } from "../../io/shell.ts";
import type { ListenAddress } from "../http/address.ts";
import type { ServeContext } from "../http/context.ts";
import { fingerprintOf, inTlsDir, readPair, writePair } from "./tls-auto.ts";

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
const LOCK_MS = 5000;
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
    const { isConstrainedTo } = await import("../../certs/constrained-ca.ts");
    const current = async () => {
      const pair = await readCa(dir);
      const isGood = pair !== undefined && isConstrainedTo(pair.cert, hosts) && !expiresSoon(pair.cert);
      return { pair, good: isGood ? { ...pair, isNew: false } : undefined };
    };
    const { good } = await current();
    if (good !== undefined) return good;
    // Several threads want it at once: the first one makes it, so that all clients get the same one.
    const lock = await lockWithin(LOCK_MS, join(dir, `${NAME}.lock`));
    try {
      const { pair, good } = await current();
      if (good !== undefined) return good;
      const { createConstrainedCa } = await import("../../certs/constrained-ca.ts");
      const made = await createConstrainedCa(`airferry origins CA on ${hostname()}`.slice(0, 64), hosts, pair);
      await writePair(dir, NAME, made);
      return { ...made, isNew: true };
    } finally {
      await lock.release();
    }
  });
}

/** The pair in a folder. @throws {AirferryError} ERR_KEY_INVALID when key and certificate do not match */
async function readCa(dir: string): Promise<KeyAndCertificate | undefined> {
  const pair = await readPair(dir, NAME);
  if (pair === undefined || new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key))) return pair;
  throw new AirferryError(
    "ERR_KEY_INVALID",
    `cannot use the CA of the origins in "${dir}": key and certificate do not match`,
    {
      hint: `move ${shellWords([join(dir, `${NAME}.key`), join(dir, `${NAME}.crt`)])} away to create a new CA; clients must then trust the new one`,
      path: join(dir, `${NAME}.crt`),
    },
  );
}

/** Takes a lock that others hold only for moments. @throws {AirferryError} ERR_BUSY after `ms` */
async function lockWithin(ms: number, file: string): Promise<HeldLock> {
  for (const start = performance.now(); ; await sleep(20)) {
    try {
      return await takeLock(file, "the CA of the origins");
    } catch (error) {
      const isBusy = error instanceof AirferryError && error.code === "ERR_BUSY";
      if (!isBusy || performance.now() - start > ms) throw error;
    }
  }
}

function expiresSoon(cert: string): boolean {
  return new X509Certificate(cert).validToDate.getTime() < Date.now() + RENEW_BEFORE_MS;
}

/** What handlers need of the origins; `http` are the listeners without TLS. A renewal of the CA is reported. */
export function originContext(
  { dir, ca, https, proxy }: OriginSettings,
  http: readonly ListenAddress[],
  report: (message: string) => void,
): NonNullable<ServeContext["origins"]> {
  let key = "";
  let current: Promise<string> = Promise.resolve(ca.cert);
  const renewed = async (hosts: readonly string[]) => {
    const { cert, isNew } = await prepareOriginCa(dir, hosts);
    if (isNew) {
      report(
        `the CA of the origins was renewed for ${plural(hosts.length, "host")} (SHA-256): ${fingerprintOf(cert)}; clients that use new ones install it again`,
      );
    }
    return cert;
  };
  return {
    caCertificate(hosts) {
      const wanted = hosts.join(" ");
      if (wanted === key) return current;
      key = wanted;
      current = renewed(hosts);
      current.catch(() => {
        if (key === wanted) key = "";
      });
      return current;
    },
    ports: { http: http.map((it) => it.port), https: https.map((it) => it.port) },
    ...(proxy === undefined ? {} : { proxyPort: proxy.port }),
  };
}
