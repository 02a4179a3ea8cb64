/** The bill of materials as documents, and as files of a bundle. */
import { join } from "node:path";
import { BOM_CYCLONEDX_NAME, BOM_PAGE_NAME } from "../bundle/media-names.ts";
import type { Digest } from "../io/digest.ts";
import { writePieces } from "../io/write-pieces.ts";
import { bomPage } from "./bom-page.ts";
import { cyclonedxDocument } from "./cyclonedx.ts";
import type { Bill } from "./types.ts";

export type BomFormat = "cyclonedx" | "spdx" | "html";

/** The file of a bundle that has a format; SPDX is only made on request. */
export const BOM_FILE: Readonly<Record<BomFormat, string | undefined>> = {
  cyclonedx: BOM_CYCLONEDX_NAME,
  spdx: undefined,
  html: BOM_PAGE_NAME,
};

/** A bill in a format, in pieces. */
export async function bomDocument(bill: Bill, format: BomFormat): Promise<Iterable<string>> {
  switch (format) {
    case "cyclonedx":
      return cyclonedxDocument(bill);
    case "spdx":
      return (await import("./spdx.ts")).spdxDocument(bill);
    case "html":
      return bomPage(bill);
  }
}

/** Writes the files into a folder, replacing what is there; returns their names and digests. */
export async function writeBomFiles(dir: string, bill: Bill): Promise<{ name: string; digest: Digest }[]> {
  return [
    { name: BOM_CYCLONEDX_NAME, digest: await writePieces(join(dir, BOM_CYCLONEDX_NAME), cyclonedxDocument(bill)) },
    { name: BOM_PAGE_NAME, digest: await writePieces(join(dir, BOM_PAGE_NAME), bomPage(bill)) },
  ];
}
