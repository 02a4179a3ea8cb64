/** Every kind of source, in the order of their artifacts in a bundle. */
import { fileSource } from "./file.ts";
import { imageSource } from "./image.ts";
import { isoSource } from "./iso.ts";
import { rpmSource } from "./rpm.ts";
import type { SourceKind } from "./types.ts";

export const SOURCES: readonly SourceKind[] = [isoSource, rpmSource, fileSource, imageSource];
