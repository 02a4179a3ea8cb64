/**
 * Names of stores in object storage: `s3://BUCKET/PREFIX?endpoint=URL&region=REGION&ca=FILE`. Secrets have no place in
 * such a name. docs/object-storage.md.
 */
import { AirferryError } from "../errors.ts";

/** A place in object storage: all keys of a store begin with `prefix` and a slash. */
export interface S3Target {
  bucket: string;
  /** Without slashes at its ends; empty: the whole bucket. */
  prefix: string;
  /** Origin of a gateway, without a path: buckets are addressed by path. Absent: AWS, by the region. */
  endpoint?: string;
  /** Absent: as the environment or the profile of the AWS SDK says. */
  region?: string;
  /** File with the certificates (PEM) that the endpoint is checked with, besides the usual ones. */
  ca?: string;
  /** What is there, in messages; absent: a store. */
  kind?: "tree";
  /** The canonical name: for messages and commands. */
  name: string;
}

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._-]+$/;
const MAX_PREFIX = 512;
const REGION = /^[a-z0-9][a-z0-9-]{0,62}$/;
const EXAMPLE = "s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=us-east-1";

/** Whether a text is meant as the name of a store in object storage, right or wrong. */
export function isS3Name(text: string): boolean {
  return /^s3:/i.test(text);
}

/**
 * Parses the name of a store in object storage.
 * @param env where AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL replace an absent endpoint
 * @throws {AirferryError} ERR_USAGE; the message never has a secret that was put there by mistake
 */
export function parseS3Target(text: string, env: NodeJS.ProcessEnv = process.env, kind?: "tree"): S3Target {
  const [, bucket = "", path = "", query = ""] = /^s3:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(text) ?? [];
  const refuse = (fault: string): never => {
    const shown = text.includes("@") || text.includes("#") ? "s3://…" : text;
    throw new AirferryError("ERR_USAGE", `cannot use ${kind ?? "store"} "${shown}": ${fault}`, {
      hint: `name it as ${EXAMPLE}; the AWS SDK finds credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile`,
    });
  };
  if (/^s3:\/\/[^/?]*@/i.test(text)) refuse("credentials have no place in its name");
  if (!BUCKET.test(bucket)) refuse("expected s3:// and the name of a bucket: 3 to 63 of a-z, 0-9, dots and hyphens");
  const prefix = path.replace(/\/$/, "");
  const segments = prefix === "" ? [] : prefix.split("/");
  if (prefix.length > MAX_PREFIX || !segments.every((it) => SEGMENT.test(it)))
    refuse(`expected a prefix of at most ${MAX_PREFIX} letters, digits, dots, hyphens, underscores and single slashes`);
  const given: { endpoint?: string; region?: string; ca?: string } = {};
  for (const part of query === "" ? [] : query.split("&")) {
    const at = part.indexOf("=");
    const key = at < 0 ? part : part.slice(0, at);
    const value = at < 0 ? "" : decoded(part.slice(at + 1));
    if (key !== "endpoint" && key !== "region" && key !== "ca") refuse("only endpoint=, region= and ca= may follow it");
    else if (given[key] !== undefined) refuse(`${key}= stands there twice`);
    else if (value === undefined || value === "") refuse(`${key}= has no value`);
    else given[key] = value;
  }
  const endpoint = given.endpoint ?? env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL;
  const origin = endpoint === undefined ? undefined : originOf(endpoint);
  if (endpoint !== undefined && origin === undefined)
    refuse("expected endpoint=http://HOST:PORT or https://HOST:PORT, without user, path or query");
  const region =
    given.region ?? (origin === undefined ? undefined : (env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? "us-east-1"));
  if (region !== undefined && !REGION.test(region)) refuse("expected a region of letters, digits and hyphens");
  if (given.ca !== undefined && origin?.startsWith("https:") !== true) refuse("ca= needs endpoint=https://HOST:PORT");
  if (given.ca !== undefined && /[\x00-\x1f\x7f&#?]/.test(given.ca))
    refuse("the file of ca= has characters that no name of a store may have");
  const parameters = [
    ...(origin === undefined ? [] : [`endpoint=${origin}`]),
    ...(given.region === undefined ? [] : [`region=${given.region}`]),
    ...(given.ca === undefined ? [] : [`ca=${given.ca.replaceAll("%", "%25")}`]),
  ];
  return {
    bucket,
    prefix,
    ...(origin !== undefined && { endpoint: origin }),
    ...(region !== undefined && { region }),
    ...(given.ca !== undefined && { ca: given.ca }),
    ...(kind !== undefined && { kind }),
    name: `${placeName({ bucket, prefix })}${parameters.length === 0 ? "" : `?${parameters.join("&")}`}`,
  };
}

/** `s3://BUCKET/PREFIX`, without parameters. */
export function placeName({ bucket, prefix }: Pick<S3Target, "bucket" | "prefix">): string {
  return `s3://${bucket}${prefix === "" ? "" : `/${prefix}`}`;
}

/** The name of another prefix of the same bucket, with the same parameters. */
export function nameAt({ bucket, name }: S3Target, prefix: string): string {
  const at = name.indexOf("?");
  return `${placeName({ bucket, prefix })}${at < 0 ? "" : name.slice(at)}`;
}

function decoded(value: string): string | undefined {
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

function originOf(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { protocol, username, password, pathname, search, hash, origin } = new URL(text);
  const isWeb = protocol === "http:" || protocol === "https:";
  const isBare = username === "" && password === "" && pathname === "/" && search === "" && hash === "";
  return isWeb && isBare && !/[@?#]/.test(text) ? origin : undefined;
}
