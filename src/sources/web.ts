/**
 * `web:` of the manifest: answers of web servers by URL, fetched now or recorded before. Their bodies become files
 * below `/web/HOST/`, and `web/index.json` says what answers which request. docs/manifest.md, "web".
 */
import { AirferryError } from "../errors.ts";
import type { Finding } from "../io/findings.ts";
import { GIT_INDEX, MAX_GIT_INDEX_BYTES } from "../io/git-index.ts";
import { sha256In } from "../io/integrity.ts";
import { answerKey } from "../io/web-answer.ts";
import { MAX_WEB_INDEX_BYTES, WEB_INDEX } from "../io/web-index.ts";
import { originOf } from "../io/web-url.ts";
import { canonicalJson } from "../manifest/canonical-json.ts";
import { generatedItem, itemOf } from "./artifact.ts";
import type { LockedOf } from "./lock-document.ts";
import { userUrlsOf } from "./recorded-urls.ts";
import type { PlanItem, SourceKind } from "./types.ts";
import { lockWeb } from "./web-lock.ts";

export const webSource: SourceKind<"web"> = {
  kind: "web",
  lock: lockWeb,
  async plan(entries, { baseDir, unpacked, manifest, carriedAt }) {
    // A body that is also a package, a layer or a file is carried once.
    const elsewhere = new Map<string, string>();
    const bodies = new Set(entries.flatMap((it) => it.detail.answers.map((answer) => answer.path)));
    for (const { path, integrity, size, file } of entries.flatMap((it) => it.artifacts)) {
      if (!bodies.has(path)) continue;
      const digest = sha256In(integrity);
      const found = file !== undefined && digest && size !== undefined ? carriedAt?.(digest, size) : undefined;
      if (found !== undefined) elsewhere.set(path, found);
    }
    const answers = entries.flatMap((it) => it.detail.answers).map((it) => placed(it, elsewhere));
    const repositories = entries.flatMap((it) => it.detail.git ?? []).sort((a, b) => (a.url < b.url ? -1 : 1));
    if (answers.length + repositories.length === 0) return { items: [], catalog: {} };
    const urls = new Map<string, string>();
    for (const { path, url } of answers) if (path !== undefined && !urls.has(path)) urls.set(path, url);
    for (const { path, url } of repositories) if (path !== undefined) urls.set(path, url);
    const items = entries.flatMap((entry) => {
      const where = { baseDir, unpacked, byUser: userUrlsOf(entry, manifest) };
      const own = entry.artifacts.filter((it) => !elsewhere.has(it.path));
      return own.map((it): PlanItem => {
        const origin = urls.get(it.path);
        return { ...itemOf("web", it, where), ...(origin !== undefined && { origin }) };
      });
    });
    const index = indexOf({ answers: sorted(answers) }, MAX_WEB_INDEX_BYTES);
    const indexes = [generatedItem(WEB_INDEX, index)];
    if (repositories.length > 0) indexes.push(generatedItem(GIT_INDEX, indexOf({ repositories }, MAX_GIT_INDEX_BYTES)));
    return { items: [...items, ...indexes], catalog: { web: entries.map(catalogOf) } };
  },
  findings: (entries) =>
    entries.flatMap(({ name, detail }): Finding[] =>
      detail.answers.length + (detail.git?.length ?? 0) > 0
        ? []
        : [
            {
              level: "error",
              area: "web",
              subject: name,
              message: `web ${name} has no answer that is carried`,
              remedy: "correct recording: or hosts: in its entry, or remove the entry",
            },
          ],
    ),
};

/** What is larger no server reads. @throws {AirferryError} ERR_MANIFEST_INVALID */
function indexOf(value: object, maxBytes: number): Buffer {
  const index = Buffer.from(canonicalJson(value));
  if (index.length <= maxBytes) return index;
  throw new AirferryError(
    "ERR_MANIFEST_INVALID",
    `cannot carry web: too many answers or repositories: expected an index of at most ${maxBytes} bytes, got ${index.length}`,
    { hint: "carry hosts in manifests of their own: hosts: [example.com]" },
  );
}

/** An answer with the path that its body has. */
function placed(answer: Answers[number], elsewhere: ReadonlyMap<string, string>): Answers[number] {
  const path = answer.path === undefined ? undefined : elsewhere.get(answer.path);
  return path === undefined ? answer : { ...answer, path };
}

type Answers = LockedOf<"web">["detail"]["answers"];

function sorted(answers: Answers): Answers {
  return answers
    .map((it) => ({ it, key: answerKey(it) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map(({ it }) => it);
}

function catalogOf({ name, detail }: LockedOf<"web">) {
  const { answers, git = [] } = detail;
  const origins = [...new Set([...answers, ...git].map((it) => originOf(it.url)))].sort();
  return { name, answers: answers.length, origins, ...(git.length > 0 && { repositories: git.length }) };
}
