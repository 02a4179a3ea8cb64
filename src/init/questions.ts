/**
 * The questions of `airferry init`: what is built, for which Kubernetes, from which ISO, and where the manifest goes.
 * Only what the chosen manifest leaves open is asked, and each question has a default.
 */
import { basename } from "node:path";
import { matrixOf } from "../builder/compatibility.ts";
import { publishedIso } from "../iso/published.ts";
import { flavorIn, type InitAnswers, kubernetesVersion } from "./answers.ts";

/** Who answers: a terminal. */
export interface Ask {
  /** One of the choices, by its value. */
  choose: (question: string, choices: readonly Choice[], fallback: string) => Promise<string>;
  /** A line of text; asked again, with the fault, until it has none. */
  text: (question: string, fallback: string, fault?: (answer: string) => string | undefined) => Promise<string>;
}

export interface Choice {
  value: string;
  text: string;
}

/** What was answered. */
interface Interview {
  dir: string;
  for: string;
  answers: InitAnswers;
}

/**
 * Asks for what flags left open.
 * @param ready the ready manifests by name, in the order shown
 * @param given answers that are not asked for
 * @param dir folder for the manifest; asked when undefined
 */
export async function interview(
  ask: Ask,
  ready: ReadonlyMap<string, string>,
  given: InitAnswers,
  dir: string | undefined,
): Promise<Interview> {
  const choices = [...ready].map(([value, text]) => ({ value, text: descriptionOf(text) }));
  const name = await ask.choose("What do you build?", choices, DEFAULT);
  const text = ready.get(name) ?? "";
  const answers: InitAnswers = {
    ...given,
    k8sVersion: given.k8sVersion ?? (await askKubernetes(ask, text)),
    ...(await askIso(ask, text, given)),
    imageconfig: given.imageconfig ?? (await askImageconfig(ask, text)),
  };
  answers.stream ??= await ask.text("Name of the stream, and of the manifest", name, (it) =>
    /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(it) ? undefined : "letters, digits, dots, hyphens and underscores only",
  );
  return { for: name, answers, dir: dir ?? (await ask.text("Folder to write into", ".")) };
}

/** The ready manifest that most users begin with. */
const DEFAULT = "rocky-9-capi";

/** What a ready manifest says about itself: its first comment after the line for editors, up to the first detail. */
function descriptionOf(text: string): string {
  const line = text.split("\n").find((it) => /^# [^y]/.test(it)) ?? "";
  return line.slice("# ".length).split(/[,:] /, 1)[0] ?? "";
}

async function askKubernetes(ask: Ask, text: string): Promise<string | undefined> {
  const current = kubernetesVersion(text);
  if (current === undefined) return undefined;
  const { versions, match } = matrixOf(flavorIn(text));
  const known = versions.map((it) => (match === "minor" ? it.k8s.split(".").slice(0, 2).join(".") : it.k8s));
  const list = [...new Set(known)].join(", ");
  return ask.text(`Kubernetes version (the builder supports ${list})`, current, (it) =>
    /^v?\d+\.\d+\.\d+$/.test(it) ? undefined : `a full version is needed, like ${current}`,
  );
}

/** Asks for an ISO only where the manifest takes a local file: others are downloaded and checked against upstream. */
async function askIso(ask: Ask, text: string, given: InitAnswers): Promise<Pick<InitAnswers, "iso" | "isoSha256">> {
  const { iso: givenIso, isoSha256 } = given;
  const current = /^isos:\n(?:(?: .*)?\n)*? {4}path: (.+)$/m.exec(text)?.[1];
  if (givenIso !== undefined || current === undefined) return { iso: givenIso, isoSha256 };
  const iso = await ask.text("Installation DVD: path of the file downloaded from the vendor", current);
  if (isoSha256 !== undefined || publishedIso(basename(iso)) !== undefined) return { iso, isoSha256 };
  const typed = await ask.text("Its SHA-256 from the vendor's page (empty: pinned as the file is)", "", (it) =>
    /^(?:[0-9a-f]{64})?$/i.test(it) ? undefined : "64 hexadecimal digits are needed, or nothing",
  );
  return { iso, isoSha256: typed === "" ? undefined : typed.toLowerCase() };
}

/** The site's names that no ready manifest can have. */
async function askImageconfig(ask: Ask, text: string): Promise<string[] | undefined> {
  if (!/^ {2}imageconfig:$/m.test(text)) return undefined;
  const server = await ask.text("vCenter server inside the gap (empty: filled in later)", "");
  return server === "" ? undefined : [`vcenter_server=${server}`];
}
