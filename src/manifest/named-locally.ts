/**
 * What a manifest names on the host that packs: files, folders, keys, environment variables. Reads any document, valid
 * or not, so that one check reports everything.
 */

/** What is expected of something named. */
type LocalKind =
  | "file"
  | "folder"
  | "file or folder"
  | "image list"
  | "recording"
  | "OpenPGP keys"
  | "public keys"
  | "PEM"
  | "template"
  | "variable";

export interface NamedLocally {
  path: PropertyKey[];
  /** As it is written: a path relative to the manifest, the name of a variable, or a text with dnf variables in it. */
  name: string;
  is: LocalKind;
}

/** Everything that is named, in the order of the document's kinds; URLs are not of this host. */
export function namedLocally(value: unknown): NamedLocally[] {
  const found: NamedLocally[] = [];
  const add = (path: PropertyKey[], name: unknown, is: LocalKind) => {
    if (typeof name === "string" && name !== "" && !/^https?:/i.test(name)) found.push({ path, name, is });
  };
  const addAll = (path: PropertyKey[], names: unknown, is: LocalKind) => {
    for (const [index, it] of list(names).entries()) add([...path, index], it, is);
  };
  const document = fields(value);
  for (const kind of ["isos", "files", "rpms", "images"] as const) {
    for (const [index, it] of list(document[kind]).entries()) {
      const entry = fields(it);
      const at = [kind, index];
      add([...at, "path"], entry["path"], kind === "rpms" ? "folder" : "file");
      addAll([...at, "keys"], entry["keys"], "OpenPGP keys");
      const checksums = fields(entry["checksums"]);
      add([...at, "checksums", "path"], checksums["path"], "file");
      add([...at, "checksums", "signature"], checksums["signature"], "file");
      addAll([...at, "checksums", "keys"], checksums["keys"], "OpenPGP keys");
      if (entry["baseline"] !== "bare") add([...at, "baseline"], entry["baseline"], "file");
      add([...at, "archive"], entry["archive"], "file or folder");
      add([...at, "list"], entry["list"], "image list");
      addAll([...at, "values"], entry["values"], "file");
      addAll([...at, "signatures", "keys"], fields(entry["signatures"])["keys"], "public keys");
    }
  }
  for (const [index, it] of list(document["web"]).entries())
    add(["web", index, "recording"], fields(it)["recording"], "recording");
  add(["vendor", "archive"], fields(document["vendor"])["archive"], "file");
  for (const [host, it] of Object.entries(fields(document["hosts"]))) {
    const credentials = fields(it);
    for (const key of ["ca", "cert", "key"]) add(["hosts", host, key], credentials[key], "PEM");
    for (const key of ["username_env", "password_env", "token_env"])
      add(["hosts", host, key], credentials[key], "variable");
  }
  for (const [index, it] of list(document["rpms"]).entries()) {
    const entry = fields(it);
    const addTemplate = (path: PropertyKey[], text: unknown) => {
      if (typeof text === "string" && text.includes("$")) found.push({ path, name: text, is: "template" });
    };
    for (const key of ["url", "mirrorlist", "metalink", "source_url", "debuginfo_url"])
      addTemplate(["rpms", index, key], entry[key]);
    for (const key of ["urls", "keys"])
      for (const [at, text] of list(entry[key]).entries()) addTemplate(["rpms", index, key, at], text);
  }
  return found;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
