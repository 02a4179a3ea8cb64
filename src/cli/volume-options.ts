/** How a bundle is cut and what it brings besides, for plan and pack. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Program } from "../bundle/carried-programs.ts";
import { parseVolumeSize } from "../bundle/volume-layout.ts";
import { shellWord } from "../io/shell.ts";
import type { ParityShares } from "../pack/pack-parity.ts";
import type { Output } from "./output.ts";

export interface VolumeFlags {
  volumeSize: string;
  perMedium?: boolean;
  parity?: number;
  paritySet?: number;
  program: boolean;
}

const DEFAULT_SIZE = "fat32";

/** Parses a share, with or without its sign. */
function percent(value: string): number {
  const number = /^\d{1,3}%?$/.test(value) ? Number(value.replace("%", "")) : 0;
  if (number < 1 || number > 100) throw new InvalidArgumentError("must be a whole number of percent, from 1% to 100%.");
  return number;
}

export function withVolumes(command: Command): Command {
  return command
    .option("--volume-size <size>", "fat32, dvd, dvd-dl, bd25, bd50, bd100, or a size such as 700MiB", DEFAULT_SIZE)
    .option("--per-medium", "one folder for each medium, every one with the small files")
    .option(
      "--parity <percent>",
      "recovery files (PAR2) beside each volume: repair as much of it as is damaged",
      percent,
    )
    .option("--parity-set <percent>", "recovery files for all volumes together, on media of their own", percent)
    .addOption(
      new Option("--no-program", "do not bring airferry itself for hosts without it (bin/ in the bundle)").env(
        "AIRFERRY_NO_PROGRAM",
      ),
    );
}

export async function volumeOptions(
  flags: VolumeFlags,
): Promise<ParityShares & { volumeSize: number; volumesPerMedium?: number }> {
  const { perMedium, parity, paritySet } = flags;
  const beside = parity === undefined ? undefined : (await import("../pack/pack-parity.ts")).parityBeside;
  const { volumeSize, volumesPerMedium } = parseVolumeSize(
    flags.volumeSize,
    beside && ((size) => beside(size, parity ?? 0)),
  );
  return { volumeSize, ...(perMedium && { volumesPerMedium }), parity, paritySet };
}

/** The options that pack needs as well: a blank before each, for a shell. */
export function volumeWords({ volumeSize, perMedium, parity, paritySet }: VolumeFlags): string {
  const size = volumeSize === DEFAULT_SIZE ? "" : ` --volume-size ${shellWord(volumeSize)}`;
  const each = parity === undefined ? "" : ` --parity ${parity}%`;
  const set = paritySet === undefined ? "" : ` --parity-set ${paritySet}%`;
  return `${size}${perMedium ? " --per-medium" : ""}${each}${set}`;
}

/** The programs that the bundle brings; says how to get them if there are none. */
export async function programsToBring({ program }: VolumeFlags, output: Output): Promise<Program[]> {
  if (!program) return [];
  const { findPrograms } = await import("../pack/programs.ts");
  const { programs, note } = await findPrograms();
  if (note !== undefined) output.note(note);
  return programs;
}
