/** Helm charts of other tools' files as images entries: of an HTTP repository, or of a registry. No I/O. */
import type { ImageEntry } from "../manifest/schema.ts";
import { checkReference } from "../oci/reference.ts";
import { type FoundContent, skip, templateIn } from "./found.ts";

interface ChartPlace {
  name: string;
  /** `https://…`: a repository; `oci://…`: the chart, or the folder that it is in. */
  url: string;
  version: string | undefined;
  more: Omit<ImageEntry, "chart" | "ref" | "repo" | "version">;
  /** The URL is the chart's own, with its name. */
  isWhole?: boolean;
}

/** Adds a chart, or lists why it cannot be carried. */
export function addChart(found: FoundContent, line: number, { name, url, version, more, isWhole }: ChartPlace): void {
  const what = `chart ${name}${version === undefined ? "" : ` ${version}`}${url === "" ? "" : ` of ${url}`}`;
  const template = templateIn(`${name} ${url} ${version ?? ""}`);
  if (template !== undefined) {
    skip(found, line, what, `it is a template: ${template} has no value`);
    return;
  }
  if (url.startsWith("oci://")) {
    const base = url.slice("oci://".length).replace(/\/+$/, "");
    const repository = isWhole ? base : `${base}/${name}`;
    // Registries write + as _.
    const ref = version === undefined ? repository : `${repository}:${version.replaceAll("+", "_")}`;
    const wrong = checkReference(ref);
    if (wrong !== undefined) {
      skip(found, line, what, `not a reference: ${wrong.fault}`);
      return;
    }
    if (version !== undefined) found.images.push({ line, entry: { ref, ...more } });
    else if (more.images === undefined) found.images.push({ line, entry: { ref, tags: { newest: 1 }, ...more } });
    else skip(found, line, what, "a chart of a registry needs its version if its images are to be carried");
    return;
  }
  if (!/^https?:\/\//i.test(url)) {
    skip(found, line, what, "a folder or archive of this host: render it (helm template), and give the result too");
    return;
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    skip(found, line, what, "not a chart's name");
    return;
  }
  found.images.push({ line, entry: { chart: name, repo: url, ...(version !== undefined && { version }), ...more } });
}
