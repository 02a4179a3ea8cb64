/**
 * What a rehearsed command finds at the system's places: names that lead to this machine, and certificates that include
 * the CA of the origins.
 */
import { readFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import { writeShared } from "../io/shared-folder.ts";

/** Files that are to be seen in place of others. */
type Overlays = { file: string; over: string }[];

/**
 * Makes /etc/hosts, /etc/resolv.conf and the bundle of certificates in `dir`.
 * @param hosts names of the origins
 * @param system what the system trusts (record/system-trust.ts)
 */
export async function makeSystemFiles(
  dir: string,
  hosts: readonly string[],
  system: { pem: string; files: readonly string[] },
  caFile: string,
): Promise<{ bundle: string; overlays: Overlays }> {
  const ca = await readFile(caFile, "utf8");
  const write = async (name: string, text: string) => {
    const file = join(dir, name);
    await writeShared(file, text);
    return file;
  };
  const bundle = await write("bundle.crt", `${system.pem.trimEnd()}\n${ca}`);
  const own = (await readFile("/etc/hosts", "utf8").catch(() => ""))
    .split("\n")
    .filter((it) => /^(?:127\.|::1\s)/.test(it));
  const names = hosts.map((it) => `127.0.0.1 ${it}`);
  const made = [
    { file: await write("hosts", `${["127.0.0.1 localhost", ...own, ...names].join("\n")}\n`), over: "/etc/hosts" },
    {
      file: await write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
      over: "/etc/resolv.conf",
    },
    ...system.files.map((over) => ({ file: bundle, over })),
  ];
  const overlays: Overlays = [];
  for (const { file, over } of made) {
    const real = await realpath(over).catch(() => undefined);
    if (real !== undefined) overlays.push({ file, over: real });
  }
  return { bundle, overlays };
}
