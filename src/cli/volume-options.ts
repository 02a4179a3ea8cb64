/** How a bundle is cut and what it brings besides, for plan and pack. */
import { type Command, Option } from "commander";
import type { Program } from "../bundle/carried-programs.ts";
import { parseVolumeSize } from "../bundle/volume-layout.ts";
import { shellWord } from "../io/shell.ts";
import type { Output } from "./output.ts";

export interface VolumeFlags {
  volumeSize: string;
  perMedium?: boolean;
  program: boolean;
}

const DEFAULT_SIZE = "fat32";

export function withVolumes(command: Command): Command {
  return command
    .option("--volume-size <size>", "fat32, dvd, dvd-dl, bd25, bd50, bd100, or a size such as 700MiB", DEFAULT_SIZE)
    .option("--per-medium", "one folder for each medium, every one with the small files")
    .addOption(
      new Option("--no-program", "do not bring airferry itself for hosts without it (bin/ in the bundle)").env(
        "AIRFERRY_NO_PROGRAM",
      ),
    );
}

export function volumeOptions(flags: VolumeFlags): { volumeSize: number; volumesPerMedium?: number } {
  const { volumeSize, volumesPerMedium } = parseVolumeSize(flags.volumeSize);
  return { volumeSize, ...(flags.perMedium && { volumesPerMedium }) };
}

/** The options that pack needs as well: a blank before each, for a shell. */
export function volumeWords({ volumeSize, perMedium }: VolumeFlags): string {
  const size = volumeSize === DEFAULT_SIZE ? "" : ` --volume-size ${shellWord(volumeSize)}`;
  return `${size}${perMedium ? " --per-medium" : ""}`;
}

/** The programs that the bundle brings; says how to get them if there are none. */
export async function programsToBring({ program }: VolumeFlags, output: Output): Promise<Program[]> {
  if (!program) return [];
  const { findPrograms } = await import("../pack/programs.ts");
  const { programs, note } = await findPrograms();
  if (note !== undefined) output.note(note);
  return programs;
}
