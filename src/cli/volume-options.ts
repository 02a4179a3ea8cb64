/** How a bundle is cut, for plan and pack. */
import type { Command } from "commander";
import { parseVolumeSize } from "../bundle/volume-layout.ts";

export interface VolumeFlags {
  volumeSize: string;
  perMedium?: boolean;
}

export function withVolumes(command: Command): Command {
  return command
    .option("--volume-size <size>", "fat32, dvd, dvd-dl, bd25, bd50, bd100, or a size such as 700MiB", "fat32")
    .option("--per-medium", "one folder for each medium, every one with the small files");
}

export function volumeOptions(flags: VolumeFlags): { volumeSize: number; volumesPerMedium?: number } {
  const { volumeSize, volumesPerMedium } = parseVolumeSize(flags.volumeSize);
  return { volumeSize, ...(flags.perMedium && { volumesPerMedium }) };
}
