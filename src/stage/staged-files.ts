/** The contents of the builder's folder: every file with its content, mode and readers. Writes nothing. */
import { Buffer } from "node:buffer";
import type { Builder } from "../builder/builder.ts";
import type { InventoryEntry } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import { digestOf } from "../io/digest.ts";
import { errorsIn, type Finding } from "../io/findings.ts";
import { checkFileName, checkPath, fileIn, pathIn } from "../io/path-grammar.ts";
import { guestFiles } from "../render/guest.ts";
import { parseImageconfig } from "../render/imageconfig.ts";
import { kickstartTemplate } from "../render/kickstart.ts";
import { needsCa } from "../render/machine.ts";
import { kickstartPaths } from "../render/packer-boot.ts";
import type { ConfigFile, RenderInput, RenderRelease } from "../render/types.ts";
import { buildIso } from "../render/view.ts";
import type { Readers } from "./folder.ts";
import type { StagedContent } from "./stage-record.ts";

/** One file of the folder: a text, or a file of the store. */
export interface StagedFile extends StagedContent {
  path: string;
  mode: number;
  readers: Readers;
  /** It contains a password given to this run. */
  isSecret: boolean;
  text?: string;
  entry?: InventoryEntry;
}

/** All files, skipped ones with the reason, and notes for the build. */
interface Contents {
  files: StagedFile[];
  left: { path: string; reason: string }[];
  findings: Finding[];
}

/**
 * Collects the contents of the folder.
 * @param ca PEM of the server's CA, if it has its own
 * @throws {AirferryError} ERR_RENDER when something that the build needs cannot be rendered or was not packed;
 *   ERR_USAGE without `ca` if the machine needs it; ERR_PATH_UNSAFE for a name that leads outside, or that two files
 *   share
 */
export async function contentsOf(
  rendered: readonly ConfigFile[],
  input: RenderInput,
  { builder, release }: { builder: Builder; release: RenderRelease },
  ca: string | undefined,
): Promise<Contents> {
  const contents: Contents = { files: [], left: [], findings: [] };
  const add = (path: string, text: string, mode: number, readers: Readers = "everybody", isSecret = false) => {
    const bytes = Buffer.from(text);
    const digest = digestOf(bytes);
    contents.files.push({ path, text, digest, size: bytes.length, mode, readers, isSecret });
  };
  let isoName: string | undefined;
  for (const file of rendered) {
    const text = await tryRender(file, input, builder, contents);
    if (text === undefined) continue;
    const secrets = (await file.hasSecret?.()) ?? false;
    const isPrivate = file.name === "imageconfig" || secrets;
    add(file.path, text, 0o644, isPrivate ? "builder" : "everybody", secrets);
    if (file.name === "imageconfig") isoName = parseImageconfig(text).get("iso_name");
    if (file.name === "kickstart" && builder.flavor === "image-builder") {
      for (const path of kickstartPaths(builder, release))
        add(path, text, 0o644, isPrivate ? "builder" : "everybody", secrets);
    }
  }
  if (ca !== undefined) add("server.crt", ca, 0o644);
  for (const { path, text, mode } of guestFiles(input, builder, release, ca)) add(path, text, mode);
  for (const kind of ["pre", "post"] as const) {
    for (const path of builder.customScripts[kind]) contents.files.push(customScript(kind, path, release));
  }
  const iso = buildIso("stage", builder, release);
  if (iso !== undefined) {
    const name = isoName !== undefined && isoName !== "" ? isoName : `${iso.iso.name}.iso`;
    fileIn("", name, "builder.imageconfig.iso_name");
    contents.files.push({ ...stored(name, iso.entry), mode: 0o644 });
  }
  requireDistinct(contents.files);
  if (needsCa(input) && ca === undefined) {
    throw new AirferryError("ERR_USAGE", "cannot stage for a server with its own CA: the virtual machine needs it", {
      expected: "the CA's certificate",
      hint: `curl -fsSk -o ca.crt ${input.baseUrl}/ca.crt, compare openssl x509 -noout -fingerprint -sha256 -in ca.crt with what serve printed, then add: --ca ca.crt; or --public-ca if every client already trusts the CA`,
    });
  }
  return contents;
}

/** Renders one file; undefined when it cannot be rendered and is optional. */
async function tryRender(
  file: ConfigFile,
  input: RenderInput,
  builder: Builder,
  contents: Contents,
): Promise<string | undefined> {
  try {
    const text = await file.make();
    const findings = (await file.check?.()) ?? [];
    refuse(file.path, findings);
    contents.findings.push(...findings);
    return text;
  } catch (error) {
    if (!(error instanceof AirferryError) || error.code !== "ERR_RENDER" || isNeeded(file, input, builder)) throw error;
    contents.left.push({ path: file.path, reason: error.message });
    return undefined;
  }
}

function refuse(path: string, findings: readonly Finding[]): void {
  const [first, ...more] = errorsIn(findings);
  if (first === undefined) return;
  throw new AirferryError(
    "ERR_RENDER",
    `cannot stage "${path}": ${[first, ...more].map((it) => it.message).join("; ")}`,
    {
      path,
      hint: [first, ...more].map((it) => it.remedy).join("; "),
    },
  );
}

/** Whether the build needs a file: it fails without, or uses one that names the public mirrors. */
function isNeeded(file: ConfigFile, input: RenderInput, builder: Builder): boolean {
  if (file.name === "imageconfig") return builder.flavor === "spectro-capi";
  if (file.name === "packer-vars") return builder.flavor === "image-builder";
  if (file.name !== "kickstart") return false;
  if (builder.kickstart !== undefined) return true;
  try {
    kickstartTemplate(input);
    return true;
  } catch (error) {
    // Several without a choice: one of them was intended.
    return error instanceof AirferryError && error.actual !== undefined;
  }
}

function customScript(kind: "pre" | "post", path: string, release: RenderRelease): StagedFile {
  const entry = release.inventory.entries.get(`files/${path}`);
  const target = `custom_scripts/${kind}/${path.slice(path.lastIndexOf("/") + 1)}`;
  if (entry === undefined) {
    throw new AirferryError("ERR_RENDER", `cannot stage "${target}": files/${path} was not packed`, {
      hint: [
        "add to the manifest, then lock, pack and carry again:",
        "files:",
        `  - path: ./${path}`,
        `    as: ${path}`,
      ],
    });
  }
  pathIn("", target, `builder.custom_scripts.${kind}`);
  return stored(target, entry);
}

function stored(path: string, entry: InventoryEntry): StagedFile {
  const mode = Number.parseInt(entry.mode, 8);
  return { path, entry, digest: entry.digest, size: entry.size, mode, readers: "everybody", isSecret: false };
}

/** No path leads outside, and all are distinct: a signed inventory also chooses names. */
function requireDistinct(files: readonly StagedFile[]): void {
  const taken = new Map<string, string>();
  for (const { path } of files) {
    const fault = checkPath(path) ?? (path.includes("/") ? undefined : checkFileName(path));
    const folded = path.toLowerCase();
    const other = [...taken].find(
      ([it]) => it === folded || it.startsWith(`${folded}/`) || folded.startsWith(`${it}/`),
    );
    if (fault === undefined && other === undefined && !folded.startsWith(".airferry")) {
      taken.set(folded, path);
      continue;
    }
    throw new AirferryError(
      "ERR_PATH_UNSAFE",
      `cannot stage "${path}": ${fault ?? (other === undefined ? "the name is reserved for stage" : `"${other[1]}" is staged under that name too`)}`,
      { path, hint: "change the name in the manifest (as:, builder.imageconfig.iso_name), then pack and carry again" },
    );
  }
}
