/** The order in which the items of a bundle are filled. */
import type { ItemSource } from "../sources/types.ts";
import type { LaidItem } from "./lay-out.ts";

/** The file that an item is decompressed from; undefined for any other. */
export function compressedFile(source: ItemSource): string | undefined {
  return source.from === "file" && source.codec !== undefined ? source.file : undefined;
}

/** Items of one compressed archive are grouped, in its order, so that it is read once. All others are separate. */
export function tasksOf(indexes: readonly number[], items: readonly LaidItem[]): number[][] {
  const tasks: number[][] = [];
  const byArchive = new Map<string, number[]>();
  for (const index of indexes) {
    const archive = compressedFile((items[index] as LaidItem).source);
    const task = archive === undefined ? undefined : byArchive.get(archive);
    if (task !== undefined) task.push(index);
    else {
      tasks.push([index]);
      if (archive !== undefined) byArchive.set(archive, tasks.at(-1) as number[]);
    }
  }
  const offsetOf = (index: number) => {
    const { source } = items[index] as LaidItem;
    return source.from === "file" ? (source.offset ?? 0) : 0;
  };
  for (const task of byArchive.values()) task.sort((a, b) => offsetOf(a) - offsetOf(b));
  return tasks;
}
