/** How an image of the manifest is requested from its registry: logins, and errors that name the image. */
import { AirferryError } from "../../errors.ts";
import { RegistryAuth, type TokenRequest } from "../../http/registry-auth.ts";
import type { Manifest } from "../../manifest/schema.ts";
import { MAX_IMAGE_MANIFEST_BYTES, TOO_LARGE_HINT } from "../../oci/image-manifest.ts";
import { formatReference, type Reference } from "../../oci/reference.ts";
import type { LockContext } from "../types.ts";
import { RegistryOrigin } from "./registry.ts";

/** Adds to registry errors which image they concern, and what to do about a refused login. */
export async function namingImage<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AirferryError) || error.message.includes(`"${name}"`) || error.message.includes(`${name} (`))
      throw error;
    // The size of what a tag leads to is unknown: the fetch engine reports the limit.
    const isTooLarge = error.expected === `at most ${MAX_IMAGE_MANIFEST_BYTES} bytes`;
    throw new AirferryError(error.code, `cannot lock image "${name}": ${error.message}`, {
      hint: isTooLarge ? TOO_LARGE_HINT : error.hint,
      path: error.path,
      expected: error.expected,
      actual: error.actual,
      cause: error.cause,
    });
  }
}

/** The repository of a reference, with its login. */
export function registryOf(
  reference: Reference,
  insecure: boolean,
  manifest: Manifest,
  options: Pick<LockContext, "fetcher" | "report"> & { retries?: number },
): RegistryOrigin {
  const { fetcher, report, retries } = options;
  const auth = authFor(reference.host, reference.path, manifest, fetcher, retries);
  return new RegistryOrigin({ reference, insecure, fetcher, auth, name: formatReference(reference), report, retries });
}

/** The login for a repository. */
export function authFor(
  host: string,
  path: string,
  { hosts }: Manifest,
  fetcher: LockContext["fetcher"],
  retries?: number,
): RegistryAuth {
  return new RegistryAuth({ ask: askBy(fetcher, retries), host, path, hosts });
}

/** Lets the fetch engine request tokens. `retries`: failures in a row before it gives up; default: the engine's. */
export function askBy(
  fetcher: Pick<LockContext["fetcher"], "fetchBytes">,
  retries?: number,
): (request: TokenRequest) => Promise<Buffer> {
  return async ({ url, ...request }) => (await fetcher.fetchBytes({ ...request, urls: [url], retries })).bytes;
}
