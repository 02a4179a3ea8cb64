/** `--ca FILE` of doctor and stage: the CA of a server, as PEM. */
import { AirferryError } from "../errors.ts";
import { readNamed } from "../io/named-file.ts";

/**
 * Reads certificates as PEM.
 * @throws {AirferryError} ERR_USAGE when the file cannot be read or has no certificate in it
 */
export async function readCa(file: string): Promise<string> {
  const hint = "fetch it from the server: curl -fsSk -o ca.crt https://HOST:PORT/ca.crt, then compare its fingerprint";
  const bytes = await readNamed(file).catch((cause: NodeJS.ErrnoException) => {
    const fault = cause.code === "ENOENT" ? "no such file" : (cause.code ?? cause.message);
    throw new AirferryError("ERR_USAGE", `cannot read CA "${file}": ${fault}`, { path: file, hint, cause });
  });
  const text = bytes.toString("utf8");
  if (!text.includes("-----BEGIN CERTIFICATE-----")) {
    throw new AirferryError("ERR_USAGE", `cannot read CA "${file}": expected a PEM certificate, got something else`, {
      path: file,
      hint,
    });
  }
  return text;
}
