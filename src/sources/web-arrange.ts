/** Gives the answers and repositories of all entries of `web:` their paths, and each request one answer. */
import { AirferryError } from "../errors.ts";
import { plural } from "../io/format.ts";
import { formatIntegrity } from "../io/integrity.ts";
import { answerKey, MAX_WEB_ANSWERS, type WebAnswer } from "../io/web-answer.ts";
import type { LockedOf } from "./lock-document.ts";
import type { LockedArtifact } from "./locked-artifact.ts";
import type { LockContext } from "./types.ts";
import { webPaths } from "./web-paths.ts";

type LockedWeb = LockedOf<"web">;

/** Chooses the paths of all bodies and packs; of two answers to one request the first counts. */
export function arrange(entries: readonly LockedWeb[], context: LockContext): LockedWeb[] {
  const seen = new Set<string>();
  const kept = entries.map(({ artifacts, detail }) => {
    const bodies = new Map(artifacts.map((it) => [it.path, it]));
    return detail.answers.flatMap((answer) => {
      const key = answerKey(answer);
      if (seen.has(key)) return [];
      seen.add(key);
      return [{ answer, body: answer.path === undefined ? undefined : bodies.get(answer.path) }];
    });
  });
  const all = kept.flat();
  if (all.length > MAX_WEB_ANSWERS) {
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot lock web: more than ${MAX_WEB_ANSWERS} answers`, {
      hint: "carry hosts in manifests of their own: hosts: [example.com]",
    });
  }
  const doubled = entries.reduce((sum, it) => sum + it.detail.answers.length, 0) - all.length;
  if (doubled > 0) context.report(`${plural(doubled, "answer")} left out: an earlier entry of web: answers the same`);
  // What is pinned on first sight gets its digest later, and must keep its path then.
  const bodyId = ({ integrity, file }: LockedArtifact, { url }: WebAnswer) =>
    file !== undefined && integrity !== undefined ? formatIntegrity(integrity) : url;
  const withBody = all.flatMap(({ answer, body }) =>
    body === undefined ? [] : [{ ...answer, body: bodyId(body, answer) }],
  );
  const repositories = packsByUrl(entries);
  const packed = [...repositories].filter(([, pack]) => pack !== undefined).map(([url]) => url);
  const placed = packed.map((url) => ({ ...PACK, url: `${url}/git.pack`, body: `pack of ${url}` }));
  const chosen = webPaths([...withBody, ...placed]);
  const packPaths = new Map(packed.map((url, index) => [url, chosen[withBody.length + index]]));
  const paths = chosen[Symbol.iterator]();
  return entries.map((entry, index): LockedWeb => {
    const artifacts = new Map<string, LockedArtifact>();
    const answers = (kept[index] ?? []).map(({ answer: { path: _, ...answer }, body }) => {
      const path: string | undefined = body && paths.next().value;
      if (body === undefined || path === undefined) return answer;
      if (!artifacts.has(path)) artifacts.set(path, { ...body, path });
      return { ...answer, path };
    });
    const git = entry.detail.git?.flatMap(({ path: _, ...repository }) => {
      const pack = repositories.get(repository.url);
      if (!repositories.delete(repository.url)) return [];
      const path = packPaths.get(repository.url);
      if (pack === undefined || path === undefined) return [repository];
      artifacts.set(path, { ...pack, path });
      return [{ ...repository, path }];
    });
    const detail = { ...entry.detail, answers, ...(git && { git }) };
    return { ...entry, artifacts: [...artifacts.values()], detail };
  });
}

/** What an answer would be whose body is a pack. */
const PACK = { method: "GET" as const, status: 200, headers: {} };

/** The pack of each repository, undefined for an empty one; of two entries with the same the first has it. */
function packsByUrl(entries: readonly LockedWeb[]): Map<string, LockedArtifact | undefined> {
  const packs = new Map<string, LockedArtifact | undefined>();
  for (const { artifacts, detail } of entries) {
    const byPath = new Map(artifacts.map((it) => [it.path, it]));
    for (const { url, path } of detail.git ?? [])
      if (!packs.has(url)) packs.set(url, path === undefined ? undefined : byPath.get(path));
  }
  return packs;
}
