/** Whether upstream still matches the lock. */
import { AirferryError, type Problem } from "../errors.ts";
import { shellWord } from "../io/shell.ts";
import { sourcesOf } from "../sources/kinds.ts";
import type { Lock } from "../sources/lock-document.ts";
import type { PackJob } from "./job.ts";

/**
 * Refuses a frozen pack if upstream moved since: somebody should check first.
 * @throws {AirferryError} ERR_LOCK_STALE, ERR_UPSTREAM*
 */
export async function requireUnmoved({ workspace, report }: PackJob, lock: Lock): Promise<void> {
  const { manifest, paths, fetcher } = workspace;
  const problems: Problem[] = [];
  for await (const source of sourcesOf(lock.entries)) {
    const entries = lock.entries.filter((it) => it.kind === source.kind);
    const moved = (await source.drift?.(entries, { manifest, baseDir: paths.baseDir, fetcher, report })) ?? [];
    for (const { name, message } of moved) {
      problems.push({ code: "ERR_LOCK_STALE", path: `${source.kind} ${name}`, message });
    }
  }
  if (problems.length > 0) {
    throw new AirferryError("ERR_LOCK_STALE", "cannot pack with --frozen: upstream moved locked tags", {
      problems,
      hint: `airferry lock ${shellWord(workspace.file)} --update; or pack without --frozen to keep what is locked`,
    });
  }
}
